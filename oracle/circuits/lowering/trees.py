"""Tree ensembles: every comparison of every tree at once, then products of bits down the levels.

Comparisons are what costs in a circuit, so equal ones are made once. The rest is cheap: a node is
reached (1) or not (0); its true child is reached where the node is and the comparison holds, its
false child where the node is and the true child is not. The reached leaves, a one for each tree,
choose the weights in one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from oracle.circuits.lowering import scores
from oracle.circuits.lowering.graph import ML, Array, Graph, Node, Rules, float32s, int64s

_COMPARISONS = {
    "BRANCH_LEQ": "LessOrEqual",
    "BRANCH_LT": "Less",
    "BRANCH_GTE": "GreaterOrEqual",
    "BRANCH_GT": "Greater",
}
_LEAF = "LEAF"


@dataclass(frozen=True, slots=True)
class _Test:
    """A comparison of one feature with a threshold."""

    mode: str
    feature: int
    threshold: float


@dataclass(frozen=True, slots=True)
class _Branch:
    """A node of a tree. Children are indices into the ensemble's list."""

    test: _Test
    children: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Ensemble:
    """Nodes of all trees; None stands for a leaf."""

    nodes: list[_Branch | None]
    roots: list[int]
    #: Weight of each leaf for each target, float32 [nodes, targets].
    weights: Array


def _read(node: Node, prefix: str, targets: int) -> _Ensemble:
    """The ensemble of an operator whose leaf attributes start with ``prefix``."""
    keys = list(
        zip(node.attribute("nodes_treeids", ()), node.attribute("nodes_nodeids", ()), strict=False)
    )
    modes = [
        mode.decode() if isinstance(mode, bytes) else mode
        for mode in node.attribute("nodes_modes", ())
    ]
    position = {key: index for index, key in enumerate(keys)}
    columns = [
        node.attribute(f"nodes_{name}", ())
        for name in ("featureids", "values", "truenodeids", "falsenodeids")
    ]
    if len(position) != len(keys) or any(len(c) != len(keys) for c in (modes, *columns)):
        raise node.refuse("has attributes of different lengths", "Export the model again")
    nodes: list[_Branch | None] = []
    children: set[int] = set()
    try:
        for (tree, _), mode, feature, value, true, false in zip(keys, modes, *columns, strict=True):
            if mode == _LEAF:
                nodes.append(None)
                continue
            if mode not in _COMPARISONS:
                raise node.refuse(f"with a node of mode {mode} cannot be proved")
            pair = (position[tree, true], position[tree, false])
            children.update(pair)
            nodes.append(_Branch(_Test(mode, feature, value), pair))
        node.require_room(len(nodes) * targets)
        weights = np.zeros((len(nodes), targets), dtype=np.float64)
        leaves = zip(
            *(node.attribute(f"{prefix}_{name}", ()) for name in ("treeids", "nodeids", "ids")),
            node.attribute(f"{prefix}_weights", ()),
            strict=True,
        )
        for tree, leaf, target, weight in leaves:
            weights[position[tree, leaf], target] += weight
    except (KeyError, IndexError, ValueError):
        raise node.refuse(
            "points at a node that it does not have", "Export the model again"
        ) from None
    roots = [index for index in range(len(nodes)) if index not in children]
    return _Ensemble(nodes, roots, weights.astype(np.float32))


def _sums(graph: Graph, node: Node, ensemble: _Ensemble) -> str:
    """Sum of the reached leaves' weights, [batch, targets]."""
    branches = [branch for branch in ensemble.nodes if branch is not None]
    tests = list(dict.fromkeys(branch.test for branch in branches))
    if not tests:
        raise node.refuse("compares nothing: every tree is a single leaf")
    bits, where = _compare(graph, scores.float_input(graph, node), tests)
    #: Nodes of the level, in the order of the columns of `reached`; the roots always are.
    level, reached = ensemble.roots, ""
    constant = ensemble.weights[[i for i in level if ensemble.nodes[i] is None]].sum(axis=0)
    leaves: list[int] = []
    parts: list[str] = []
    for _ in range(len(ensemble.nodes)):
        inner = [(i, b) for i, n in enumerate(level) if (b := ensemble.nodes[n]) is not None]
        if not inner:
            break
        bit = _take(graph, bits, [where[branch.test] for _, branch in inner], len(tests))
        if reached:
            parent = _take(graph, reached, [i for i, _ in inner], len(level))
            true = graph.add("Mul", parent, bit)
            false = graph.add("Sub", parent, true)
        else:
            true, false = bit, graph.add("Sub", float32s([1]), bit)
        reached = scores.columns(graph, true, false)
        level = [branch.children[side] for side in (0, 1) for _, branch in inner]
        ends = [i for i, n in enumerate(level) if ensemble.nodes[n] is None]
        if ends:
            leaves += [level[i] for i in ends]
            parts.append(_take(graph, reached, ends, len(level)))
    else:
        raise node.refuse("has a tree that runs in a circle", "Export the model again")
    every = scores.columns(graph, *parts) if len(parts) > 1 else parts[0]
    total = _leaf_sums(graph, every, ensemble.weights[leaves])
    return graph.add("Add", total, constant) if constant.any() else total


def _compare(graph: Graph, x: str, tests: Sequence[_Test]) -> tuple[str, dict[_Test, int]]:
    """Bits [batch, tests] as floats, and each test's column."""
    order = sorted(tests, key=lambda test: list(_COMPARISONS).index(test.mode))
    parts = []
    for mode, operator in _COMPARISONS.items():
        same = [test for test in order if test.mode == mode]
        if same:
            features = graph.add("Gather", x, int64s([t.feature for t in same]), axis=1)
            thresholds = np.asarray([[t.threshold for t in same]], dtype=np.float32)
            parts.append(graph.add(operator, features, thresholds))
    bits = [graph.add("Cast", part, to=TensorProto.FLOAT) for part in parts]
    joined = scores.columns(graph, *bits) if len(bits) > 1 else bits[0]
    return joined, {test: index for index, test in enumerate(order)}


def _leaf_sums(graph: Graph, reached: str, weights: Array) -> str:
    """Sum of the reached leaves' weights, without the products by zero: [batch, targets]."""
    used = [np.flatnonzero(weights[:, target]) for target in range(weights.shape[1])]
    if not all(each.size for each in used) or sum(each.size for each in used) == weights.size:
        return graph.add("MatMul", reached, weights)
    sums = [
        graph.add(
            "MatMul",
            graph.add("Gather", reached, int64s(leaves), axis=1),
            weights[leaves, target : target + 1],
        )
        for target, leaves in enumerate(used)
    ]
    return scores.columns(graph, *sums)


def _take(graph: Graph, values: str, which: list[int], width: int) -> str:
    """Columns of a matrix of ``width`` columns."""
    if which == list(range(width)):
        return values
    return graph.add("Gather", values, int64s(which), axis=1)


def _regressor(graph: Graph, node: Node) -> list[str]:
    targets = node.attribute("n_targets", 1)
    ensemble = _read(node, "target", targets)
    aggregate = node.attribute("aggregate_function", "SUM")
    if aggregate not in ("SUM", "AVERAGE"):
        raise node.refuse(f"with aggregate_function {aggregate} cannot be proved")
    if aggregate == "AVERAGE":
        ensemble = _Ensemble(ensemble.nodes, ensemble.roots, ensemble.weights / len(ensemble.roots))
    total = _with_base(graph, node, _sums(graph, node, ensemble))
    kind = node.attribute("post_transform", "NONE")
    # onnxruntime transforms several targets; of a single one only PROBIT.
    return [total if targets == 1 and kind != "PROBIT" else scores.transform(graph, node, total)]


def _classifier(graph: Graph, node: Node) -> list[str]:
    names = ("classlabels_int64s", "classlabels_strings")
    classes = scores.class_count(node, *names)
    ensemble = _read(node, "class", classes)
    if classes == 2:
        return _binary(graph, node, ensemble, names)
    total = _with_base(graph, node, _sums(graph, node, ensemble))
    index = scores.argmax(graph, total)
    return [scores.labels(graph, node, index, *names), scores.transform(graph, node, total)]


def _binary(graph: Graph, node: Node, ensemble: _Ensemble, names: tuple[str, str]) -> list[str]:
    """Two classes, as onnxruntime treats them: scores of one class alone stand for both."""
    seen = set(node.attribute("class_ids", ()))
    base = node.floats("base_values")
    kind = node.attribute("post_transform", "NONE")
    all_positive = min(node.attribute("class_weights", ()), default=0) >= 0
    bound = 0.5 if all_positive else 0.0
    if seen == {0} and len(base) <= 1:
        first_only = _Ensemble(ensemble.nodes, ensemble.roots, ensemble.weights[:, :1])
        score = _with_base(graph, node, _sums(graph, node, first_only))
        index = scores.positive(graph, score, bound)
        if kind == "LOGISTIC":
            second = graph.add("Sigmoid", score)
            first = graph.add("Sub", float32s([1]), second)
        elif kind == "PROBIT":
            raise node.refuse("with post_transform PROBIT cannot be proved", "Export without it")
        else:
            second = score
            first = (
                graph.add("Sub", float32s([1]), score) if all_positive else graph.add("Neg", score)
            )
        probabilities = scores.columns(graph, first, second)
        return [scores.labels(graph, node, index, *names), probabilities]
    if len(base):
        raise node.refuse("with base values for two classes cannot be proved")
    total = _sums(graph, node, ensemble)
    second = graph.add("Gather", total, int64s([1]), axis=1)
    index = scores.positive(graph, second, bound if seen == {1} else 0.0)
    return [scores.labels(graph, node, index, *names), scores.transform(graph, node, total)]


def _with_base(graph: Graph, node: Node, total: str) -> str:
    base = node.floats("base_values").astype(np.float32)
    return graph.add("Add", total, base) if base.any() else total


RULES: Rules = {
    (ML, "TreeEnsembleRegressor"): _regressor,
    (ML, "TreeEnsembleClassifier"): _classifier,
}
