"""Operators that the circuit compiler cannot load, or gets wrong, as core arithmetic.

One file for each family. A rule writes one node with other nodes that compute the same numbers;
whether they do is checked by running both graphs (`oracle.circuits.onnx`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx

from oracle.circuits.lowering import (
    activations,
    greatest,
    integers,
    linear,
    logic,
    preprocessing,
    recurrent,
    shapes,
    spatial,
    svm,
    trees,
)
from oracle.circuits.lowering.graph import ML, Graph, Node, Rule, Rules, core_opset, prune

_ML_RULES: Rules = {**preprocessing.RULES, **linear.RULES, **trees.RULES, **svm.RULES}
_CORE_RULES: Rules = {
    **activations.RULES,
    **greatest.RULES,
    **logic.RULES,
    **recurrent.RULES,
    **shapes.RULES,
    **spatial.RULES,
}


def lower_ml(proto: onnx.ModelProto) -> None:
    """Rewrite every operator of the ``ai.onnx.ml`` domain, in place.

    Raises:
        ModelUnsupported: one has no rule; named with its node.
    """
    _apply(proto, _ML_RULES)


def lower_integers(proto: onnx.ModelProto) -> None:
    """Rewrite casts to integers and bits, and what integers do otherwise than reals, in place.

    After inputs are packed: casts of a row's numbers to a file's own types are among them.

    Raises:
        ModelUnsupported: as `lower_core`.
    """
    _apply(proto, integers.RULES)


def lower_core(proto: onnx.ModelProto, limited: Collection[str] = frozenset()) -> None:
    """Rewrite core operators that the circuit compiler does not know or gets wrong, in place.

    Args:
        proto: the model.
        limited: tensors that hold valid indices, counted from the start, whatever is promised to be
            asked (`oracle.circuits.vocabulary`).

    Raises:
        ModelUnsupported: an operator's parameters allow no rewriting; named with its node.
    """
    _apply(proto, _CORE_RULES, limited)


def _apply(
    model: onnx.ModelProto,
    rules: Mapping[tuple[str, str], Rule],
    limited: Collection[str] = frozenset(),
) -> None:
    proto = model.graph
    graph = Graph(proto, core_opset(model), limited)
    for index, node_proto in enumerate(proto.node):
        node = Node(node_proto, index)
        rule = rules.get(node.key)
        try:
            results = rule(graph, node) if rule else None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # Hostile or broken: lengths, positions or types that do not belong together.
            raise node.refuse(
                "has attributes that do not fit together", "Export the model again"
            ) from None
        if results is not None:
            graph.replace(node, results)
        elif node.key[0] == ML and rules is _ML_RULES:
            raise node.refuse("cannot be proved")
        else:
            graph.keep(node)
    graph.finish()
    prune(proto)
