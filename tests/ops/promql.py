"""As much of PromQL as the shipped expressions use, over scrapes of a real registry.

The library's parser reads the expressions; this evaluates its tree. What is not needed is not
here, and raises. ``increase`` is not extrapolated: it is never more than Prometheus finds.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import promql_parser as ast
from prometheus_client.parser import text_string_to_metric_families

NAME = "__name__"
Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
#: Seconds for which a sample is current.
STALENESS = 300

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / b if b else math.nan if a == 0 else math.copysign(math.inf, a),
}
_AGGREGATE: dict[str, Callable[[list[float]], float]] = {
    "sum": math.fsum,
    "max": max,
    "min": min,
    "count": len,
    "avg": lambda values: math.fsum(values) / len(values),
}


def parse_scrape(text: str, **extra: str) -> Vector:
    """Samples of an exposition, with the labels that Prometheus adds."""
    return {
        frozenset({NAME: s.name, **s.labels, **extra}.items()): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


@dataclass
class Prometheus:
    """Scrapes by time, and expressions over them."""

    scrapes: list[tuple[float, Vector]] = field(default_factory=list)

    def add(self, at: float, *exposed: Vector) -> None:
        self.scrapes.append((at, {k: v for one in exposed for k, v in one.items()}))

    def ask(self, expression: str, at: float) -> Vector:
        found = self._value(ast.parse(expression), at)
        assert isinstance(found, dict), f"{expression} is a number"
        return found

    def _value(self, node: Any, at: float) -> Vector | float:
        match node:
            case ast.NumberLiteral():
                return float(node.val)
            case ast.ParenExpr():
                return self._value(node.expr, at)
            case ast.VectorSelector():
                return self._instant(node, at)
            case ast.AggregateExpr():
                return self._aggregate(node, at)
            case ast.Call():
                return self._call(node, at)
            case ast.BinaryExpr():
                return self._binary(node, at)
        raise NotImplementedError(type(node).__name__)

    def _vector(self, node: Any, at: float) -> Vector:
        found = self._value(node, at)
        assert isinstance(found, dict)
        return found

    def _instant(self, node: Any, at: float) -> Vector:
        found: Vector = {}
        for when, samples in self.scrapes:
            if at - STALENESS < when <= at:
                # A scrape that lacks a series ends it.
                found = {k: v for k, v in samples.items() if matches(node, k)}
        return found

    def _call(self, node: Any, at: float) -> Vector:
        name = node.func.name
        if name in ("increase", "rate", "delta"):
            (matrix,) = node.args
            seconds = matrix.range.total_seconds()
            values = self._range(matrix.vector_selector, at - seconds, at)
            growth = {k: grown(v, counter=name != "delta") for k, v in values.items() if len(v) > 1}
            return {bare(k): v / seconds if name == "rate" else v for k, v in growth.items()}
        if name == "histogram_quantile":
            quantile, buckets = node.args
            return quantiles(float(quantile.val), self._vector(buckets, at))
        if name == "abs":
            return {bare(k): abs(v) for k, v in self._vector(node.args[0], at).items()}
        if name == "time":
            return {frozenset(): at}
        raise NotImplementedError(name)

    def _range(self, node: Any, first: float, last: float) -> dict[Labels, list[float]]:
        found: dict[Labels, list[float]] = {}
        for when, samples in self.scrapes:
            if first < when <= last:
                for key, value in samples.items():
                    if matches(node, key):
                        found.setdefault(key, []).append(value)
        return found

    def _aggregate(self, node: Any, at: float) -> Vector:
        groups: dict[Labels, list[float]] = {}
        for labels, value in self._vector(node.expr, at).items():
            groups.setdefault(grouped(labels, node.modifier), []).append(value)
        return {k: _AGGREGATE[str(node.op)](v) for k, v in groups.items()}

    def _binary(self, node: Any, at: float) -> Vector | float:
        name = str(node.op)
        left, right = self._value(node.lhs, at), self._value(node.rhs, at)
        if isinstance(left, dict) and isinstance(right, dict):
            return joined(name, left, right, node.modifier)
        if isinstance(left, dict):
            return apply(name, ((k, v, right) for k, v in left.items()))
        if isinstance(right, dict):
            return apply(name, ((k, left, v) for k, v in right.items()), keep_right=True)
        return _ARITHMETIC[name](left, right)


def matches(node: Any, labels: Labels) -> bool:
    values = dict(labels)
    if node.name is not None and values[NAME] != node.name:
        return False
    return all(_matches(m, values.get(m.name, "")) for m in node.matchers.matchers)


def _matches(matcher: Any, value: str) -> bool:
    match matcher.op:
        case ast.MatchOp.Equal:
            return bool(value == matcher.value)
        case ast.MatchOp.NotEqual:
            return bool(value != matcher.value)
        case ast.MatchOp.Re:
            return re.fullmatch(matcher.value, value) is not None
    return re.fullmatch(matcher.value, value) is None


def bare(labels: Labels) -> Labels:
    return frozenset(pair for pair in labels if pair[0] != NAME)


def grown(values: list[float], *, counter: bool) -> float:
    if not counter:
        return values[-1] - values[0]
    return math.fsum(b - a if b >= a else b for a, b in pairwise(values))


def grouped(labels: Labels, modifier: Any) -> Labels:
    if modifier is None:
        return frozenset()
    keep = modifier.type == ast.AggModifierType.By
    return frozenset(p for p in bare(labels) if (p[0] in modifier.labels) == keep)


def quantiles(quantile: float, buckets: Vector) -> Vector:
    by_group: dict[Labels, list[tuple[float, float]]] = {}
    for labels, amount in buckets.items():
        end = float(dict(labels)["le"])
        key = frozenset(pair for pair in bare(labels) if pair[0] != "le")
        by_group.setdefault(key, []).append((end, amount))
    return {key: _quantile(quantile, sorted(found)) for key, found in by_group.items()}


def _quantile(quantile: float, buckets: list[tuple[float, float]]) -> float:
    rank = quantile * buckets[-1][1]
    if not rank:
        return math.nan
    start, below = 0.0, 0.0
    for end, amount in buckets:
        if amount >= rank:
            if math.isinf(end):
                return start
            return start + (end - start) * (rank - below) / (amount - below)
        start, below = end, amount
    return start


def joined(name: str, left: Vector, right: Vector, modifier: Any) -> Vector:
    def key(labels: Labels) -> Labels:
        matching = modifier.matching if modifier is not None else None
        if matching is None:
            return bare(labels)
        keep = matching.type == ast.LabelModifierType.Include
        return frozenset(p for p in bare(labels) if (p[0] in matching.labels) == keep)

    index: dict[Labels, float] = {}
    for labels, value in right.items():
        assert name in ("and", "unless", "or") or key(labels) not in index, "many on the right"
        index[key(labels)] = value
    if name == "and":
        return {k: v for k, v in left.items() if key(k) in index}
    if name == "unless":
        return {k: v for k, v in left.items() if key(k) not in index}
    many = modifier is not None and modifier.card == ast.VectorMatchCardinality.ManyToOne
    assert many or len({key(k) for k in left}) == len(left), "many on the left"
    return apply(name, ((k, v, index[key(k)]) for k, v in left.items() if key(k) in index))


def apply(
    name: str, rows: Iterable[tuple[Labels, float, float]], *, keep_right: bool = False
) -> Vector:
    if name in _COMPARE:
        return {k: b if keep_right else a for k, a, b in rows if _COMPARE[name](a, b)}
    return {bare(k): _ARITHMETIC[name](a, b) for k, a, b in rows}


def selectors(expression: str) -> Iterator[Any]:
    """Every vector selector of an expression."""
    todo = [ast.parse(expression)]
    while todo:
        node = todo.pop()
        match node:
            case ast.VectorSelector():
                yield node
            case ast.MatrixSelector():
                yield node.vector_selector
            case ast.Call():
                todo += node.args
            case ast.AggregateExpr() | ast.ParenExpr() | ast.UnaryExpr() | ast.SubqueryExpr():
                todo.append(node.expr)
            case ast.BinaryExpr():
                todo += [node.lhs, node.rhs]
