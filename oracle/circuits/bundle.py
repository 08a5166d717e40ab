"""A built model on disk: everything to register, prove and audit it, bound by hashes.

    model.onnx        as proved: one row, tag input included
    settings.json     ezkl's settings, pinned
    circuit.ezkl      compiled circuit (differs from build to build; checked, but no identity)
    vk.key, pk.key    verifying and proving key
    Verifier.sol      ezkl's Solidity
    verifier.json     ABI and creation code
    candidates.json   the circuits that the search considered, estimated and measured
    pareto.svg        their gas and time, as a picture
    card.md           what the model promises, for people
    batch32/          the first seven files again, for batches of 32 rows; one such folder a size
    manifest.json     specification, hash of every file, measures

The SRS is shared by many circuits and stays in its own folder; the manifest names its hashes.
Loading needs neither a compiler nor ezkl: the daemon does it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oracle.chain.registration import circuits_of
from oracle.circuits.manifest import (
    MOST_FILE,
    MOST_KEY,
    checked_manifest,
    plain_sha256,
    read_json,
    read_verifier,
    require_plain,
)
from oracle.circuits.plan import Plan
from oracle.circuits.row import Range, TensorInfo
from oracle.circuits.srs import ceremony_pins, default_folder, find, is_pinned, sha256_file
from oracle.errors import BundleInvalid, SrsUnsafe, UsageError
from oracle.tensor import Ranges, dequantize
from oracle.types import BatchVerifier, CircuitFiles, Codec, ModelSpec, TagLayout, TensorSpec

FORMAT = 10
#: Chain ids of development nodes, the only ones where a home-made SRS will do.
LOCAL_CHAINS = (1337, 31337)
MODEL = "model.onnx"
SETTINGS = "settings.json"
COMPILED = "circuit.ezkl"
VERIFYING_KEY = "vk.key"
PROVING_KEY = "pk.key"
SOLIDITY = "Verifier.sol"
VERIFIER = "verifier.json"
MANIFEST = "manifest.json"
CANDIDATES = "candidates.json"
PLOT = "pareto.svg"
CARD = "card.md"
FILES = (MODEL, SETTINGS, COMPILED, VERIFYING_KEY, PROVING_KEY, SOLIDITY, VERIFIER)


@dataclass(frozen=True, slots=True)
class Measures:
    """What the build measured. Times are this machine's."""

    #: Greatest difference from the float model over held-back samples.
    max_abs_error: float
    #: Share of held-back samples with the float model's label; None where outputs are no scores.
    label_agreement: float | None
    logrows: int
    columns: int
    #: Gas of one verifier call.
    verify_gas: int
    #: Bytes.
    proving_key_bytes: int
    verifier_code_bytes: int
    proof_bytes: int
    #: Peak resident memory of one proof.
    prove_memory_bytes: int
    prove_seconds: float
    #: Those of the circuit for one row include the search.
    build_seconds: float
    #: The SRS was made by one party: proofs can be forged by whoever kept its secret.
    srs_unsafe: bool


@dataclass(frozen=True, slots=True)
class Origin:
    """What a model was built from, and what was asked for."""

    #: SHA-256 of the publisher's file.
    file_hash: bytes
    #: As they lie in a row of the proved model, one after the other.
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    #: Names of a classifier's classes, by index; empty if the file names none.
    labels: tuple[str, ...]
    #: Sizes that were given to named free dimensions.
    dims: dict[str, int]
    objective: str
    #: How much of the outputs is published.
    reveal: str
    #: The bound that `Measures.max_abs_error` had to meet.
    max_error: float
    #: `flatten`'s level; 0 if the curves are not limited.
    flat: float
    #: Roots and reciprocals are looked up (`tabulate`).
    tabled: bool
    #: Norms enlarge deviations before they square them (`widen`).
    widened: bool
    #: The arithmetic (`fixed.planned`); None if it is the circuit compiler's.
    plan: Plan | None


@dataclass(frozen=True, slots=True)
class Errors:
    """How far a proved answer is from the publisher's file, on the numbers that a request carries."""

    #: Greatest for any input of the promise and any witness that the circuit accepts; None where
    #: no such bound is known.
    certified: float | None
    #: Greatest that an attack on the circuit found, for the witness that our prover makes.
    measured: float
    #: What rounding a sample to those numbers changes in the file's own answer, at most.
    rounding: float
    #: Samples that were rounded for that.
    rounded: int
    #: Rows that the attack computed.
    rows: int


@dataclass(frozen=True, slots=True)
class Stated:
    """What a bundle says of its answers."""

    #: ``ranges``: for every input of them; ``samples``: as measured on data, and no more.
    kind: str
    #: Range of each input element, as a contract checks it.
    ranges: tuple[Range, ...]
    #: What is not promised although the margin around the samples has it, and why.
    narrowed: tuple[str, ...]
    errors: Errors
    #: Where compared scores differ by no more than this, a jump may go the other way.
    margin: float
    #: Share of the samples that are so near a jump.
    near: float
    #: What a publisher should know before he relies on it.
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SizedCircuit:
    """The circuit for one batch size."""

    #: Rows that one proof covers.
    size: int
    circuit: CircuitFiles
    verifier_abi: list[dict[str, Any]]
    #: Creation code of the verifier.
    verifier_bytecode: bytes
    measures: Measures


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle."""

    path: Path
    name: str
    #: SHA-256 of the specification: equal for equal builds, wherever they were made.
    bundle_id: str
    spec: ModelSpec
    #: By ascending size, the first for one row.
    circuits: tuple[SizedCircuit, ...]
    input_name: str
    output_name: str
    origin: Origin
    stated: Stated
    #: Version by tool.
    versions: dict[str, str]

    @property
    def circuit(self) -> CircuitFiles:
        """The circuit for one row."""
        return self.circuits[0].circuit

    @property
    def verifier_abi(self) -> list[dict[str, Any]]:
        """ABI of the verifier for one row."""
        return self.circuits[0].verifier_abi

    @property
    def verifier_bytecode(self) -> bytes:
        """Creation code of the verifier for one row."""
        return self.circuits[0].verifier_bytecode

    @property
    def measures(self) -> Measures:
        """Measures of the circuit for one row."""
        return self.circuits[0].measures

    def fitting(self, rows: int) -> SizedCircuit:
        """The smallest circuit for at least ``rows`` rows; spare rows repeat row 0 (`tensor.pad`).

        Raises:
            UsageError: no circuit is that large.
        """
        for circuit in self.circuits:
            if circuit.size >= rows:
                return circuit
        raise UsageError(
            f"{rows} rows are too many for {self.name}",
            remedy=f"Send at most {self.circuits[-1].size} at once",
        )

    @property
    def model(self) -> Path:
        """The ONNX file as proved."""
        return self.path / MODEL

    def require_safe(self, chain_id: int) -> None:
        """Refuse a devnet's bundle anywhere else.

        Raises:
            SrsUnsafe: an SRS is not the ceremony's and this is not a local chain.
        """
        # The hashes decide, not the manifest's flag, which anyone could edit.
        used = {sized.circuit.srs_hash for sized in self.circuits}
        pinned = used <= set(ceremony_pins().values())
        if not pinned and chain_id not in LOCAL_CHAINS:
            raise SrsUnsafe(
                f"the bundle {self.name} was built with an unsafe devnet SRS: "
                f"whoever made it can forge proofs on chain {chain_id}",
                remedy="Build it again with the Powers of Tau files: oracle model build --srs",
            )

    @classmethod
    def load(cls, path: Path, srs_folder: Path | None = None) -> Bundle:
        """Read a bundle and check every file against the manifest.

        Args:
            path: the bundle's folder.
            srs_folder: where the SRS files are; by default `srs.default_folder`.

        Raises:
            BundleInvalid: a file is missing, changed, or the manifest is not readable.
            SrsMismatch: the SRS file is not in the folder.
        """
        manifest = read_manifest(path)
        try:
            return cls._from(path, manifest, srs_folder or default_folder(path))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleInvalid(
                f"{path / MANIFEST} lacks or garbles {error}", remedy="Build the bundle again"
            ) from None

    @classmethod
    def _from(cls, path: Path, manifest: dict[str, Any], srs_folder: Path) -> Bundle:
        spec = spec_from(manifest["spec"])
        if list(sizes(spec)) != sorted(set(sizes(spec))):
            raise BundleInvalid(f"{path / MANIFEST}: the batch sizes are not ascending")
        _check_files(path, spec, manifest["files"])
        if manifest["bundle_id"] != spec_id(spec):
            raise BundleInvalid(f"{path / MANIFEST}: bundle_id is not the specification's hash")
        for file, expected in named_by(spec):
            if manifest["files"][file] != expected.hex():
                raise BundleInvalid(f"{path / file} is not the file that the specification names")
        stated = stated_from(manifest)
        if not is_held(stated.ranges, spec):
            raise BundleInvalid(
                f"{path / MANIFEST}: the promise has other ranges than the contract"
            )
        srs_hashes = (spec.srs_hash, *(batch.srs_hash for batch in spec.batches))
        circuits = tuple(
            _sized(path, size, Measures(**measures), srs_folder, srs_hash)
            for size, measures, srs_hash in zip(
                sizes(spec), manifest["measures"], srs_hashes, strict=True
            )
        )
        return cls(
            path=path,
            name=manifest["name"],
            bundle_id=manifest["bundle_id"],
            spec=spec,
            circuits=circuits,
            input_name=manifest["input_name"],
            output_name=manifest["output_name"],
            origin=origin_from(manifest["origin"]),
            stated=stated,
            versions=manifest["versions"],
        )


def needed_srs(path: Path) -> Iterator[tuple[bytes, int]]:
    """Hash and logrows of each SRS file that a bundle's circuits need.

    Raises:
        BundleInvalid: there is no manifest, or it does not tell.
    """
    manifest = read_manifest(path)
    spec = spec_from(manifest["spec"])
    if len(manifest["measures"]) != len(sizes(spec)):
        raise BundleInvalid(f"{path / MANIFEST}: measures are not of each circuit")
    for circuit, measures in zip(circuits_of(spec), manifest["measures"], strict=True):
        yield circuit.srs_hash, measures["logrows"]


def write_manifest(
    path: Path,
    *,
    name: str,
    spec: ModelSpec,
    input_name: str,
    output_name: str,
    origin: Origin,
    stated: Stated,
    measures: Sequence[Measures],
    versions: dict[str, str],
) -> None:
    """Seal the files in ``path``; ``measures`` are those of each circuit, by ascending size."""
    manifest = {
        "format": FORMAT,
        "name": name,
        "bundle_id": spec_id(spec),
        "spec": spec_json(spec),
        "input_name": input_name,
        "output_name": output_name,
        "origin": origin_json(origin),
        **stated_json(stated),
        "files": {file: sha256_file(path / file).hex() for file in files_of(spec)},
        "measures": [dataclasses.asdict(each) for each in measures],
        "versions": versions,
    }
    text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
    (path / MANIFEST).write_text(text + "\n")


def folder_of(size: int) -> str:
    """The folder, in a bundle, of the circuit for ``size`` rows."""
    return "." if size == 1 else f"batch{size}"


def sizes(spec: ModelSpec) -> tuple[int, ...]:
    """The batch sizes of a model, ascending."""
    return (1, *(batch.size for batch in spec.batches))


def srs_unsafe(spec: ModelSpec) -> bool:
    """Whether an SRS of the model is not the ceremony's: whoever made it can forge proofs."""
    return not all(is_pinned(circuit.srs_hash) for circuit in circuits_of(spec))


def files_of(spec: ModelSpec) -> tuple[str, ...]:
    """Every file of a model's bundle but the manifest."""
    circuits = (_in(size, file) for size in sizes(spec) for file in FILES)
    return (*circuits, CANDIDATES, PLOT, CARD)


def most_bytes(file: str) -> int:
    """What a file of a bundle may have."""
    return MOST_KEY if file.endswith(PROVING_KEY) else MOST_FILE


def require_plain_files(path: Path, spec: ModelSpec) -> None:
    """Refuse links, devices, pipes and what is too large; missing files are left alone.

    Raises:
        BundleInvalid: names the file.
    """
    _require_own_folders(path, spec)
    for file in files_of(spec):
        if os.path.lexists(path / file):
            require_plain(path / file, most_bytes(file))


def spec_json(spec: ModelSpec) -> dict[str, Any]:
    """A specification as JSON values, bytes in hex."""
    return {key: _plain(value) for key, value in dataclasses.asdict(spec).items()}


def origin_json(origin: Origin) -> dict[str, Any]:
    """An origin as JSON values, bytes in hex."""
    return {key: _plain(value) for key, value in dataclasses.asdict(origin).items()}


def spec_from(values: dict[str, Any]) -> ModelSpec:
    """The inverse of `spec_json`.

    Raises:
        KeyError, TypeError, ValueError: the values are not those of one.
    """
    spec = ModelSpec(
        onnx_hash=bytes.fromhex(values["onnx_hash"]),
        settings_hash=bytes.fromhex(values["settings_hash"]),
        vk_hash=bytes.fromhex(values["vk_hash"]),
        srs_hash=bytes.fromhex(values["srs_hash"]),
        input=TensorSpec(**values["input"]),
        output=TensorSpec(**values["output"]),
        verifier_code_hash=bytes.fromhex(values["verifier_code_hash"]),
        verify_gas=values["verify_gas"],
        codec=Codec(values["codec"]),
        tag=TagLayout(**values["tag"]),
        batches=tuple(
            BatchVerifier(
                size=int(batch["size"]),
                settings_hash=bytes.fromhex(batch["settings_hash"]),
                vk_hash=bytes.fromhex(batch["vk_hash"]),
                srs_hash=bytes.fromhex(batch["srs_hash"]),
                verifier_code_hash=bytes.fromhex(batch["verifier_code_hash"]),
                verify_gas=batch["verify_gas"],
            )
            for batch in values["batches"]
        ),
        input_ranges=tuple((int(low), int(high)) for low, high in values["input_ranges"]),
    )
    if spec.input_ranges and not _are_of(spec.input_ranges, spec.input):
        raise ValueError("input_ranges")
    return spec


def _are_of(ranges: Ranges, spec: TensorSpec) -> bool:
    """Whether there is a range for each element, none empty, none beyond the tensor's."""
    return len(ranges) == spec.length and all(
        spec.minimum <= low <= high <= spec.maximum for low, high in ranges
    )


def is_held(promised: Sequence[Range], spec: ModelSpec) -> bool:
    """Whether what is promised is what a contract accepts: only its ranges have a hash."""
    given = spec.input
    return len(promised) == given.length and all(
        (each.low, each.high) == (dequantize(low, given.scale), dequantize(high, given.scale))
        for each, (low, high) in zip(promised, spec.input_bounds, strict=True)
    )


def spec_id(spec: ModelSpec) -> str:
    """SHA-256 (hex) of the canonical JSON of a specification."""
    return hashlib.sha256(json.dumps(spec_json(spec), sort_keys=True).encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def origin_from(values: dict[str, Any]) -> Origin:
    """The inverse of `origin_json`."""

    def tensors(listed: list[dict[str, Any]]) -> tuple[TensorInfo, ...]:
        return tuple(TensorInfo(t["name"], tuple(t["shape"]), t["dtype"]) for t in listed)

    return Origin(
        file_hash=bytes.fromhex(values["file_hash"]),
        inputs=tensors(values["inputs"]),
        outputs=tensors(values["outputs"]),
        labels=tuple(values["labels"]),
        dims={str(name): int(size) for name, size in values["dims"].items()},
        objective=values["objective"],
        reveal=values["reveal"],
        max_error=values["max_error"],
        flat=float(values["flat"]),
        tabled=bool(values["tabled"]),
        widened=bool(values["widened"]),
        plan=None if values["plan"] is None else Plan.parse(values["plan"]),
    )


def stated_json(stated: Stated) -> dict[str, Any]:
    """What a bundle says of its answers, as a manifest holds it."""
    return {
        "promise": {
            "kind": stated.kind,
            "ranges": [[each.low, each.high] for each in stated.ranges],
            "narrowed": list(stated.narrowed),
        },
        "error": dataclasses.asdict(stated.errors),
        "margin": stated.margin,
        "near_margin": stated.near,
        "warnings": list(stated.warnings),
    }


def stated_from(manifest: dict[str, Any]) -> Stated:
    """What a manifest says of its answers."""
    promise = manifest["promise"]
    return Stated(
        kind=str(promise["kind"]),
        ranges=tuple(Range(float(low), float(high)) for low, high in promise["ranges"]),
        narrowed=tuple(map(str, promise["narrowed"])),
        errors=Errors(**manifest["error"]),
        margin=float(manifest["margin"]),
        near=float(manifest["near_margin"]),
        warnings=tuple(map(str, manifest["warnings"])),
    )


def _in(size: int, file: str) -> str:
    return (Path(folder_of(size)) / file).as_posix()


def named_by(spec: ModelSpec) -> Iterator[tuple[str, bytes]]:
    """The files whose hash the specification holds."""
    yield from ((MODEL, spec.onnx_hash), (SETTINGS, spec.settings_hash))
    yield VERIFYING_KEY, spec.vk_hash
    for batch in spec.batches:
        yield _in(batch.size, SETTINGS), batch.settings_hash
        yield _in(batch.size, VERIFYING_KEY), batch.vk_hash


def _sized(
    path: Path, size: int, measures: Measures, srs_folder: Path, srs_hash: bytes
) -> SizedCircuit:
    folder = path / folder_of(size)
    verifier = read_verifier(folder / VERIFIER)
    if read_json(folder / SETTINGS)["run_args"]["logrows"] != measures.logrows:
        raise BundleInvalid(f"{path / MANIFEST}: logrows of {size} rows is not the settings'")
    return SizedCircuit(
        size=size,
        circuit=CircuitFiles(
            compiled=folder / COMPILED,
            settings=folder / SETTINGS,
            proving_key=folder / PROVING_KEY,
            verifying_key=folder / VERIFYING_KEY,
            srs=find(srs_folder, srs_hash, measures.logrows, path),
            srs_hash=srs_hash,
        ),
        verifier_abi=verifier["abi"],
        verifier_bytecode=bytes.fromhex(verifier["bytecode"]),
        measures=measures,
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the bundle in ``path``: values that may be, whether or not they are true.

    Raises:
        BundleInvalid: there is none, none of this format, or a value cannot be.
    """
    if not (path / MANIFEST).exists():
        raise BundleInvalid(
            f"cannot read {path / MANIFEST}: No such file or directory",
            remedy="Give the folder of a built model",
        )
    manifest = read_json(path / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleInvalid(
            f"{path / MANIFEST} has another format than {FORMAT}", remedy="Build the bundle again"
        )
    return checked_manifest(path / MANIFEST, manifest)


def _require_own_folders(path: Path, spec: ModelSpec) -> None:
    for size in sizes(spec)[1:]:
        if (path / folder_of(size)).is_symlink():
            raise BundleInvalid(
                f"{path / folder_of(size)} is a link", remedy="Copy the folder itself"
            )


def _check_files(path: Path, spec: ModelSpec, hashes: dict[str, str]) -> None:
    _require_own_folders(path, spec)
    for file in files_of(spec):
        expected = hashes[file]
        actual = plain_sha256(path / file, most_bytes(file)).hex()
        if actual != expected:
            raise BundleInvalid(
                f"{path / file} has SHA-256 {actual}, the manifest says {expected}",
                remedy="Build the bundle again, or copy it again",
            )
