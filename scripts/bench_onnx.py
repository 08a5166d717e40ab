"""How many of the onnx package's model tests can be proved: ``make bench-onnx``.

A case is a model with reference inputs and outputs: converted PyTorch modules
(``pytorch-converted``), PyTorch operators (``pytorch-operator``) and graphs made by hand
(``simple``). It passes when the model is built, its reference inputs are proved, the proof verifies
here and in the verifier contract on an EVM, and every proved output is within `tolerance` of the
reference. Left out are ``light`` and ``real``: ImageNet networks, without reference inputs in the
package, and billions of multiplications each.

Writes ``build/bench/onnx.json`` and prints the misses. Each case runs in its own process with a
time limit; ``--resume`` keeps the cases that are done.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import DATA_DIR

from oracle.circuits import verifier
from oracle.circuits.build import LIMITS, build
from oracle.circuits.bundle import SOLIDITY
from oracle.circuits.srs import SrsSource
from oracle.config import build_dir
from oracle.errors import CircuitInaccurate, OracleError, ProverTimeout
from oracle.prover.base import memory_cap
from oracle.prover.child import Limits
from oracle.prover.local import proof_from, prove_params
from oracle.prover.sandbox import Sandbox
from oracle.tensor import dequantize, quantize
from oracle.types import ProofJob
from scripts.bench_report import Json, Results, machine, write

Floats = npt.NDArray[np.float64]

BENCH = "onnx"
SUITES = ("pytorch-converted", "pytorch-operator", "simple")
#: What ezkl's reader answers with "Unimplemented": sequences, strings, training.
UNKNOWN_TO_EZKL = frozenset(
    {
        "ConcatFromSequence",
        "Gradient",
        "SequenceAt",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceLength",
        "SplitToSequence",
        "StringNormalizer",
    }
)
#: Rows given to the build: the reference input and neighbours.
SAMPLES = 16
#: How far, relative to itself, a number of a neighbour may be from the reference input.
SPREAD = 0.1
TAG = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class Case:
    """A model and one pair of reference inputs and outputs."""

    suite: str
    name: str
    folder: Path

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / "model.onnx"

    def tensors(self, kind: str) -> list[npt.NDArray[Any]]:
        """Reference tensors, ``kind`` is input or output, in the graph's order."""
        data = self.folder / "test_data_set_0"
        paths = [data / f"{kind}_{i}.pb" for i in range(len(list(data.glob(f"{kind}_*.pb"))))]
        return [numpy_helper.to_array(onnx.load_tensor(path)) for path in paths]


def cases() -> list[Case]:
    """Every case of the suites."""
    return [
        Case(suite, folder.name, folder)
        for suite in SUITES
        for folder in sorted((Path(DATA_DIR) / suite).iterdir())
        if (folder / "model.onnx").exists()
    ]


def tolerance(reference: Floats) -> float:
    """Allowed absolute difference: 1% of the greatest reference output, and not under 0.001.

    The package's own bound (relative 0.001) is for floats; a circuit computes in fixed point, whose
    error is absolute. One percent of full scale is what eight-bit inference is held to.
    """
    return max(0.01 * float(np.abs(reference).max(initial=0)), 0.001)


def samples(inputs: list[npt.NDArray[Any]]) -> Floats:
    """The reference row and neighbours of it, float [`SAMPLES`, numbers].

    Each number keeps its sign, so square roots and powers stay defined; indices and shapes stay as
    they are. Text, which the build refuses, becomes zeros.
    """
    rng = np.random.default_rng(0)
    columns = []
    for tensor in inputs:
        numeric = tensor.dtype.kind in "fiub"
        row = tensor.astype(np.float64).ravel() if numeric else np.zeros(tensor.size)
        factors = rng.uniform(1 - SPREAD, 1 + SPREAD, (SAMPLES, row.size))
        factors[0] = 1
        columns.append(row * (factors if tensor.dtype.kind == "f" else np.ones_like(factors)))
    return np.hstack(columns)


def run(case: Case, limit: float) -> Json:
    """Build, prove, verify, compare. Raises an OracleError for a miss."""
    rows = samples(case.tensors("input"))
    expected = case.tensors("output")
    numeric = all(tensor.dtype.kind in "fiub" for tensor in expected)
    reference = np.concatenate(
        [tensor.astype(np.float64).ravel() if numeric else np.zeros(1) for tensor in expected]
    )
    allowed = tolerance(reference)
    names = [value.name for value in onnx.load(case.model).graph.output]
    with tempfile.TemporaryDirectory(prefix="bench-onnx-") as temporary:
        bundle = build(
            case.model,
            rows,
            name=case.name,
            max_error=allowed,
            out=Path(temporary) / "bundle",
            srs=SrsSource(build_dir() / "srs", unsafe=True),
            outputs=names,
            limits=Limits(limit, LIMITS.memory_bytes, LIMITS.threads),
        )
        spec = bundle.spec
        job = ProofJob(
            job_id=case.name,
            circuit=bundle.circuit,
            inputs=tuple(quantize(value, spec.input.scale) for value in rows[0].tolist()),
            tag=TAG,
            timeout=limit,
            memory_bytes=memory_cap(bundle.circuit),
        )
        sandbox = Sandbox(Limits(limit, job.memory_bytes, LIMITS.threads))
        # The worker verifies the proof before it answers.
        proof = proof_from(case.name, sandbox.run("prove", prove_params(job)))
        contract = verifier.compile_verifier((bundle.path / SOLIDITY).read_text())
        gas = verifier.measure_gas(contract, proof.proof, proof.instances)
        outputs = np.array([dequantize(value, spec.output.scale) for value in proof.outputs])
        if outputs.shape != reference.shape:
            raise CircuitInaccurate(f"{outputs.size} outputs proved, the test has {reference.size}")
        error = float(np.abs(outputs - reference).max(initial=0))
        # Written so that a NaN is a miss too.
        if not error <= allowed:
            raise CircuitInaccurate(f"error {error:.3g} from the reference, allowed {allowed:.3g}")
        return {
            "max_abs_error": error,
            "tolerance": allowed,
            "logrows": bundle.measures.logrows,
            "scale": spec.input.scale,
            "prove_seconds": proof.prove_seconds,
            "verify_gas": gas,
            "proving_key_bytes": bundle.measures.proving_key_bytes,
        }


def about(case: Case) -> Json:
    """What is known of a case before it runs."""
    operators = {node.op_type for node in onnx.load(case.model).graph.node}
    return {
        "name": case.name,
        "suite": case.suite,
        "operators": sorted(operators),
        "operators_known": not UNKNOWN_TO_EZKL & operators,
    }


def outcome(case: Case, limit: float) -> Json:
    """The case's figures, or the reason why it is a miss."""
    started = time.monotonic()
    try:
        found: Json = {"passed": True} | run(case, limit)
    except OracleError as error:
        found = {"passed": False, "code": error.code, "message": error.line()}
    return about(case) | found | {"seconds": time.monotonic() - started}


def isolated(case: Case, limit: float, results: Results) -> Json:
    """`outcome` in a process of its own, ended after ``limit`` seconds; kept in ``results``."""
    command = [sys.executable, "-m", "scripts.bench_onnx", "--case", case.name]
    reason = f"not done within {limit:g} s"
    with contextlib.suppress(subprocess.TimeoutExpired):
        # What it started ends with it: the prover's children hold a pipe to their parent.
        subprocess.run([*command, "--limit", str(limit)], check=False, timeout=limit)
        reason = "the process died"
    if (result := results.get(case.name)) is None:
        failed = {"passed": False, "code": ProverTimeout.code, "message": reason, "seconds": limit}
        result = about(case) | failed
        results.put(case.name, result)
    return result


def report(results: list[Json]) -> Json:
    """The summary that is written."""
    passed = [result for result in results if result["passed"]]
    known = [result for result in results if result["operators_known"]]
    passed_known = sum(result["passed"] for result in known)
    return {
        "total": len(results),
        "passed": len(passed),
        "operators_known": len(known),
        "passed_share_of_known": passed_known / len(known) if known else 0.0,
        "suites": {
            suite: {
                "total": sum(result["suite"] == suite for result in results),
                "passed": sum(result["suite"] == suite for result in passed),
            }
            for suite in SUITES
        },
        "tolerance": "absolute, 1% of the greatest reference output, at least 0.001",
        "misses": [result for result in results if not result["passed"]],
        "models": passed,
        **machine(),
    }


def main() -> None:
    """Run the cases that were asked for, then write the summary of all that are done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--resume", action="store_true", help="keep the cases that are done")
    parser.add_argument("--limit", type=float, default=240, help="seconds for one case")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        (case,) = (case for case in cases() if case.name == options.case)
        Results.of(BENCH, resume=True).put(case.name, outcome(case, options.limit))
        return
    results = Results.of(BENCH, resume=options.resume)
    done = []
    for case in cases():
        if options.only not in case.name:
            continue
        result = results.get(case.name) or isolated(case, options.limit, results)
        done.append(result)
        told = "passed" if result["passed"] else result["message"]
        print(f"{case.name}  {result['seconds']:.0f} s  {told}", flush=True)
    summary = report(done)
    write(build_dir() / "bench" / "onnx.json", summary)
    print(
        f"{summary['passed']} of {summary['total']} passed; of those whose operators ezkl knows, "
        f"{summary['passed_share_of_known']:.0%}"
    )


if __name__ == "__main__":
    main()
