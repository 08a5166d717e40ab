"""Fixed-point arithmetic laid out by us: where a circuit rounds, and what it looks up.

ezkl gives every tensor a scale, its fractional bits, and rounds whatever passes one global scale
after each product: 46 rows an element, where a product itself takes one. It also has one scale for
inputs and weights alike. Here the graph is written again so that a `Plan` decides instead:

- Weights are multiplied by powers of two and declared with a negative scale. The scale that ezkl
  sees (*declared*) of a product then never passes its limit, whatever the number's *true* scale.
- A product with a power of two below one changes the declared scale and no number. Raised above
  the limit, the next operator's result is rounded down to the limit: a rescaling where we want it.
- At a declared scale of zero a table of ``HardSwish`` is exactly ``Relu`` of whole numbers, and one
  of ``Sigmoid`` exactly the step at zero: one row in place of 12 and 23.

For onnxruntime the result is the same function: every power of two is taken back at the output.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from oracle.circuits.folding import folded
from oracle.circuits.lowering.graph import CORE, Node, prune
from oracle.circuits.lowering.names import unused_stem
from oracle.circuits.onnx import Model
from oracle.circuits.plan import Plan
from oracle.circuits.roots import tabulate

Array = npt.NDArray[Any]

#: Operators that only move numbers; all but their first input are constants.
_MOVES = frozenset(
    {"Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
#: Functions that are looked up at the scale of their argument, which is also their result's.
CURVES = frozenset({"Erf", "Exp", "Log", "Pow", "Sigmoid", "Tanh"})
COMPARISONS = frozenset({"Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
#: Operators that add up or move numbers.
SUMS = _MOVES | {"Add", "Cast", "Concat", "Neg", "ReduceSum", "Sub"}


#: Types of numbers that a cast between them leaves as they are, within the promised range.
_INTEGERS = frozenset(
    {
        TensorProto.INT8,
        TensorProto.INT16,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.UINT8,
        TensorProto.UINT16,
        TensorProto.UINT32,
    }
)


class Unplannable(Exception):
    """The graph has something that only ezkl's own scales serve, or a plan does not fit it."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of numbers ``value * 2**true``, which ezkl takes for ``number / 2**declared``."""

    name: str
    declared: int
    true: int
    #: The original tensor: its shape and the size of its values are known by this name.
    original: str
    #: The operator, by its result, whose product made the true scale what it is.
    origin: str = ""


class Decisions(Protocol):
    """Where to round and what to look up."""

    @property
    def scales(self) -> Plan:
        """Of this plan the scales alone count."""

    def rounds(self, node: Node, position: int, tensor: Tensor, raised: int) -> int | None:
        """Fractional bits to which an argument is rounded before an operator; None: it is not.

        The operator adds ``raised`` bits to it. The answer is below the argument's true scale.
        """

    def looks_up(self, node: Node, arguments: Sequence[Tensor]) -> bool:
        """Whether a curve, Relu or comparison is looked up."""

    def weight_scale(self, node: Node, tensor: Tensor) -> int:
        """Fractional bits of the weights that a tensor is multiplied with."""

    def holds(self, tensor: Tensor) -> None:
        """Told of every tensor whose numbers have to fit the circuit."""


class _Planned:
    """Decisions as a plan records them."""

    def __init__(self, plan: Plan) -> None:
        self.scales = plan
        self._rounded = {(name, position): bits for name, position, bits in plan.rounded}
        self._weight_scales = dict(plan.weight_scales)

    def rounds(self, node: Node, position: int, tensor: Tensor, _raised: int) -> int | None:
        true = self._rounded.get((node.proto.output[0], position), tensor.true)
        return true if true < tensor.true else None

    def looks_up(self, node: Node, _arguments: Sequence[Tensor]) -> bool:
        return node.proto.output[0] in self.scales.looked_up

    def weight_scale(self, node: Node, _tensor: Tensor) -> int:
        return self._weight_scales.get(node.proto.output[0], self.scales.weight_scale)

    def holds(self, _tensor: Tensor) -> None:
        pass


class Work(StrEnum):
    """What a plan costs beside the operators themselves, for each element of a tensor."""

    #: A product that changes a scale.
    SCALE = "scale"
    ROUND = "round"
    RELU = "relu"
    COMPARE = "compare"


@dataclass(frozen=True, slots=True)
class Source:
    """A model file, read once for all the plans that are made of it."""

    data: bytes
    #: What an output needs of it, for the opset that plans are written in.
    proto: onnx.ModelProto
    constants: Mapping[str, Array]
    nodes: tuple[Node, ...]
    #: Of the names of new tensors.
    stem: str

    @classmethod
    def read(cls, data: bytes) -> Source:
        """Read a model file of constants, not Constant nodes."""
        proto = onnx.load_model_from_string(data)
        for opset in proto.opset_import:
            if opset.domain in CORE:
                # The first that has HardSwish; what else is written here means the same in both.
                opset.version = max(opset.version, 14)
        stem = unused_stem("fixed", proto.graph)
        prune(proto.graph)
        # Inferred of nodes that will be gone.
        del proto.graph.value_info[:]
        constants = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
        nodes = tuple(Node(each, index) for index, each in enumerate(proto.graph.node))
        return cls(data, proto, constants, nodes, stem)


@dataclass(frozen=True)
class Rewritten:
    """A graph with an arithmetic of our own."""

    #: The greatest scale that is declared other than to round; ezkl rounds what is above its limit.
    greatest: int
    #: Work, and the original tensor whose elements it is done for.
    work: tuple[tuple[Work, str], ...]
    _write: Callable[[], bytes]

    @functools.cached_property
    def data(self) -> bytes:
        """The model file: of thousands of plans that are counted, few are written."""
        return self._write()


def planned(model: Model, plan: Plan | None) -> Model:
    """The model with the arithmetic of a plan; None leaves it as it is.

    Raises:
        Unplannable: the plan is of another model.
    """
    if plan is None:
        return model
    data = rewrite(prepared(model), _Planned(plan)).data
    return dataclasses.replace(model, data=data, plan=plan)


def prepared(model: Model) -> Source:
    """The model in the form that is planned: roots looked up, affine steps folded."""
    return Source.read(folded(tabulate(model).data))


def rewrite(source: Source, decisions: Decisions) -> Rewritten:
    """The model file with the arithmetic that is decided on the way.

    Raises:
        Unplannable: it has an operator that this arithmetic lacks.
    """
    writer = _Writer(source, decisions)
    for node in source.nodes:
        writer.add(node)
    writer.finish()
    return Rewritten(writer.greatest, tuple(writer.work), writer.written)


@dataclass(frozen=True, slots=True)
class _Emitted:
    """A node to be written."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    #: Its own name, of no meaning.
    name: str = ""
    #: The node that it takes its attributes from, and others.
    like: Node | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def proto(self, names: Mapping[str, str]) -> onnx.NodeProto:
        """The node, its tensors renamed."""
        inputs = [names.get(name, name) for name in self.inputs]
        output = names.get(self.output, self.output)
        made = helper.make_node(self.operator, inputs, [output], name=self.name, **self.attributes)
        if self.like is not None:
            made.attribute.extend(self.like.proto.attribute)
        return made


class _Writer:
    def __init__(self, source: Source, decisions: Decisions) -> None:
        self._source = source
        self._decide = decisions
        self._plan = decisions.scales
        graph = source.proto.graph
        #: Sums with a constant, by their name: operator, the other summand, constant, its position.
        self._offsets: dict[str, tuple[str, Tensor, Array, int]] = {}
        self._count = 0
        self._nodes: list[_Emitted] = []
        #: Constants that are made.
        self._made_constants: list[tuple[str, Array]] = []
        self._inputs = {value.name for value in graph.input}
        #: Numbers come without fractional bits.
        self._is_whole = all(not _is_float(value) for value in graph.input)
        #: What was moved straight from an input: how, and from which.
        self._picked: dict[str, tuple[Node, Tensor]] = {}
        #: By tensor, the same numbers declared lower.
        self._lowered: dict[str, str] = {}
        #: By a difference's name, what was subtracted from what.
        self._differences: dict[str, tuple[Tensor, Tensor]] = {}
        #: By twice a Relu's name, the difference that it is of, and that difference's size.
        self._leads: dict[str, tuple[Tensor, Tensor, str]] = {}
        #: By a constant's shape and bytes, the last that was made of it.
        self._latest: dict[tuple[tuple[int, ...], bytes], Array] = {}
        self.greatest = 0
        self.work: list[tuple[Work, str]] = []
        self._rules = self._made_rules()
        self._tensors = {value.name: self._taken_in(value) for value in graph.input}

    # --- the walk ---------------------------------------------------------------------------------

    def add(self, node: Node) -> None:
        """Write a node's part of the new graph."""
        domain, operator = node.key
        rule = self._rules.get(operator)
        if domain or len(node.proto.output) != 1:
            raise Unplannable(operator)
        if operator in _MOVES:
            result = self._move(node)
        elif operator in CURVES:
            result = self._curve(node)
        elif operator in COMPARISONS:
            result = self._compare(node)
        elif rule is not None:
            result = rule(node)
        else:
            raise Unplannable(operator)
        self.greatest = max(self.greatest, result.declared)
        name = node.proto.output[0]
        self._tensors[name] = dataclasses.replace(result, original=name)

    def finish(self) -> None:
        """Declare the outputs' true scales."""
        for value in self._source.proto.graph.output:
            tensor = self._tensor(value.name)
            if tensor.true < 0:
                raise Unplannable("outputs in steps of more than one")
            self._decide.holds(tensor)
            last = self._declare(tensor, tensor.true)
            kind = value.type.tensor_type.elem_type
            self._nodes.append(
                _Emitted("Identity", (last.name,), value.name)
                if kind == TensorProto.FLOAT
                else _Emitted("Cast", (last.name,), value.name, attributes={"to": kind})
            )

    def written(self) -> bytes:
        """The model file. Precondition: finished."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self._source.proto)
        graph = proto.graph
        graph.initializer.extend(
            numpy_helper.from_array(values, name) for name, values in self._made_constants
        )
        names = self._names_back()
        del graph.node[:]
        graph.node.extend(node.proto(names) for node in self._nodes)
        prune(graph)
        return bytes(proto.SerializeToString(deterministic=True))

    def _names_back(self) -> dict[str, str]:
        """Names, in the graph that was read, of its results, where no other has them."""
        graph = self._source.proto.graph
        taken = {value.name for value in (*graph.input, *graph.output)}
        return {
            tensor.name: original
            for original, tensor in self._tensors.items()
            if tensor.name not in self._inputs and original not in taken
        }

    def _made_rules(self) -> Mapping[str, Callable[[Node], Tensor]]:
        return {
            "Abs": self._abs,
            "Add": self._sum,
            "Cast": self._cast,
            "Concat": self._concat,
            "Conv": self._product,
            "Div": self._divide,
            "Gemm": self._gemm,
            "MatMul": self._product,
            "Mul": self._product,
            "Neg": self._negate,
            "ReduceSum": self._reduce_sum,
            "Relu": self._relu,
            "Sub": self._sum,
            "Where": self._where,
        }

    def _taken_in(self, value: onnx.ValueInfoProto) -> Tensor:
        """An input; whole numbers have no fractional bits for ezkl, and are floats from here on."""
        if _is_float(value):
            return Tensor(value.name, self._plan.scale, self._plan.scale, value.name)
        name = self._emit("Cast", value.name, to=TensorProto.FLOAT)
        self._inputs.add(name)
        return Tensor(name, 0, 0, value.name)

    # --- operators --------------------------------------------------------------------------------

    def _move(self, node: Node) -> Tensor:
        tensor = self._tensor(node.input(0))
        others = [self._whole(name) for name in node.inputs[1:]]
        result = self._like(tensor, node.key[1], tensor.name, *others, attributes=node)
        if tensor.name in self._inputs:
            self._picked[result.name] = (node, tensor)
        return result

    def _concat(self, node: Node) -> Tensor:
        parts = self._aligned([self._any(name) for name in node.inputs])
        return self._like(parts[0], "Concat", *(part.name for part in parts), attributes=node)

    def _cast(self, node: Node) -> Tensor:
        tensor, kind = self._tensor(node.input(0)), node.attribute("to")
        # Whole numbers stay what they are; an output's type is written at the end.
        if kind != TensorProto.FLOAT and (kind not in _INTEGERS or tensor.true != 0):
            raise Unplannable("Cast")
        return tensor

    def _sum(self, node: Node) -> Tensor:
        """Add and Sub."""
        constants = [self._constant(name) for name in node.inputs]
        if constants[0] is None and constants[1] is None:
            terms = [self._tensor(name) for name in node.inputs]
            greater = self._greater(terms) if node.key[1] == "Add" else None
            if greater is not None:
                return greater
            first, second = self._aligned(terms)
            result = self._like(first, node.key[1], first.name, second.name)
            if node.key[1] == "Sub":
                self._differences[result.name] = (first, second)
            return result
        position = 0 if constants[0] is None else 1
        values = constants[1 - position]
        if values is None:
            raise Unplannable(node.key[1])
        return self._offset(node.key[1], self._tensor(node.input(position)), values, position)

    def _greater(self, terms: Sequence[Tensor]) -> Tensor | None:
        """The greater of two: b + Relu(a - b), twice of which is a + b + |a - b|; else None."""
        for term, other in (terms, terms[::-1]):
            if term.name not in self._leads:
                continue
            first, second, size = self._leads[term.name]
            if second.original == other.original:
                total = self._like(first, "Add", first.name, second.name)
                twice = self._like(total, "Add", total.name, size)
                return dataclasses.replace(twice, true=first.true + 1)
        return None

    def _negate(self, node: Node) -> Tensor:
        tensor = self._tensor(node.input(0))
        return self._like(tensor, "Neg", tensor.name)

    def _reduce_sum(self, node: Node) -> Tensor:
        tensor = self._tensor(node.input(0))
        others = [self._whole(name) for name in node.inputs[1:]]
        return self._like(tensor, "ReduceSum", tensor.name, *others, attributes=node)

    def _gemm(self, node: Node) -> Tensor:
        weights, bias = self._constant(node.input(1)), self._constant(node.input(2))
        if weights is None or node.attribute("transA", 0) or (node.input(2) and bias is None):
            raise Unplannable("Gemm")
        if node.attribute("transB", 0):
            weights = weights.T
        weights = weights * np.float32(node.attribute("alpha", 1.0))
        result = self._weighted(node, "MatMul", 0, weights)
        if bias is not None:
            result = self._offset("Add", result, bias * np.float32(node.attribute("beta", 1.0)), 0)
        return result

    def _product(self, node: Node) -> Tensor:
        """Mul, MatMul and Conv."""
        operator = node.key[1]
        constants = [self._constant(name) for name in node.inputs]
        known = [position for position in (0, 1) if constants[position] is not None]
        if len(known) == 1 or operator == "Conv":
            position = 1 - known[0] if known else 0
            values = constants[1 - position]
            if values is None or (operator == "Conv" and position != 0):
                raise Unplannable(operator)
            if operator == "Mul":
                return self._times(node, position, values)
            attributes = node if operator == "Conv" else None
            result = self._weighted(node, operator, position, values, attributes)
            if operator == "Conv" and node.input(2):
                bias = constants[2]
                if bias is None:
                    raise Unplannable(operator)
                result = self._offset(
                    "Add", result, bias.reshape(1, -1, *(1 for _ in values.shape[2:])), 0
                )
            return result
        first, second = (self._tensor(name) for name in node.inputs)
        one = self._rounded(node, 0, first, second.true)
        other = one if node.input(0) == node.input(1) else self._rounded(node, 1, second, one.true)
        declared = one.declared + other.declared
        if declared > self._plan.limit:
            # The second is often the smaller: a divisor, say, that all are divided by.
            other = self._lower(other)
            declared = one.declared + other.declared
        name = self._emit(operator, one.name, other.name)
        return self._made(node, name, declared, one.true + other.true)

    def _divide(self, node: Node) -> Tensor:
        divisor = self._constant(node.input(1))
        if divisor is None or not np.all(divisor):
            raise Unplannable("Div")
        return self._times(node, 0, (1 / divisor).astype(np.float32))

    def _relu(self, node: Node) -> Tensor:
        tensor = self._rounded(node, 0, self._tensor(node.input(0)), 0)
        if self._decide.looks_up(node, [tensor]):
            while tensor.declared > 0:
                tensor = self._lower(tensor)
            return self._like(tensor, "HardSwish", tensor.name)
        self._decide.holds(tensor)
        self.work.append((Work.RELU, tensor.original))
        # x + |x| is twice the Relu, and takes four rows less than ezkl's own.
        size = self._emit("Abs", tensor.name)
        twice = self._like(tensor, "Add", tensor.name, size)
        if tensor.name in self._differences:
            self._leads[twice.name] = (*self._differences[tensor.name], size)
        return dataclasses.replace(twice, true=tensor.true + 1)

    def _abs(self, node: Node) -> Tensor:
        tensor = self._tensor(node.input(0))
        self._decide.holds(tensor)
        return self._like(tensor, "Abs", tensor.name)

    def _curve(self, node: Node) -> Tensor:
        if node.key[1] == "Pow":
            exponent = self._constant(node.input(1))
            if exponent is None or exponent.size != 1 or float(exponent.flat[0]).is_integer():
                raise Unplannable("Pow")
        tensor = self._tensor(node.input(0))
        if self._is_whole and tensor.true < self._plan.scale:
            # Sums of whole numbers: their curve has fractions.
            tensor = self._shifted(tensor, self._plan.scale - tensor.true)
        tensor = self._rounded(node, 0, tensor, 0)
        tensor = self._declare(tensor, tensor.true)
        # It always is; told so that it can be refused.
        self._decide.looks_up(node, [tensor])
        others = [self._whole(name) for name in node.inputs[1:]]
        return self._like(tensor, node.key[1], tensor.name, *others, attributes=node)

    def _compare(self, node: Node) -> Tensor:
        """A comparison, as a one or a zero."""
        operator = node.key[1]
        parts = [self._any(name) for name in node.inputs]
        if self._decide.looks_up(node, _at_one_scale(parts)):
            first, second = self._aligned(parts, declared=0)
            # a >= b is a step of a - b; a > b is no step of b - a.
            if (operator in ("Less", "LessOrEqual")) != (operator in ("Greater", "Less")):
                first, second = second, first
            bit = self._emit("Sigmoid", self._emit("Sub", first.name, second.name))
            if operator in ("Greater", "Less"):
                bit = self._emit("Sub", self._distinct(_ONE, 0), bit)
        else:
            first, second = self._aligned(parts)
            like = first if first.original else second
            self._decide.holds(like)
            self.work.append((Work.COMPARE, like.original))
            bit = self._emit(operator, first.name, second.name)
            bit = self._emit("Cast", bit, to=TensorProto.FLOAT)
        return Tensor(bit, 0, 0, "")

    def _where(self, node: Node) -> Tensor:
        bit = self._tensors.get(node.input(0))
        if bit is None:
            raise Unplannable("Where")
        true, false = (self._any(name) for name in node.inputs[1:])
        if not isinstance(true, Tensor) and not isinstance(false, Tensor):
            return self._picked_by(bit, true, false)
        one, other = self._aligned([true, false])
        apart = self._like(one, "Sub", one.name, other.name)
        chosen = self._like(apart, "Mul", apart.name, bit.name)
        if isinstance(false, Tensor):
            return self._like(chosen, "Add", chosen.name, other.name)
        # A constant of its own for each use.
        return self._offset("Add", chosen, false, 0)

    def _picked_by(self, bit: Tensor, true: Array, false: Array) -> Tensor:
        """One of two constants of whole numbers: ``false + bit * (true - false)``."""
        apart = np.asarray(true - false, np.float32)
        if not all(np.array_equal(each, np.rint(each)) for each in (apart, false)):
            raise Unplannable("Where")
        if (np.abs(apart) == 1).all() and len(np.unique(apart)) == 1:
            chosen = bit if apart.flat[0] > 0 else self._like(bit, "Neg", bit.name)
        elif apart.any():
            weights = self._distinct(apart, self._plan.limit)
            product = self._like(bit, "Mul", bit.name, weights)
            chosen = dataclasses.replace(product, declared=bit.declared - self._plan.limit)
        else:
            raise Unplannable("Where")
        return self._offset("Add", chosen, false, 0) if false.any() else chosen

    # --- scales -----------------------------------------------------------------------------------

    def _rounded(self, node: Node, position: int, tensor: Tensor, raised: int) -> Tensor:
        """The argument of an operator, rounded if the plan says so."""
        true = self._decide.rounds(node, position, tensor, raised)
        if true is None:
            return tensor
        self._decide.holds(tensor)
        self.work.append((Work.ROUND, tensor.original))
        excess = tensor.true - true
        if tensor.name in self._offsets:
            # The sum rounds, if what it adds to is declared above the limit.
            operator, before, values, place = self._offsets[tensor.name]
            high = self._declare(before, self._plan.limit + excess)
            name = self._offset(operator, high, values, place).name
        else:
            # So does a product with one.
            high = self._declare(tensor, self._plan.limit + excess + self._plan.limit)
            name = self._lower(high).name
        return dataclasses.replace(tensor, name=name, declared=self._plan.limit, true=true)

    def _offset(self, operator: str, tensor: Tensor, values: Array, position: int) -> Tensor:
        """Add or Sub of a tensor, the argument at ``position``, and a constant."""
        if tensor.declared < -self._plan.limit:
            # ezkl gives a summand no lower scale than the weights'.
            tensor = self._declare(tensor, -self._plan.limit)
        if operator == "Add" and tensor.name in self._offsets:
            first, before, summand, place = self._offsets[tensor.name]
            rounded = (before.declared, before.true) != (tensor.declared, tensor.true)
            if first == "Add" and place == position == 0 and not rounded:
                # Two summands are one.
                tensor = dataclasses.replace(tensor, name=before.name)
                values = summand + values
        constant = self._distinct(values, tensor.true - tensor.declared)
        names = [tensor.name, constant] if position == 0 else [constant, tensor.name]
        result = self._like(tensor, operator, *names)
        self._offsets[result.name] = (operator, tensor, values, position)
        return result

    def _declare(self, tensor: Tensor, declared: int) -> Tensor:
        """The same numbers, declared otherwise."""
        while tensor.declared > declared:
            tensor = self._lower(tensor)
        if tensor.declared == declared:
            return tensor
        name = self._by_power(tensor, tensor.declared - declared)
        return dataclasses.replace(tensor, name=name, declared=declared)

    def _lower(self, tensor: Tensor) -> Tensor:
        """The same numbers, declared `Plan.limit` bits lower."""
        if tensor.name not in self._lowered:
            self._lowered[tensor.name] = self._lower_anew(tensor)
        name, declared = self._lowered[tensor.name], tensor.declared - self._plan.limit
        return dataclasses.replace(tensor, name=name, declared=declared)

    def _lower_anew(self, tensor: Tensor) -> str:
        if tensor.name in self._picked:
            # All inputs once, not those that were picked each time.
            node, source = self._picked[tensor.name]
            return self._emit(
                node.key[1], self._lower(source).name, *node.inputs[1:], attributes=node
            )
        return self._by_power(tensor, self._plan.limit)

    def _shifted(self, tensor: Tensor, bits: int) -> Tensor:
        """Numbers times 2**bits, at a scale that is so much greater."""
        return dataclasses.replace(
            tensor,
            name=self._by_power(tensor, self._plan.limit + bits),
            declared=tensor.declared - self._plan.limit,
            true=tensor.true + bits,
        )

    def _by_power(self, tensor: Tensor, exponent: int) -> str:
        """A product with 2**exponent."""
        self.work.append((Work.SCALE, tensor.original))
        return self._emit("Mul", tensor.name, self._constant_of(np.ldexp(_ONE, exponent)))

    def _aligned(
        self, parts: Sequence[Tensor | Array], declared: int | None = None
    ) -> list[Tensor]:
        """Tensors of one true and one declared scale; constants follow."""
        true = _at_one_scale(parts)[0].true
        tensors = [
            part if part.true == true else self._shifted(part, true - part.true)
            for part in parts
            if isinstance(part, Tensor)
        ]
        if declared is None:
            # ezkl gives a constant no lower scale than the weights'.
            declared = max(-self._plan.limit, *(tensor.declared for tensor in tensors))
        tensors = [self._declare(tensor, declared) for tensor in tensors]
        queue = iter(tensors)
        return [
            next(queue)
            if isinstance(part, Tensor)
            else Tensor(self._distinct(part, true - declared), declared, true, "")
            for part in parts
        ]

    # --- products with constants ------------------------------------------------------------------

    def _times(self, node: Node, position: int, values: Array) -> Tensor:
        """An element-wise product; a power of two changes nothing but the true scale."""
        exponent = _power_of_two(values)
        if exponent is None:
            return self._weighted(node, "Mul", position, values)
        tensor = self._tensor(node.input(position))
        return self._made(node, tensor.name, tensor.declared, tensor.true - exponent)

    def _weighted(
        self,
        node: Node,
        operator: str,
        position: int,
        values: Array,
        attributes: Node | None = None,
    ) -> Tensor:
        """A product of the argument at ``position`` and weights."""
        tensor = self._tensor(node.input(position))
        wanted = self._decide.weight_scale(node, tensor)
        rounded = self._rounded(node, position, tensor, wanted)
        if rounded is not tensor:
            tensor, wanted = rounded, self._decide.weight_scale(node, rounded)
        if not values.any():
            raise Unplannable("nothing but zeros for weights")
        if tensor.declared < _DEEPEST:
            tensor = self._declare(tensor, 0)
        bits = _needed_bits(values, wanted)
        weights = self._distinct(values, self._plan.limit + bits)
        names = [tensor.name, weights] if position == 0 else [weights, tensor.name]
        name = self._emit(operator, *names, attributes=attributes)
        return self._made(node, name, tensor.declared - self._plan.limit, tensor.true + bits)

    def _made(self, node: Node, name: str, declared: int, true: int) -> Tensor:
        result = node.proto.output[0]
        return Tensor(name, declared, true, result, result)

    # --- writing ----------------------------------------------------------------------------------

    def _tensor(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise Unplannable(f"a constant '{name}'")
        return self._tensors[name]

    def _any(self, name: str) -> Tensor | Array:
        constant = self._constant(name)
        return self._tensor(name) if constant is None else constant

    def _constant(self, name: str) -> Array | None:
        return self._source.constants.get(name)

    def _whole(self, name: str) -> str:
        """A constant that says where, not how much."""
        if name and name not in self._source.constants:
            raise Unplannable(f"a computed position '{name}'")
        return name

    def _like(
        self,
        tensor: Tensor,
        operator: str,
        *names: str,
        attributes: Node | None = None,
    ) -> Tensor:
        name = self._emit(operator, *names, attributes=attributes)
        return dataclasses.replace(tensor, name=name)

    def _emit(
        self, operator: str, *names: str, attributes: Node | None = None, **given: Any
    ) -> str:
        output = self._next()
        self._nodes.append(_Emitted(operator, names, output, output, attributes, given))
        return output

    def _distinct(self, values: Array, exponent: int) -> str:
        """An initializer of ``values`` times 2**exponent that no other is equal to.

        ezkl gives a constant the scale of what it is added to only if it is used once, and its
        loader takes equal constants for one: so the next is a float32 further from zero.

        Raises:
            Unplannable: it is no finite number.
        """
        scaled = np.ldexp(np.asarray(values, np.float32), exponent)
        # Ranks are made equal by dimensions of one in front, and then these are equal too.
        key = (tuple(itertools.dropwhile(lambda size: size == 1, scaled.shape)), scaled.tobytes())
        scaled = self._latest.get(key, scaled)
        if key in self._latest or _power_of_two(scaled) is not None:
            # A single power of two is what scales are changed with.
            scaled = np.nextafter(scaled, np.copysign(np.float32(np.inf), scaled))
        if not np.isfinite(scaled).all():
            raise Unplannable("a constant that is no finite number")
        self._latest[key] = scaled
        return self._constant_of(scaled)

    def _constant_of(self, values: Array) -> str:
        name = self._next()
        self._made_constants.append((name, np.asarray(values)))
        return name

    def _next(self) -> str:
        self._count += 1
        return f"{self._source.stem}{self._count}"


_ONE = np.asarray([1], np.float32)
#: Declared scales further down take constants and floats towards float32's limits.
_DEEPEST = -32


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.FLOAT)


def _power_of_two(values: Array) -> int | None:
    """The exponent of a single positive power of two; None of anything else."""
    if values.size != 1 or values.flat[0] <= 0:
        return None
    mantissa, exponent = math.frexp(float(values.flat[0]))
    return exponent - 1 if mantissa == 0.5 else None


def _needed_bits(values: Array, most: int) -> int:
    """Fractional bits of the values, if they are fewer than ``most``."""
    mantissas, exponents = np.frexp(values.astype(np.float64))
    # A float64 has 53 bits of them; what ends in zeros needs fewer.
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    lowest = np.log2(np.where(whole, whole & -whole, 1)).astype(np.int64)
    needed = np.where(whole, 53 - exponents - lowest, 0)
    return min(most, max(0, int(needed.max())))


def _at_one_scale(parts: Sequence[Tensor | Array]) -> list[Tensor]:
    """What the parts are at the finest true scale; a constant has no original."""
    scales = [part.true for part in parts if isinstance(part, Tensor)]
    if not scales:
        raise Unplannable("constants alone")
    return [
        dataclasses.replace(part, true=max(scales))
        if isinstance(part, Tensor)
        else Tensor("", 0, max(scales), "")
        for part in parts
    ]
