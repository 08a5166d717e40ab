"""How much of its answer a model publishes: the graph, and so the circuit, ends in the policy.

    full             the scores
    top1             index of the greatest score
    topk:3           indices of the three greatest, the greatest first
    threshold:0.5    for each score 1 if it is at least 0.5, else 0
    round:2          each score in hundredths, rounded to an integer, halves up

Of equal scores the one with the least index is the greater. Indices and bits come out as integers.
Where only the order counts, a softmax or sigmoid at the end is left out of the circuit: it would be
dear, and rounded it makes equal what is not.

Only comparisons, selections and roundings are added, which the circuit compiler writes with the
range checks that an activation needs anyway. Its own ArgMax takes five more columns, 107k gas, and
leaves it to the prover which of two equal scores wins; its TopK gives values without indices.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from oracle.circuits.lowering.names import unused_stem
from oracle.circuits.onnx import Model
from oracle.errors import UsageError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

#: Name of a revealed graph's output.
OUTPUT = "revealed"
#: A float32 score has no more decimals than this that mean anything.
_MAX_DECIMALS = 6
#: Operators that keep the order of each row, and those that do so as a function of each number.
_SOFTMAXES = frozenset({"Softmax", "LogSoftmax"})
_RISING = frozenset({"Identity", "Sigmoid", "Tanh", "Exp", "Log", "Atan"})
_FORMS = "full, top1, topk:K, threshold:T or round:D"


class Kind(StrEnum):
    """The policies."""

    FULL = "full"
    TOP1 = "top1"
    TOPK = "topk"
    THRESHOLD = "threshold"
    ROUND = "round"


@dataclass(frozen=True, slots=True)
class Reveal:
    """A policy. `parse` makes checked ones."""

    kind: Kind = Kind.FULL
    #: How many indices for topk, the bound for threshold, decimals for round.
    parameter: float = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """A policy from its notation (see the module).

        Raises:
            UsageError: there is no such policy, or its parameter is out of bounds.
        """
        name, colon, parameter = text.partition(":")
        if name in (Kind.FULL, Kind.TOP1) and not colon:
            return cls(Kind(name))
        if name == Kind.TOPK and re.fullmatch(r"[1-9][0-9]{0,4}", parameter):
            return cls(Kind.TOPK, int(parameter))
        if name == Kind.ROUND and re.fullmatch(r"[0-9]", parameter):
            if int(parameter) <= _MAX_DECIMALS:
                return cls(Kind.ROUND, int(parameter))
            raise UsageError(f"{text}: at most {_MAX_DECIMALS} decimals can be revealed")
        if name == Kind.THRESHOLD and re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", parameter):
            return cls(Kind.THRESHOLD, float(parameter))
        raise UsageError(f"'{text}' is no reveal policy", remedy=f"Use {_FORMS}")

    def __str__(self) -> str:
        if self.kind in (Kind.FULL, Kind.TOP1):
            return str(self.kind)
        return f"{self.kind}:{self.parameter:g}"

    def length(self, scores: int) -> int:
        """How many numbers are published of so many scores.

        Raises:
            UsageError: the policy needs more scores.
        """
        if self.kind is Kind.TOP1:
            self._require(scores, 2)
            return 1
        if self.kind is Kind.TOPK:
            self._require(scores, max(2, int(self.parameter)))
            return int(self.parameter)
        return scores

    def answers(self, scores: Floats) -> Floats:
        """What would be published of exact scores [n, scores], float [n, `length`]."""
        if self.kind is Kind.FULL:
            return scores
        if self.kind is Kind.THRESHOLD:
            return np.asarray(scores >= self.parameter, dtype=np.float64)
        if self.kind is Kind.ROUND:
            return np.asarray(np.floor(scores * 10**self.parameter + 0.5), dtype=np.float64)
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.asarray(order[:, : self.length(scores.shape[1])], dtype=np.float64)

    def error(self, scores: Floats, revealed: Floats) -> Floats:
        """By how much scores are off, at the least, where they give what was revealed, float [n].

        Zero where the exact scores give it. So one bound serves every policy: an index or a bit
        may differ from the float model's only where the scores are that close to the edge.

        Args:
            scores: of the float model, [n, scores].
            revealed: what was published for them, [n, `length`].
        """
        if self.kind is Kind.FULL:
            misses = np.abs(revealed - scores)
        elif self.kind is Kind.THRESHOLD:
            misses = np.where(revealed >= 1, self.parameter - scores, scores - self.parameter)
        elif self.kind is Kind.ROUND:
            units = 10**self.parameter
            misses = (np.abs(revealed - scores * units) - 0.5) / units
        else:
            misses = _order_misses(scores, revealed.astype(np.int64))
        return np.asarray(np.maximum(misses, 0).max(axis=1), dtype=np.float64)

    def distance(self, scores: Floats) -> Floats:
        """By how much scores may be off, at the most, before another answer comes out, float [n].

        Infinite for a policy that publishes the scores. An answer beyond it has a greater `error`.

        Args:
            scores: of the float model, [n, scores].
        """
        if self.kind is Kind.FULL:
            return np.full(len(scores), np.inf)
        if self.kind is Kind.THRESHOLD:
            gaps = np.abs(scores - self.parameter)
        elif self.kind is Kind.ROUND:
            units = 10**self.parameter
            gaps = np.abs(scores * units - np.floor(scores * units) - 0.5) / units
        else:
            descending = -np.sort(-scores, axis=1)[:, : self.length(scores.shape[1]) + 1]
            gaps = (descending[:, :-1] - descending[:, 1:]) / 2
        return np.asarray(gaps.min(axis=1), dtype=np.float64)

    def _require(self, scores: int, least: int) -> None:
        if scores < least:
            raise UsageError(
                f"{self} needs {least} scores, the model has {scores}",
                remedy="Use threshold:T" if scores == 1 else f"Use topk:{scores} or less",
            )


def apply(model: Model, reveal: Reveal) -> Model:
    """The model that ends as ``reveal`` says; its output is [1, `Reveal.length`] float32.

    Every row of a batch is treated alone.

    Raises:
        UsageError: the model has too few outputs for the policy.
    """
    if reveal.kind is Kind.FULL:
        return model
    proto = onnx.load_model_from_string(model.data)
    (output,) = proto.graph.output
    scores, count = output.name, output.type.tensor_type.shape.dim[-1].dim_value
    length = reveal.length(count)
    end = _End(proto.graph)
    if reveal.kind is Kind.THRESHOLD:
        below = end.add("Less", scores, end.number(reveal.parameter))
        bits = end.add("Where", below, end.constant([[0]]), end.constant([[1]]))
        end.add("Cast", bits, to=TensorProto.FLOAT)
    elif reveal.kind is Kind.ROUND:
        units = end.add("Mul", scores, end.number(10**reveal.parameter))
        end.add("Floor", end.add("Add", units, end.number(0.5)))
    else:
        ranked = _before_rising(proto.graph, scores)
        end.add("Cast", _greatest(end, ranked, count, length), to=TensorProto.FLOAT)
    name = end.close()
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, length]))
    return dataclasses.replace(
        model, data=proto.SerializeToString(deterministic=True), output_name=name
    )


def compared(scored: Model, reveal: Reveal) -> str:
    """The tensor whose numbers a policy compares, or rounds; `apply` leaves its name."""
    graph = onnx.load_model_from_string(scored.data).graph
    if reveal.kind in (Kind.TOP1, Kind.TOPK):
        return _before_rising(graph, graph.output[0].name)
    return graph.output[0].name


def _before_rising(graph: onnx.GraphProto, scores: str) -> str:
    """The tensor whose order ``scores`` [batch, n] have: a final softmax need not be computed.

    It stays in the graph, where tools can compute the scores; the circuit compiler leaves out what
    leads to no output.
    """
    makers = {name: node for node in graph.node for name in node.output}
    constants = {each.name: each for each in graph.initializer}
    while (node := makers.get(scores)) is not None and _keeps_order(node, makers, constants):
        scores = node.input[0]
    return scores


def keeps_gaps(scored: Model) -> bool:
    """Whether what a policy compares of a model's scores differs by no less than the scores do.

    A softmax, a sigmoid and a tanh bring two numbers nearer; an exponential alone may part them.
    """
    graph = onnx.load_model_from_string(scored.data).graph
    makers = {name: node for node in graph.node for name in node.output}
    scores, before = scored.output_name, ""
    ranked = _before_rising(graph, scores)
    while scores != ranked:
        node = makers[scores]
        alone = node.op_type in ("Exp", "Log") and before != "Div"
        if alone or (node.op_type == "Div" and makers[node.input[0]].op_type != "Exp"):
            return False
        scores, before = node.input[0], node.op_type
    return True


def _keeps_order(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], constants: Mapping[str, TensorProto]
) -> bool:
    """Whether a node's output has, within each row, the order of its first input.

    A softmax may have been lowered: ``exp(x - max)`` by its sum, ``max`` from a tournament.
    """
    if node.op_type in _SOFTMAXES:
        return _is_within_row(node)
    if node.op_type == "Div":
        return _divides_by_sum(node, makers, constants)
    if node.op_type == "Sub":
        return _subtracts_greatest(node, makers, constants)
    return node.op_type in _RISING


def _divides_by_sum(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], constants: Mapping[str, TensorProto]
) -> bool:
    """Exponentials by their sum, or numbers by that of their sizes, as scikit-learn normalises."""
    total = makers.get(node.input[1])
    axes = constants.get(total.input[1]) if total is not None and len(total.input) > 1 else None
    if total is None or total.op_type != "ReduceSum" or axes is None:
        return False
    sized = makers.get(total.input[0])
    if sized is None or list(numpy_helper.to_array(axes).ravel()) not in ([1], [-1]):
        return False
    return node.input[0] == {"Abs": sized.input[0], "Exp": total.input[0]}.get(sized.op_type)


def _subtracts_greatest(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], constants: Mapping[str, TensorProto]
) -> bool:
    """The end of a tournament is one number a row, whichever it is."""
    last = makers.get(node.input[1])
    winner = makers.get(last.input[0]) if last is not None and last.op_type == "Add" else None
    if winner is None or winner.op_type != "Gather" or not _is_within_row(winner):
        return False
    picked = constants.get(winner.input[1])
    return picked is not None and list(picked.dims) == [1]


def _is_within_row(node: onnx.NodeProto) -> bool:
    """Whether a node works along the second of two dimensions."""
    default = 0 if node.op_type == "Gather" else -1
    axis = next((each.i for each in node.attribute if each.name == "axis"), default)
    return axis in (-1, 1)


class _End:
    """Nodes that are added to a graph, under names that it does not use."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._name = unused_stem(OUTPUT, graph)
        self._count = 0

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node; the name of its output."""
        output = self._next()
        self._graph.node.append(
            helper.make_node(operator, inputs, [output], name=output, **attributes)
        )
        return output

    def constant(self, values: Any) -> str:
        """Add a constant; its name. Integers stay unscaled in the circuit."""
        name = self._next()
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def number(self, value: float) -> str:
        """Add a float32 number that fits any batch; its name."""
        return self.constant(np.array([[value]], dtype=np.float32))

    def take(self, tensor: str | Indices, columns: Sequence[int]) -> str:
        """These columns of a tensor [batch, n], or of a constant."""
        if not isinstance(tensor, str):
            return self.constant(tensor[:, columns])
        return self.add("Gather", tensor, self.constant(columns), axis=1)

    def choose(
        self, condition: str, tensor: str | Indices, yes: Sequence[int], no: Sequence[int]
    ) -> str:
        """Columns ``yes`` of a tensor where the condition holds, ``no`` elsewhere."""
        return self.add("Where", condition, self.take(tensor, yes), self.take(tensor, no))

    def close(self) -> str:
        """Give the last node's output its final name."""
        self._graph.node[-1].output[0] = self._name
        return self._name

    def _next(self) -> str:
        self._count += 1
        return f"{self._name}{self._count}"


def _greatest(end: _End, scores: str, count: int, length: int) -> str:
    """Indices [batch, length] of the greatest of ``scores`` [batch, count], in order.

    Each is the winner of a tournament; the next one is among those that are left.
    """
    indices: str | Indices = np.arange(count)[None, :]
    winners = []
    for left in range(count, count - length, -1):
        winners.append(_winner(end, scores, indices, left))
        if len(winners) < length:
            # Indices ascend, so those from the winner on move up by one.
            stay, move = range(left - 1), range(1, left)
            before = end.add("Less", end.take(indices, stay), winners[-1])
            scores = end.choose(before, scores, stay, move)
            indices = end.choose(before, indices, stay, move)
    return end.add("Concat", *winners, axis=1) if length > 1 else winners[0]


def _winner(end: _End, scores: str, indices: str | Indices, count: int) -> str:
    """Index [batch, 1] of the greatest score, the first one of equals."""
    while count > 1:
        # Neighbours meet, so that the order, and with it the rule for equals, is kept. An odd one
        # out meets itself: joining it later would need the batch's size.
        pairs = [(i, min(i + 1, count - 1)) for i in range(0, count, 2)]
        first, second = ([pair[side] for pair in pairs] for side in (0, 1))
        beaten = end.add("Less", end.take(scores, first), end.take(scores, second))
        count = len(pairs)
        indices = end.choose(beaten, indices, second, first)
        if count > 1:
            scores = end.choose(beaten, scores, second, first)
    return indices if isinstance(indices, str) else end.take(indices, [0])


def _order_misses(scores: Floats, chosen: npt.NDArray[np.int64]) -> Floats:
    """Half of what each chosen score lacks to the greatest that is left, [n, chosen].

    Infinite for an index that no score has: an arithmetic that is too coarse may give one.
    """
    left = scores.copy()
    rows = np.arange(len(scores))
    misses = []
    for index in chosen.T:
        known = (index >= 0) & (index < scores.shape[1])
        column = np.where(known, index, 0)
        lacking = (left.max(axis=1) - left[rows, column]) / 2
        misses.append(np.where(known, lacking, np.inf))
        left[rows[known], column[known]] = -np.inf
    return np.stack(misses, axis=1)
