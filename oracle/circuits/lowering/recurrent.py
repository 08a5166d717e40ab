"""Recurrent layers, step by step.

The circuit compiler would rescale the products of a gate's input and state one by one, and each
half of a new state: twice the rows. Here input and state go through one product, and a sum of
products is one product of small matrices, rescaled once. A product with a concatenation would be
taken apart again; one whose numbers come in another order is not.

Definitions, names and the order of gates are those of the ONNX text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from oracle.circuits.lowering.graph import Array, Graph, Node, Rules, float32s, int64s

#: Activations that these rules know, by ONNX's names in lower case.
_KNOWN = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}
#: A longer sequence would unfold to more nodes than a circuit holds.
_MAX_STEPS = 256


@dataclass(frozen=True, slots=True)
class _Cell:
    """One direction of a layer."""

    graph: Graph
    #: Input weights [gates * hidden, input] and state weights [gates * hidden, hidden].
    inward: Array
    onward: Array
    #: Biases of both [gates * hidden].
    inward_bias: Array
    onward_bias: Array
    hidden: int
    activations: tuple[str, ...]
    linear_before_reset: bool

    def gates(self, x: str, h: str, first: int, last: int) -> str:
        """Gates from ``first`` to ``last`` before their activation, [batch, count * hidden]."""
        rows = slice(first * self.hidden, last * self.hidden)
        weights, bias = self.inward[rows], self.inward_bias[rows] + self.onward_bias[rows]
        if h:
            weights = np.concatenate([weights, self.onward[rows]], axis=1)[:, ::-1]
            x = self.reordered([x, h], range(weights.shape[1])[::-1])
        return self.affine(x, weights, bias)

    def reordered(self, parts: Sequence[str], order: Sequence[int]) -> str:
        """Numbers of several tensors [batch, n] in another order, [batch, count]."""
        joined = self.graph.add("Concat", *parts, axis=1)
        return self.graph.add("Gather", joined, int64s(order), axis=1)

    def affine(self, x: str, weights: Array, bias: Array) -> str:
        """``x @ weights.T + bias``."""
        product = self.graph.add("MatMul", x, float32s(weights.T))
        return self.graph.add("Add", product, float32s(bias)) if bias.any() else product

    def part(self, gates: str, index: int, activation: int) -> str:
        """One of several gates, activated."""
        start, end = index * self.hidden, (index + 1) * self.hidden
        gate = self.graph.add("Slice", gates, int64s([start]), int64s([end]), int64s([1]))
        return self.graph.add(self.activations[activation], gate)

    def sum_of_products(self, a: str, b: str, c: str, d: str) -> str:
        """``a * b + c * d``, element by element."""
        graph, hidden = self.graph, self.hidden
        pairs = [index for i in range(hidden) for index in (i, hidden + i)]
        rows, columns = (
            graph.add("Reshape", self.reordered(parts, pairs), int64s([-1, hidden, *shape]))
            for parts, shape in (((a, c), (1, 2)), ((b, d), (2, 1)))
        )
        return graph.add("Squeeze", graph.add("MatMul", rows, columns), int64s([2, 3]))


def _rnn_step(cell: _Cell, x: str, h: str, _: str) -> tuple[str, str]:
    return cell.part(cell.gates(x, h, 0, 1), 0, 0), ""


def _lstm_step(cell: _Cell, x: str, h: str, c: str) -> tuple[str, str]:
    """Gates: input, output, forget, cell."""
    gates = cell.gates(x, h, 0, 4)
    entered, kept = cell.part(gates, 0, 0), cell.part(gates, 2, 0)
    candidate = cell.part(gates, 3, 1)
    if c:
        state = cell.sum_of_products(kept, c, entered, candidate)
    else:
        state = cell.graph.add("Mul", entered, candidate)
    shown = cell.graph.add(cell.activations[2], state)
    return cell.graph.add("Mul", cell.part(gates, 1, 0), shown), state


def _gru_step(cell: _Cell, x: str, h: str, _: str) -> tuple[str, str]:
    """Gates: update, reset, hidden. ``(1 - z) * g + z * h`` as ``g + z * (h - g)``."""
    graph, hidden = cell.graph, cell.hidden
    gates = cell.gates(x, h, 0, 2)
    update, reset = cell.part(gates, 0, 0), cell.part(gates, 1, 0)
    if not cell.linear_before_reset:
        state = graph.add("Mul", reset, h) if h else ""
        candidate = cell.gates(x, state, 2, 3)
    else:
        rows = slice(2 * hidden, 3 * hidden)
        entered = cell.affine(x, cell.inward[rows], cell.inward_bias[rows])
        if h:
            recalled = cell.affine(h, cell.onward[rows], cell.onward_bias[rows])
        else:
            recalled = graph.array(float32s(cell.onward_bias[rows])[np.newaxis])
        candidate = graph.add("Add", entered, graph.add("Mul", reset, recalled))
    candidate = graph.add(cell.activations[1], candidate)
    difference = graph.add("Sub", h, candidate) if h else graph.add("Neg", candidate)
    return graph.add("Add", candidate, graph.add("Mul", update, difference)), ""


#: Gates, activations of a direction by default, and the step, of each operator.
_Step = Callable[[_Cell, str, str, str], tuple[str, str]]
_OPERATORS: dict[str, tuple[int, tuple[str, ...], _Step]] = {
    "RNN": (1, ("Tanh",), _rnn_step),
    "GRU": (3, ("Sigmoid", "Tanh"), _gru_step),
    "LSTM": (4, ("Sigmoid", "Tanh", "Tanh"), _lstm_step),
}


def _recurrent(graph: Graph, node: Node) -> Sequence[str] | None:
    """All steps; None, which leaves the layer to the circuit compiler, for what is rare."""
    cells = _cells(graph, node)
    lengths, peepholes = node.input(4), node.input(7)
    if cells is None or lengths or peepholes or _is_unusual(node):
        return None
    steps = graph.shape(node)[0]
    if steps > _MAX_STEPS:
        raise node.refuse(f"has {steps} steps, the limit is {_MAX_STEPS}", "Use fewer steps")
    step = _OPERATORS[node.proto.op_type][2]
    inputs = [graph.add("Gather", node.input(0), np.asarray(i), axis=0) for i in range(steps)]
    backward = [node.attribute("direction", "forward") == "reverse", True]
    shown, last_h, last_c = [], [], []
    for direction, cell in enumerate(cells):
        h, c = (_initial(graph, node, position, direction) for position in (5, 6))
        states = []
        order = reversed(inputs) if backward[direction] else inputs
        for x in order:
            h, c = step(cell, x, h, c)
            states.append(h)
        shown.append(states[::-1] if backward[direction] else states)
        last_h.append(h)
        last_c.append(c)
    every = [_stack(graph, [each[i] for each in shown]) for i in range(steps)]
    results = [_stack(graph, every), _stack(graph, last_h)]
    if node.proto.op_type == "LSTM":
        results.append(_stack(graph, last_c))
    return results


def _is_unusual(node: Node) -> bool:
    return bool(
        node.attribute("layout", 0)
        or node.attribute("clip") is not None
        or node.attribute("input_forget", 0)
        or node.attribute("activation_alpha")
        or node.attribute("activation_beta")
    )


def _cells(graph: Graph, node: Node) -> list[_Cell] | None:
    """The directions; None if weights are not constant or an activation is not known."""
    gates, default, _ = _OPERATORS[node.proto.op_type]
    inward, onward = graph.constant(node.input(1)), graph.constant(node.input(2))
    biases = graph.constant(node.input(3)) if node.input(3) else None
    if inward is None or onward is None or (node.input(3) and biases is None):
        return None
    directions, hidden = inward.shape[0], onward.shape[2]
    names = node.attribute("activations") or default * directions
    names = [each.decode() if isinstance(each, bytes) else each for each in names]
    if len(names) != len(default) * directions or any(n.lower() not in _KNOWN for n in names):
        return None
    if biases is None:
        biases = np.zeros((directions, 2 * gates * hidden), dtype=np.float32)
    count = len(default)
    return [
        _Cell(
            graph,
            inward[direction],
            onward[direction],
            inward_bias=biases[direction, : gates * hidden],
            onward_bias=biases[direction, gates * hidden :],
            hidden=hidden,
            activations=tuple(
                _KNOWN[name.lower()] for name in names[direction * count : (direction + 1) * count]
            ),
            linear_before_reset=bool(node.attribute("linear_before_reset", 0)),
        )
        for direction in range(directions)
    ]


def _initial(graph: Graph, node: Node, position: int, direction: int) -> str:
    """State before the first step, [batch, hidden]; empty if it is zero."""
    name = node.input(position)
    if not name:
        return ""
    known = graph.constant(name)
    if known is not None and not known.any():
        return ""
    return graph.add("Gather", name, np.asarray(direction), axis=0)


def _stack(graph: Graph, parts: Sequence[str]) -> str:
    """Tensors one above the other along a new first dimension."""
    raised = [graph.add("Unsqueeze", part, int64s([0])) for part in parts]
    return graph.add("Concat", *raised, axis=0) if len(raised) > 1 else raised[0]


RULES: Rules = {("", operator): _recurrent for operator in _OPERATORS}
