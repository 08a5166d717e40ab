"""Our circuits against ezkl's calibrated default, model by model: ``make bench-circuits``.

Both sides prove the same graph, lowered and with its tag input, on the same rows, at the same scale
of inputs and weights; inputs and outputs are public, weights fixed. Ours is `build` with the
model's error bound. ezkl's side is what its documentation does: default settings, then
``calibrate_settings`` for resources, at the scale that ours has. The errors of both are measured on
all samples and stand in the table; ours keeps the bound, and how often it is the larger one by more
than the outputs' last place is counted. Both verifiers are compiled with the same options and their gas is measured on the same EVM.

Proving seconds are medians of three ``prove`` calls in turns, in one run, because a machine's speed
drifts. Writes ``build/bench/circuits.json`` and ``circuits.svg`` and prints a table. Both sides'
keys are kept, ezkl's in ``build/bench/cache`` and ours with other bundles: a second run measures
proofs and nothing else. ``--resume`` keeps the models that are done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.chain.toolchain import toolchain
from oracle.circuits import keys, onnx, trial, verifier
from oracle.circuits.build import LIMITS, build_cached
from oracle.circuits.bundle import COMPILED, MODEL, PROVING_KEY, SETTINGS, SOLIDITY, VERIFYING_KEY
from oracle.circuits.cost import Objective
from oracle.circuits.srs import Srs, SrsSource
from oracle.config import build_dir, project_root
from oracle.errors import CircuitError, OracleError, VerifierTooLarge
from oracle.prover.base import memory_cap
from oracle.prover.child import Limits
from oracle.prover.local import proof_from, prove_params
from oracle.prover.sandbox import Sandbox
from oracle.tensor import dequantize, quantize
from oracle.types import CircuitFiles, Proof, ProofJob, TagLayout
from scripts.bench_plot import Bar, bars
from scripts.bench_report import Json, Results, machine, table, write
from scripts.models import zoo

Floats = npt.NDArray[np.floating[Any]]

BENCH = "circuits"
#: How ezkl's side takes its tag.
_TAG = TagLayout()
ROUNDS = 3
BASELINE = "baseline.json"
_LOWERED = "lowered.onnx"


@dataclass(frozen=True, slots=True)
class Side:
    """A circuit of one side, ready to prove."""

    circuit: CircuitFiles
    tag: TagLayout
    figures: Json

    @property
    def scale(self) -> int:
        """Fractional bits of its inputs."""
        return int(self.figures["scale"])

    @property
    def error(self) -> float:
        """Greatest absolute difference from onnxruntime over the samples."""
        return float(self.figures["max_abs_error"])

    @property
    def unit(self) -> float:
        """The last place of its outputs: smaller differences cannot be seen."""
        return 1 / (1 << int(self.figures["output_scale"]))


def main() -> None:
    """Measure the models that were asked for, then report on all that are done."""
    parser = argparse.ArgumentParser(description="Our circuits against ezkl's calibrated default")
    parser.add_argument("--only", action="append", choices=list(zoo.MAKERS), help="these models")
    parser.add_argument(
        "--objective", type=Objective, choices=list(Objective), default=Objective.GAS
    )
    parser.add_argument("--resume", action="store_true", help="keep the models that are done")
    options = parser.parse_args()
    sandbox = Sandbox(LIMITS, toolchain().ezkl_home)
    results = Results.of(f"{BENCH}-{options.objective}", resume=options.resume)
    done = []
    for name in options.only or zoo.MAKERS:
        if (result := results.get(name)) is None:
            started = time.monotonic()
            result = measure(zoo.make(name), options.objective, sandbox)
            results.put(name, result)
            print(f"{name}  {time.monotonic() - started:.0f} s  {_line(result)}", flush=True)
        done.append(result)
    summary = report(done, options.objective)
    write(build_dir() / "bench" / "circuits.json", summary)
    (build_dir() / "bench" / "circuits.svg").write_text(plot(done))
    print(_table(done))
    print({key: value for key, value in summary.items() if "geomean" in key or "worst" in key})


# --- one model ------------------------------------------------------------------------------------


def measure(subject: zoo.ZooModel, objective: Objective, sandbox: Sandbox) -> Json:
    """Both sides of one model, or the reason why there is nothing to compare."""
    with tempfile.TemporaryDirectory(prefix="bench-circuits-") as temporary:
        try:
            return _compared(subject, objective, Path(temporary), sandbox)
        except OracleError as error:
            return {"name": subject.name, "reason": error.line()}


def _compared(subject: zoo.ZooModel, objective: Objective, work: Path, sandbox: Sandbox) -> Json:
    path = work / MODEL
    path.write_bytes(subject.onnx)
    model = onnx.load(path, sandbox)
    ours = tuned(path, model, subject, objective, sandbox)
    theirs = baseline(model, subject.samples, ours.scale, sandbox)
    row = subject.samples[0]
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for side, times in zip((theirs, ours), seconds, strict=True):
            times.append(_prove(side.circuit, row, side.scale, side.tag).prove_seconds)
    for figures, times in zip((theirs.figures, ours.figures), seconds, strict=True):
        figures["prove_seconds"] = statistics.median(times)
        figures["prove_seconds_all"] = times
    gas = (theirs.figures["verify_gas"], ours.figures["verify_gas"])
    return {
        "name": subject.name,
        "error_bound": subject.max_error,
        "larger_error": ours.error > theirs.error + theirs.unit,
        "ezkl": theirs.figures,
        "ours": ours.figures,
        "prove_speedup": theirs.figures["prove_seconds"] / ours.figures["prove_seconds"],
        "gas_ratio": gas[1] / gas[0] if gas[0] is not None else None,
        "key_ratio": ours.figures["proving_key_bytes"] / theirs.figures["proving_key_bytes"],
    }


def tuned(
    path: Path,
    model: onnx.Model,
    subject: zoo.ZooModel,
    objective: Objective,
    sandbox: Sandbox,
) -> Side:
    """Our side."""
    bundle = build_cached(
        path,
        subject.samples,
        name=subject.name,
        max_error=subject.max_error,
        srs=_srs_source(),
        optimize=objective,
    )
    settings = json.loads(bundle.circuit.settings.read_text())
    tag = bundle.spec.tag
    lowered = path.with_name(_LOWERED)
    lowered.write_bytes(onnx.add_tag(model, tag))
    circuit = trial.Graph(bundle.model.resolve(), tag, sandbox)
    error, refused = accuracy(circuit, settings, lowered, model, subject.samples)
    measures = bundle.measures
    return Side(
        bundle.circuit,
        tag,
        _shape(settings)
        | {
            "max_abs_error": error,
            "rows_refused": refused,
            "proving_key_bytes": measures.proving_key_bytes,
            "verify_gas": measures.verify_gas,
            "verifier_code_bytes": measures.verifier_code_bytes,
            "build_seconds": measures.build_seconds,
        },
    )


# --- ezkl's side ----------------------------------------------------------------------------------


def baseline(model: onnx.Model, samples: Floats, scale: int, sandbox: Sandbox) -> Side:
    """The default of ezkl, calibrated at ``scale``; from the cache if it is there.

    Raises:
        CircuitError: its calibration fails.
        OracleError: another step fails.
    """
    tagged = onnx.add_tag(model, _TAG)
    told = f"{version('ezkl')} {scale}".encode()
    key = hashlib.sha256(tagged + samples.tobytes() + told).hexdigest()[:16]
    folder = build_dir() / "bench" / "cache" / key
    if not (folder / BASELINE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / MODEL).write_bytes(tagged)
        figures = _baseline(folder, model, samples, scale, sandbox)
        write(folder / BASELINE, figures)
    figures = json.loads((folder / BASELINE).read_text())
    return Side(_circuit(folder, _srs(figures["logrows"], sandbox)), _TAG, figures)


def _baseline(
    folder: Path, model: onnx.Model, samples: Floats, scale: int, sandbox: Sandbox
) -> Json:
    started = time.monotonic()
    _calibrate(folder, samples, scale, sandbox.limits.timeout)
    settings = json.loads((folder / SETTINGS).read_text())
    srs = _srs(settings["run_args"]["logrows"], sandbox)
    circuit = keys.make(folder, srs, sandbox)
    proof = _prove(circuit, samples[0], settings["model_input_scales"][0], _TAG)
    built = time.monotonic() - started
    verifier.generate(
        settings=circuit.settings,
        verifying_key=circuit.verifying_key,
        srs=srs,
        solidity=folder / SOLIDITY,
        sandbox=sandbox,
    )
    try:
        contract = verifier.compile_verifier((folder / SOLIDITY).read_text())
        gas = verifier.measure_gas(contract, proof.proof, proof.instances)
        code_bytes = len(contract.runtime)
    except VerifierTooLarge:
        # It fits no chain, so it has no gas.
        gas, code_bytes = None, None
    graph = trial.Graph((folder / MODEL).resolve(), _TAG, sandbox)
    error, refused = accuracy(graph, settings, graph.path, model, samples)
    return _shape(settings) | {
        "max_abs_error": error,
        "rows_refused": refused,
        "proving_key_bytes": circuit.proving_key.stat().st_size,
        "verify_gas": gas,
        "verifier_code_bytes": code_bytes,
        "build_seconds": built,
    }


def _calibrate(folder: Path, samples: Floats, scale: int, timeout: float) -> None:
    """Write ``settings.json``. Calibrates on the rows that our search sees too, each second one."""
    rows = samples[0::2]
    data = folder / "calibration.json"
    tags = [0.0] * (_TAG.limbs * len(rows))
    data.write_text(json.dumps({"input_data": [rows.astype(float).ravel().tolist(), tags]}))
    files = [str(path) for path in (folder / MODEL, data, folder / SETTINGS)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "scripts.ezkl_calibrated", *files, str(scale)],
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=project_root(),
        )
    except subprocess.TimeoutExpired:
        raise CircuitError(f"its calibration did not end within {timeout:g} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise CircuitError(f"its calibration failed: {last[:300]}")


# --- both sides -----------------------------------------------------------------------------------


def accuracy(
    graph: trial.Graph, settings: Json, lowered: Path, model: onnx.Model, samples: Floats
) -> tuple[float, int]:
    """Greatest absolute difference of a circuit from onnxruntime, and rows that do not fit.

    ``lowered`` is the model's file as both sides get it.
    """
    rows = samples.astype(np.float64)
    names = (model.input_name, model.output_name)
    expected = trial.reference(lowered, *names, rows, graph.sandbox)
    scale = settings["model_output_scales"][0]
    errors = [
        np.abs([dequantize(value, scale) for value in row] - wanted).max()
        for row, wanted in zip(trial.run(graph, settings, rows).integers, expected, strict=True)
        if row is not None
    ]
    if not errors:
        raise CircuitError("the circuit takes none of the rows")
    return float(max(errors)), len(rows) - len(errors)


def _prove(circuit: CircuitFiles, row: Floats, scale: int, tag: TagLayout) -> Proof:
    job = ProofJob(
        job_id="bench",
        circuit=circuit,
        inputs=tuple(quantize(value, scale) for value in row.astype(float).tolist()),
        tag=tuple(range(1, tag.limbs + 1)),
        timeout=LIMITS.timeout,
        memory_bytes=memory_cap(circuit),
    )
    sandbox = Sandbox(Limits(job.timeout, job.memory_bytes, LIMITS.threads))
    return proof_from(job.job_id, sandbox.run("prove", prove_params(job)))


def _shape(settings: Json) -> Json:
    """Scales, size and layout."""
    run_args = settings["run_args"]
    return {
        "scale": settings["model_input_scales"][0],
        "output_scale": settings["model_output_scales"][0],
        "logrows": run_args["logrows"],
        "columns": run_args["num_inner_cols"],
        "base": run_args["decomp_base"],
        "legs": run_args["decomp_legs"],
        "rebase_multiplier": run_args["scale_rebase_multiplier"],
    }


def _circuit(folder: Path, srs: Srs) -> CircuitFiles:
    return CircuitFiles(
        compiled=folder / COMPILED,
        settings=folder / SETTINGS,
        proving_key=folder / PROVING_KEY,
        verifying_key=folder / VERIFYING_KEY,
        srs=srs.path,
        srs_hash=srs.sha256,
    )


def _srs_source() -> SrsSource:
    return SrsSource(build_dir() / "srs", unsafe=True)


def _srs(logrows: int, sandbox: Sandbox) -> Srs:
    return _srs_source().get(logrows, sandbox)


# --- the report -----------------------------------------------------------------------------------


def report(done: Sequence[Json], objective: Objective) -> Json:
    """What is written: geometric means and worst cases over the models that both sides proved."""
    compared = [result for result in done if result.get("prove_speedup")]
    speedups = [result["prove_speedup"] for result in compared]
    gas = [result["gas_ratio"] for result in compared if result["gas_ratio"] is not None]
    keys = [result["key_ratio"] for result in compared]
    return {
        "objective": str(objective),
        "total": len(done),
        "compared": len(compared),
        "prove_speedup_geomean": _geomean(speedups),
        "gas_ratio_geomean": _geomean(gas),
        "key_ratio_geomean": _geomean(keys),
        "worst_prove_speedup": min(speedups, default=None),
        "worst_gas_ratio": max(gas, default=None),
        "larger_errors": sum(result["larger_error"] for result in compared),
        "models": list(done),
        **machine(),
    }


def plot(done: Sequence[Json]) -> str:
    """SVG of both ratios by model, the greatest speed-up first."""
    compared = [result for result in done if result.get("prove_speedup")]
    compared.sort(key=lambda result: -result["prove_speedup"])
    names = [result["name"] for result in compared]
    speed = Bar(
        title="Proofs: times faster than ezkl's calibrated default",
        values=[result["prove_speedup"] for result in compared],
        unit="x",
        logarithmic=True,
    )
    gas = Bar(
        title="Verification: gas, where that default uses 1",
        values=[result["gas_ratio"] for result in compared],
        unit="",
        logarithmic=False,
    )
    return bars(names, [speed, gas])


def _geomean(values: Sequence[float]) -> float | None:
    return statistics.geometric_mean(values) if values else None


def _line(result: Json) -> str:
    if not result.get("prove_speedup"):
        return str(result["reason"])
    gas = result["gas_ratio"]
    told = f"gas {gas:.2f}" if gas is not None else "ezkl's verifier cannot be deployed"
    return f"{result['prove_speedup']:.1f} times faster, {told}"


def _table(done: Sequence[Json]) -> str:
    header = ["model", "logrows", "prove s", "key MB", "gas k", "code kB", "error", "faster", "gas"]
    rows = []
    for result in done:
        if not result.get("prove_speedup"):
            continue
        sides = (result["ezkl"], result["ours"])
        rows.append(
            [
                result["name"],
                _both(sides, "logrows", 1, ".0f"),
                _both(sides, "prove_seconds", 1, ".2f"),
                _both(sides, "proving_key_bytes", 1e6, ".1f"),
                _both(sides, "verify_gas", 1e3, ".0f"),
                _both(sides, "verifier_code_bytes", 1e3, ".1f"),
                _both(sides, "max_abs_error", 1, ".4f"),
                f"{result['prove_speedup']:.1f}",
                "-" if result["gas_ratio"] is None else f"{result['gas_ratio']:.2f}",
            ]
        )
    return table(header, rows)


def _both(sides: tuple[Json, Json], key: str, unit: float, form: str) -> str:
    told = ["-" if side[key] is None else format(side[key] / unit, form) for side in sides]
    return " > ".join(told)


if __name__ == "__main__":
    main()
