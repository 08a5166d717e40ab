"""Which numbers of a graph are the greatest of which others.

A softmax is lowered to exponentials of what each number lacks to the greatest, which a tournament
finds: ``b + relu(a - b)``, or half of ``a + b + |a - b|``. Bounds of each operator by itself lose
that the greatest is no less than any. Here every number has an identity, which moves and products
with powers of two keep; what roundings may have changed is added up beside it, as slack.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.circuits.loaded import MOVES, Loaded, Value, aligned, moved

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Greatest:
    """``factor`` times the greatest of some numbers, give or take ``slack``."""

    factor: float
    members: frozenset[int]
    slack: float


@dataclass(frozen=True, slots=True)
class _Lack:
    """What the greatest of some numbers lacks to the greatest of more, give or take ``slack``."""

    members: frozenset[int]
    winners: frozenset[int]
    slack: float


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A tensor's numbers: factors times those of identities, give or take slack; [1, *shape]."""

    identities: npt.NDArray[np.int64]
    factors: Floats
    slacks: Floats


@dataclass(frozen=True, slots=True)
class Pair:
    """So many times the greater of two tensors, give or take ``slack``."""

    first: int
    second: int
    times: float
    slack: float


class Tournaments:
    """Follows the operators of a graph, in order."""

    def __init__(self, loaded: Loaded) -> None:
        self._values = loaded.values
        self._count = 0
        self._numbers: dict[int, _Numbers] = {}
        #: By position, which other tensor it is so many times.
        self._sources: dict[int, tuple[int, float]] = {}
        #: By position, how far a result was rounded.
        self._rounded: dict[int, float] = {}
        #: By identity, what it is the greatest of.
        self._greatest: dict[int, _Greatest] = {}
        #: By the identity of a difference, or of its exponential.
        self._lacks: dict[int, _Lack] = {}

    def scale(self, position: int, source: int, factor: float) -> None:
        """Take in a tensor that is a positive number times another."""
        before = self._of(source)
        self._numbers[position] = _Numbers(
            before.identities, before.factors * factor, before.slacks * factor
        )
        self._sources[position] = source, factor

    def follow(self, position: int, value: Value) -> None:
        """Take in the result of any other operator."""
        if value.operator in MOVES:
            given = [self._of(each) for each in value.inputs]
            self._numbers[position] = _Numbers(
                moved(value, [each.identities for each in given]),
                moved(value, [each.factors for each in given]),
                moved(value, [each.slacks for each in given]),
            )
            return
        self._numbers[position] = self._new(value.shape)
        if value.operator == "Add":
            self._win(position, value)
        elif value.operator == "Sub":
            for (apart, *_), one, other in self._elements(position, *value.inputs):
                a, b = self._read(*one), self._read(*other)
                if a.factor == b.factor and a.members <= b.members:
                    self._lacks[apart] = _Lack(a.members, b.members, a.slack + b.slack)
        elif value.operator == "Exp":
            for (raised, *_), (lack, factor, slack) in self._elements(position, value.inputs[0]):
                if lack in self._lacks:
                    known = self._lacks[lack]
                    total = factor * known.slack + slack
                    self._lacks[raised] = _Lack(known.members, known.winners, total)

    def round(self, position: int, unit: float) -> None:
        """Take in that a tensor's numbers are rounded by less than a unit.

        Rounding leaves zero as it is, and makes of nothing below it something above.
        """
        self._rounded[position] = unit
        before, after = self._of(position), self._new(self._values[position].shape)
        signs = np.zeros(before.slacks.shape, np.bool_)
        for place, (identity, _, slack) in enumerate(e for (e,) in self._elements(position)):
            known = self._lacks.get(identity)
            if known is not None and known.slack == slack == 0:
                # Another number, but one that lacks no less.
                signs.flat[place] = True
                self._lacks[int(after.identities.flat[place])] = known
        self._numbers[position] = _Numbers(
            np.where(signs, after.identities, before.identities),
            np.where(signs, after.factors, before.factors),
            np.where(signs, 0.0, before.slacks + unit),
        )

    def lacks(self, position: int) -> Floats:
        """By how much at most a tensor's numbers are above zero, as what one lacks to the greatest.

        Infinite where they are nothing of the kind; [1, *shape].
        """
        numbers = self._of(position)
        found = [
            factor * self._lacks[each].slack + slack if each in self._lacks else math.inf
            for ((each, factor, slack),) in self._elements(position)
        ]
        return np.reshape(np.asarray(found, np.float64), numbers.slacks.shape)

    def holds_one(self, position: int, axes: Sequence[int]) -> Floats:
        """How far below zero the greatest exponent of sums over ``axes`` may be, at the most.

        Infinite where it is not known to be as good as zero.
        """
        value = self._values[position]
        numbers = self._of(position)
        identities = numbers.identities
        rest = [axis for axis in range(identities.ndim) if axis - 1 not in axes]
        rows = np.transpose(identities, [*rest, *(axis + 1 for axis in axes)])
        flat = rows.reshape(int(np.prod([identities.shape[axis] for axis in rest])), -1).tolist()
        kept = tuple(1 if axis in axes else n for axis, n in enumerate(value.shape))
        plain = not numbers.slacks.any() and bool((numbers.factors == 1).all())
        found = [self._slack_of(row) if plain else math.inf for row in flat]
        return np.reshape(np.asarray(found, np.float64), (1, *kept))

    def pair(self, value: Value) -> Pair | None:
        """The two tensors whose greater a sum is, so many times; None of other operators."""
        for place in (0, 1) if value.operator == "Add" else ():
            one, other = value.inputs[place], value.inputs[1 - place]
            total, times, loose = self._source(one)
            bent = self._bent(other)
            if bent is None:
                continue
            first, second = bent.first, bent.second
            if bent.is_size:
                is_total = self._values[total].operator == "Add" and times == bent.times
                if is_total and {*self._values[total].inputs} == {first, second}:
                    return Pair(first, second, 2 * times, loose + bent.slack)
                continue
            # The same tensor as the second, or another so many times the same.
            mine, its = (self._origin(each) for each in (one, second))
            if mine[0] == its[0] and mine[1] == bent.times * its[1]:
                slack = mine[2] + bent.times * its[2] + bent.slack
                return Pair(first, second, bent.times, slack if one != second else bent.slack)
        return None

    def _origin(self, position: int) -> tuple[int, float, float]:
        """As `_source`, but a tensor's own rounding, where it starts, is no slack to itself."""
        position, factor, slack = self._source(position)
        return position, factor, slack - factor * self._rounded.get(position, 0.0)

    def _bent(self, position: int) -> _Bent | None:
        """A difference's Relu or size."""
        position, factor, slack = self._source(position)
        value = self._values[position]
        is_size, source = value.operator == "Abs", -1
        if is_size or value.operator in ("HardSwish", "Relu"):
            source = value.inputs[0]
        elif value.operator == "Add":
            # A difference and its size are twice its Relu.
            for one, other in itertools.permutations(value.inputs):
                maker = self._values[other]
                if maker.operator == "Abs" and maker.inputs[0] == one:
                    source = one
                    slack += factor * self._rounded.get(other, 0.0)
                    factor *= 2
        if source < 0:
            return None
        apart, more, loose = self._source(source)
        if self._values[apart].operator != "Sub":
            return None
        first, second = self._values[apart].inputs
        return _Bent(first, second, factor * more, slack + factor * loose, is_size)

    def _win(self, position: int, value: Value) -> None:
        pair = self.pair(value)
        if pair is None:
            return
        for (won, *_), one, other in self._elements(position, pair.first, pair.second):
            a, b = self._read(*one), self._read(*other)
            if a.factor == b.factor:
                slack = pair.times * max(a.slack, b.slack) + pair.slack
                members = a.members | b.members
                self._greatest[won] = _Greatest(a.factor * pair.times, members, slack)

    def _slack_of(self, row: Sequence[int]) -> float:
        """The greatest slack of the exponents of all that a tournament was among."""
        known = [self._lacks[each] for each in row if each in self._lacks]
        if len(known) < len(row):
            return math.inf
        winners = {each.winners for each in known}
        members = frozenset[int]().union(*(each.members for each in known))
        if len(winners) != 1 or not winners.pop() <= members:
            return math.inf
        return max(each.slack for each in known)

    def _source(self, position: int) -> tuple[int, float, float]:
        """What a tensor is so many times, as far back as it goes, and the slack on the way."""
        factor, slack = 1.0, self._rounded.get(position, 0.0)
        while position in self._sources:
            position, more = self._sources[position]
            factor *= more
            slack += factor * self._rounded.get(position, 0.0)
        return position, factor, slack

    def _new(self, shape: tuple[int, ...]) -> _Numbers:
        size = int(np.prod(shape))
        start, self._count = self._count, self._count + size
        identities = np.arange(start, start + size).reshape(1, *shape)
        return _Numbers(identities, np.ones((1, *shape)), np.zeros((1, *shape)))

    def _of(self, position: int) -> _Numbers:
        if position not in self._numbers:
            self._numbers[position] = self._new(self._values[position].shape)
        return self._numbers[position]

    def _elements(self, *positions: int) -> list[tuple[Any, ...]]:
        """Of tensors that are broadcast to one shape, (identity, factor, slack) of each element."""
        numbers = [self._of(each) for each in positions]
        columns = []
        for name in ("identities", "factors", "slacks"):
            arrays = aligned([getattr(each, name) for each in numbers])
            columns.append([each.ravel().tolist() for each in np.broadcast_arrays(*arrays)])
        tensors = (zip(*parts, strict=True) for parts in zip(*columns, strict=True))
        return list(zip(*tensors, strict=True))

    def _read(self, identity: int, factor: float, slack: float) -> _Greatest:
        found = self._greatest.get(identity)
        if found is None:
            return _Greatest(factor, frozenset([identity]), slack)
        return _Greatest(factor * found.factor, found.members, slack + factor * found.slack)


@dataclass(frozen=True, slots=True)
class _Bent:
    """So many times a difference's Relu, or its size, give or take ``slack``."""

    first: int
    second: int
    times: float
    slack: float
    is_size: bool
