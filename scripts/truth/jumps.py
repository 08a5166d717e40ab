"""How near a row is to a jump of the float model: where it compares or rounds what it has computed.

A comparison of inputs as they are, or of constants, counts for nothing: on the grid both sides are
known exactly, so no rounding excuses a wrong answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

Floats = npt.NDArray[np.float64]

_COMPARISONS = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"})
#: Operators that jump, each with how far its argument is from where it does.
_STEPS: Mapping[str, Callable[[Floats], Floats]] = {
    "Floor": lambda x: np.abs(x - np.rint(x)),
    "Ceil": lambda x: np.abs(x - np.rint(x)),
    "Round": lambda x: np.abs(x - np.floor(x) - 0.5),
    "Sign": np.abs,
}
#: Operators that only move numbers.
_MOVES = frozenset(
    {
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)


def nearest(data: bytes, input_name: str, rows: Floats) -> Floats:
    """The least distance from a jump of each of ``rows`` [n, inputs]; infinite without a jump, [n].

    Args:
        data: a model of core operators, one float32 input [1, inputs].
        input_name: its name.
        rows: real inputs.
    """
    model = onnx.load_model_from_string(data)
    graph = model.graph
    exact = {input_name} | {tensor.name for tensor in graph.initializer}
    watched: list[tuple[str, list[str]]] = []
    for node in graph.node:
        if node.op_type == "Constant" or (
            node.op_type in _MOVES and all(name in exact for name in node.input if name)
        ):
            exact.update(node.output)
        elif node.op_type in _COMPARISONS | _STEPS.keys() and not exact.issuperset(node.input):
            watched.append((node.op_type, list(node.input)))
    if not watched:
        return np.full(len(rows), np.inf)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    names = sorted(
        {name for _, inputs in watched for name in inputs} - constants.keys() - {input_name}
    )
    known = {value.name for value in graph.output}
    kinds = {
        value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    graph.output.extend(kinds[name] for name in names if name not in known)
    found = []
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for row in rows:
        feed = {input_name: row[np.newaxis].astype(np.float32)}
        values = constants | feed | dict(zip(names, session.run(names, feed), strict=True))
        found.append(
            min(
                _distance(operator, [values[name] for name in inputs])
                for operator, inputs in watched
            )
        )
    return np.array(found, dtype=np.float64)


def _distance(operator: str, values: list[npt.NDArray[np.float32]]) -> float:
    numbers = [np.asarray(value, dtype=np.float64) for value in values]
    if operator in _STEPS:
        return float(_STEPS[operator](numbers[0]).min())
    return float(np.abs(numbers[0] - numbers[1]).min())
