"""Which numbers of a graph are the greatest of which others.

A softmax is lowered to exponentials of what each number lacks to the greatest, which a tournament
finds: ``b + relu(a - b)``, or half of ``a + b + |a - b|``. Bounds of each operator by itself lose
that the greatest is no less than any. Here every number has an identity, which moves and products
with powers of two keep.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.circuits.loaded import MOVES, Loaded, Value, aligned, moved

Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Greatest:
    """``factor`` times the greatest of some numbers."""

    factor: float
    members: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A tensor's numbers: factors times those of identities, both [1, *shape]."""

    identities: npt.NDArray[np.int64]
    factors: npt.NDArray[np.float64]


class Tournaments:
    """Follows the operators of a graph, in order."""

    def __init__(self, loaded: Loaded) -> None:
        self._values = loaded.values
        self._count = 0
        self._numbers: dict[int, _Numbers] = {}
        #: By position, which other tensor it is so many times.
        self._sources: dict[int, tuple[int, float]] = {}
        self._rounded: set[int] = set()
        #: By identity, what it is the greatest of.
        self._greatest: dict[int, _Greatest] = {}
        #: By the identity of a difference, or of its exponential: of whom, to whom.
        self._lacks: dict[int, tuple[_Greatest, _Greatest]] = {}

    def scale(self, position: int, source: int, factor: float) -> None:
        """Take in a tensor that is a positive number times another."""
        before = self._of(source)
        self._numbers[position] = _Numbers(before.identities, before.factors * factor)
        self._sources[position] = source, factor

    def follow(self, position: int, value: Value) -> None:
        """Take in the result of any other operator."""
        if value.operator in MOVES:
            given = [self._of(each) for each in value.inputs]
            self._numbers[position] = _Numbers(
                moved(value, [each.identities for each in given]),
                moved(value, [each.factors for each in given]),
            )
            return
        self._numbers[position] = self._new(value.shape)
        if value.operator == "Add":
            self._win(position, value)
        elif value.operator == "Sub":
            for (apart, _), one, other in self._elements(position, *value.inputs):
                a, b = self._read(*one), self._read(*other)
                if a.factor == b.factor and a.members <= b.members:
                    self._lacks[apart] = a, b
        elif value.operator == "Exp":
            for (raised, _), (lack, _) in self._elements(position, value.inputs[0]):
                if lack in self._lacks:
                    self._lacks[raised] = self._lacks[lack]

    def round(self, position: int) -> None:
        """Take in that a tensor's numbers are rounded: no more than the signs of lacks is kept."""
        self._rounded.add(position)
        self._sources.pop(position, None)
        before = self._of(position)
        self._numbers[position] = after = self._new(self._values[position].shape)
        pairs = zip(before.identities.ravel(), after.identities.ravel(), strict=True)
        self._lacks |= {int(new): self._lacks[old] for old, new in pairs if old in self._lacks}

    def lacks(self, position: int) -> Bits:
        """Which of a tensor's numbers are what one lacks to the greatest of some, [1, *shape]."""
        identities = self._of(position).identities
        found = [each in self._lacks for each in identities.ravel().tolist()]
        return np.asarray(found, np.bool_).reshape(identities.shape)

    def holds_one(self, position: int, axes: Sequence[int]) -> Bits:
        """Which sums of exponentials over ``axes`` have that of the greatest, which is one."""
        value = self._values[position]
        identities = self._of(position).identities
        rest = [axis for axis in range(identities.ndim) if axis - 1 not in axes]
        rows = np.transpose(identities, [*rest, *(axis + 1 for axis in axes)])
        flat = rows.reshape(int(np.prod([identities.shape[axis] for axis in rest])), -1)
        kept = tuple(1 if axis in axes else n for axis, n in enumerate(value.shape))
        found = [self._is_whole(row) for row in flat.tolist()]
        return np.asarray(found, np.bool_).reshape(1, *kept)

    def pair(self, value: Value) -> tuple[int, int, float] | None:
        """The two tensors whose greater a sum is, so many times; None of other operators."""
        for place in (0, 1) if value.operator == "Add" else ():
            one, other = value.inputs[place], value.inputs[1 - place]
            total, times = self._source(one)
            bent = self._bent(other)
            if bent is None:
                continue
            (first, second), half, is_size = bent
            if not is_size:
                source, own = self._source(second)
                if source == total and times == half * own:
                    return first, second, half
            elif (
                self._is_made(total, "Add")
                and {*self._values[total].inputs} == {first, second}
                and times == half
            ):
                return first, second, 2 * half
        return None

    def _bent(self, position: int) -> tuple[tuple[int, ...], float, bool] | None:
        """The two whose difference's Relu, or size, a tensor is, how many times, and which."""
        position, factor = self._source(position)
        is_size, source = self._is_made(position, "Abs"), -1
        if is_size or any(self._is_made(position, each) for each in ("Relu", "HardSwish")):
            source = self._values[position].inputs[0]
        elif self._is_made(position, "Add"):
            # A difference and its size are twice its Relu.
            for one, other in itertools.permutations(self._values[position].inputs):
                if self._is_made(other, "Abs") and self._values[other].inputs[0] == one:
                    source, factor = one, 2 * factor
        if source < 0:
            return None
        apart, more = self._source(source)
        if not self._is_made(apart, "Sub"):
            return None
        return self._values[apart].inputs, factor * more, is_size

    def _is_made(self, position: int, operator: str) -> bool:
        """Whether a tensor is an operator's result as it is, and not rounded."""
        return self._values[position].operator == operator and position not in self._rounded

    def _win(self, position: int, value: Value) -> None:
        pair = self.pair(value)
        if pair is None:
            return
        first, second, times = pair
        for (won, _), one, other in self._elements(position, first, second):
            a, b = self._read(*one), self._read(*other)
            if a.factor == b.factor:
                self._greatest[won] = _Greatest(a.factor * times, a.members | b.members)

    def _is_whole(self, row: Sequence[int]) -> bool:
        """Whether these are the exponentials of all that a tournament was among."""
        known = [self._lacks[each] for each in row if each in self._lacks]
        if len(known) < len(row):
            return False
        winners = {each[1].members for each in known}
        members = frozenset[int]().union(*(each[0].members for each in known))
        return len(winners) == 1 and winners.pop() <= members

    def _source(self, position: int) -> tuple[int, float]:
        """What a tensor is so many times, as far back as it goes."""
        factor = 1.0
        while position in self._sources:
            position, more = self._sources[position]
            factor *= more
        return position, factor

    def _new(self, shape: tuple[int, ...]) -> _Numbers:
        size = int(np.prod(shape))
        start, self._count = self._count, self._count + size
        identities = np.arange(start, start + size).reshape(1, *shape)
        return _Numbers(identities, np.ones((1, *shape)))

    def _of(self, position: int) -> _Numbers:
        if position not in self._numbers:
            self._numbers[position] = self._new(self._values[position].shape)
        return self._numbers[position]

    def _elements(self, *positions: int) -> list[tuple[Any, ...]]:
        """Of tensors that are broadcast to one shape, (identity, factor) element by element."""
        numbers = [self._of(each) for each in positions]
        identities = np.broadcast_arrays(*aligned([each.identities for each in numbers]))
        factors = np.broadcast_arrays(*aligned([each.factors for each in numbers]))
        columns = [
            zip(identity.ravel().tolist(), factor.ravel().tolist(), strict=True)
            for identity, factor in zip(identities, factors, strict=True)
        ]
        return list(zip(*columns, strict=True))

    def _read(self, identity: int, factor: float) -> _Greatest:
        found = self._greatest.get(identity)
        if found is None:
            return _Greatest(factor, frozenset([identity]))
        return _Greatest(factor * found.factor, found.members)
