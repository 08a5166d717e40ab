"""From an ONNX file and sample inputs to a `Bundle` that has proved once."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle import __version__
from oracle.chain.toolchain import SOLC_VERIFIERS, toolchain
from oracle.circuits import bundle as files
from oracle.circuits import onnx, report, trial, tuner
from oracle.circuits import search as searching
from oracle.circuits.bundle import Bundle, Errors, Origin, Stated
from oracle.circuits.card import card
from oracle.circuits.cost import Objective
from oracle.circuits.judge import Goal, Tuned
from oracle.circuits.make import Bench, Made, make
from oracle.circuits.manifest import A_NAME, is_name
from oracle.circuits.promise import Wanted
from oracle.circuits.reveal import Reveal
from oracle.circuits.row import TensorInfo
from oracle.circuits.search import Chosen
from oracle.circuits.source import file_hash
from oracle.circuits.speed import speed
from oracle.circuits.srs import SrsSource, sha256_file
from oracle.config import build_dir
from oracle.errors import (
    BundleInvalid,
    CircuitError,
    ProverUnavailable,
    SrsMismatch,
    TensorLength,
    UsageError,
    VerifierTooLarge,
)
from oracle.prover.child import FULL, Limits
from oracle.prover.sandbox import Sandbox
from oracle.tensor import MAX_TEXT_SCALE
from oracle.types import Codec, ModelSpec

Floats = npt.NDArray[np.floating[Any]]
Progress = Callable[[str], None]
Advance = Callable[[float], None]

#: What one step of a build may use.
LIMITS = Limits(
    timeout=900,
    # Most of the machine's memory, and of a large machine no more than a small model can need.
    memory_bytes=min(16 << 30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4),
    threads=os.cpu_count() or 1,
)
#: Share of the work that is done when the search has ended.
_SEARCHED = 0.4
#: Folder of the search, inside the build's.
_SEARCH = "search"
#: Proofs of each finalist.
_PROOFS = 2
#: How much better a rival has to be measured. Gas varies a little with a proof's bytes.
_TIME_NOISE = 0.15
_GAS_NOISE = 0.002
#: The registry counts a batch's rows in 16 bits and keeps so many sizes of a model.
_MAX_SIZE = 2**16 - 1
_MAX_SIZES = 16
_FULL = Reveal()
_DEFAULT = Wanted()
_NONE: Mapping[str, int] = {}


def build(
    onnx_path: Path,
    samples: Floats,
    *,
    name: str,
    max_error: float,
    out: Path,
    srs: SrsSource,
    batches: Collection[int] = (1,),
    codec: Codec = Codec.PACKED,
    optimize: Objective = Objective.GAS,
    reveal: Reveal = _FULL,
    wanted: Wanted = _DEFAULT,
    dims: Mapping[str, int] = _NONE,
    outputs: Sequence[str] = (),
    progress: Progress = lambda _: None,
    advance: Advance = lambda _: None,
    limits: Limits = LIMITS,
) -> Bundle:
    """Search, set up, prove once, check the proof here and on an EVM, and seal the result.

    One circuit for each batch size, all of one arithmetic: the search looks at one row, the other
    sizes follow it.

    Args:
        onnx_path: the model file; not trusted.
        samples: typical inputs, float [n, inputs], n >= 8: they calibrate, and measure the error.
        name: what people call the model.
        max_error: bound on the absolute difference from the float model, per output.
        out: folder to create; it appears whole or not at all.
        srs: where the SRS comes from.
        batches: rows that one proof may cover, a circuit each; one row is always among them.
        codec: how requests and results carry the tensors; the circuits do not depend on it.
        optimize: what the search makes small.
        reveal: how much of the answer is published.
        wanted: which inputs are to be promised.
        dims: sizes of named free dimensions other than the batch.
        outputs: names of the model's outputs to prove; by default the model decides.
        progress: called with a few words before each step.
        advance: called with the share of the work that is done, from 0 to 1, for a progress bar.
        limits: of each step.

    Raises:
        ModelError: the file is malformed or cannot be proved.
        CircuitError: no circuit fits the error bound, or its verifier fits no contract.
        UsageError: unusable samples or batch sizes, or ``out`` exists.
    """
    started = time.monotonic()
    _require_new(out)
    if not is_name(name):
        raise UsageError("a model cannot have this name", remedy=f"Name it: {A_NAME}")
    if not (math.isfinite(max_error) and max_error > 0):
        raise UsageError(
            f"the error bound is {max_error}", remedy="Give a positive number, for example 0.1"
        )
    sizes = _check_sizes(batches)
    sandbox = Sandbox(limits, toolchain().ezkl_home)
    with _workplace(out) as temporary, _room_in(out.parent, srs.folder):
        work = Path(temporary)
        (work / _SEARCH).mkdir()
        chosen = search(
            onnx_path,
            samples,
            max_error=max_error,
            work=work / _SEARCH,
            optimize=optimize,
            reveal=reveal,
            wanted=wanted,
            dims=dims,
            outputs=outputs,
            progress=progress,
            limits=limits,
        )
        advance(_SEARCHED)
        rows = check_samples(samples)
        bench = Bench(srs, sandbox, rows, progress)
        measured = _measure(chosen, bench, work)
        single = _best(measured, optimize)
        model = single.tuned.subject.model
        _check_codec(codec, single.tuned)
        for path in single.folder.iterdir():
            path.replace(work / path.name)
        for made in measured:
            shutil.rmtree(made.folder)
        circuits = [dataclasses.replace(single, folder=work)]
        for size in sizes[1:]:
            advance(_SEARCHED + (1 - _SEARCHED) * len(circuits) / len(sizes))
            progress(f"laying out batches of {size} rows")
            batch = work / files.folder_of(size)
            batch.mkdir()
            (batch / files.MODEL).write_bytes(onnx.add_tag(model, single.tuned.tag, size))
            settings, candidate = tuner.widen(
                single.tuned, chosen.goal, (batch / files.MODEL).resolve(), size
            )
            circuits.append(
                make(bench, batch, single.tuned, size=size, settings=settings, candidate=candidate)
            )
        spec = ModelSpec(
            onnx_hash=sha256_file(work / files.MODEL),
            settings_hash=single.verifier.settings_hash,
            vk_hash=single.verifier.vk_hash,
            srs_hash=single.verifier.srs_hash,
            input=single.tuned.input,
            output=single.tuned.output,
            verifier_code_hash=single.verifier.verifier_code_hash,
            verify_gas=single.verifier.verify_gas,
            codec=codec,
            tag=single.tuned.tag,
            batches=tuple(circuit.verifier for circuit in circuits[1:]),
            input_ranges=single.tuned.input_ranges,
        )
        shutil.rmtree(work / _SEARCH)
        report.write(work, chosen.found, measured, single, optimize)
        origin = _origin(chosen.scored.file_hash, model, dims, optimize, reveal, max_error)
        stated = _stated(chosen, single.tuned)
        measures = [
            dataclasses.replace(circuits[0].measures, build_seconds=time.monotonic() - started),
            *(circuit.measures for circuit in circuits[1:]),
        ]
        (work / files.CARD).write_text(card(name, spec, origin, stated, measures))
        files.write_manifest(
            work,
            name=name,
            spec=spec,
            input_name=model.input_name,
            output_name=model.output_name,
            origin=origin,
            stated=stated,
            measures=measures,
            versions=versions(),
        )
        work.chmod(0o755)
        # The rename is the commit: a build that died leaves only a hidden folder behind.
        _seal(work, out)
    advance(1.0)
    return Bundle.load(out, srs.folder)


def search(
    onnx_path: Path,
    samples: Floats,
    *,
    max_error: float,
    work: Path,
    optimize: Objective = Objective.GAS,
    reveal: Reveal = _FULL,
    wanted: Wanted = _DEFAULT,
    dims: Mapping[str, int] = _NONE,
    outputs: Sequence[str] = (),
    progress: Progress = lambda _: None,
    limits: Limits = LIMITS,
) -> Chosen:
    """The circuits that `build` would make keys of, and what they promise.

    Args:
        onnx_path: as for `build`, like the others.
        samples: likewise.
        max_error: likewise.
        work: an empty folder; what is found refers to files in it.
        optimize: as for `build`, like the others.
        reveal: likewise.
        wanted: likewise.
        dims: likewise.
        outputs: likewise.
        progress: likewise.
        limits: likewise.

    Raises:
        ModelError, CircuitError, UsageError: as `build`.
    """
    rows = check_samples(samples)
    sandbox = Sandbox(limits, toolchain().ezkl_home)
    progress("checking the model")
    scored = onnx.load(onnx_path, sandbox, dims=dims, outputs=outputs, samples=rows)
    progress("measuring this machine")
    goal = Goal(
        max_error=max_error,
        objective=optimize,
        speed=speed(build_dir() / "speed", sandbox),
        memory_bytes=limits.memory_bytes,
        seconds=limits.timeout,
    )
    return searching.search(
        onnx_path,
        scored,
        rows,
        goal,
        reveal=reveal,
        wanted=wanted,
        work=work,
        sandbox=sandbox,
        progress=progress,
    )


def inputs_of(
    onnx_path: Path,
    *,
    dims: Mapping[str, int] = _NONE,
    outputs: Sequence[str] = (),
    limits: Limits = LIMITS,
) -> tuple[TensorInfo, ...]:
    """A model's inputs, as they lie in a row. Arguments and errors as `build`."""
    sandbox = Sandbox(limits, toolchain().ezkl_home)
    return onnx.load(onnx_path, sandbox, dims=dims, outputs=outputs).inputs


def build_cached(
    onnx_path: Path,
    samples: Floats,
    *,
    name: str,
    max_error: float,
    srs: SrsSource,
    batches: Collection[int] = (1,),
    codec: Codec = Codec.PACKED,
    optimize: Objective = Objective.GAS,
    reveal: Reveal = _FULL,
    wanted: Wanted = _DEFAULT,
    dims: Mapping[str, int] = _NONE,
    outputs: Sequence[str] = (),
    progress: Progress = lambda _: None,
    advance: Advance = lambda _: None,
    limits: Limits = LIMITS,
) -> Bundle:
    """`build`, or what it made before from the same model, samples, options, code and versions."""
    key = hashlib.sha256(
        json.dumps(
            [
                file_hash(onnx_path, Sandbox(limits)).hex(),
                hashlib.sha256(np.ascontiguousarray(samples, np.float64).tobytes()).hexdigest(),
                list(samples.shape),
                name,
                max_error,
                _check_sizes(batches),
                codec,
                optimize,
                repr(reveal),
                repr(wanted),
                sorted(dims.items()),
                list(outputs),
                srs.unsafe,
                versions(),
                _code_hash(),
            ]
        ).encode()
    ).hexdigest()
    out = build_dir() / "bundles" / f"{name}-{key[:16]}"
    out.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that want the same bundle: one builds, the other waits and loads.
    with out.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if out.exists():
            try:
                return Bundle.load(out, srs.folder)
            except (BundleInvalid, SrsMismatch) as error:
                progress(f"the cached bundle is not usable ({error.message}); building again")
                shutil.rmtree(out)
        return build(
            onnx_path,
            samples,
            name=name,
            max_error=max_error,
            out=out,
            srs=srs,
            batches=batches,
            codec=codec,
            optimize=optimize,
            reveal=reveal,
            wanted=wanted,
            dims=dims,
            outputs=outputs,
            progress=progress,
            advance=advance,
            limits=limits,
        )


def reference(bundle: Bundle, inputs: Floats, limits: Limits = LIMITS) -> Floats:
    """Float outputs of onnxruntime [n, outputs] for ``inputs`` [n, inputs] to the bundled model.

    Where a plan looks comparisons up, the steps are smooth in floats: a few last places around a
    threshold the outputs lie between those of both sides.
    """
    return trial.reference(
        bundle.model,
        bundle.input_name,
        bundle.output_name,
        np.asarray(inputs, dtype=np.float64),
        Sandbox(limits),
    )


def versions() -> dict[str, str]:
    """What decides a bundle's content, by name."""
    return {
        "ezkl": version("ezkl"),
        "onnxruntime": version("onnxruntime"),
        "oracle": __version__,
        "solc": SOLC_VERIFIERS,
        "format": str(files.FORMAT),
    }


def _code_hash() -> str:
    """SHA-256 of the code that builds: a bundle that other code made is no answer."""
    folder = Path(__file__).parent
    sources = [*sorted(folder.rglob("*.py")), folder / "cost.json"]
    sources += [folder.parent / "prover" / name for name in ("preparation.py", "worker.py")]
    return hashlib.sha256(b"".join(sha256_file(path) for path in sources)).hexdigest()


def _require_new(out: Path) -> None:
    try:
        is_taken = out.exists()
    except OSError as error:
        raise _no_folder(out, error) from None
    if is_taken:
        raise UsageError(f"{out} exists already", remedy="Choose another folder or delete it")


def _workplace(out: Path) -> tempfile.TemporaryDirectory[str]:
    """A hidden folder beside ``out``, which can be renamed to it."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(
            prefix=f".{out.name}-",
            dir=out.parent,
            ignore_cleanup_errors=True,  # it is renamed away in the good case
        )
    except OSError as error:
        raise _no_folder(out, error) from None


def _seal(work: Path, out: Path) -> None:
    try:
        work.rename(out)
    except OSError as error:
        raise _no_folder(out, error) from None


def _no_folder(out: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{out} cannot be made ({error.strerror})",
        remedy="Give --out a new folder where you may write",
    )


@contextmanager
def _room_in(*folders: Path) -> Iterator[None]:
    """Tell of a disk that is full which one it is: the one with the least room."""
    try:
        yield
    except (OSError, ProverUnavailable) as error:
        if isinstance(error, OSError) and error.errno not in FULL:
            raise
        there = [each for each in (*folders, Path(tempfile.gettempdir())) if each.is_dir()]
        least = min(there, key=lambda each: shutil.disk_usage(each).free)
        raise CircuitError(
            f"no room is left on the disk of {least.resolve()}",
            remedy="Make room there, or build elsewhere: --out, --srs, TMPDIR",
        ) from error


def check_samples(samples: Floats) -> trial.Floats:
    """The samples as float64 [n, inputs].

    Raises:
        TensorLength, UsageError: they are too few, no rows, or no numbers.
    """
    rows = np.asarray(samples, dtype=np.float64)
    if rows.ndim != 2:
        raise TensorLength(
            f"the samples have shape {list(rows.shape)}, not one row for each input",
            remedy="Give samples of shape [n, numbers of an input]",
        )
    if len(rows) < 8:
        raise UsageError(
            f"{len(rows)} samples are too few", remedy="Give at least 8 typical inputs"
        )
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if broken.size:
        raise UsageError(
            f"sample {broken[0]} holds what is no finite number", remedy="Remove such rows"
        )
    return rows


def _check_sizes(batches: Collection[int]) -> tuple[int, ...]:
    """Batch sizes, ascending, one row first."""
    for size in batches:
        if not 1 <= size <= _MAX_SIZE:
            raise UsageError(
                f"{size} is not a batch size", remedy=f"Give sizes from 1 to {_MAX_SIZE}"
            )
    sizes = tuple(sorted({1, *batches}))
    if len(sizes) > _MAX_SIZES:
        raise UsageError(
            f"{len(sizes)} batch sizes are too many", remedy=f"Give at most {_MAX_SIZES}, with 1"
        )
    return sizes


def _check_codec(codec: Codec, tuned: Tuned) -> None:
    scale = max(tuned.input.scale, tuned.output.scale)
    if codec is Codec.TEXT and scale > MAX_TEXT_SCALE:
        raise CircuitError(
            f"the circuit has {scale} fractional bits, text carries at most {MAX_TEXT_SCALE}",
            remedy="Use the packed codec or allow a larger error",
        )


def _measure(chosen: Chosen, bench: Bench, work: Path) -> list[Made]:
    """Build the finalists, each in a folder of its own in ``work``, in the order of estimates.

    Raises:
        VerifierTooLarge: none of the verifiers fits a contract.
    """
    measured = []
    refused: VerifierTooLarge | None = None
    finalists = chosen.found.finalists
    for index, tuned in enumerate(finalists):
        folder = work / f"finalist{index}"
        folder.mkdir()
        (folder / files.MODEL).write_bytes(onnx.add_tag(tuned.subject.model, tuned.tag))
        # One needs no comparison; of several, one slow proof must not decide.
        proofs = 1 if len(finalists) == 1 else _PROOFS
        try:
            measured.append(make(bench, folder, tuned, proofs=proofs))
        except VerifierTooLarge as error:
            shutil.rmtree(folder)
            refused = error
    if refused is not None and not measured:
        raise refused
    return measured


def _best(measured: Sequence[Made], objective: Objective) -> Made:
    """The best measured; a rival that wins by less than noise does not replace a better estimate.

    So the same model gives the same circuit, although times vary from run to run.
    """
    noise = _GAS_NOISE if objective is Objective.GAS else _TIME_NOISE
    best = measured[0]
    for rival in measured[1:]:
        if _rank(rival, objective) < _rank(best, objective) * (1 - noise):
            best = rival
    return best


def _rank(made: Made, objective: Objective) -> float:
    return objective.rank(made.measures.verify_gas, made.processor_seconds)[0]


def _stated(chosen: Chosen, tuned: Tuned) -> Stated:
    attacked = chosen.attacked[chosen.found.finalists.index(tuned)]
    certain = attacked.guarantee
    return Stated(
        kind=str(chosen.promise.kind),
        ranges=chosen.promise.at(tuned.input.scale),
        narrowed=chosen.promise.narrowed,
        errors=Errors(
            certified=None if certain is None else certain.error,
            measured=attacked.error,
            rounding=attacked.rounding.most,
            rounded=attacked.rounding.rows,
            rows=attacked.rows,
        ),
        margin=chosen.margin(tuned),
        near=attacked.near,
        warnings=chosen.warnings(tuned),
    )


def _origin(
    file_hash: bytes,
    model: onnx.Model,
    dims: Mapping[str, int],
    objective: Objective,
    reveal: Reveal,
    max_error: float,
) -> Origin:
    return Origin(
        file_hash=file_hash,
        inputs=model.inputs,
        outputs=model.outputs,
        labels=model.labels,
        dims=dict(sorted(dims.items())),
        objective=str(objective),
        reveal=str(reveal),
        max_error=max_error,
        flat=model.flat,
        tabled=model.tabled,
        widened=model.widened,
        plan=model.plan,
    )
