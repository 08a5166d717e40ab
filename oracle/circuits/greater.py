"""Which numbers of a graph are the greatest of which others.

A softmax is lowered to exponentials of what each number lacks to the greatest, which a tournament
finds: ``b + relu(a - b)``, or half of ``a + b + |a - b|``. Bounds of each operator by itself lose
that the greatest is no less than any. Here every number has an identity, which moves and products
with powers of two keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oracle.circuits.loaded import MOVES, Loaded, Value, aligned, moved

Integers = npt.NDArray[np.int64]
Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Greatest:
    """``factor`` times the greatest of some numbers."""

    factor: float
    members: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A tensor's numbers: ``factor`` times those of these identities, [1, *shape]."""

    factor: float
    identities: Integers


class Tournaments:
    """Follows the graph in its order."""

    def __init__(self, loaded: Loaded) -> None:
        self._values = loaded.values
        self._count = 0
        self._numbers: dict[int, _Numbers] = {}
        #: By identity, what it is the greatest of.
        self._greatest: dict[int, _Greatest] = {}
        #: By the identity of a difference, or of its exponential: of whom, to whom.
        self._lacks: dict[int, tuple[_Greatest, _Greatest]] = {}

    def follow(self, position: int, value: Value, factor: float) -> None:
        """Take in the next operator; ``factor`` is what its result is of its argument's numbers."""
        inputs = value.inputs
        if value.operator in MOVES or self._scales(value):
            given = [self._of(each) for each in inputs]
            constant = next((each for each in inputs if self._is_constant(each)), None)
            if value.operator == "Mul" and constant is not None:
                given = [given[1 - inputs.index(constant)]]
                factor *= float(np.asarray(self._values[constant].constant).flat[0])
                self._numbers[position] = _Numbers(given[0].factor * factor, given[0].identities)
                return
            if len({each.factor for each in given}) == 1:
                identities = moved(value, [each.identities for each in given])
                self._numbers[position] = _Numbers(given[0].factor * factor, identities)
                return
        self._numbers[position] = self._new(value.shape)
        if value.operator == "Add":
            self._win(position, value)
        elif value.operator == "Sub":
            self._compare(position, value)
        elif value.operator == "Exp":
            for raised, lack in self._pairs(position, inputs):
                if lack in self._lacks:
                    self._lacks[raised] = self._lacks[lack]

    def is_not_positive(self, position: int) -> Bits:
        """Where a difference lacks to the greatest of numbers among which it is, [1, *shape]."""
        identities = self._numbers[position].identities
        found = [each in self._lacks for each in identities.ravel().tolist()]
        return np.asarray(found, np.bool_).reshape(identities.shape)

    def holds_one(self, position: int, axes: Sequence[int]) -> Bits:
        """Where a sum of exponentials over ``axes`` has that of the greatest, which is one."""
        value = self._values[position]
        identities = self._of(position).identities
        rest = [axis for axis in range(identities.ndim) if axis - 1 not in axes]
        rows = np.transpose(identities, [*rest, *(axis + 1 for axis in axes)])
        flat = rows.reshape(int(np.prod([identities.shape[axis] for axis in rest])), -1)
        kept = tuple(1 if axis in axes else n for axis, n in enumerate(value.shape))
        found = [self._is_whole(row) for row in flat.tolist()]
        return np.asarray(found, np.bool_).reshape(1, *kept)

    def _is_whole(self, row: Sequence[int]) -> bool:
        """Whether these are the exponentials of all that a tournament was among."""
        lacks = [self._lacks.get(each) for each in row]
        known = [each for each in lacks if each is not None]
        if len(known) < len(lacks):
            return False
        winners = {each[1].members for each in known}
        members = frozenset().union(*(each[0].members for each in known))
        return len(winners) == 1 and winners.pop() <= members

    def _is_constant(self, position: int) -> bool:
        return self._values[position].constant is not None

    def _scales(self, value: Value) -> bool:
        """Whether it multiplies by a single positive number."""
        if value.operator != "Mul":
            return False
        known = [self._values[each].constant for each in value.inputs]
        return any(each is not None and each.size == 1 and each.flat[0] > 0 for each in known)

    def _new(self, shape: tuple[int, ...]) -> _Numbers:
        size = int(np.prod(shape))
        start, self._count = self._count, self._count + size
        return _Numbers(1.0, np.arange(start, start + size).reshape(1, *shape))

    def _of(self, position: int) -> _Numbers:
        if position not in self._numbers:
            self._numbers[position] = self._new(self._values[position].shape)
        return self._numbers[position]

    def _pairs(self, position: int, others: Sequence[int]) -> list[tuple[int, ...]]:
        """Identities of a tensor's numbers beside those of tensors they are made of."""
        arrays = aligned([self._of(each).identities for each in (position, *others)])
        return list(zip(*(a.ravel().tolist() for a in np.broadcast_arrays(*arrays)), strict=True))

    def _read(self, identity: int, factor: float) -> _Greatest:
        found = self._greatest.get(identity)
        if found is None:
            return _Greatest(factor, frozenset([identity]))
        return _Greatest(factor * found.factor, found.members)

    def _win(self, position: int, value: Value) -> None:
        """Note the greater of two, if a sum is one."""
        pair = self._pair(value)
        if pair is None:
            return
        (first, second), times = pair
        factors = self._of(first).factor, self._of(second).factor
        for won, one, other in self._pairs(position, (first, second)):
            a, b = self._read(one, factors[0]), self._read(other, factors[1])
            if a.factor == b.factor:
                self._greatest[won] = _Greatest(times * a.factor, a.members | b.members)

    def _pair(self, value: Value) -> tuple[tuple[int, int], int] | None:
        """The two whose greater a sum is, and how many times it."""
        for place in (0, 1):
            one, maker = value.inputs[place], self._values[value.inputs[1 - place]]
            if maker.operator not in ("Abs", "Relu"):
                continue
            apart, total = self._values[maker.inputs[0]], self._values[one]
            if apart.operator != "Sub":
                continue
            if maker.operator == "Relu" and apart.inputs[1] == one:
                return (apart.inputs[0], one), 1
            both = maker.operator == "Abs" and total.operator == "Add"
            if both and set(apart.inputs) == set(total.inputs):
                return (apart.inputs[0], apart.inputs[1]), 2
        return None

    def _compare(self, position: int, value: Value) -> None:
        factors = [self._of(each).factor for each in value.inputs]
        for apart, one, other in self._pairs(position, value.inputs):
            a, b = self._read(one, factors[0]), self._read(other, factors[1])
            if a.factor == b.factor and a.members <= b.members:
                self._lacks[apart] = (a, b)
