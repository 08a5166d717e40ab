"""From an ONNX file and sample inputs to a `Bundle` that has proved once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle import __version__
from oracle.chain.toolchain import SOLC_VERIFIERS, toolchain
from oracle.circuits import bundle as files
from oracle.circuits import keys, onnx, tuner, verifier
from oracle.circuits import reveal as policies
from oracle.circuits.bundle import Bundle, Measures
from oracle.circuits.cost import Objective
from oracle.circuits.reveal import Reveal
from oracle.circuits.srs import Srs, SrsSource, sha256_file
from oracle.config import build_dir
from oracle.errors import BundleInvalid, CircuitError, SrsMismatch, TensorLength, UsageError
from oracle.prover.base import memory_cap
from oracle.prover.child import Limits, Sandbox
from oracle.prover.local import proof_from, prove_params
from oracle.tensor import MAX_TEXT_SCALE, quantize
from oracle.types import (
    BatchVerifier,
    CircuitFiles,
    Codec,
    ModelSpec,
    Proof,
    ProofJob,
    TagLayout,
)

Floats = npt.NDArray[np.floating[Any]]
Progress = Callable[[str], None]

#: What one step of a build may use.
LIMITS = Limits(
    timeout=900,
    # Most of the machine's memory, and of a large machine no more than a small model can need.
    memory_bytes=min(16 << 30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4),
    threads=os.cpu_count() or 1,
)
#: `ModelSpec.verify_gas` over the measured gas. The same for every proof of a circuit, but forks
#: reprice precompiles: Osaka's MODEXP (EIP-7883) adds 2.4%.
_GAS_MARGIN = 1.1
#: The registry counts a batch's rows in 16 bits and keeps so many sizes of a model.
_MAX_SIZE = 2**16 - 1
_MAX_SIZES = 16
_FULL = Reveal()
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
    dims: Mapping[str, int] = _NONE,
    outputs: Sequence[str] = (),
    progress: Progress = lambda _: None,
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
        dims: sizes of named free dimensions other than the batch.
        outputs: names of the model's outputs to prove; by default the model decides.
        progress: called with a few words before each step.
        limits: of each step.

    Raises:
        ModelError: the file is malformed or cannot be proved.
        CircuitError: no circuit fits the error bound, or its verifier fits no contract.
        UsageError: unusable samples or batch sizes, or ``out`` exists.
    """
    started = time.monotonic()
    if out.exists():
        raise UsageError(f"{out} exists already", remedy="Choose another folder or delete it")
    if not (math.isfinite(max_error) and max_error > 0):
        raise UsageError(
            f"the error bound is {max_error}", remedy="Give a positive number, for example 0.1"
        )
    sizes = _check_sizes(batches)
    sandbox = Sandbox(limits, toolchain().ezkl_home)
    layout = TagLayout()
    progress("checking the model")
    scored = onnx.load(onnx_path, sandbox)
    model = policies.apply(scored, reveal)
    rows = _check_samples(samples, model.input_length)
    _make_folder(out.parent)
    with tempfile.TemporaryDirectory(
        prefix=f".{out.name}-",
        dir=out.parent,
        ignore_cleanup_errors=True,  # it is renamed away in the good case
    ) as temporary:
        work = Path(temporary)
        tagged = work / files.MODEL
        tagged.write_bytes(onnx.add_tag(model, layout))
        progress("searching for the cheapest circuit")
        subject = tuner.Subject(
            model, tagged.resolve(), layout, sandbox, reveal, scored.output_name
        )
        tuned = tuner.tune(subject, rows, max_error)
        _check_codec(codec, tuned)
        settings = {1: tuned.settings}
        for size in sizes[1:]:
            progress(f"laying out batches of {size} rows")
            batch = work / files.folder_of(size) / files.MODEL
            batch.parent.mkdir()
            batch.write_bytes(onnx.add_tag(model, layout, size))
            settings[size] = tuner.widen(subject, tuned, batch.resolve(), size)
        plan = _Plan(work, srs, sandbox, layout, tuned, rows, progress)
        made = []
        for size in sizes:
            made.append(_make(plan, size, settings[size], started))
            started = time.monotonic()
        single = made[0].verifier
        spec = ModelSpec(
            onnx_hash=sha256_file(work / files.MODEL),
            settings_hash=single.settings_hash,
            vk_hash=single.vk_hash,
            srs_hash=single.srs_hash,
            input=tuned.input,
            output=tuned.output,
            verifier_code_hash=single.verifier_code_hash,
            verify_gas=single.verify_gas,
            codec=codec,
            tag=layout,
            batches=tuple(circuit.verifier for circuit in made[1:]),
        )
        files.write_manifest(
            work,
            name=name,
            spec=spec,
            input_name=model.input_name,
            output_name=model.output_name,
            measures=[circuit.measures for circuit in made],
            versions=versions(),
        )
        work.chmod(0o755)
        # The rename is the commit: a build that died leaves only a hidden folder behind.
        work.rename(out)
    return Bundle.load(out, srs.folder)


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
    dims: Mapping[str, int] = _NONE,
    outputs: Sequence[str] = (),
    progress: Progress = lambda _: None,
    limits: Limits = LIMITS,
) -> Bundle:
    """`build`, or what it made before from the same model, samples, options, code and versions."""
    key = hashlib.sha256(
        json.dumps(
            [
                sha256_file(onnx_path).hex(),
                hashlib.sha256(np.ascontiguousarray(samples, np.float64).tobytes()).hexdigest(),
                list(samples.shape),
                name,
                max_error,
                _check_sizes(batches),
                codec,
                optimize,
                repr(reveal),
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
            dims=dims,
            outputs=outputs,
            progress=progress,
            limits=limits,
        )


def reference(bundle: Bundle, inputs: Floats, limits: Limits = LIMITS) -> Floats:
    """Float outputs of onnxruntime [n, outputs] for ``inputs`` [n, inputs] to the bundled model."""
    return tuner.reference(
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
    sources = [*sorted(folder.glob("*.py")), folder.parent / "prover" / "worker.py"]
    return hashlib.sha256(b"".join(sha256_file(path) for path in sources)).hexdigest()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be made ({error.strerror})", remedy="Choose another folder"
        ) from None


def _check_samples(samples: Floats, length: int) -> tuner.Floats:
    rows = np.asarray(samples, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != length:
        raise TensorLength(
            f"the samples have shape {list(rows.shape)}, the model takes rows of {length}",
            remedy=f"Give samples of shape [n, {length}]",
        )
    if len(rows) < 8:
        raise UsageError(
            f"{len(rows)} samples are too few", remedy="Give at least 8 typical inputs"
        )
    if not np.isfinite(rows).all():
        raise UsageError("a sample is not a finite number", remedy="Remove such rows")
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


def _check_codec(codec: Codec, tuned: tuner.Tuned) -> None:
    scale = max(tuned.input.scale, tuned.output.scale)
    if codec is Codec.TEXT and scale > MAX_TEXT_SCALE:
        raise CircuitError(
            f"the circuit has {scale} fractional bits, text carries at most {MAX_TEXT_SCALE}",
            remedy="Use the packed codec or allow a larger error",
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the circuits of one build share."""

    work: Path
    srs: SrsSource
    sandbox: Sandbox
    layout: TagLayout
    tuned: tuner.Tuned
    #: Sample inputs, float [n, inputs].
    rows: tuner.Floats
    progress: Progress


@dataclass(frozen=True, slots=True)
class _Made:
    """One circuit, proved once."""

    verifier: BatchVerifier
    measures: Measures


def _make(plan: _Plan, size: int, settings: dict[str, Any], started: float) -> _Made:
    """Keys, verifier and a first proof of the circuit for ``size`` rows."""
    folder = plan.work / files.folder_of(size)
    rows = "one row" if size == 1 else f"{size} rows"
    (folder / files.SETTINGS).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    logrows = tuner.logrows_of(settings)
    plan.progress(f"making keys for {rows}, a circuit of 2**{logrows}")
    srs = plan.srs.get(logrows, plan.sandbox)
    circuit = keys.make(folder, srs, plan.sandbox)
    plan.progress(f"writing the verifier contract for {rows}")
    contract = _verifier(folder, circuit, srs, plan.sandbox)
    plan.progress(f"proving {rows}")
    samples = np.resize(plan.rows, (size, plan.rows.shape[1])).ravel().tolist()
    inputs = tuple(quantize(value, plan.tuned.input.scale) for value in samples)
    proof = _prove_once(circuit, inputs, size * plan.tuned.output.length, plan)
    gas = verifier.measure_gas(contract, proof.proof, proof.instances)
    return _Made(
        verifier=BatchVerifier(
            size=size,
            settings_hash=sha256_file(circuit.settings),
            vk_hash=sha256_file(circuit.verifying_key),
            srs_hash=srs.sha256,
            verifier_code_hash=contract.code_hash,
            verify_gas=_with_margin(gas),
        ),
        measures=Measures(
            max_abs_error=plan.tuned.max_abs_error,
            logrows=logrows,
            verify_gas=gas,
            proving_key_bytes=circuit.proving_key.stat().st_size,
            verifier_code_bytes=len(contract.runtime),
            proof_bytes=len(proof.proof),
            prove_memory_bytes=proof.peak_memory_bytes,
            prove_seconds=proof.prove_seconds,
            build_seconds=time.monotonic() - started,
            srs_unsafe=srs.unsafe,
        ),
    )


def _verifier(work: Path, circuit: CircuitFiles, srs: Srs, sandbox: Sandbox) -> verifier.Verifier:
    source = work / files.SOLIDITY
    verifier.generate(
        settings=circuit.settings,
        verifying_key=circuit.verifying_key,
        srs=srs,
        solidity=source,
        sandbox=sandbox,
    )
    contract = verifier.compile_verifier(source.read_text())
    (work / files.VERIFIER).write_text(
        json.dumps(
            {
                "abi": contract.abi,
                "bytecode": contract.bytecode.hex(),
                "code_hash": contract.code_hash.hex(),
            },
            indent=2,
        )
        + "\n"
    )
    return contract


def _prove_once(circuit: CircuitFiles, inputs: tuple[int, ...], outputs: int, plan: _Plan) -> Proof:
    job = ProofJob(
        job_id="build",
        circuit=circuit,
        inputs=inputs,
        tag=tuple(range(1, plan.layout.limbs + 1)),
        timeout=plan.sandbox.limits.timeout,
        memory_bytes=memory_cap(circuit),
    )
    # The cap that the node will use must suffice here already.
    capped = Sandbox(Limits(job.timeout, job.memory_bytes, plan.sandbox.limits.threads))
    proof = proof_from(job.job_id, capped.run("prove", prove_params(job)))
    if (len(proof.outputs), len(proof.instances)) != (
        outputs,
        len(inputs) + plan.layout.limbs + outputs,
    ):
        raise CircuitError("the circuit's instances are not inputs, tag and outputs")
    return proof


def _with_margin(gas: int) -> int:
    """Gas with the margin, rounded up to a thousand so that equal circuits promise the same."""
    return -(-int(gas * _GAS_MARGIN) // 1000) * 1000
