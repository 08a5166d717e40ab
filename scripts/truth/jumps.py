"""How near a row is to a jump of the float model: where it compares or rounds what it has computed.

A comparison of inputs as they are, or of constants, counts for nothing: on the grid both sides are
known exactly, so no rounding excuses a wrong answer. Nor does a number that is compared with itself,
as the odd one out of a tournament is.
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
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    names = sorted(
        {name for _, inputs in watched for name in inputs} - constants.keys() - {input_name}
    )
    known = {value.name for value in graph.output}
    kinds = {
        value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    graph.output.extend(kinds[name] for name in names if name not in known)
    apart = [_apart([makers.get(name) for name in inputs], constants) for _, inputs in watched]
    (given,) = [value for value in graph.input if value.name == input_name]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type)
    found = []
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for row in rows:
        feed = {input_name: row[np.newaxis].astype(dtype)}
        values = constants | feed | dict(zip(names, session.run(names, feed), strict=True))
        found.append(
            min(
                _distance(operator, [values[name] for name in inputs], among)
                for (operator, inputs), among in zip(watched, apart, strict=True)
            )
        )
    return np.array(found, dtype=np.float64)


def _apart(
    makers: list[onnx.NodeProto | None], constants: Mapping[str, npt.NDArray[np.generic]]
) -> npt.NDArray[np.bool_]:
    """Which columns of what is compared are not the same number twice; all, where that is unknown."""
    if len(makers) == 2 and (first := makers[0]) is not None and (second := makers[1]) is not None:
        if first is second:
            return np.zeros(1, dtype=np.bool_)
        is_taken = first.op_type == second.op_type == "Gather"
        if is_taken and first.input[0] == second.input[0] and first.attribute == second.attribute:
            columns = [constants.get(node.input[1]) for node in (first, second)]
            if columns[0] is not None and columns[1] is not None:
                return np.asarray(columns[0] != columns[1], dtype=np.bool_)
    return np.ones(1, dtype=np.bool_)


def _distance(
    operator: str, values: list[npt.NDArray[np.float32]], among: npt.NDArray[np.bool_]
) -> float:
    numbers = [np.asarray(value, dtype=np.float64) for value in values]
    if operator in _STEPS:
        return float(_STEPS[operator](numbers[0]).min())
    gaps = np.abs(numbers[0] - numbers[1])
    return float(np.min(gaps, where=among, initial=np.inf))
