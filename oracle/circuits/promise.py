"""Which inputs a bundle answers within its bound, and how far a build goes to promise them.

A promise is a range for each input element, which the contract checks before a request is taken.
It reaches a margin beyond the samples, except where a type, a vocabulary or a pole of the model ends
before: then it is narrower, never narrower than the samples, and says so. One range serves a whole
row if it can; else each element has its own.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from oracle.circuits.probes import inside
from oracle.circuits.row import Range, TensorInfo
from oracle.errors import ModelUnsupported, UsageError
from oracle.tensor import dequantize, quantize

Floats = npt.NDArray[np.float64]

#: A range exceeds the samples' by this share of theirs, on both sides.
MARGIN = 0.25
#: Shares of the margin that are tried where the model is not finite in all of it.
_SHARES = (1.0, 0.5, 0.25, 0.0)
#: Elements have ranges of their own where the row's is so many times as wide as the median's.
_UNLIKE = 8.0
#: Elements that are named in a message.
_NAMED = 4


class Kind(StrEnum):
    """What a promise rests on."""

    #: Every input of the ranges, searched for what breaks it.
    RANGES = "ranges"
    #: Measured on samples alone; the ranges say what a contract accepts.
    SAMPLES = "samples"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a publisher asks for."""

    kind: Kind = Kind.RANGES
    #: Share of the samples' range.
    margin: float = MARGIN
    #: Ranges in place of the samples' and the margin: for all elements under None, or for one by
    #: its position in a row.
    ranges: Mapping[int | None, Range] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Promise:
    """A range for each element of an input row."""

    ranges: tuple[Range, ...]
    #: What the elements can be at all: a type's numbers, the positions of a table.
    allowed: tuple[Range, ...]
    kind: Kind = Kind.RANGES
    #: What is not promised although the margin has it, and why.
    narrowed: tuple[str, ...] = ()

    @property
    def low(self) -> Floats:
        """Least value of each element, float64 [inputs]."""
        return np.array([each.low for each in self.ranges])

    @property
    def high(self) -> Floats:
        """Greatest value of each element, float64 [inputs]."""
        return np.array([each.high for each in self.ranges])

    @property
    def is_uniform(self) -> bool:
        """Whether one range serves all elements."""
        return len(set(self.ranges)) == 1

    def integers(self, scale: int) -> tuple[tuple[int, int], ...]:
        """Least and greatest fixed-point number of each element with so many fractional bits."""
        return tuple(
            (
                _at_least(quantize(each.low, scale), allowed.low, scale),
                _at_most(quantize(each.high, scale), allowed.high, scale),
            )
            for each, allowed in zip(self.ranges, self.allowed, strict=True)
        )

    def at(self, scale: int) -> tuple[Range, ...]:
        """The ranges that `integers` says, as real numbers."""
        return tuple(
            Range(dequantize(low, scale), dequantize(high, scale))
            for low, high in self.integers(scale)
        )

    def on_grid(self, rows: Floats, scale: int) -> npt.NDArray[np.int64]:
        """The promised fixed-point numbers next to ``rows`` [n, inputs]."""
        bounds = np.array(self.integers(scale), dtype=np.float64)
        # As `tensor.quantize` rounds.
        scaled = np.ldexp(rows, scale)
        numbers = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
        return np.clip(numbers, bounds[:, 0], bounds[:, 1]).astype(np.int64)


def _at_least(number: int, limit: float, scale: int) -> int:
    return max(number, math.ceil(math.ldexp(limit, scale))) if math.isfinite(limit) else number


def _at_most(number: int, limit: float, scale: int) -> int:
    return min(number, math.floor(math.ldexp(limit, scale))) if math.isfinite(limit) else number


def promises(
    samples: Floats,
    inputs: Sequence[TensorInfo],
    allowed: Sequence[Range],
    wanted: Wanted,
    finite: Callable[[Floats], npt.NDArray[np.bool_]],
) -> Iterator[Promise]:
    """Promises to try, the widest first.

    Args:
        samples: float [n, inputs].
        inputs: the file's tensors, as they lie in a row.
        allowed: what types and tables leave of each element.
        wanted: what the publisher asks for.
        finite: for rows, float [n, inputs], whether the float model gives numbers.

    Raises:
        ModelUnsupported: the model is not finite among the samples.
        UsageError: an asked range leaves out a sample, or is none.
    """
    _check(samples, inputs, wanted)
    whole = whole_elements(inputs)
    seen: set[tuple[Range, ...]] = set()
    failure: ModelUnsupported | None = None
    shapes = (False, True) if _are_alike(samples, whole) else (True,)
    for each, share in itertools.product(shapes, (1.0, 0.0)):
        made = _Margins(samples, whole, allowed, wanted, each=each)
        found = made.promise(share, share)
        if wanted.kind is Kind.RANGES and not _is_finite(found, samples, whole, finite):
            clipped = _clipped(made, share, samples, whole, finite)
            if clipped is None:
                failure = _infinite(found, samples, whole, finite)
                continue
            found = clipped
        if share == 0.0 and wanted.margin and not wanted.ranges.keys() & {None}:
            said = "no more than the samples' own range: no circuit keeps the bound in the margin"
            found = dataclasses.replace(found, narrowed=(*found.narrowed, said))
        if found.ranges not in seen:
            seen.add(found.ranges)
            yield found
    if not seen and failure is not None:
        raise failure


def whole_elements(inputs: Sequence[TensorInfo]) -> npt.NDArray[np.bool_]:
    """Which elements of an input row are whole numbers."""
    return np.concatenate([np.full(info.length, not info.is_float) for info in inputs])


def _are_alike(samples: Floats, whole: npt.NDArray[np.bool_]) -> bool:
    """Whether one range may serve all elements: categories and measurements share none.

    Nor do elements of very different size: a small one would be promised numbers that it never has,
    and what a scaler makes of these takes a larger circuit.
    """
    widths = np.ptp(samples, axis=0)
    hull = samples.max() - samples.min()
    alike = bool(hull <= _UNLIKE * np.median(widths[widths > 0])) if np.any(widths > 0) else True
    return alike and bool(whole.all() or not whole.any())


def _check(samples: Floats, inputs: Sequence[TensorInfo], wanted: Wanted) -> None:
    length = sum(info.length for info in inputs)
    if not (math.isfinite(wanted.margin) and wanted.margin >= 0):
        raise UsageError(f"{wanted.margin} is no margin", remedy="Give a share, for example 0.25")
    for position, given in wanted.ranges.items():
        if position is not None and not 0 <= position < length:
            raise UsageError(
                f"there is no input element {position}",
                remedy=f"Count from 0 to {length - 1}",
            )
        own = samples if position is None else samples[:, position]
        if position is None:
            named = [each for each in wanted.ranges if each is not None]
            own = np.delete(samples, named, axis=1)
        if own.size and (own.min() < given.low or own.max() > given.high):
            what = "the samples" if position is None else f"element {position} of the samples"
            raise UsageError(
                f"{what} reach from {own.min():g} to {own.max():g}, beyond {given.low:g} to "
                f"{given.high:g}",
                remedy="Give a range that holds the samples, or leave such samples out",
            )


class _Margins:
    """Ranges of one shape: one for the row, or each its own."""

    def __init__(
        self,
        samples: Floats,
        whole: npt.NDArray[np.bool_],
        allowed: Sequence[Range],
        wanted: Wanted,
        *,
        each: bool,
    ) -> None:
        low, high = samples.min(axis=0), samples.max(axis=0)
        if not each:
            low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
        self._low, self._high = low, high
        # What lies between or beyond whole numbers may be no category and no position of a table.
        self._reach = np.where(whole, 0.0, wanted.margin * (high - low))
        self._allowed, self._wanted = tuple(allowed), wanted

    def promise(self, below: float, above: float, narrowed: tuple[str, ...] = ()) -> Promise:
        """With so much of the margin on each side."""
        low, high = self._low - below * self._reach, self._high + above * self._reach
        given = self._wanted.ranges
        ranges = []
        for position, (least, most) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            asked = given.get(position, given.get(None))
            limits = self._allowed[position]
            chosen = asked or Range(least, most)
            ranges.append(Range(max(chosen.low, limits.low), min(chosen.high, limits.high)))
        return Promise(tuple(ranges), self._allowed, self._wanted.kind, narrowed)


def _clipped(
    made: _Margins,
    share: float,
    samples: Floats,
    whole: npt.NDArray[np.bool_],
    finite: Callable[[Floats], npt.NDArray[np.bool_]],
) -> Promise | None:
    """The widest that is finite; None if the samples' own range is not."""
    shares = [each for each in _SHARES if each <= share]
    for below, above in sorted(itertools.product(shares, shares), key=lambda s: -sum(s)):
        sides = [
            f"{side} at {1 - kept:.0%} of the margin"
            for side, kept in (("below", below), ("above", above))
            if kept < share
        ]
        said = f"clipped {' and '.join(sides)} less: beyond, the float model is not finite"
        found = made.promise(below, above, (said,) if sides else ())
        if _is_finite(found, samples, whole, finite):
            return found
    return None


def _rows(promise: Promise, samples: Floats, whole: npt.NDArray[np.bool_]) -> Floats:
    return inside(promise.low, promise.high, samples, whole, seed=0)


def _is_finite(
    promise: Promise,
    samples: Floats,
    whole: npt.NDArray[np.bool_],
    finite: Callable[[Floats], npt.NDArray[np.bool_]],
) -> bool:
    return bool(finite(_rows(promise, samples, whole)).all())


def _infinite(
    promise: Promise,
    samples: Floats,
    whole: npt.NDArray[np.bool_],
    finite: Callable[[Floats], npt.NDArray[np.bool_]],
) -> ModelUnsupported:
    rows = _rows(promise, samples, whole)
    row = rows[~finite(rows)][0]
    shown = ", ".join(f"{value:g}" for value in row[:_NAMED])
    more = f" and {len(row) - _NAMED} more" if len(row) > _NAMED else ""
    return ModelUnsupported(
        f"the float model is not finite for [{shown}{more}], among the samples",
        remedy="Promise less: --range INDEX=LOW,HIGH for an element, or --promise samples",
    )
