"""Inputs that a contract accepts and a build did not try, chosen to find a wrong answer.

Rows are fixed-point integers within what the contract takes of each element. They come from sources
that know nothing of how the circuit was found; then a climb starts from the worst of them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from oracle.circuits.reveal import Kind, Reveal
from scripts.truth.jumps import nearest
from scripts.truth.target import Floats, Integers, Target, Tried, joined, on_grid

#: Rows of the climb for each row before it.
_CLIMB = 0.25
#: Rounds of the climb, and rows that each starts from.
_ROUNDS = 6
_STARTS = 6
#: Constants of larger tensors are weights, of which nothing is compared with an input.
_MOST_CONSTANTS = 4096
#: Rows whose float answers are looked at, for each row that is then tried.
_SCREENED = 20
#: Times that a range is halved at the most.
_HALVINGS = 40
#: Times that more random rows are drawn where those before were known.
_REFILLS = 20


@dataclass(frozen=True, slots=True)
class Ground:
    """What the sources draw from; everything in fixed point."""

    #: What the contract takes of each element [inputs].
    low: Integers
    high: Integers
    #: Samples of the build, and rows that it never saw, as far as the contract takes them.
    samples: Integers
    fresh: Integers
    #: Constants of the file as inputs, and the element that each belongs to, or None for any.
    constants: list[tuple[int, int | None]]

    @property
    def own_low(self) -> Integers:
        """Least value of each feature in the samples."""
        return np.asarray(self.samples.min(axis=0))

    @property
    def own_high(self) -> Integers:
        """Greatest value of each feature in the samples."""
        return np.asarray(self.samples.max(axis=0))

    def accepted(self, rows: Integers) -> Integers:
        """Those that the contract takes."""
        return np.asarray(rows[((rows >= self.low) & (rows <= self.high)).all(axis=1)])

    def clipped(self, rows: Integers) -> Integers:
        """Each element at the nearest value that the contract takes."""
        return np.clip(rows, self.low, self.high)

    def picked(self, rng: np.random.Generator, count: int) -> Integers:
        """Samples, some of them several times."""
        return np.asarray(self.samples[rng.integers(0, len(self.samples), count)])


@dataclass(frozen=True, slots=True)
class Attacked:
    """All rows that were tried, and where each came from."""

    tried: Tried
    sources: list[str]


Source = Callable[[Target, Ground, np.random.Generator, int], Integers]


def attack(target: Target, *, rows: int, seed: int) -> Attacked:
    """Try at least ``rows`` inputs, or all there are, and climb from the worst.

    Args:
        target: the circuit and the file.
        rows: before the climb.
        seed: of all random choices.
    """
    rng = np.random.default_rng([seed, zlib.crc32(target.case.name.encode())])
    ground = _ground(target)
    known = _Known(target, ground)
    chosen, sources = [], []
    for name, (share, source) in SOURCES.items():
        new = known.new(source(target, ground, rng, math.ceil(share * rows)))
        chosen.append(new)
        sources += [name] * len(new)
    for _ in range(_REFILLS):
        lacking = rows - len(sources)
        if lacking <= 0:
            break
        new = known.new(_in_box(target, ground, rng, lacking))
        chosen.append(new)
        sources += ["box"] * len(new)
    tried = target.try_rows(np.vstack(chosen))
    for climbed in _climb(target, ground, rng, tried, math.ceil(_CLIMB * rows), known):
        tried = joined([tried, climbed])
        sources += ["climb"] * len(climbed.rows)
    return Attacked(tried, sources)


class _Known:
    """Rows that were tried, by the build or by the attack."""

    def __init__(self, target: Target, ground: Ground) -> None:
        self._ground = ground
        scale = target.promise.input.scale
        before = [on_grid(rows, scale) for rows in (target.case.samples, target.promise.tried)]
        self._seen = {row.tobytes() for rows in before for row in rows}

    def new(self, rows: Integers) -> Integers:
        """Those that the contract takes and nobody tried yet, each once."""
        kept = []
        for row in self._ground.accepted(np.asarray(rows, dtype=np.int64)):
            if (key := row.tobytes()) not in self._seen:
                self._seen.add(key)
                kept.append(row)
        return np.array(kept, dtype=np.int64).reshape(len(kept), len(self._ground.low))


def _ground(target: Target) -> Ground:
    promise, case = target.promise, target.case
    scale = promise.input.scale
    samples, fresh = on_grid(case.samples, scale), on_grid(case.fresh, scale)
    empty = Ground(promise.low, promise.high, samples, fresh, [])
    constants = [
        (integer + step, element)
        for value, element in _constants(case.onnx, promise.input.length)
        if abs(value) < 2**31
        for integer in (round(math.ldexp(value, scale)),)
        for step in (-1, 0, 1)
    ]
    samples = empty.accepted(samples)
    if not len(samples):
        # It promises less than any sample: what it takes is all there is.
        samples = np.stack([promise.low, promise.high])
    return Ground(promise.low, promise.high, samples, empty.accepted(fresh), constants)


def _constants(data: bytes, length: int) -> Iterator[tuple[float, int | None]]:
    """Numbers of the file that an input may be compared with, each with its element if that is known."""
    model = onnx.load_model_from_string(data)
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        tensors += [
            each.t for each in node.attribute if node.op_type == "Constant" and each.HasField("t")
        ]
        attributes = {each.name: each for each in node.attribute}
        if "nodes_values" in attributes:
            features = attributes["nodes_featureids"].ints
            yield from zip(attributes["nodes_values"].floats, features, strict=True)
        for name in ("offset", "threshold"):
            if name in attributes:
                yield from _listed(np.array(attributes[name].floats), length)
    for tensor in tensors:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind in "fiu" and 0 < values.size <= _MOST_CONSTANTS:
            yield from _listed(values.ravel(), length)


def _listed(values: npt.NDArray[Any], length: int) -> Iterator[tuple[float, int | None]]:
    for index, value in enumerate(values.tolist()):
        if math.isfinite(value):
            yield value, index if values.size == length else None


# --- sources --------------------------------------------------------------------------------------


def _fresh(_: Target, ground: Ground, rng: np.random.Generator, count: int) -> Integers:
    """Rows of the same data set."""
    return np.asarray(ground.fresh[rng.permutation(len(ground.fresh))[:count]])


def _uniform(rng: np.random.Generator, low: Integers, high: Integers, count: int) -> Integers:
    return np.asarray(rng.integers(low, high, (count, len(low)), endpoint=True), dtype=np.int64)


def _in_box(_: Target, ground: Ground, rng: np.random.Generator, count: int) -> Integers:
    """Anything that the contract takes."""
    return _uniform(rng, ground.low, ground.high, count)


def _in_own_range(_: Target, ground: Ground, rng: np.random.Generator, count: int) -> Integers:
    """Each feature anywhere between its least and greatest sample."""
    return _uniform(rng, ground.own_low, ground.own_high, count)


def _corners(_: Target, ground: Ground, rng: np.random.Generator, count: int) -> Integers:
    """Of the box, and of the features' own ranges."""
    half = (count + 1) // 2
    rows = [
        np.where(rng.random((half, len(low))) < 0.5, low, high)
        for low, high in ((ground.low, ground.high), (ground.own_low, ground.own_high))
    ]
    return np.vstack([ground.low, ground.high, *rows])


def _edges(_: Target, ground: Ground, rng: np.random.Generator, count: int) -> Integers:
    """Samples with some elements at an end of what the contract takes, or a step before it."""
    rows = ground.picked(rng, count)
    moved = rng.random(rows.shape) < rng.choice([0.1, 0.3, 0.8], size=(count, 1))
    at_end = np.where(rng.random(rows.shape) < 0.5, ground.low, ground.high)
    inward = np.where(at_end == ground.low, 1, -1) * rng.integers(0, 2, rows.shape)
    return ground.clipped(np.where(moved, at_end + inward, rows))


def _between(_: Target, ground: Ground, rng: np.random.Generator, count: int) -> Integers:
    """On the line through two samples, a little beyond them too."""
    first, second = ground.picked(rng, count), ground.picked(rng, count)
    share = rng.uniform(-0.1, 1.1, (count, 1))
    return ground.clipped(np.rint(first + share * (second - first)).astype(np.int64))


def _sweeps(_: Target, ground: Ground, rng: np.random.Generator, count: int) -> Integers:
    """A sample with one feature anywhere."""
    rows = ground.picked(rng, count)
    element = rng.integers(0, rows.shape[1], count)
    values = rng.integers(ground.low[element], ground.high[element], endpoint=True)
    rows[np.arange(count), element] = values
    return rows


def _all_equal(_: Target, ground: Ground, __: np.random.Generator, count: int) -> Integers:
    """The same number in every element."""
    low, high = int(ground.low.max()), int(ground.high.min())
    if low > high:
        return np.empty((0, len(ground.low)), dtype=np.int64)
    values = np.unique(np.linspace(low, high, count).astype(np.int64))
    return np.repeat(values[:, np.newaxis], len(ground.low), axis=1)


def _around_zero(_: Target, ground: Ground, rng: np.random.Generator, count: int) -> Integers:
    """Numbers of any magnitude from one step on, in all elements or in some of a sample."""
    shape = (count, len(ground.low))
    reach = max(1, int(np.abs(np.stack([ground.low, ground.high])).max()))
    small = np.exp2(rng.uniform(0, math.log2(reach + 1), shape)).astype(np.int64)
    small = rng.choice([-1, 0, 1], size=shape, p=[0.45, 0.1, 0.45]) * small
    kept = rng.random(shape) < rng.choice([0.0, 0.5], size=(count, 1))
    return ground.clipped(np.where(kept, ground.picked(rng, count), small))


def _at_constants(_: Target, ground: Ground, rng: np.random.Generator, count: int) -> Integers:
    """Samples with some elements at a constant of the file, or a step beside it."""
    rows = ground.picked(rng, count)
    if not ground.constants:
        return rows
    for row in rows:
        for index in rng.integers(0, len(ground.constants), rng.integers(1, 4)):
            value, element = ground.constants[index]
            if element is None or element >= len(row):
                element = int(rng.integers(0, len(row)))
            row[element] = value
    return ground.clipped(rows)


def _extremes(target: Target, ground: Ground, rng: np.random.Generator, count: int) -> Integers:
    """Where the file's own answers are greatest, least, or no numbers."""
    each = math.ceil(count / 2)
    picked = []
    for source in (_in_box, _in_own_range):
        rows = source(target, ground, rng, _SCREENED * each)
        scores = target.screened(rows)
        undefined = np.flatnonzero(~np.isfinite(scores).all(axis=1))[: each // 4]
        order = np.argsort(np.nan_to_num(scores), axis=0)
        # The last and first of every score, then the next ones.
        ends = np.stack([order, order[::-1]], axis=1).reshape(-1)
        best = np.array(list(dict.fromkeys(ends.tolist())))[: each - len(undefined)]
        picked.append(rows[np.concatenate([undefined, best])])
    return np.vstack(picked)


def _steepest(target: Target, ground: Ground, rng: np.random.Generator, count: int) -> Integers:
    """Neighbours between which the file's answer changes most: ranges halved towards the change."""
    pairs = math.ceil(count / 2)
    ends = [_between(target, ground, rng, pairs), _in_own_range(target, ground, rng, pairs)]
    scale = target.promise.input.scale
    values = [_published(target.reveal, target.screened(rows), scale) for rows in ends]
    for _ in range(_HALVINGS):
        if np.abs(ends[0] - ends[1]).max() <= 1:
            break
        # Rounded down between neighbours it is the first of them, and nothing moves any more.
        middle = (ends[0] + ends[1]) // 2
        value = _published(target.reveal, target.screened(middle), scale)
        changes = [np.abs(value - each).max(axis=1) for each in values]
        first = (changes[0] >= changes[1])[:, np.newaxis]
        ends = [np.where(first, ends[0], middle), np.where(first, middle, ends[1])]
        values = [np.where(first, values[0], value), np.where(first, value, values[1])]
    return np.vstack(ends)


def _beside(target: Target, ground: Ground, rng: np.random.Generator, count: int) -> Integers:
    """Just beyond the margin of a jump, where a wrong answer is likeliest and nothing excuses it."""
    margin, revealed = target.promise.margin, target.promise.revealed
    if margin <= 0:
        return ground.low[np.newaxis][:0]

    def excused(rows: Integers) -> npt.NDArray[np.bool_]:
        found = nearest(revealed.data, revealed.input_name, target.reals(rows))
        return np.asarray(found < margin)

    within = _steepest(target, ground, rng, count)
    beyond = _in_box(target, ground, rng, len(within))
    kept = excused(within) & ~excused(beyond)
    within, beyond = within[kept], beyond[kept]
    for _ in range(_HALVINGS if len(within) else 0):
        middle = (within + beyond) // 2
        inside = excused(middle)
        if np.abs(within - beyond).max() <= 1:
            break
        within = np.where(inside[:, np.newaxis], middle, within)
        beyond = np.where(inside[:, np.newaxis], beyond, middle)
    return beyond[:count]


#: Every source with its share of the rows.
SOURCES: Mapping[str, tuple[float, Source]] = {
    "fresh": (0.20, _fresh),
    "box": (0.12, _in_box),
    "own range": (0.12, _in_own_range),
    "corner": (0.08, _corners),
    "edge": (0.06, _edges),
    "between": (0.10, _between),
    "sweep": (0.10, _sweeps),
    "all equal": (0.04, _all_equal),
    "zero": (0.08, _around_zero),
    "constant": (0.10, _at_constants),
    "extreme": (0.08, _extremes),
    "steepest": (0.06, _steepest),
    "beside a jump": (0.12, _beside),
}


def _published(reveal: Reveal, scores: Floats, scale: int) -> Floats:
    """What a policy makes of exact scores, as far as it shows where the answer changes, [n, numbers]."""
    numbers = np.nan_to_num(scores, posinf=2.0**scale, neginf=-(2.0**scale))
    if reveal.kind is Kind.THRESHOLD:
        return np.asarray(numbers >= reveal.parameter, dtype=np.float64)
    if reveal.kind is Kind.ROUND:
        return np.asarray(np.floor(numbers * 10**reveal.parameter + 0.5))
    if reveal.kind in (Kind.TOP1, Kind.TOPK):
        length = reveal.length(numbers.shape[1])
        order = np.argsort(-numbers, axis=1, kind="stable")[:, :length]
        return np.asarray(order, dtype=np.float64)
    return numbers


# --- the climb ------------------------------------------------------------------------------------


def _climb(
    target: Target,
    ground: Ground,
    rng: np.random.Generator,
    tried: Tried,
    budget: int,
    known: _Known,
) -> Iterator[Tried]:
    """Steps in a few coordinates from the worst rows, round after round."""
    each = math.ceil(budget / _ROUNDS / _STARTS)
    best, merits = tried, _merits(target.reveal, tried)
    for _ in range(_ROUNDS):
        order = np.argsort(-merits, kind="stable")[:_STARTS]
        best, merits = best.picked(order), merits[order]
        proposed = np.vstack([_neighbours(ground, rng, row, each) for row in best.rows])
        rows = known.new(proposed)
        if not len(rows):
            return
        found = target.try_rows(rows)
        yield found
        best = joined([best, found])
        merits = np.concatenate([merits, _merits(target.reveal, found)])


def _neighbours(ground: Ground, rng: np.random.Generator, row: Integers, count: int) -> Integers:
    rows = np.repeat(row[np.newaxis], count, axis=0)
    widths = np.maximum(ground.high - ground.low, 1)
    for changed in rows:
        for element in rng.integers(0, len(row), rng.integers(1, 4)):
            # From one step to a quarter of the range, every magnitude alike.
            step = int(2 ** rng.uniform(0, max(1.0, math.log2(widths[element] / 4 + 1))))
            changed[element] += rng.choice([-1, 1]) * step
    return ground.clipped(rows)


def _merits(reveal: Reveal, tried: Tried) -> Floats:
    """Greater where a row is worse, or nearer to another answer [n]."""
    # Of what is infinitely wrong already nothing worse is to be found.
    errors = np.where(np.isfinite(tried.errors), tried.errors, -np.inf)
    near = -_distances(reveal, tried.scores)
    return np.where(errors > 0, errors, np.where(np.isfinite(errors), near, -np.inf))


def _distances(reveal: Reveal, scores: Floats) -> Floats:
    """How far the scores are from another answer [n]; zero where every score is published."""
    if reveal.kind is Kind.THRESHOLD:
        return np.asarray(np.abs(scores - reveal.parameter).min(axis=1))
    if reveal.kind is Kind.ROUND:
        units = scores * 10**reveal.parameter
        return np.asarray(np.abs(units - np.floor(units) - 0.5).min(axis=1))
    if reveal.kind in (Kind.TOP1, Kind.TOPK):
        descending = -np.sort(-scores, axis=1)[:, : reveal.length(scores.shape[1]) + 1]
        return np.asarray((descending[:, :-1] - descending[:, 1:]).min(axis=1))
    return np.zeros(len(scores))
