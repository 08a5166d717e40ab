"""How fast this machine proves, beside the one that ``cost.json`` was measured on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

from onnx import TensorProto, ValueInfoProto, helper

from oracle.circuits import bundle as files
from oracle.circuits import cost, keys, trial
from oracle.circuits.shapes import Shape
from oracle.circuits.srs import SrsSource
from oracle.circuits.trial import Graph
from oracle.prover.local import prove_params
from oracle.prover.sandbox import Sandbox
from oracle.types import ProofJob, TagLayout

#: The circuit that is timed: large enough to be proved by all threads, small enough to be quick.
_SHAPE = Shape(logrows=10, columns=1, multiplier=1, legs=3, base=1016)
_SCALE = 6
_NUMBERS = 8
_PROOFS = 2


def speed(cache: Path, sandbox: Sandbox) -> float:
    """Seconds here for a second on the reference machine.

    Measured by proofs of a small circuit, once for a machine, its number of threads and a version
    of ezkl; kept in the folder ``cache``.
    """
    known = [platform.node(), _processor(), sandbox.limits.threads, version("ezkl")]
    name = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
    kept = cache / f"speed-{name}.json"
    if kept.exists():
        return float(json.loads(kept.read_text())["speed"])
    measured = _measure(sandbox)
    cache.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"speed": measured, "machine": known}) + "\n")
    partial.replace(kept)
    return measured


def _measure(sandbox: Sandbox) -> float:
    layout = TagLayout()
    with tempfile.TemporaryDirectory(prefix="oracle-speed-") as name:
        folder = Path(name)
        (folder / files.MODEL).write_bytes(_model(layout))
        graph = Graph((folder / files.MODEL).resolve(), layout, sandbox)
        settings = trial.settings(graph, [_SHAPE.run_args(_SCALE, (0, 0))])[0]["settings"]
        (folder / files.SETTINGS).write_text(json.dumps(settings))
        srs = SrsSource(folder, unsafe=True).get(_SHAPE.logrows, sandbox)
        circuit = keys.make(folder, srs, sandbox)
        limits = sandbox.limits
        job = ProofJob(
            "speed",
            circuit,
            inputs=tuple(range(_NUMBERS)),
            tag=(1,) * layout.limbs,
            timeout=limits.timeout,
            memory_bytes=limits.memory_bytes,
        )
        answers = [sandbox.run("prove", prove_params(job)) for _ in range(_PROOFS)]
    estimate = cost.estimate(cost.structure(settings), _SHAPE.logrows)
    # Whatever else the machine does only makes a proof slower.
    seconds = min(float(answer["prove_seconds"]) for answer in answers)
    return seconds / estimate.prove_seconds


def _model(layout: TagLayout) -> bytes:
    def values(name: str, length: int) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, length])

    graph = helper.make_graph(
        [helper.make_node("Relu", ["input"], ["output"])],
        "speed",
        [values("input", _NUMBERS), values("tag", layout.limbs)],
        [values("output", _NUMBERS)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line for line in lines if line.startswith("model name")), platform.machine())
