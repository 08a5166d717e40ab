"""Make a bundle's keys and verifier again and compare: with the bundle, and with the chain.

The inputs are the ONNX file, the pinned settings and the SRS. ezkl and solc turn them into the same
bytes on every machine, so whoever has these three can check that a verifier contract accepts proofs
of this model and of nothing else. A publisher's word is needed for none of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from eth_utils.crypto import keccak
from google.protobuf.message import DecodeError

from oracle.chain.input_ranges import deployed_code
from oracle.chain.registration import circuits_of
from oracle.chain.toolchain import toolchain
from oracle.circuits import bundle as files
from oracle.circuits import keys, verifier
from oracle.circuits.bundle import Bundle, Measures, Origin
from oracle.circuits.card import card
from oracle.circuits.curves import flatten
from oracle.circuits.evaluate import OK, evaluate
from oracle.circuits.fixed import Unplannable, planned
from oracle.circuits.norms import widen
from oracle.circuits.onnx import TAG, add_tag, load
from oracle.circuits.probes import inside
from oracle.circuits.promise import Kind, whole_elements
from oracle.circuits.reveal import Reveal, apply
from oracle.circuits.roots import tabulate
from oracle.circuits.srs import Srs, SrsSource, ceremony_pins, find, sha256_file
from oracle.circuits.thresholds import snap
from oracle.circuits.verifier import Verifier
from oracle.errors import BundleInvalid, CircuitError, ProverError, SrsMismatch
from oracle.prover.child import Limits
from oracle.prover.sandbox import Sandbox
from oracle.types import (
    BatchVerifier,
    InputKind,
    ModelSpec,
    ProofSystem,
    RegisteredModel,
    SetupTrust,
    Trust,
)

#: What the settings must say for a proof to bind input, output and weights.
_BINDING = {
    "input_visibility": "Public",
    "output_visibility": "Public",
    # Private parameters would be the prover's choice.
    "param_visibility": "Fixed",
    "ignore_range_check_inputs_outputs": False,
}
_MISSING = "missing"
_NONE = "none"
_SAME_MODEL = "the one-row model, for more rows"
_HELD = "those that the contract accepts"
#: Of the rows that a promise is tried on.
_SEED, _SEED_ROWS = 4_096, 32


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison."""

    subject: str
    expected: str
    found: str

    @property
    def ok(self) -> bool:
        """Whether both are the same."""
        return self.expected == self.found


@dataclass(frozen=True, slots=True)
class OnChain:
    """What a chain says of the model."""

    chain_id: int
    model: RegisteredModel
    #: EXTCODEHASH at the addresses of the verifiers, the one for a single row first.
    code_hashes: tuple[bytes, ...]
    #: The registry's word.
    trust: SetupTrust
    #: EXTCODEHASH of what checks the model's inputs; None if nothing does.
    checker_hash: bytes | None


@dataclass(frozen=True, slots=True)
class Audit:
    """What was compared."""

    name: str
    bundle_id: str
    checks: tuple[Check, ...]
    #: An SRS is not the ceremony's: whoever made it can forge proofs, whatever else is in order.
    srs_unsafe: bool

    @property
    def differences(self) -> tuple[Check, ...]:
        """The comparisons that failed."""
        return tuple(check for check in self.checks if not check.ok)


def audit(
    path: Path,
    srs: SrsSource,
    limits: Limits,
    *,
    source: Path | None = None,
    on_chain: OnChain | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Audit:
    """Compare everything that can be compared; a difference is a finding, not an error.

    Args:
        path: the bundle's folder; nothing in it is trusted.
        srs: where the SRS files are.
        limits: of each step of the rebuilding.
        source: the publisher's ONNX file, if the proved model is to be made again from it.
        on_chain: the chain's record, if it is to be compared too.
        progress: called with a few words before each step.

    Raises:
        BundleInvalid: there is no manifest, or it says too little to compare.
        ModelError: ``source`` is no model that could have been proved so.
        SrsMismatch: the SRS file that the bundle names is not there.
    """
    manifest = files.read_manifest(path)
    try:
        spec = files.spec_from(manifest["spec"])
        name, claimed = str(manifest["name"]), str(manifest["bundle_id"])
        listed = {str(file): str(hash_) for file, hash_ in manifest["files"].items()}
        origin = files.origin_from(manifest["origin"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleInvalid(f"{path / files.MANIFEST} lacks or garbles {error}") from None
    files.require_plain_files(path, spec)
    progress("hashing the files")
    checks = [Check("bundle id", files.spec_id(spec), claimed), *_files(path, spec, listed)]
    sandbox = Sandbox(limits, toolchain().ezkl_home)
    if source is not None:
        progress("making the proved model again")
        checks += _from_source(path, spec, origin, source, sandbox)
    checks += _stated(path, manifest, spec, origin)
    code_hashes = []
    for circuit in circuits_of(spec):
        folder = path / files.folder_of(circuit.size)
        checks += _settings(folder, spec, circuit.size)
        if circuit.size > 1:
            checks.append(_same_model(path, folder, circuit.size))
        progress(f"making keys and verifier again, {_rows(circuit.size)}")
        remade = _remade(folder, circuit, srs, sandbox)
        code_hashes.append(remade.code_hash)
        checks += remade.checks
    if source is not None and all(check.ok for check in checks):
        progress("trying the promise")
        checks += _tried(Bundle.load(path, srs.folder), source, sandbox)
    if on_chain is not None:
        checks += _registered(spec, code_hashes, on_chain)
    return Audit(name, claimed, tuple(checks), files.srs_unsafe(spec))


def _files(path: Path, spec: ModelSpec, listed: dict[str, str]) -> Iterator[Check]:
    """Every file against the specification where that names it, against the manifest elsewhere."""
    named = {file: sha256.hex() for file, sha256 in files.named_by(spec)}
    for file in files.files_of(spec):
        found = _hash(path / file)
        in_manifest = listed.get(file, _MISSING)
        yield Check(file, named.get(file, in_manifest), found)
        if file in named:
            yield Check(f"{file} in the manifest", named[file], in_manifest)


def _from_source(
    path: Path, spec: ModelSpec, origin: Origin, source: Path, sandbox: Sandbox
) -> Iterator[Check]:
    """The publisher's file, and the proved model made of it as the manifest says."""
    outputs = [tensor.name for tensor in origin.outputs]
    model = load(source, sandbox, dims=origin.dims, outputs=outputs)
    yield Check("the publisher's file", origin.file_hash.hex(), model.file_hash.hex())
    revealed = apply(model, Reveal.parse(origin.reveal))
    looked_up = tabulate(widen(revealed, wanted=origin.widened), wanted=origin.tabled)
    exact = snap(flatten(looked_up, origin.flat), spec.input.scale, spec.input_bounds)
    try:
        model = planned(exact, origin.plan)
    except Unplannable as error:
        yield Check(f"{files.MODEL} made again from it", "made", f"its plan does not fit: {error}")
        return
    tagged = add_tag(model, spec.tag)
    yield Check(
        f"{files.MODEL} made again from it",
        hashlib.sha256(tagged).hexdigest(),
        _hash(path / files.MODEL),
    )


def _stated(
    path: Path, manifest: dict[str, Any], spec: ModelSpec, origin: Origin
) -> Iterator[Check]:
    """What the manifest says of answers against what follows from it, and from the specification."""
    subject = "what is said of the answers"
    try:
        stated = files.stated_from(manifest)
        measures = [Measures(**each) for each in manifest["measures"]]
        written = card(str(manifest["name"]), spec, origin, stated, measures)
    except (KeyError, TypeError, ValueError) as error:
        yield Check(subject, "readable", f"lacks or garbles {error}")
        return
    yield Check(
        "ranges of the promise",
        _HELD,
        _HELD if files.is_held(stated.ranges, spec) else "others than the contract accepts",
    )
    within = f"at most {origin.max_error:g}"
    errors = stated.errors
    yield Check(
        "measured error",
        within,
        within
        if stated.kind == Kind.SAMPLES or errors.measured <= origin.max_error
        else f"{errors.measured:g}",
    )
    digest = hashlib.sha256(written.encode()).hexdigest()
    yield Check(f"{files.CARD} made again", digest, _hash(path / files.CARD))


def _tried(bundle: Bundle, source: Path, sandbox: Sandbox) -> Iterator[Check]:
    """The promise on rows that nobody chose: what it says of the publisher's file.

    Not an attack as a build makes it: enough to find a bound or a range that somebody wrote himself.
    """
    if bundle.stated.kind == Kind.SAMPLES:
        return
    low, high = np.array([(each.low, each.high) for each in bundle.stated.ranges]).T
    seeds = np.random.default_rng(_SEED).uniform(low, high, (_SEED_ROWS, len(low)))
    rows = inside(low, high, seeds, whole_elements(bundle.origin.inputs), seed=_SEED)
    found = evaluate(bundle, rows, sandbox, source=source)
    subject = f"{len(rows)} rows of the promised ranges"
    yield Check(f"{subject}: accepted and proved", str(len(rows)), str(found.count(OK)))
    if not bundle.stated.margin:
        # Beside a jump another answer may be right: how near a row is, only a build measures.
        yield Check(f"{subject}: over {found.max_error:g}", "0", str(len(found.over_bound)))


def _settings(folder: Path, spec: ModelSpec, size: int) -> Iterator[Check]:
    """What the settings say of the circuit against what the specification promises of it."""
    try:
        settings = json.loads((folder / files.SETTINGS).read_text())
        run_args = settings["run_args"]
        stated = {option: run_args[option] for option in _BINDING}
        scales = [*settings["model_input_scales"][:1], *settings["model_output_scales"]]
        shapes = settings["model_instance_shapes"]
        lengths = [math.prod(shape) for shape in shapes]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        yield Check(f"settings, {_rows(size)}", "readable", f"{type(error).__name__}: {error}")
        return
    for option, value in _BINDING.items():
        yield Check(f"{option}, {_rows(size)}", str(value), str(stated[option]))
    yield Check(
        f"scales of input and output, {_rows(size)}",
        str([spec.input.scale, spec.output.scale]),
        str(scales),
    )
    yield Check(
        f"lengths of input, tag and output, {_rows(size)}",
        str([size * spec.input.length, spec.tag.limbs, size * spec.output.length]),
        str(lengths),
    )


def _same_model(path: Path, folder: Path, size: int) -> Check:
    """A batch's ONNX file is the one-row model's but for its first dimension."""
    subject = f"the model, {_rows(size)}"
    try:
        single, batch = (onnx.load(each / files.MODEL) for each in (path, folder))
    except (OSError, DecodeError) as error:
        return Check(subject, "readable", f"{type(error).__name__}: {error}")
    for value in (*single.graph.input, *single.graph.output):
        if value.name != TAG and value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_value = size
    same = single.SerializeToString(deterministic=True) == batch.SerializeToString(
        deterministic=True
    )
    return Check(subject, _SAME_MODEL, _SAME_MODEL if same else "another model")


@dataclass(frozen=True, slots=True)
class _Remade:
    """A circuit's keys and verifier, made again."""

    checks: tuple[Check, ...]
    #: Of the verifier (hex), or that it is missing.
    code_hash: str


def _remade(folder: Path, circuit: BatchVerifier, srs: SrsSource, sandbox: Sandbox) -> _Remade:
    rows = _rows(circuit.size)
    with tempfile.TemporaryDirectory(prefix="oracle-audit-") as temporary:
        work = Path(temporary)
        try:
            file = _srs(folder, circuit, srs, sandbox)
            contract = _make(folder, work, file, sandbox)
        except (ProverError, CircuitError, OSError) as error:
            # What this machine lacks says nothing about the bundle.
            if isinstance(error, SrsMismatch) or getattr(error, "transient", False):
                raise
            failed = Check(f"keys and verifier made again, {rows}", "made", str(error))
            return _Remade((failed,), _MISSING)
        made = {
            "verifying key": (_hash(work / files.VERIFYING_KEY), circuit.vk_hash.hex()),
            "proving key": (
                _hash(work / files.PROVING_KEY),
                _hash(folder / files.PROVING_KEY),
            ),
            "verifier source": (_hash(work / files.SOLIDITY), _hash(folder / files.SOLIDITY)),
            "verifier to deploy": (
                _digest([contract.abi, contract.bytecode.hex()]),
                _contract(folder),
            ),
            "verifier code hash": (contract.code_hash.hex(), circuit.verifier_code_hash.hex()),
        }
    checks = (
        Check(f"{subject} made again, {rows}", again, stated)
        for subject, (again, stated) in made.items()
    )
    return _Remade(tuple(checks), contract.code_hash.hex())


def _make(folder: Path, work: Path, srs: Srs, sandbox: Sandbox) -> Verifier:
    """Keys and verifier in ``work``, from nothing of ``folder`` but model and settings."""
    for file in (files.MODEL, files.SETTINGS):
        shutil.copyfile(folder / file, work / file)
    circuit = keys.make(work, srs, sandbox)
    verifier.generate(
        settings=circuit.settings,
        verifying_key=circuit.verifying_key,
        srs=srs,
        solidity=work / files.SOLIDITY,
        sandbox=sandbox,
    )
    return verifier.compile_verifier((work / files.SOLIDITY).read_text())


def _srs(folder: Path, circuit: BatchVerifier, source: SrsSource, sandbox: Sandbox) -> Srs:
    """The SRS that the specification names, from the folder or, if it is the ceremony's, fetched."""
    try:
        logrows = int(json.loads((folder / files.SETTINGS).read_text())["run_args"]["logrows"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CircuitError(f"the settings do not tell the size ({error})") from None
    if ceremony_pins().get(logrows) == circuit.srs_hash:
        return dataclasses.replace(source, unsafe=False).get(logrows, sandbox)
    return Srs(find(source.folder, circuit.srs_hash, logrows), circuit.srs_hash, unsafe=True)


def _registered(spec: ModelSpec, code_hashes: list[str], on_chain: OnChain) -> Iterator[Check]:
    """The registry's record against the specification, the code on chain against what was made."""
    ours, theirs = files.spec_json(spec), files.spec_json(on_chain.model.spec)
    where = f"model {on_chain.model.model_id} on chain {on_chain.chain_id}"
    for field in ours:
        if field != "batches":
            yield Check(f"{field}, {where}", _plain(ours[field]), _plain(theirs[field]))
    batches = [{batch["size"]: batch for batch in values["batches"]} for values in (ours, theirs)]
    for size in sorted({*batches[0], *batches[1]}):
        yield Check(
            f"circuit for {_rows(size)}, {where}",
            *(_plain(each[size]) if size in each else _MISSING for each in batches),
        )
    trust = Trust.ONE_PARTY if files.srs_unsafe(spec) else Trust.UNIVERSAL_CEREMONY
    named = sorted({system.name.lower() for system in on_chain.model.systems})
    kinds = (InputKind.VALUES, on_chain.model.input_kind)
    yield Check(f"proof system, {where}", ProofSystem.HALO2_KZG.name.lower(), ", ".join(named))
    yield Check(f"kind of input, {where}", *(kind.name.lower() for kind in kinds))
    yield Check(f"set-up, {where}", *(each.name.lower() for each in (trust, on_chain.trust.kind)))
    yield Check(
        f"code of the input checker, {where}",
        keccak(deployed_code(spec.input_ranges)).hex() if spec.input_ranges else _NONE,
        _NONE if on_chain.checker_hash is None else on_chain.checker_hash.hex(),
    )
    addresses = (on_chain.model.verifier, *on_chain.model.batch_verifiers)
    made = dict(zip(files.sizes(spec), code_hashes, strict=True))
    for size, address, found in zip(
        files.sizes(on_chain.model.spec), addresses, on_chain.code_hashes, strict=True
    ):
        yield Check(f"code at {address}, {_rows(size)}", made.get(size, _MISSING), found.hex())


def _contract(folder: Path) -> str:
    """Hash of the interface and the creation code that the bundle offers for deployment."""
    try:
        stated = json.loads((folder / files.VERIFIER).read_text())
        return _digest([stated["abi"], stated["bytecode"]])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"unreadable ({type(error).__name__})"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _hash(path: Path) -> str:
    try:
        return sha256_file(path).hex()
    except OSError:
        return _MISSING


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _rows(size: int) -> str:
    return "one row" if size == 1 else f"{size} rows"
