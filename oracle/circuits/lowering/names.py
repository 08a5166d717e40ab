"""Names of tensors: those that a graph has, and new ones."""

from __future__ import annotations

from collections.abc import Iterable

import onnx


def names_in(graph: onnx.GraphProto) -> set[str]:
    """Names of all tensors that a graph reads, makes, takes or gives."""
    found = {name for node in graph.node for name in (*node.input, *node.output)}
    found |= {value.name for value in (*graph.input, *graph.output)}
    return found | {tensor.name for tensor in graph.initializer}


def unused_stem(stem: str, graph: onnx.GraphProto) -> str:
    """``stem``, lengthened until no name of a graph begins with it."""
    taken = names_in(graph)
    while any(name.startswith(stem) for name in taken):
        stem += "_"
    return stem


class Names:
    """Gives names that nothing has, the same ones for the same graph."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        #: Numbers, by stem, up to which all names are taken.
        self._numbers: dict[str, int] = {}

    def fresh(self, stem: str) -> str:
        """A new name that begins with ``stem`` and ends in a number."""
        number = self._numbers.get(stem, 0)
        while (name := f"{stem}_{number}") in self._taken:
            number += 1
        self._taken.add(name)
        self._numbers[stem] = number + 1
        return name
