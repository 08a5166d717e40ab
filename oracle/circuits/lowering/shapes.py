"""Repetition and padding as selections of positions that are known."""

from __future__ import annotations

import math

import numpy as np

from oracle.circuits.lowering.graph import Graph, Node, Rules, int64s


def _tile(graph: Graph, node: Node) -> list[str]:
    repeats = graph.constant(node.input(1))
    if repeats is None:
        raise node.refuse("repeats as often as the input says", "Export with fixed shapes")
    result = node.input(0)
    node.require_room(math.prod((*graph.shape(node), *repeats.tolist())))
    for axis, count in enumerate(repeats.tolist()):
        if count != 1:
            result = graph.add("Concat", *[result] * count, axis=axis)
    return [result]


def _expand(graph: Graph, node: Node) -> list[str] | None:
    """Broadcasting against zeros. A shape given as a tensor is the one that was inferred."""
    target = graph.constant(node.input(1))
    shape = graph.output_shape(node) if target is None else tuple(target.tolist())
    if shape is None:
        return None
    node.require_room(math.prod(shape))
    zeros = np.zeros(shape, dtype=graph.numpy_type(node.input(0)))
    return [graph.add("Add", node.input(0), zeros)]


def _pad(graph: Graph, node: Node) -> list[str] | None:
    """The circuit compiler pads with zeros only."""
    pads = graph.constant(node.input(1))
    mode = node.attribute("mode", "constant")
    if pads is None or node.input(3):
        raise node.refuse("pads by sizes or along axes given as tensors", "Export fixed padding")
    shape = graph.shape(node)
    before, after = pads[: len(shape)].tolist(), pads[len(shape) :].tolist()
    node.require_room(math.prod(shape) + int(np.abs(pads).max(initial=0)) * len(pads))
    x = node.input(0)
    if mode == "constant":
        value = graph.constant(node.input(2)) if node.input(2) else np.float32(0)
        if value is None:
            raise node.refuse("pads with a value that the input decides")
        x = _crop(graph, x, shape, before, after)
        if not (pads > 0).any():
            return [x]
        offset = np.float32(value.ravel()[0]) if value.size else np.float32(0)
        sizes = np.maximum(pads, 0)
        if offset == 0:
            return [graph.add("Pad", x, sizes)]
        shifted = graph.add("Pad", graph.add("Sub", x, offset.reshape(1)), sizes)
        return [graph.add("Add", shifted, offset.reshape(1))]
    for axis, size in enumerate(shape):
        positions = np.pad(np.arange(size), (max(before[axis], 0), max(after[axis], 0)), mode=mode)
        start, end = max(-before[axis], 0), len(positions) - max(-after[axis], 0)
        if len(positions) != size or end - start != size:
            x = graph.add("Gather", x, positions[start:end].astype(np.int64), axis=axis)
    return [x]


def _crop(graph: Graph, x: str, shape: tuple[int, ...], before: list[int], after: list[int]) -> str:
    """Negative padding takes away."""
    for axis, size in enumerate(shape):
        start, end = max(-before[axis], 0), size - max(-after[axis], 0)
        if (start, end) != (0, size):
            x = graph.add("Slice", x, int64s([start]), int64s([end]), int64s([axis]))
    return x


RULES: Rules = {("", "Expand"): _expand, ("", "Pad"): _pad, ("", "Tile"): _tile}
