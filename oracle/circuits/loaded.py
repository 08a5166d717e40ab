"""A model's graph as the circuit compiler's loader leaves it, before any tensor has a scale.

The loader does away with much: a Gemm is a product and a sum, a division a product with the
reciprocal, constants of equal numbers are one, operators that change nothing are gone, and a
convolution takes the sum or the product that follows it into its bias and kernel. What is left
decides where the compiler rounds.

Shapes are those of one row. `moved` and `combined` work on rows in bulk: the row is an axis in
front of the shape, and constants are one row.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from oracle.circuits.lowering.graph import Node
from oracle.circuits.onnx import TAG

Array = npt.NDArray[Any]

#: Operators that move numbers, and change none.
MOVES = frozenset({"Concat", "Expand", "Gather", "Identity", "Reshape", "Slice", "Transpose"})
COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
#: Operators that are looked up in a table, whatever their argument's scale.
TABLES = frozenset({"Erf", "Exp", "HardSwish", "Log", "Power", "Sigmoid", "Tanh"})

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
_INTEGERS = (TensorProto.INT32, TensorProto.INT64)
#: By an input's type, the kind of its numbers.
_KINDS: Mapping[int, str] = {
    TensorProto.FLOAT: "f",
    TensorProto.BOOL: "b",
    **dict.fromkeys(_INTEGERS, "i"),
}


#: Operators of one number after the other, which the loader does of slices where only slices of
#: the result are needed.
_ELEMENTWISE = frozenset(
    {"Abs", "Add", "And", "InverseRoot", "Max", "Min", "Mul", "Neg", "Not", "Or", "Reciprocal",
     "Relu", "Sqrt", "Sub", "Xor"}
) | COMPARISONS | TABLES  # fmt: skip


class Unmodelled(Exception):
    """An operator, or a form of one, whose arithmetic in the circuit is not known here."""

    def __init__(self, operator: str) -> None:
        super().__init__(operator)
        self.operator = operator


@dataclass(slots=True)
class Value:
    """A tensor: the input, a constant, or an operator's result."""

    #: ``Input``, ``Constant`` or what computes it.
    operator: str
    #: Positions, in `Loaded.values`, of its arguments.
    inputs: tuple[int, ...]
    #: Of one row.
    shape: tuple[int, ...]
    #: ``f`` for floats, ``i`` for integers, ``b`` for bits.
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    #: The numbers of a constant, float32, int64 or bool.
    constant: Array | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A graph."""

    values: tuple[Value, ...]
    #: Positions of the input and of the outputs.
    input: int
    outputs: tuple[int, ...]
    #: Positions of the operators' results that the outputs need, in order.
    order: tuple[int, ...]
    #: Position of each tensor of the file, as far as it is computed.
    names: Mapping[str, int]
    #: How often each constant is an argument.
    uses: Mapping[int, int]


def load(data: bytes) -> Loaded:
    """The loader's graph of a model file in core operators.

    Raises:
        Unmodelled: it has an operator whose form is not known here.
    """
    return _Loader(onnx.load_model_from_string(data).graph).loaded()


def aligned(arrays: Sequence[Array]) -> list[Array]:
    """Rows [n, *shape] with as many dimensions each, ones put in front of the shapes."""
    most = max(array.ndim for array in arrays)
    return [
        array.reshape(array.shape[0], *(1,) * (most - array.ndim), *array.shape[1:])
        for array in arrays
    ]


def moved(value: Value, arguments: Sequence[Array]) -> Array:
    """The result [n, *shape] of an operator of `MOVES`, for arguments [n, *shape] of any type."""
    first, settings = arguments[0], value.settings
    found = first
    if value.operator == "Reshape":
        found = first.reshape(first.shape[0], *value.shape)
    elif value.operator == "Transpose":
        found = first.transpose(0, *(axis + 1 for axis in settings["order"]))
    elif value.operator == "Gather":
        found = np.take(first, settings["indices"], axis=settings["axis"] + 1)
    elif value.operator == "Slice":
        found = first[(slice(None), *settings["slices"])]
    elif value.operator == "Expand":
        found = np.broadcast_to(first, (first.shape[0], *value.shape))
    elif value.operator == "Concat":
        rows = max(each.shape[0] for each in arguments)
        parts = [np.broadcast_to(each, (rows, *each.shape[1:])) for each in arguments]
        found = np.concatenate(parts, axis=settings["axis"] + 1)
    return found


def windows(value: Value, x: Array) -> Array:
    """What a convolution multiplies with its kernel, [n, batch, groups, *places, numbers]."""
    pads, strides, group = (value.settings[name] for name in ("pads", "strides", "group"))
    rank = len(strides)
    before, after = pads[:rank], pads[rank:]
    found = np.pad(x, [(0, 0)] * 3 + list(zip(before, after, strict=True)))
    for axis, size in enumerate(value.settings["kernel"], 3):
        found = np.lib.stride_tricks.sliding_window_view(found, size, axis=axis)
    found = found[(slice(None),) * 3 + tuple(slice(None, None, stride) for stride in strides)]
    # [n, batch, channels, *places, *kernel]
    found = found.reshape(*found.shape[:2], group, -1, *found.shape[3:])
    found = np.moveaxis(found, 3, 3 + rank)
    return found.reshape(*found.shape[: 3 + rank], -1)


def filters(value: Value, kernel: Array) -> Array:
    """A kernel [filters, channels, *sizes] as [1, groups, numbers, filters of a group]."""
    group = value.settings["group"]
    return np.swapaxes(kernel.reshape(1, group, kernel.shape[0] // group, -1), 2, 3)


def convolved(value: Value, product: Callable[[Array, Array], Array], x: Array, k: Array) -> Array:
    """A convolution [n, batch, filters, *places] of x [n, batch, channels, *sizes].

    ``product`` multiplies matrices [..., places, numbers] and [1, groups, numbers, filters].
    """
    found = windows(value, x)
    places = found.shape[3:-1]
    flat = found.reshape(*found.shape[:3], -1, found.shape[-1])
    result = np.swapaxes(product(flat, filters(value, k)), -1, -2)
    return result.reshape(*result.shape[:2], -1, *places)


def _uniform(array: Array | None) -> float | None:
    """The number that all of a constant's are; None if there is none."""
    if array is None or not array.size or (array != array.flat[0]).any():
        return None
    return float(array.flat[0])


class _Loader:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._values: list[Value] = []
        self._names: dict[str, int] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], int] = {}
        self._made: dict[tuple[Any, ...], int] = {}
        for tensor in graph.initializer:
            self._names[tensor.name] = self._constant(numpy_helper.to_array(tensor))
        given = [v for v in graph.input if v.name not in self._names and v.name != TAG]
        kind = _KINDS.get(given[0].type.tensor_type.elem_type) if len(given) == 1 else None
        if kind is None:
            raise Unmodelled("inputs")
        shape = tuple(dim.dim_value or 1 for dim in given[0].type.tensor_type.shape.dim)
        self._input = self._append(Value("Input", (), shape, kind))
        self._names[given[0].name] = self._input

    def loaded(self) -> Loaded:
        rules = self._rules()
        for index, proto in enumerate(self._graph.node):
            node = Node(proto, index)
            rule = rules.get(node.key[1])
            if node.key[0] or rule is None or len(proto.output) != 1:
                raise Unmodelled(node.key[1])
            self._names[proto.output[0]] = rule(node)
        outputs = tuple(self._names[value.name] for value in self._graph.output)
        self._fuse(outputs)
        outputs = self._split(outputs)
        live = self._live(outputs)
        uses = Counter(
            argument
            for position in live
            for argument in self._values[position].inputs
            if self._values[argument].constant is not None
        )
        names = {name: position for name, position in self._names.items() if position in live}
        order = tuple(each for each in self._sorted(outputs) if self._values[each].inputs)
        return Loaded(tuple(self._values), self._input, outputs, order, names, uses)

    def _rules(self) -> Mapping[str, Callable[[Node], int]]:
        unary = ("Abs", "Ceil", "Erf", "Exp", "Floor", "HardSwish", "Log", "Neg", "Relu", "Round",
                 "Sigmoid", "Sqrt", "Tanh")  # fmt: skip
        rules: dict[str, Callable[[Node], int]] = dict.fromkeys(unary, self._unary)
        rules |= dict.fromkeys((*COMPARISONS, "And", "Or", "Xor"), self._bits)
        rules |= {"Max": self._extreme, "Min": self._extreme}
        return rules | {
            "Add": lambda node: self._sum("Add", *self._arguments(node)),
            "Cast": self._cast,
            "Concat": self._concat,
            "Conv": self._conv,
            "Div": self._divide,
            "Expand": self._expand,
            "Flatten": self._flatten,
            "Gather": self._gather,
            "Gemm": self._gemm,
            "Identity": lambda node: self._arguments(node)[0],
            "MatMul": lambda node: self._matmul(*self._arguments(node)),
            "Mul": lambda node: self._times(*self._arguments(node)),
            "Not": lambda node: self._add("Not", *self._arguments(node), kind="b"),
            "Pad": self._pad,
            "Pow": self._power,
            "Reciprocal": lambda node: self._add("Reciprocal", *self._arguments(node)),
            "ReduceMean": self._reduce,
            "ReduceSum": self._reduce,
            "Reshape": self._reshaped,
            "Slice": self._slice,
            "Softplus": self._softplus,
            "Squeeze": self._squeeze,
            "Sub": lambda node: self._sum("Sub", *self._arguments(node)),
            "Transpose": self._transpose,
            "Unsqueeze": self._unsqueeze,
            "Where": self._where,
        }

    # --- writing ----------------------------------------------------------------------------------

    def _append(self, value: Value) -> int:
        self._values.append(value)
        return len(self._values) - 1

    def _constant(self, array: Array) -> int:
        """A constant's position: those of equal numbers and shape are one."""
        if array.dtype.kind not in "fib":
            raise Unmodelled("Constant")
        array = array.astype({"f": np.float32, "i": np.int64, "b": np.bool_}[array.dtype.kind])
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            value = Value("Constant", (), array.shape, array.dtype.kind, constant=array)
            self._constants[key] = self._append(value)
        return self._constants[key]

    def _add(self, operator: str, *inputs: int, kind: str = "", **settings: Any) -> int:
        """An operator's result; the same one is computed once."""
        key = (operator, inputs, kind, repr(sorted(settings.items())))
        if key in self._made:
            return self._made[key]
        shapes = [self._values[each].shape for each in inputs]
        kind = kind or self._values[inputs[0]].kind
        value = Value(operator, inputs, (), kind, settings)
        value.shape = _shape(value, shapes)
        constants = [self._values[each].constant for each in inputs]
        if operator in MOVES and all(each is not None for each in constants):
            rows = [each[np.newaxis] for each in constants if each is not None]
            self._made[key] = self._constant(moved(value, rows)[0])
        elif (
            operator in {"Reshape", "Identity"}
            and value.shape == shapes[0]
            and (kind == self._values[inputs[0]].kind)
        ):
            self._made[key] = inputs[0]
        else:
            self._made[key] = self._append(value)
        return self._made[key]

    def _arguments(self, node: Node) -> list[int]:
        return [self._names[name] for name in node.inputs if name]

    def _known(self, position: int) -> Array | None:
        return self._values[position].constant

    def _integers(self, node: Node, position: int, attribute: str) -> list[int] | None:
        """Positions or axes, from a constant argument or an attribute; None if left out."""
        name = node.input(position)
        if not name:
            given = node.attribute(attribute)
            return None if given is None else [int(each) for each in given]
        known = self._known(self._names[name])
        if known is None:
            raise Unmodelled(node.key[1])
        return [int(each) for each in known.ravel()]

    def _ranked(self, *inputs: int) -> list[int]:
        """Arguments of as many dimensions each."""
        rank = max(len(self._values[each].shape) for each in inputs)
        found = []
        for each in inputs:
            shape = self._values[each].shape
            found.append(self._reshape(each, (*(1,) * (rank - len(shape)), *shape)))
        return found

    def _reshape(self, position: int, shape: tuple[int, ...]) -> int:
        return self._add("Reshape", position, shape=shape)

    # --- arithmetic -------------------------------------------------------------------------------

    def _unary(self, node: Node) -> int:
        return self._add(node.key[1], *self._arguments(node))

    def _bits(self, node: Node) -> int:
        return self._add(node.key[1], *self._ranked(*self._arguments(node)), kind="b")

    def _extreme(self, node: Node) -> int:
        arguments = self._arguments(node)
        if len(arguments) != 2:
            raise Unmodelled(node.key[1])
        return self._add(node.key[1], *self._ranked(*arguments))

    def _neutral(
        self, inputs: Sequence[int], number: float, positions: Sequence[int]
    ) -> int | None:
        """What is left of a pair whose member at one of ``positions`` is all ``number``."""
        for position in positions:
            this, other = (self._values[inputs[place]] for place in (position, 1 - position))
            fits = all(own in (1, its) for own, its in zip(this.shape, other.shape, strict=True))
            if _uniform(this.constant) == number and fits:
                return inputs[1 - position]
        return None

    def _sum(self, operator: str, *inputs: int) -> int:
        """Add and Sub."""
        pair = self._ranked(*inputs)
        constants = [self._known(each) for each in pair]
        if constants[0] is not None and constants[1] is not None:
            sign = 1 if operator == "Add" else -1
            return self._constant(constants[0] + sign * constants[1])
        left = self._neutral(pair, 0, (0, 1) if operator == "Add" else (1,))
        return self._add(operator, *pair) if left is None else left

    def _times(self, *inputs: int) -> int:
        pair = self._ranked(*inputs)
        constants = [self._known(each) for each in pair]
        if constants[0] is not None and constants[1] is not None:
            return self._constant(constants[0] * constants[1])
        left = self._neutral(pair, 1, (0, 1))
        if left is not None:
            return left
        known = next((each for each in constants if each is not None), None)
        if known is not None and (_uniform(known) == 0 or known.dtype.kind != "f"):
            raise Unmodelled("Mul")
        return self._add("Mul", *pair)

    def _divide(self, node: Node) -> int:
        first, second = self._arguments(node)
        if self._values[first].kind != "f":
            raise Unmodelled("Div")
        known = self._known(second)
        if known is None:
            return self._times(first, self._add("Reciprocal", second))
        return self._times(first, self._constant(np.float32(1) / known.astype(np.float32)))

    def _matmul(self, *inputs: int) -> int:
        if min(len(self._values[each].shape) for each in inputs) < 2:
            raise Unmodelled("MatMul")
        return self._add("MatMul", *self._ranked(*inputs))

    def _gemm(self, node: Node) -> int:
        arguments = self._arguments(node)
        for place, name in enumerate(("transA", "transB")):
            if node.attribute(name, 0):
                arguments[place] = self._add("Transpose", arguments[place], order=(1, 0))
        result = self._matmul(*arguments[:2])
        alpha, beta = (np.float32(node.attribute(name, 1.0)) for name in ("alpha", "beta"))
        if alpha != 1:
            result = self._times(self._constant(np.full((1, 1), alpha)), result)
        if len(arguments) < 3:
            return result
        return self._sum(
            "Add", result, self._times(self._constant(np.full((1, 1), beta)), arguments[2])
        )

    def _conv(self, node: Node) -> int:
        inputs = self._arguments(node)
        kernel = self._known(inputs[1])
        if kernel is None or node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise Unmodelled("Conv")
        if len(inputs) == 2:
            inputs.append(self._constant(np.zeros((), np.float32)))
        if self._known(inputs[2]) is None:
            raise Unmodelled("Conv")
        rank = kernel.ndim - 2
        if set(node.attribute("dilations", [1])) != {1}:
            raise Unmodelled("Conv")
        strides = tuple(node.attribute("strides", [1] * rank))
        pads = tuple(node.attribute("pads", [0] * 2 * rank))
        group = node.attribute("group", 1)
        size = kernel.shape[2:]
        if math.prod(size) == 1 and group == 1 and not any(pads) and set(strides) == {1}:
            # A product, and a sum that is one more operator.
            return self._pointwise(inputs, kernel)
        return self._add("Conv", *inputs, strides=strides, pads=pads, group=group, kernel=size)

    def _pointwise(self, inputs: Sequence[int], kernel: Array) -> int:
        shape = self._values[inputs[0]].shape
        rank = len(shape)
        last = self._add("Transpose", inputs[0], order=(0, *range(2, rank), 1))
        weights = kernel.reshape(kernel.shape[:2]).T.reshape(
            *(1,) * (rank - 2), *kernel.shape[1::-1]
        )
        result = self._add("MatMul", last, self._constant(np.ascontiguousarray(weights)))
        result = self._add("Transpose", result, order=(0, rank - 1, *range(1, rank - 1)))
        bias = self._known(inputs[2])
        if bias is None or not bias.any():
            return result
        return self._sum("Add", result, self._constant(bias.reshape(1, -1, *(1,) * (rank - 2))))

    def _power(self, node: Node) -> int:
        base, exponents = self._arguments(node)
        if self._known(exponents) is None:
            number = _uniform(self._known(base))
            if number is None or self._values[base].constant is None:
                raise Unmodelled("Pow")
            return self._add("Exp", exponents, base=number)
        exponent = _uniform(self._known(exponents))
        if exponent == 1:
            return base
        if exponent == 2:
            return self._times(base, base)
        if exponent == 0.5:
            return self._add("Sqrt", base)
        if exponent is None or (exponent == int(exponent)):
            raise Unmodelled("Pow")
        return self._add("Power", base, exponent=exponent)

    def _softplus(self, node: Node) -> int:
        raised = self._add("Exp", *self._arguments(node))
        return self._add("Log", self._sum("Add", raised, self._constant(np.ones(1, np.float32))))

    def _reduce(self, node: Node) -> int:
        (x, *_) = self._arguments(node)
        shape = self._values[x].shape
        given = self._integers(node, 1, "axes")
        if given is None and node.attribute("noop_with_empty_axes", 0):
            return x
        axes = tuple(sorted(axis % len(shape) for axis in given or range(len(shape))))
        result = self._add("Sum", x, axes=axes)
        if node.key[1] == "ReduceMean":
            count = math.prod(shape[axis] for axis in axes)
            result = self._times(result, self._constant(np.full(1, 1 / count, np.float32)))
        if node.attribute("keepdims", 1):
            return result
        return self._reshape(result, tuple(n for axis, n in enumerate(shape) if axis not in axes))

    def _where(self, node: Node) -> int:
        bit, true, false = self._ranked(*self._arguments(node))
        kinds = {self._values[each].kind for each in (true, false)}
        if len(kinds) != 1:
            raise Unmodelled("Where")
        return self._add("Where", bit, true, false, kind=kinds.pop())

    def _cast(self, node: Node) -> int:
        (x,) = self._arguments(node)
        value, wanted = self._values[x], node.attribute("to")
        known = value.constant
        if wanted in _FLOATS:
            if known is not None:
                return self._constant(known.astype(np.float32))
            return x if value.kind == "f" else self._add("Identity", x, kind="f")
        if wanted in _INTEGERS:
            if known is not None:
                return self._constant(known.astype(np.int64))
            if value.kind == "f":
                return self._add("Whole", x, kind="i")
            return x if value.kind == "i" else self._add("Identity", x, kind="i")
        raise Unmodelled("Cast")

    # --- moves ------------------------------------------------------------------------------------

    def _concat(self, node: Node) -> int:
        inputs = self._arguments(node)
        axis = node.attribute("axis") % len(self._values[inputs[0]].shape)
        return self._add("Concat", *inputs, axis=axis)

    def _gather(self, node: Node) -> int:
        x, indices = self._arguments(node)
        known = self._known(indices)
        axis = node.attribute("axis", 0) % len(self._values[x].shape)
        if known is None or (known < -1).any():
            raise Unmodelled("Gather")
        size = self._values[x].shape[axis]
        places = np.where(known < 0, size - 1, known)
        return self._add("Gather", x, axis=axis, indices=places.tolist())

    def _reshaped(self, node: Node) -> int:
        x = self._arguments(node)[0]
        shape, wanted = self._values[x].shape, self._integers(node, 1, "shape")
        if wanted is None or node.attribute("allowzero", 0):
            raise Unmodelled("Reshape")
        sizes = [shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
        rest = math.prod(size for size in sizes if size >= 0)
        return self._reshape(
            x, tuple(math.prod(shape) // rest if size < 0 else size for size in sizes)
        )

    def _flatten(self, node: Node) -> int:
        (x,) = self._arguments(node)
        shape = self._values[x].shape
        axis = node.attribute("axis", 1)
        axis = axis if axis >= 0 else axis + len(shape)
        return self._reshape(x, (math.prod(shape[:axis]), math.prod(shape[axis:])))

    def _squeeze(self, node: Node) -> int:
        x = self._arguments(node)[0]
        shape, axes = self._values[x].shape, self._integers(node, 1, "axes")
        gone = {a for a, n in enumerate(shape) if n == 1}
        if axes is not None:
            gone = {axis % len(shape) for axis in axes}
        return self._reshape(x, tuple(n for axis, n in enumerate(shape) if axis not in gone))

    def _unsqueeze(self, node: Node) -> int:
        x = self._arguments(node)[0]
        shape, axes = self._values[x].shape, self._integers(node, 1, "axes")
        if axes is None:
            raise Unmodelled("Unsqueeze")
        rank = len(shape) + len(axes)
        new, sizes = {axis % rank for axis in axes}, iter(shape)
        return self._reshape(x, tuple(1 if axis in new else next(sizes) for axis in range(rank)))

    def _transpose(self, node: Node) -> int:
        (x,) = self._arguments(node)
        rank = len(self._values[x].shape)
        order = tuple(node.attribute("perm", range(rank)[::-1]))
        return x if order == tuple(range(rank)) else self._add("Transpose", x, order=order)

    def _slice(self, node: Node) -> int:
        x = self._arguments(node)[0]
        shape = self._values[x].shape
        starts, ends, axes, steps = (
            self._integers(node, place, name)
            for place, name in enumerate(("starts", "ends", "axes", "steps"), 1)
        )
        if starts is None or ends is None or set(steps or [1]) != {1}:
            raise Unmodelled("Slice")
        slices = [slice(0, n) for n in shape]
        for axis, start, end in zip(axes or range(len(starts)), starts, ends, strict=True):
            slices[axis] = slice(*slice(start, end).indices(shape[axis]))
        return self._add("Slice", x, slices=tuple(slices))

    def _expand(self, node: Node) -> int:
        x = self._arguments(node)[0]
        wanted = self._integers(node, 1, "shape")
        shape = np.broadcast_shapes(self._values[x].shape, tuple(wanted or ()))
        (x,) = self._ranked(x, self._constant(np.zeros(shape, np.float32)))[:1]
        return x if shape == self._values[x].shape else self._add("Expand", x, shape=shape)

    def _pad(self, node: Node) -> int:
        x = self._arguments(node)[0]
        shape, pads = self._values[x].shape, self._integers(node, 1, "pads")
        filling = self._known(self._names[node.input(2)]) if node.input(2) else None
        zero = filling is None or not filling.any()
        if pads is None or node.attribute("mode", "constant") != "constant" or not zero:
            raise Unmodelled("Pad")
        if min(pads) < 0 or node.input(3):
            raise Unmodelled("Pad")
        pairs = tuple(zip(pads[: len(shape)], pads[len(shape) :], strict=True))
        return self._add("Pad", x, pads=pairs)

    # --- what the loader fuses --------------------------------------------------------------------

    def _live(self, outputs: Sequence[int]) -> set[int]:
        live, waiting = {self._input}, list(outputs)
        while waiting:
            position = waiting.pop()
            if position not in live:
                live.add(position)
                waiting += self._values[position].inputs
        return live

    def _sorted(self, outputs: Sequence[int]) -> list[int]:
        """What the outputs need, arguments before what is made of them."""
        found: dict[int, None] = {}
        waiting = [(position, False) for position in reversed(outputs)]
        while waiting:
            position, is_ready = waiting.pop()
            if is_ready:
                found[position] = None
            elif position not in found:
                inputs = self._values[position].inputs
                waiting += [(position, True), *((each, False) for each in reversed(inputs))]
        return list(found)

    def _fuse(self, outputs: tuple[int, ...]) -> None:
        """Rewrite, in place, results that are made of one that nothing else needs."""
        changed = True
        while changed:
            changed = False
            live = self._live(outputs)
            users = Counter(each for position in live for each in self._values[position].inputs)
            for position in sorted(live):
                value = self._values[position]
                alone = [
                    place
                    for place, each in enumerate(value.inputs)
                    if users[each] == 1 and each not in outputs
                ]
                changed |= any(self._fused(value, place) for place in alone)

    def _split(self, outputs: tuple[int, ...]) -> tuple[int, ...]:
        """Do operators of whose results only slices are needed of slices, each by itself.

        A constant that all of them need is then used several times. The outputs' positions.
        """
        while True:
            users: dict[int, list[int]] = {}
            order = self._sorted(outputs)
            for position in order:
                for each in self._values[position].inputs:
                    users.setdefault(each, []).append(position)
            for position in order:
                cut = self._cut(position, users.get(position, []))
                if cut is None or position in outputs:
                    continue
                axis, bounds = cut
                pieces = {
                    span: self._piece(position, axis, *span) for span in itertools.pairwise(bounds)
                }
                for user in users[position]:
                    _, start, end = self._slice_of(user) or (0, 0, 0)
                    inside = [pieces[s] for s in pieces if start <= s[0] and s[1] <= end]
                    new = inside[0] if len(inside) == 1 else self._add("Concat", *inside, axis=axis)
                    for value in self._values:
                        value.inputs = tuple(new if each == user else each for each in value.inputs)
                    outputs = tuple(new if each == user else each for each in outputs)
                break
            else:
                return outputs

    def _slice_of(self, position: int) -> tuple[int, int, int] | None:
        """Axis, start and end, if all that a value does is to take a slice of its argument."""
        value = self._values[position]
        if value.operator == "Gather":
            indices = value.settings["indices"]
            if isinstance(indices, list) and len(indices) == 1 and isinstance(indices[0], int):
                return value.settings["axis"], indices[0], indices[0] + 1
        if value.operator == "Slice":
            shape = self._values[value.inputs[0]].shape
            cut = [
                (axis, each.start, each.stop)
                for axis, (each, n) in enumerate(zip(value.settings["slices"], shape, strict=True))
                if (each.start, each.stop) != (0, n)
            ]
            if len(cut) == 1:
                return cut[0]
        return None

    def _cut(self, position: int, users: Sequence[int]) -> tuple[int, list[int]] | None:
        """Where an operator's result is cut, if only slices along one axis are needed of it."""
        value = self._values[position]
        slices = [self._slice_of(user) for user in users]
        known = [each for each in slices if each is not None]
        if value.operator not in _ELEMENTWISE or not known or len(known) < len(slices):
            return None
        axis, size = known[0][0], value.shape[known[0][0]]
        if any(each[0] != axis for each in known):
            return None
        bounds = sorted({0, size, *(end for each in known for end in each[1:])})
        return (axis, bounds) if len(bounds) > 2 else None

    def _piece(self, position: int, axis: int, start: int, end: int) -> int:
        """The operator of slices of its arguments, as far as they are longer than one."""
        value = self._values[position]
        inputs = []
        for each in value.inputs:
            shape = self._values[each].shape
            slices = tuple(
                slice(start, end) if place == axis else slice(0, n) for place, n in enumerate(shape)
            )
            inputs.append(each if shape[axis] == 1 else self._add("Slice", each, slices=slices))
        return self._add(value.operator, *inputs, kind=value.kind, **value.settings)

    def _fused(self, value: Value, place: int) -> bool:
        """Whether a result now takes on what made its argument, which only it needs."""
        before = self._values[value.inputs[place]]
        if value.operator == "Reciprocal" and before.operator == "Sqrt":
            value.operator, value.inputs = "InverseRoot", before.inputs
            return True
        if before.operator == "Conv" and value.operator in ("Add", "Sub", "Mul"):
            return self._into_conv(value, before, place)
        if value.operator == "Mul" and before.operator == "Sum":
            return self._mean_of_squares(value, before, place)
        return False

    def _into_conv(self, value: Value, conv: Value, place: int) -> bool:
        """A channel's own summand or factor, in the bias and the kernel."""
        known = self._known(value.inputs[1 - place])
        kernel, bias = (self._known(each) for each in conv.inputs[1:])
        if known is None or kernel is None or bias is None or conv.settings["group"] != 1:
            return False
        if known.shape != (1, len(kernel), *(1,) * (kernel.ndim - 2)):
            return False
        flat = known.ravel()
        bias = np.broadcast_to(bias, flat.shape)
        if value.operator == "Add":
            bias = bias + flat
        elif value.operator == "Mul":
            bias, kernel = bias * flat, kernel * flat.reshape(-1, *(1,) * (kernel.ndim - 1))
        elif place == 0:
            bias = bias - flat
        else:
            return False
        inputs = (conv.inputs[0], self._constant(kernel), self._constant(bias))
        value.operator, value.inputs, value.settings = "Conv", inputs, conv.settings
        return True

    def _mean_of_squares(self, value: Value, total: Value, place: int) -> bool:
        square = self._values[total.inputs[0]]
        share = _uniform(self._known(value.inputs[1 - place]))
        if square.operator != "Mul" or square.inputs[0] != square.inputs[1]:
            return False
        count = math.prod(square.shape) // math.prod(total.shape)
        if share is None or np.float32(share) != np.float32(1) / np.float32(count):
            return False
        value.operator, value.inputs = "MeanOfSquares", square.inputs[:1]
        value.settings = {"axes": total.settings["axes"], "count": count}
        return True


def _shape(value: Value, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of a result, from those of its arguments."""
    settings, first = value.settings, shapes[0]
    if value.operator in ("Reshape", "Expand"):
        found = tuple(settings["shape"])
    elif value.operator in MOVES:
        found = moved(value, [np.empty((1, *shape), np.bool_) for shape in shapes]).shape[1:]
    elif value.operator == "MatMul":
        second = shapes[1]
        if first[-1] != second[-2]:
            raise Unmodelled("MatMul")
        found = (*np.broadcast_shapes(first[:-2], second[:-2]), first[-2], second[-1])
    elif value.operator == "Conv":
        places = windows(value, np.empty((1, *first), np.bool_)).shape[3:-1]
        found = (first[0], shapes[1][0], *places)
    elif value.operator == "Sum":
        found = tuple(1 if axis in settings["axes"] else n for axis, n in enumerate(first))
    elif value.operator == "Pad":
        found = tuple(n + sum(pair) for n, pair in zip(first, settings["pads"], strict=True))
    else:
        found = np.broadcast_shapes(*shapes)
    return tuple(found)
