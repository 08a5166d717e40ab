"""One circuit of a build: keys, verifier contract, a first proof, and what they measure."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oracle.circuits import bundle as files
from oracle.circuits import keys, tuner, verifier
from oracle.circuits.bundle import Measures
from oracle.circuits.judge import Candidate, Tuned
from oracle.circuits.srs import Srs, SrsSource, sha256_file
from oracle.circuits.trial import Floats
from oracle.errors import CircuitError
from oracle.prover.base import memory_cap
from oracle.prover.child import Limits
from oracle.prover.local import proof_from, prove_params
from oracle.prover.sandbox import Sandbox
from oracle.tensor import quantize
from oracle.types import BatchVerifier, CircuitFiles, Proof, ProofJob, TagLayout

#: `ModelSpec.verify_gas` over the measured gas. The same for every proof of a circuit, but forks
#: reprice precompiles: Osaka's MODEXP (EIP-7883) adds 2.4%.
_GAS_MARGIN = 1.1


@dataclass(frozen=True, slots=True)
class Bench:
    """What the circuits of one build share."""

    srs: SrsSource
    sandbox: Sandbox
    #: Sample inputs, float [n, inputs].
    samples: Floats
    progress: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Made:
    """One circuit, proved."""

    folder: Path
    tuned: Tuned
    candidate: Candidate
    verifier: BatchVerifier
    measures: Measures
    #: Of the quickest proof, by all threads; other programs disturb it less than the time it took.
    processor_seconds: float


def make(
    bench: Bench,
    folder: Path,
    tuned: Tuned,
    *,
    size: int = 1,
    settings: dict[str, Any] | None = None,
    candidate: Candidate | None = None,
    proofs: int = 1,
) -> Made:
    """Build and prove a circuit.

    Args:
        bench: tools and samples.
        folder: holds the model file; receives the other files of a circuit.
        tuned: the circuit for one row.
        size: rows of a proof.
        settings: for a batch, its own; by default those of ``tuned``.
        candidate: likewise.
        proofs: how many are made; the quickest counts.

    Raises:
        CircuitError: the proof does not say what it should, or the verifier rejects it.
        VerifierTooLarge: it fits no contract.
    """
    started = time.monotonic()
    settings, candidate = settings or tuned.settings, candidate or tuned.candidate
    rows = "one row" if size == 1 else f"{size} rows"
    (folder / files.SETTINGS).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    logrows = tuner.logrows_of(settings)
    bench.progress(f"making keys for {rows}, a circuit of 2**{logrows}")
    srs = bench.srs.get(logrows, bench.sandbox)
    circuit = keys.make(folder, srs, bench.sandbox)
    bench.progress(f"writing the verifier contract for {rows}")
    contract = _verifier(folder, circuit, srs, bench.sandbox)
    bench.progress(f"proving {rows}")
    flat = np.resize(bench.samples, (size, bench.samples.shape[1])).ravel().tolist()
    inputs = tuple(quantize(value, tuned.input.scale) for value in flat)
    outputs = size * tuned.output.length
    proved = [_prove(circuit, inputs, tuned.tag, outputs, bench) for _ in range(proofs)]
    proof = min((each for each, _ in proved), key=lambda each: each.prove_seconds)
    gas = verifier.measure_gas(contract, proof.proof, proof.instances)
    return Made(
        folder=folder,
        tuned=tuned,
        candidate=candidate,
        verifier=BatchVerifier(
            size=size,
            settings_hash=sha256_file(circuit.settings),
            vk_hash=sha256_file(circuit.verifying_key),
            srs_hash=srs.sha256,
            verifier_code_hash=contract.code_hash,
            verify_gas=_with_margin(gas),
        ),
        measures=Measures(
            max_abs_error=tuned.accuracy.max_abs_error,
            label_agreement=tuned.accuracy.label_agreement,
            logrows=logrows,
            columns=candidate.shape.columns,
            verify_gas=gas,
            proving_key_bytes=circuit.proving_key.stat().st_size,
            verifier_code_bytes=len(contract.runtime),
            proof_bytes=len(proof.proof),
            prove_memory_bytes=proof.peak_memory_bytes,
            prove_seconds=proof.prove_seconds,
            build_seconds=time.monotonic() - started,
            srs_unsafe=srs.unsafe,
        ),
        processor_seconds=min(seconds for _, seconds in proved),
    )


def _verifier(folder: Path, circuit: CircuitFiles, srs: Srs, sandbox: Sandbox) -> verifier.Verifier:
    source = folder / files.SOLIDITY
    verifier.generate(
        settings=circuit.settings,
        verifying_key=circuit.verifying_key,
        srs=srs,
        solidity=source,
        sandbox=sandbox,
    )
    contract = verifier.compile_verifier(source.read_text())
    (folder / files.VERIFIER).write_text(
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


def _prove(
    circuit: CircuitFiles, inputs: tuple[int, ...], tag: TagLayout, outputs: int, bench: Bench
) -> tuple[Proof, float]:
    """A proof and the processor seconds of the child that made it."""
    job = ProofJob(
        job_id="build",
        circuit=circuit,
        inputs=inputs,
        tag=tuple(range(1, tag.limbs + 1)),
        timeout=bench.sandbox.limits.timeout,
        memory_bytes=memory_cap(circuit),
    )
    # The cap that the node will use must suffice here already.
    capped = Sandbox(Limits(job.timeout, job.memory_bytes, bench.sandbox.limits.threads))
    before = _children_seconds()
    proof = proof_from(job.job_id, capped.run("prove", prove_params(job)))
    seconds = _children_seconds() - before
    if (len(proof.outputs), len(proof.instances)) != (
        outputs,
        len(inputs) + tag.limbs + outputs,
    ):
        raise CircuitError("the circuit's instances are not inputs, tag and outputs")
    return proof, seconds


def _children_seconds() -> float:
    """Processor seconds of the children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _with_margin(gas: int) -> int:
    """Gas with the margin, rounded up to a thousand so that equal circuits promise the same."""
    return -(-int(gas * _GAS_MARGIN) // 1000) * 1000
