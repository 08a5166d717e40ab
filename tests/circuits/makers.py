"""Small models, jobs and waits that the circuit and prover tests share."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from oracle import tensor
from oracle.circuits import bundle as files
from oracle.circuits.bundle import Bundle
from oracle.circuits.card import card
from oracle.circuits.srs import sha256_file
from oracle.prover.base import ProofOutcome, Prover, memory_cap
from oracle.types import ProofJob
from tests.patience import PATIENCE

SEPAL_AND_PETAL = (5.1, 3.5, 1.4, 0.2)
TAG = (2**24 - 1, 0, 1, 2, 3)


def job(bundle: Bundle, **changes: Any) -> ProofJob:
    """A good job; name the fields that should differ."""
    scale = bundle.spec.input.scale
    good = ProofJob(
        job_id="job/1",
        circuit=bundle.circuit,
        inputs=tuple(tensor.quantize(value, scale) for value in SEPAL_AND_PETAL),
        tag=TAG,
        timeout=60,
        memory_bytes=memory_cap(bundle.circuit),
    )
    return dataclasses.replace(good, **changes)


def ranged(bundle: Bundle, folder: Path, ranges: tensor.Ranges) -> Bundle:
    """A copy of a bundle, in a new folder, whose input elements have ranges of their own."""
    path = Path(shutil.copytree(bundle.path, folder))
    manifest = json.loads((path / files.MANIFEST).read_text())
    manifest["spec"]["input_ranges"] = list(map(list, ranges))
    scale = bundle.spec.input.scale
    manifest["promise"]["ranges"] = [
        [tensor.dequantize(low, scale), tensor.dequantize(high, scale)] for low, high in ranges
    ]
    manifest["bundle_id"] = files.spec_id(files.spec_from(manifest["spec"]))
    write_card(path, manifest)
    (path / files.MANIFEST).write_text(json.dumps(manifest))
    return Bundle.load(path, bundle.circuit.srs.parent)


def write_card(path: Path, manifest: dict[str, Any]) -> None:
    """Make the card of a bundle whose manifest was changed; its hash is put into the manifest."""
    written = card(
        manifest["name"],
        files.spec_from(manifest["spec"]),
        files.origin_from(manifest["origin"]),
        files.stated_from(manifest),
        [files.Measures(**each) for each in manifest["measures"]],
    )
    (path / files.CARD).write_text(written)
    manifest["files"][files.CARD] = sha256_file(path / files.CARD).hex()


def outcome(prover: Prover, within: float = PATIENCE) -> ProofOutcome:
    """The next outcome; fails the test if there is none in time."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if outcomes := prover.poll():
            assert len(outcomes) == 1
            return outcomes[0]
        time.sleep(0.005)
    raise AssertionError(f"no outcome within {within} s")


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def children_of(pid: int) -> list[int]:
    """Processes that a process has started and not reaped; none once it is gone."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        texts = [(task / "children").read_text() for task in tasks]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for text in texts for child in text.split()]


def wait_until_gone(pid: int, within: float = PATIENCE) -> None:
    """Fails the test if the process still runs in the end."""
    deadline = time.monotonic() + within
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still running"
        time.sleep(0.01)


def single_node(
    op_type: str,
    *,
    domain: str = "",
    opset: int = 17,
    shape: tuple[Any, ...] = ("batch", 4),
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one operator, node name ``the_node``, input ``input``, output ``output``."""
    node = helper.make_node(
        op_type, ["input"], ["output"], name="the_node", domain=domain, **attributes
    )
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def linear(activation: str = "Relu") -> onnx.ModelProto:
    """Two inputs, one weight matrix, one activation, two outputs."""
    weights = np.array([[0.5, -1.0], [1.5, 0.25]], dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["input", "weights"], ["sum"], name="product"),
            helper.make_node(activation, ["sum"], ["output"], name="activation"),
        ],
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2])],
        initializer=[numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    """The model as a file."""
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path
