"""Measure the coefficients of ``oracle/circuits/cost.json`` on small circuits of every structure.

For each number of columns: a plain model, activations with lookup tables, tables of several
columns, shuffles (sorting), dynamic lookups and Freivalds' check; heights from 2**9 to 2**14.
Sizes and gas are exact. Seconds are processor seconds of a proof, which other programs disturb
least; `oracle.circuits.speed` relates them to the time that passes on a machine.

    python scripts/fit_costs.py [--results FILE]

Takes about ten minutes on two idle cores. Results that a file holds already are not measured again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from oracle.chain.toolchain import toolchain
from oracle.circuits import bundle as files
from oracle.circuits import cost, keys, shapes, trial, verifier
from oracle.circuits.build import LIMITS
from oracle.circuits.cost import BLINDING_ROWS
from oracle.circuits.shapes import Shape
from oracle.circuits.srs import SrsSource
from oracle.circuits.trial import Graph
from oracle.config import build_dir
from oracle.errors import VerifierTooLarge
from oracle.prover.local import proof_from, prove_params
from oracle.prover.sandbox import Sandbox
from oracle.types import ProofJob, TagLayout

Json = dict[str, Any]
Floats = npt.NDArray[np.float64]

FEATURES = ("base", "tables", "spread", "shuffles", "dynamic", "freivalds", "steep")
#: Measured with: columns, table columns, extra height.
PLAIN = ("Relu",)
MODELS: tuple[tuple[str, ...], ...] = (
    PLAIN,
    ("Sigmoid",),
    ("Sigmoid", "Tanh"),
    ("Sqrt",),
    ("ReduceMax",),
    ("ArgMax",),
    ("Softmax",),
)
PRODUCT = ("MatMul",)
WIDTH = 4
#: Rows of the product, so that Freivalds' check is worth it to ezkl.
PRODUCT_ROWS = 16
SCALE = 5
LEGS = 3
PROOFS = 2
#: Lookups of the activations at this scale.
LOOKUPS = (-200, 200)
#: Powers of the height that seconds may follow.
POWERS = tuple(np.linspace(0.85, 1.0, 16))


@dataclass(frozen=True, slots=True)
class Probe:
    """A circuit to measure."""

    operators: tuple[str, ...]
    columns: int
    spread: int = 1
    freivalds: bool = False
    extra_height: int = 0

    @property
    def name(self) -> str:
        """Key of its result."""
        return json.dumps(dataclasses.asdict(self))


def main() -> None:
    """Measure what is missing, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--results", type=Path, default=build_dir() / "bench" / "costs.json", help="measurements"
    )
    path = parser.parse_args().results
    results: dict[str, Json] = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    for probe in probes():
        if probe.name not in results:
            results[probe.name] = measure(probe)
            path.write_text(json.dumps(results, indent=1))
            print(probe.name, results[probe.name], flush=True)
    fitted = fit(list(results.values()))
    Path(cost.__file__).with_name("cost.json").write_text(json.dumps(fitted, indent=2) + "\n")


def probes() -> Iterator[Probe]:
    """Every structure in every number of columns; heights for the plain one."""
    for columns in shapes.COLUMNS:
        for operators in MODELS:
            yield Probe(operators, columns)
        yield Probe(PRODUCT, columns, freivalds=True)
    for columns in (1, 2, 3, 4):
        for spread in (2, 3):
            yield Probe(PLAIN, columns, spread=spread)
            yield Probe(("Sigmoid",), columns, spread=spread)
        for extra in (1, 3, 4):
            yield Probe(PLAIN, columns, extra_height=extra)
    for columns in (1, 2):
        for extra in (2, 3):
            yield Probe(("Sigmoid",), columns, extra_height=extra)
            yield Probe(("Softmax",), columns, extra_height=extra)


def measure(probe: Probe) -> Json:
    """Build and prove one circuit."""
    layout = TagLayout()
    sandbox = Sandbox(LIMITS, toolchain().ezkl_home)
    with tempfile.TemporaryDirectory(prefix="fit-costs-") as name:
        folder = Path(name)
        (folder / files.MODEL).write_bytes(_model(probe.operators, layout))
        graph = Graph((folder / files.MODEL).resolve(), layout, sandbox)
        settings = _settings(graph, probe)
        (folder / files.SETTINGS).write_text(json.dumps(settings))
        logrows = int(settings["run_args"]["logrows"])
        srs = SrsSource(build_dir() / "srs", unsafe=True).get(logrows, sandbox)
        circuit = keys.make(folder, srs, sandbox)
        job = ProofJob(
            "fit",
            circuit,
            inputs=tuple(range(math.prod(settings["model_instance_shapes"][0]))),
            tag=(1,) * layout.limbs,
            timeout=LIMITS.timeout,
            memory_bytes=LIMITS.memory_bytes,
        )
        seconds = []
        for _ in range(PROOFS):
            before = os.times()
            proof = proof_from(job.job_id, sandbox.run("prove", prove_params(job)))
            after = os.times()
            seconds.append(
                after.children_user
                + after.children_system
                - before.children_user
                - before.children_system
            )
        result = {
            "structure": dataclasses.asdict(cost.structure(settings)),
            "logrows": logrows,
            "proof_bytes": len(proof.proof),
            "key_bytes": circuit.proving_key.stat().st_size,
            "memory_bytes": proof.peak_memory_bytes,
            "seconds": min(seconds),
        }
        # Compiling takes longest, and gas follows from the proof's size.
        if probe.extra_height == 0 and (probe.columns <= 2 or probe.operators == PLAIN):
            source = folder / files.SOLIDITY
            verifier.generate(
                settings=circuit.settings,
                verifying_key=circuit.verifying_key,
                srs=srs,
                solidity=source,
                sandbox=sandbox,
            )
            try:
                contract = verifier.compile_verifier(source.read_text())
                result["verifier_bytes"] = len(contract.runtime)
                result["gas"] = verifier.measure_gas(contract, proof.proof, proof.instances)
            except VerifierTooLarge:
                print(f"{probe.name}: no contract holds its verifier")
        return result


def fit(results: list[Json]) -> Json:
    """Least squares, relative errors weighted alike."""
    fitted: Json = {"proof_bytes": {}, "key_row_bytes": {}}
    for columns in shapes.COLUMNS:
        mine = [r for r in results if r["structure"]["columns"] == columns]
        features = np.array([_features(r["structure"]) for r in mine])
        for name, values in (
            ("proof_bytes", [r["proof_bytes"] for r in mine]),
            ("key_row_bytes", [r["key_bytes"] / 2 ** r["logrows"] for r in mine]),
        ):
            weights = _solve(features, np.array(values, dtype=np.float64), name)
            fitted[name][str(columns)] = dict(zip(FEATURES, weights, strict=True))
    priced = [r for r in results if "gas" in r]
    proofs = np.array([[1.0, r["proof_bytes"], r["structure"]["instances"]] for r in priced])
    fitted["gas"] = _solve(proofs, np.array([float(r["gas"]) for r in priced]), "gas")
    sizes = np.array([float(r["verifier_bytes"]) for r in priced])
    # The compiler takes the smaller code where the quicker one does not fit.
    small = proofs[:, 1] > 3700
    fitted["verifier_bytes"] = _solve(proofs[small, :2], sizes[small], "verifier bytes")
    keys_ = np.array([[1.0, r["key_bytes"]] for r in results])
    memory = np.array([float(r["memory_bytes"]) for r in results])
    fitted["memory_bytes"] = _solve(keys_, memory, "memory")
    seconds = np.array([r["seconds"] for r in results])
    best = min(POWERS, key=lambda power: _error(_rows(results, power), seconds))
    start, per_proof, per_key = _solve(_rows(results, best), seconds, f"seconds, power {best:.2f}")
    fitted |= {
        "seconds": start,
        "seconds_per_row": [per_proof, per_key],
        "seconds_power": round(float(best), 2),
    }
    return fitted


def _rows(results: list[Json], power: float) -> Floats:
    heights = np.array([2.0 ** (power * r["logrows"]) for r in results])
    proofs = np.array([float(r["proof_bytes"]) for r in results])
    key_rows = np.array([r["key_bytes"] / 2 ** r["logrows"] for r in results])
    return np.stack([np.ones(len(results)), heights * proofs, heights * key_rows], axis=1)


def _features(structure: Json) -> list[float]:
    circuit = cost.Structure(**structure)
    return [float(value) for value in cost.features(circuit)]


def _solve(features: Floats, values: Floats, name: str) -> list[float]:
    weights = _weights(features, values)
    errors = features @ weights / values - 1
    print(f"{name}: {len(values)} points, worst error {np.abs(errors).max():.1%}")
    return [float(f"{weight:.5g}") for weight in weights]


def _error(features: Floats, values: Floats) -> float:
    return float(np.square(features @ _weights(features, values) / values - 1).sum())


def _weights(features: Floats, values: Floats) -> Floats:
    # What no point tells apart stays small.
    scaled = features / values[:, None]
    scale = np.abs(scaled).max(axis=0)
    scale[scale == 0] = 1
    ridge = 1e-9 * np.eye(features.shape[1])
    normal = (scaled / scale).T @ (scaled / scale) + ridge
    solved = np.linalg.solve(normal, (scaled / scale).T @ np.ones(len(values)))
    return np.asarray(solved / scale, dtype=np.float64)


def _settings(graph: Graph, probe: Probe) -> Json:
    first = Shape(shapes.MAX_LOGROWS, probe.columns, 1, LEGS, 300, probe.freivalds)
    found = trial.settings(graph, [first.run_args(SCALE, LOOKUPS)])[0]
    if found["settings"] is None:
        raise SystemExit(f"{probe.name}: {found['reason']}")
    logrows = max(9, shapes.least_logrows(found["settings"])) + probe.extra_height
    base = ((1 << logrows) - BLINDING_ROWS) * probe.spread
    shape = Shape(logrows, probe.columns, 1, LEGS, base, probe.freivalds)
    return dict(trial.settings(graph, [shape.run_args(SCALE, LOOKUPS)])[0]["settings"])


def _model(operators: tuple[str, ...], layout: TagLayout) -> bytes:
    """Operators one after the other on rows of `WIDTH` numbers, and a tag."""
    rows = PRODUCT_ROWS if operators == PRODUCT else 1
    nodes, current = [], "input"
    weights = np.random.default_rng(0).normal(size=(WIDTH, WIDTH)).astype(np.float32)
    for index, operator in enumerate(operators):
        inputs = [current, "weights"] if operator == "MatMul" else [current]
        attributes: Json = {}
        if operator in {"ArgMax", "ReduceMax"}:
            attributes = {"keepdims": 1, "axis": 1} if operator == "ArgMax" else {"axes": [1]}
        current = f"value{index}"
        nodes.append(helper.make_node(operator, inputs, [current], **attributes))
    if operators[-1] == "ArgMax":
        nodes.append(helper.make_node("Cast", [current], ["label"], to=TensorProto.FLOAT))
    nodes[-1].output[0] = "output"
    length = 1 if operators[-1] in {"ArgMax", "ReduceMax"} else WIDTH
    graph = helper.make_graph(
        nodes,
        "probe",
        [
            helper.make_tensor_value_info("input", TensorProto.FLOAT, [rows, WIDTH]),
            helper.make_tensor_value_info("tag", TensorProto.FLOAT, [1, layout.limbs]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [rows, length])],
        initializer=[numpy_helper.from_array(weights, "weights")] if "MatMul" in operators else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
