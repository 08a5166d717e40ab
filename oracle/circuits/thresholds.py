"""Comparisons of an input with a constant, made exact in fixed point.

A tree asks ``x <= t``. A circuit rounds ``t`` to its grid, and for numbers between the two it answers
otherwise than the model: for a tree, by a whole leaf. But a request carries numbers of the same grid,
and for these the comparison has an exact counterpart: the last number of the grid that the float
model counts as below takes the place of ``t``. Scalers and other affine steps between the input and
the comparison are looked through: in float32 they are rising or falling functions of one number, so
that the last number is found by bisection, evaluated as onnxruntime evaluates them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from oracle.circuits.lowering.graph import CORE, Node, live, prune
from oracle.circuits.onnx import Model

Integers = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]

#: Operators that only move numbers; all but their first input are constants.
_MOVES = frozenset(
    {"Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
_AFFINE = frozenset({"Add", "Div", "Mul", "Sub"})
#: By comparison, the one of exchanged arguments.
_EXCHANGED = {
    "Less": "Greater",
    "LessOrEqual": "GreaterOrEqual",
    "Greater": "Less",
    "GreaterOrEqual": "LessOrEqual",
}
_BELOW = ("Less", "LessOrEqual")
_Compare = Callable[[Singles, Singles], npt.NDArray[np.bool_]]
_Combine = Callable[[Singles, Singles], Singles]
_COMPARED: Mapping[str, _Compare] = {
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
}
#: Operators that round nothing, and of these those that give whole numbers or bits.
_KEEP_EXACT = (
    _MOVES
    | {"Abs", "Add", "And", "ArgMax", "Cast", "Ceil", "Concat", "Equal", "Floor", "Greater"}
    | {"GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Neg", "Not", "Or", "Relu"}
    | {"ReduceMax", "ReduceMin", "ReduceSum", "Round", "Sign", "Sub", "Where", "Xor"}
)
_MAKE_WHOLE = frozenset(
    {"And", "ArgMax", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less"}
    | {"LessOrEqual", "Not", "Or", "Round", "Sign", "Xor"}
)
#: What jumps where its argument passes a whole number, or a half.
_STEPS = frozenset({"Ceil", "Floor", "Round", "Sign"})


@dataclass(frozen=True, slots=True)
class Jump:
    """An operator whose result jumps with numbers that the model computes."""

    operator: str
    #: Names of the compared tensors, or of the one that is rounded.
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """An affine step, with its constant in the shape of the tensor."""

    operator: str
    values: Singles
    #: The constant is the first argument.
    first: bool

    def __call__(self, x: Singles) -> Singles:
        one, other = (self.values, x) if self.first else (x, self.values)
        with np.errstate(all="ignore"):
            result = _NUMPY[self.operator](one, other)
        return np.asarray(result, dtype=np.float32)

    @property
    def signs(self) -> npt.NDArray[np.float64]:
        """1 where it rises, -1 where it falls, 0 where it is constant."""
        if self.operator in ("Mul", "Div"):
            return np.sign(self.values).astype(np.float64)
        falls = self.operator == "Sub" and self.first
        return np.full(self.values.shape, -1.0 if falls else 1.0)


_NUMPY: Mapping[str, _Combine] = {
    "Add": np.add,
    "Div": np.divide,
    "Mul": np.multiply,
    "Sub": np.subtract,
}


@dataclass(frozen=True, slots=True)
class _Traced:
    """A tensor each of whose numbers is an affine function of one input element."""

    #: Which element, in the tensor's shape for one row.
    elements: Integers
    steps: tuple[_Step, ...] = ()

    def __call__(self, x: Singles) -> Singles:
        """The tensor's numbers where the elements are ``x``, in its shape."""
        return functools.reduce(lambda value, step: step(value), self.steps, x)


def snap(model: Model, scale: int, bounds: Sequence[tuple[int, int]]) -> Model:
    """The model whose comparisons of inputs decide on the grid as the float model does.

    Args:
        model: its comparisons are those of the file.
        scale: fractional bits of the inputs.
        bounds: least and greatest fixed-point number of each input element.
    """
    proto = onnx.load_model_from_string(model.data)
    edit = _Edit(proto, model.input_name, model.input_length)
    if not edit.exact:
        return model
    edit.snap(scale, np.asarray(bounds, dtype=np.int64))
    return dataclasses.replace(model, data=bytes(proto.SerializeToString(deterministic=True)))


def jumps(model: Model, scores: str) -> tuple[Jump, ...]:
    """What jumps, on the way to the tensor ``scores``, with other numbers than the inputs."""
    proto = onnx.load_model_from_string(model.data)
    edit = _Edit(proto, model.input_name, model.input_length)
    del proto.graph.output[:]
    proto.graph.output.append(onnx.ValueInfoProto(name=scores))
    needed = live(proto.graph)
    exactly = _Exactly(proto.graph, model.input_name, edit.exact)
    found = []
    for node in proto.graph.node:
        exact = exactly.add(node)
        # What is compared with itself never changes its mind.
        if needed.isdisjoint(node.output) or exact or len(set(node.input)) < len(node.input):
            continue
        if node.op_type in (*_COMPARED, "Equal") or node.op_type in _STEPS:
            found.append(Jump(node.op_type, tuple(node.input)))
    return tuple(found)


class _Exactly:
    """Which tensors a circuit computes as the float model does, to the last bit, at any scale."""

    def __init__(self, graph: onnx.GraphProto, input_name: str, compared: Container[str]) -> None:
        self._compared = compared
        #: Whole numbers, and others that are exact.
        self._whole: set[str] = set()
        self._exact = {input_name}
        for value in graph.input:
            if value.type.tensor_type.elem_type != TensorProto.FLOAT:
                self._whole.add(value.name)
        for each in graph.initializer:
            values = numpy_helper.to_array(each)
            if values.dtype.kind in "iub" or (
                values.dtype.kind == "f" and np.array_equal(values, np.rint(values))
            ):
                self._whole.add(each.name)
        self._exact |= self._whole

    def add(self, node: onnx.NodeProto) -> bool:
        """Whether a node's result is exact."""
        inputs = [name for name in node.input if name]
        moved = inputs[:1] if node.op_type in _MOVES else inputs
        exact = all(name in self._exact for name in moved)
        whole = all(name in self._whole for name in moved)
        known = node.domain in CORE and node.op_type in _KEEP_EXACT
        if node.op_type == "Mul":
            # Of two numbers with fractions the product is rounded.
            exact = exact and any(name in self._whole for name in inputs)
        if node.op_type == "Cast" and not _is_float(node):
            # What is behind it was made whole, or is a bit.
            exact = whole
        if node.op_type in _MAKE_WHOLE or node.output[0] in self._compared:
            whole = exact = exact or node.output[0] in self._compared
        if known and exact:
            self._exact.update(node.output)
            if whole:
                self._whole.update(node.output)
        return known and exact


def _is_float(node: onnx.NodeProto) -> bool:
    return bool(Node(node, 0).attribute("to") == TensorProto.FLOAT)


def _broadcast(traced: _Traced, shape: tuple[int, ...]) -> _Traced:
    return _Traced(
        np.broadcast_to(traced.elements, shape),
        tuple(
            dataclasses.replace(step, values=np.broadcast_to(step.values, shape))
            for step in traced.steps
        ),
    )


class _Edit:
    """A graph, and what is known of its tensors."""

    def __init__(self, proto: onnx.ModelProto, input_name: str, length: int) -> None:
        self._proto = proto
        self._graph = proto.graph
        self._input = input_name
        self._constants = {
            each.name: numpy_helper.to_array(each) for each in proto.graph.initializer
        }
        self._traced = {input_name: _Traced(np.arange(length).reshape(1, length))}
        #: By result, comparisons that have an exact counterpart.
        self.exact: dict[str, tuple[str, _Traced, Singles]] = {}
        needed = live(proto.graph)
        for index, each in enumerate(proto.graph.node):
            node = Node(each, index)
            if needed.isdisjoint(each.output) or node.key[0]:
                continue
            if node.key[1] in (*_COMPARED, "Equal"):
                self._compare(node)
            elif (traced := self._trace(node)) is not None:
                self._traced[each.output[0]] = traced

    # --- reading ----------------------------------------------------------------------------------

    def _trace(self, node: Node) -> _Traced | None:
        operator, source = node.key[1], self._traced.get(node.input(0))
        if operator == "Cast":
            return source if node.attribute("to") == TensorProto.FLOAT else None
        if operator in _MOVES:
            if source is None or any(name not in self._constants for name in node.inputs[1:]):
                return None
            return self._moved(node, source)
        if operator == "Neg" and source is not None:
            zeros = np.zeros(source.elements.shape, dtype=np.float32)
            # Zero minus x is minus x but for the sign of zero, which no comparison sees.
            return _Traced(source.elements, (*source.steps, _Step("Sub", zeros, first=True)))
        if operator in _AFFINE:
            return self._affine(node)
        return self._picked(node) if operator == "MatMul" else None

    def _affine(self, node: Node) -> _Traced | None:
        known = [self._constants.get(name) for name in node.inputs]
        position = 1 if known[0] is not None else 0
        source, values = self._traced.get(node.input(position)), known[1 - position]
        if source is None or values is None or values.dtype != np.float32:
            return None
        if node.key[1] == "Div" and position == 1:
            # It has a pole.
            return None
        shape = np.broadcast_shapes(source.elements.shape, values.shape)
        step = _Step(node.key[1], np.broadcast_to(values, shape), first=position == 1)
        wide = _broadcast(source, shape)
        return _Traced(wide.elements, (*wide.steps, step))

    def _picked(self, node: Node) -> _Traced | None:
        """A product with a matrix that has one number in each column: a choice of elements."""
        source, weights = self._traced.get(node.input(0)), self._constants.get(node.input(1))
        if source is None or weights is None or weights.dtype != np.float32 or weights.ndim != 2:
            return None
        if source.elements.ndim != 2 or set(np.count_nonzero(weights, axis=0)) != {1}:
            return None
        rows = np.argmax(weights != 0, axis=0)
        factors = weights[rows, np.arange(weights.shape[1])][np.newaxis]
        picked = _Traced(
            source.elements[:, rows],
            tuple(dataclasses.replace(s, values=s.values[:, rows]) for s in source.steps),
        )
        if np.all(factors == 1):
            return picked
        return _Traced(picked.elements, (*picked.steps, _Step("Mul", factors, first=False)))

    def _moved(self, node: Node, source: _Traced) -> _Traced:
        def move(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
            return self._run(node.proto, values)

        return _Traced(
            np.asarray(move(source.elements), dtype=np.int64),
            tuple(
                dataclasses.replace(step, values=np.asarray(move(step.values), dtype=np.float32))
                for step in source.steps
            ),
        )

    def _run(
        self, node: onnx.NodeProto, values: npt.NDArray[np.generic]
    ) -> npt.NDArray[np.generic]:
        """What a move makes of an array."""
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        constants = [
            numpy_helper.from_array(self._constants[name], name)
            for name in dict.fromkeys(node.input[1:])
            if name
        ]
        graph = helper.make_graph(
            [node],
            "move",
            [helper.make_tensor_value_info(node.input[0], kind, values.shape)],
            [helper.make_tensor_value_info(node.output[0], kind, None)],
            constants,
        )
        opsets = [each for each in self._proto.opset_import if each.domain in CORE]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        (found,) = ReferenceEvaluator(model).run(None, {node.input[0]: values})
        return np.asarray(found)

    def _compare(self, node: Node) -> None:
        operator = node.key[1]
        for position, other in ((0, 1), (1, 0)):
            traced = self._traced.get(node.input(position))
            values = self._constants.get(node.input(other))
            if traced is None or values is None or values.dtype != np.float32:
                continue
            traced = _broadcast(traced, np.broadcast_shapes(traced.elements.shape, values.shape))
            # Steps may make several numbers of the grid equal to one.
            if not self._rises(traced) or (operator == "Equal" and traced.steps):
                continue
            operator = operator if position == 0 else _EXCHANGED.get(operator, operator)
            bound = np.broadcast_to(values, traced.elements.shape)
            self.exact[node.proto.output[0]] = (operator, traced, bound)

    @staticmethod
    def _rises(traced: _Traced) -> bool:
        """Whether no two numbers of the tensor go opposite ways."""
        signs = functools.reduce(
            lambda sign, step: sign * step.signs, traced.steps, np.ones(traced.elements.shape)
        )
        finite = all(np.isfinite(step.values).all() for step in traced.steps)
        return finite and not (np.any(signs > 0) and np.any(signs < 0))

    # --- writing ----------------------------------------------------------------------------------

    def snap(self, scale: int, bounds: Integers) -> None:
        """Write the exact counterparts."""
        self._scale, self._bounds = scale, bounds
        taken = {name for node in self._graph.node for name in (*node.input, *node.output)}
        taken |= {value.name for value in self._graph.input} | set(self._constants)
        self._stem = "snapped"
        while any(name.startswith(self._stem) for name in taken):
            self._stem += "_"
        self._count = 0
        #: By the elements' shape and bytes, the tensor of raw inputs.
        self._raw: dict[tuple[tuple[int, ...], bytes], str] = {}
        nodes: list[onnx.NodeProto] = []
        for node in self._graph.node:
            known = self.exact.get(node.output[0]) if node.output else None
            nodes += [node] if known is None else self._snapped(node, *known)
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        prune(self._graph)

    def _snapped(
        self, node: onnx.NodeProto, operator: str, traced: _Traced, bound: Singles
    ) -> list[onnx.NodeProto]:
        made: list[onnx.NodeProto] = []
        raw = node.input[0] if node.input[0] in self._traced else node.input[1]
        if operator == "Equal":
            numbers = np.ldexp(bound.astype(np.float64), self._scale)
            beyond = self._bounds[traced.elements, 1] + 1
            # What is no number of the grid is equal to none of it.
            numbers = np.where(numbers == np.rint(numbers), numbers, beyond)
            constant = self._constant(self._real(numbers))
            return [helper.make_node("Equal", [raw, constant], node.output, name=node.name)]
        last, below = self._last(operator, traced, bound)
        if traced.steps:
            raw = self._raw_tensor(traced.elements, made)
        strict = operator in ("Less", "Greater")
        # Below: x <= last, or x < last + 1. Above: x > last, or x >= last + 1.
        moved = last + (1 if strict == below else 0)
        result = {
            (True, True): "Less",
            (True, False): "LessOrEqual",
            (False, True): "Greater",
            (False, False): "GreaterOrEqual",
        }[below, strict]
        made.append(
            helper.make_node(
                result, [raw, self._constant(self._real(moved))], node.output, name=node.name
            )
        )
        return made

    def _last(self, operator: str, traced: _Traced, bound: Singles) -> tuple[Integers, bool]:
        """The last number of the grid on the lower side, and whether the lower side holds."""

        def holds(numbers: Integers) -> npt.NDArray[np.bool_]:
            return np.asarray(
                _COMPARED[operator](traced(self._real(numbers)), bound), dtype=np.bool_
            )

        least, most = (self._bounds[traced.elements, side] for side in (0, 1))
        signs = functools.reduce(
            lambda sign, step: sign * step.signs, traced.steps, np.ones(traced.elements.shape)
        )
        below = (operator in _BELOW) != bool(np.any(signs < 0))
        # Invariant: what is at or below `low` is on the lower side, what is above `high` is not.
        low, high = least - 1, most.copy()
        while np.any(low < high):
            middle = -((-low - high) // 2)
            lower = holds(middle) == below
            low = np.where(lower, middle, low)
            high = np.where(lower, high, middle - 1)
        return low, below

    def _real(self, numbers: npt.NDArray[Any]) -> Singles:
        """Numbers of the grid as float32."""
        return np.ldexp(numbers.astype(np.float64), -self._scale).astype(np.float32)

    def _raw_tensor(self, elements: Integers, made: list[onnx.NodeProto]) -> str:
        """The name of a tensor of input elements; its nodes go to ``made``."""
        key = (elements.shape, elements.tobytes())
        if key not in self._raw:
            flat = self._constant(elements.ravel())
            name = self._next()
            made.append(helper.make_node("Gather", [self._input, flat], [name], name=name, axis=1))
            if elements.ndim != 2:
                shape = self._constant(np.asarray([0, *elements.shape[1:]], dtype=np.int64))
                shaped = self._next()
                made.append(helper.make_node("Reshape", [name, shape], [shaped], name=shaped))
                name = shaped
            self._raw[key] = name
        return self._raw[key]

    def _constant(self, values: npt.NDArray[np.generic]) -> str:
        name = self._next()
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _next(self) -> str:
        self._count += 1
        return f"{self._stem}{self._count}"
