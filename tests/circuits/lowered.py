"""Runs an ONNX file, its rewriting and its circuit side by side, for the rewriting tests."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from oracle.circuits import onnx as door
from oracle.circuits.srs import SrsSource
from oracle.prover import worker
from oracle.prover.child import Limits
from oracle.prover.sandbox import Sandbox
from oracle.tensor import dequantize, from_field, quantize
from oracle.types import TagLayout
from tests.circuits.makers import TAG, saved

Floats = npt.NDArray[np.float64]


class _Here(Sandbox):
    """Our own models need no child for ONNX and onnxruntime, which saves an interpreter a call."""

    def run(self, verb: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if verb in ("prepare_model", "infer_shapes", "run_original", "reference", "magnitudes"):
            return dict(worker._VERBS[verb](dict(params)))
        return super().run(verb, params)


SANDBOX = _Here(Limits(timeout=120, memory_bytes=6 << 30, threads=1))
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
KINDS: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}
#: Fractional bits, base and legs of the test circuits: numbers below 2**33.
SCALE, BASE_BITS, LEGS = 9, 11, 3


def graph_of(
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, int, list[Any]]],
    outputs: list[tuple[str, int, list[Any]]],
    *,
    opset: int = 17,
    ml: int = 3,
    **constants: Any,
) -> onnx.ModelProto:
    """A model from nodes, (name, element type, shape) of inputs and outputs, and constants."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ml)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10 if opset > 20 else 8)


def one_node(
    operator: str, width: int, *, domain: str = "", opset: int = 17, **attributes: Any
) -> onnx.ModelProto:
    """One operator from [batch, width] floats to one float output of its own shape."""
    node = helper.make_node(operator, ["x"], ["y"], "the_node", domain=domain, **attributes)
    outputs = [("y", FLOAT, ["batch", None])]
    return graph_of([node], [("x", FLOAT, ["batch", width])], outputs, opset=opset)


def classifier(operator: str, width: int, **attributes: Any) -> onnx.ModelProto:
    """One classifier of ``ai.onnx.ml`` with its label and its scores."""
    node = helper.make_node(
        operator, ["x"], ["label", "scores"], "the_node", domain="ai.onnx.ml", **attributes
    )
    kind = TensorProto.STRING if "classlabels_strings" in attributes else INT64
    outputs = [("label", kind, ["batch"]), ("scores", FLOAT, ["batch", None])]
    return graph_of([node], [("x", FLOAT, ["batch", width])], outputs)


def loaded(model: onnx.ModelProto, folder: Path, rows: Floats, **options: Any) -> door.Model:
    """The model at the door, which compares it with the original on ``rows``."""
    return door.load(saved(model, folder), SANDBOX, samples=rows, **options)


def answers(model: onnx.ModelProto, rows: Floats, outputs: list[str]) -> Floats:
    """onnxruntime's answers of the original, row by row, [n, numbers]."""
    session = _session(model.SerializeToString())
    found = []
    for row in rows:
        feeds, start = {}, 0
        for value in session.get_inputs():
            shape = [dim if isinstance(dim, int) else 1 for dim in value.shape]
            part = row[start : start + math.prod(shape)]
            feeds[value.name] = part.reshape(shape).astype(KINDS[value.type])
            start += math.prod(shape)
        tensors = session.run(outputs, feeds)
        found.append(np.concatenate([np.asarray(t, np.float64).ravel() for t in tensors]))
    return np.array(found)


def rewritten(model: door.Model, rows: Floats) -> Floats:
    """onnxruntime's answers of what is proved, [n, m]."""
    session = _session(model.data)
    feeds = rows.astype(KINDS[session.get_inputs()[0].type])
    found = [session.run(None, {model.input_name: row[np.newaxis]})[0][0] for row in feeds]
    return np.array(found, dtype=np.float64)


def assert_same(
    model: onnx.ModelProto, folder: Path, rows: Floats, *outputs: str, **options: Any
) -> door.Model:
    """Load the model; what is proved must give what the original gives. Return it."""
    door_model = loaded(model, folder, rows, **options)
    names = list(outputs) or [tensor.name for tensor in door_model.outputs]
    np.testing.assert_allclose(
        rewritten(door_model, rows), answers(model, rows, names), rtol=1e-4, atol=2e-5
    )
    assert not _foreign(door_model)
    return door_model


def circuit_error(model: door.Model, rows: Floats, folder: Path) -> float:
    """Greatest difference of the circuit's arithmetic from the float model, over all rows."""
    path, settings = _settings(model, folder)
    params = {"model": str(path), "settings": settings, "reals": rows.tolist(), "tag": list(TAG)}
    params["all_or_none"] = True
    found = SANDBOX.run("trial", params)["outputs"]
    assert None not in found, "the circuit takes no such row"
    scale = settings["model_output_scales"][0]
    real = [[dequantize(value, scale) for value in row] for row in found]
    return float(np.abs(np.array(real) - rewritten(model, rows)).max())


def proved(model: door.Model, row: list[float], folder: Path, srs: SrsSource) -> list[float]:
    """What a real proof, verified, says the model gives for ``row``."""
    path, settings = _settings(model, folder)
    logrows = settings["run_args"]["logrows"]
    string = srs.get(logrows, SANDBOX)
    files = {
        name: str((folder / name).resolve())
        for name in ("compiled", "verifying_key", "proving_key")
    }
    files |= {"srs": str(string.path.resolve()), "srs_hash": string.sha256.hex()}
    settings_path = folder / "settings.json"
    settings_path.write_text(json.dumps(settings))
    files["settings"] = str(settings_path.resolve())
    SANDBOX.run("setup", {"model": str(path), **files})
    inputs = [quantize(value, settings["model_input_scales"][0]) for value in row]
    answer = SANDBOX.run("prove", {**files, "inputs": inputs, "tag": list(TAG)})
    scale = settings["model_output_scales"][0]
    outputs = [int(value) for value in answer["instances"][len(inputs) + len(TAG) :]]
    return [dequantize(from_field(value), scale) for value in outputs]


def _settings(model: door.Model, folder: Path) -> tuple[Path, dict[str, Any]]:
    path = folder / "tagged.onnx"
    path.write_bytes(door.add_tag(model, TagLayout()))
    run_args = {
        "input_visibility": "public",
        "output_visibility": "public",
        "param_visibility": "fixed",
        "input_scale": SCALE,
        "param_scale": SCALE,
        "scale_rebase_multiplier": 1,
        "decomp_base": 1 << BASE_BITS,
        "decomp_legs": LEGS,
        "logrows": 17,
        "num_inner_cols": 1,
        "disable_freivalds": True,
        "lookup_range": [-(1 << 15), 1 << 15],
    }
    (found,) = SANDBOX.run("settings", {"model": str(path), "run_args": [run_args]})["candidates"]
    assert found["settings"] is not None, found["reason"]
    settings: dict[str, Any] = found["settings"]
    rows = max(settings["num_rows"], settings["total_const_size"], 1 << BASE_BITS)
    if not settings["required_lookups"]:
        settings["run_args"]["logrows"] = int(rows + 32).bit_length()
    return path, settings


def _foreign(model: door.Model) -> list[str]:
    graph = onnx.load_model_from_string(model.data).graph
    return [node.op_type for node in graph.node if node.domain not in ("", "ai.onnx")]


def _session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Beyond it what quantized weights are multiplied with is rounded too.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(data, options)
