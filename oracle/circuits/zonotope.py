"""Affine forms: numbers known up to terms of common causes, and a rest of causes of their own.

A form of a tensor is ``centre + sum of terms * symbols + rest``; every symbol is somewhere in
[-1, 1], the same in all forms, and so is what the rest is multiplied with, anew for each element.
So what comes of one cause can cancel. Centre and terms are one array [1 + symbols, *shape]: what
moves, adds up or weights rows does so to forms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: More symbols, or more numbers of one form, take longer than they are worth.
_MAX_SYMBOLS = 3000
_MAX_NUMBERS = 3_000_000


@dataclass(frozen=True, slots=True)
class Form:
    """Numbers of a shape, each in an interval."""

    #: The centre, then a term for each symbol: [1 + symbols, *shape].
    terms: Floats
    #: Not negative, [1, *shape].
    rest: Floats

    @classmethod
    def exactly(cls, numbers: Floats) -> Form:
        """Known numbers, [1, *shape]."""
        return cls(numbers, np.zeros_like(numbers))

    @property
    def centre(self) -> Floats:
        """The middle, [1, *shape]."""
        return self.terms[:1]

    @property
    def radius(self) -> Floats:
        """How far a number may be from the middle, [1, *shape]."""
        return np.asarray(np.abs(self.terms[1:]).sum(axis=0, keepdims=True) + self.rest)

    @property
    def most(self) -> Floats:
        """The largest absolute value, [1, *shape]."""
        return np.asarray(np.abs(self.centre) + self.radius)

    @property
    def is_zero(self) -> bool:
        """Whether every number is known to be zero."""
        return not self.terms.any() and not self.rest.any()

    def changed(self, change: Callable[[Floats], Floats]) -> Form:
        """What a change that moves numbers makes of them."""
        return Form(change(self.terms), change(self.rest))

    def times(self, factor: Floats) -> Form:
        """Each number times a known one, [1, *shape]."""
        return Form(self.terms * factor, self.rest * np.abs(factor))

    def plus(self, other: Form, factor: float = 1) -> Form:
        """The sum with ``factor`` times another form."""
        first, second = padded(self, other)
        return Form(first + factor * second, self.rest + abs(factor) * other.rest)

    def widened(self, by: Floats) -> Form:
        """With more of a rest, [1, *shape]."""
        return Form(self.terms, self.rest + by)


def padded(*forms: Form) -> list[Floats]:
    """The terms of forms, for as many symbols each."""
    most = max(len(form.terms) for form in forms)
    return [
        np.pad(form.terms, [(0, most - len(form.terms))] + [(0, 0)] * (form.terms.ndim - 1))
        for form in forms
    ]


class Symbols:
    """Hands out symbols."""

    def __init__(self) -> None:
        self._count = 0

    def new(self, radius: Floats) -> Form:
        """A form around zero of these radii [1, *shape], each element with a symbol of its own.

        Where there are too many symbols it is all rest.
        """
        wanted = np.flatnonzero(radius)
        count = self._count + len(wanted)
        if count > _MAX_SYMBOLS or (1 + count) * radius.size > _MAX_NUMBERS:
            return Form(np.zeros_like(radius), radius)
        terms = np.zeros((1 + count, radius.size))
        terms[1 + self._count + np.arange(len(wanted)), wanted] = radius.ravel()[wanted]
        self._count = count
        return Form(terms.reshape(1 + count, *radius.shape[1:]), np.zeros_like(radius))
