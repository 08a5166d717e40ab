"""Rows that bring a circuit to another answer than its file's, where a policy hides the scores.

An index shows nothing of how far the scores are off, until they are off far enough. The numbers that
are compared do: by our arithmetic of the circuit, and beside them the float model's. Where they are
off by most, on both sides of where the circuit's answer changes, the segment from the one to the
other crosses that place with about as much.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from oracle.circuits import reveal as policies
from oracle.circuits import trial
from oracle.circuits.arithmetic import Arithmetic
from oracle.circuits.boundary import between
from oracle.circuits.judge import Subject
from oracle.circuits.onnx import Model
from oracle.circuits.reveal import Kind
from oracle.circuits.trial import Floats, Graph

Integers = npt.NDArray[np.int64]

#: Contests at most: pairs of scores, the nearest rivals first.
_CONTESTS = 10
#: Of each side of a contest, rows that are off by most, and segments between the two sides.
_WORST, _CROSSINGS = 8, 16
#: Tries of each of the worst to be off by more, in each round.
_TRIES = 6
_ROUNDS = 5
_HALVINGS = 12
#: Numbers of inputs that a round may compute.
_NUMBERS = 100_000


class Compared:
    """The numbers that a policy compares."""

    def __init__(self, subject: Subject, name: str, graph: Graph, arithmetic: Arithmetic) -> None:
        """As `of` makes it."""
        self._reveal, self._input = subject.reveal, subject.model.input_name
        self._name, self._graph, self._arithmetic = name, graph, arithmetic

    @classmethod
    def of(
        cls, subject: Subject, scored: Model, graph: Graph, arithmetic: Arithmetic
    ) -> Compared | None:
        """What a circuit compares; None where its policy compares nothing.

        Args:
            subject: the model as it is proved.
            scored: before its policy.
            graph: the model's file.
            arithmetic: of that file.
        """
        if subject.reveal.kind is Kind.FULL:
            return None
        name = policies.compared(scored, subject.reveal)
        part = arithmetic.up_to(name)
        return None if part is None else cls(subject, name, graph, part)

    def astray(
        self,
        rows: Integers,
        scores: Floats,
        moved: Callable[[Integers, int], Integers],
        random: np.random.Generator,
    ) -> Integers:
        """Rows where the circuit's answer has just changed, and the file's has most to go.

        Args:
            rows: to start from, int64 [n, inputs].
            scores: what the publisher's file answers to them, [n, scores].
            moved: so many rows beside each of some.
            random: chooses.
        """
        exact, proved = self._exact(rows), self._proved(rows)
        contests = self._contests(exact, scores)
        sides = [(each, sign) for each in range(contests.count) for sign in (1, -1)]
        most = max(1, _NUMBERS // (rows.shape[1] * len(sides)))
        worst, crossings = min(_WORST, most), min(_CROSSINGS, most)
        found = []
        for _ in range(_ROUNDS):
            kept, crossed = [], []
            gaps, off = contests.gaps(proved), contests.gaps(exact) - contests.gaps(proved)
            for contest, sign in sides:
                order = np.argsort(-sign * off[:, contest], kind="stable")
                won = sign * gaps[order, contest] > 0
                ahead, behind = order[won][:worst], order[~won][:worst]
                kept += [ahead, behind]
                if len(ahead) and len(behind):
                    pairs = [random.choice(side, crossings) for side in (ahead, behind)]
                    crossed.append(
                        self._crossing(rows[pairs[0]], rows[pairs[1]], contests, contest, sign)
                    )
            best = rows[np.unique(np.concatenate(kept))]
            found = crossed
            rows = np.unique(np.vstack([best, moved(best, _TRIES), *crossed]), axis=0)
            exact, proved = self._exact(rows), self._proved(rows)
        return np.vstack(found) if found else rows[:0]

    def _crossing(
        self, ahead: Integers, behind: Integers, contests: _Contests, contest: int, sign: int
    ) -> Integers:
        """Between rows on two sides of a contest, the last ones on the second."""
        for _ in range(_HALVINGS):
            middle = between(ahead, behind, np.full(len(ahead), 0.5))
            won = (sign * contests.gaps(self._proved(middle))[:, contest] > 0)[:, np.newaxis]
            ahead, behind = np.where(won, middle, ahead), np.where(won, behind, middle)
        return behind

    def _proved(self, rows: Integers) -> Floats:
        found = self._arithmetic.evaluate(rows)
        return np.ldexp(found.outputs.astype(np.float64), -self._arithmetic.output_scale)

    def _exact(self, rows: Integers) -> Floats:
        reals = np.ldexp(rows.astype(np.float64), -self._arithmetic.input_scale)
        return trial.reference(
            self._graph.path, self._input, self._name, reals, self._graph.sandbox
        )

    def _contests(self, exact: Floats, scores: Floats) -> _Contests:
        count = exact.shape[1]
        if self._reveal.kind in (Kind.TOP1, Kind.TOPK):
            pairs = list(itertools.combinations(range(count), 2))
            apart = [np.abs(exact[:, first] - exact[:, other]).mean() for first, other in pairs]
            chosen = [pairs[index] for index in np.argsort(apart, kind="stable")[:_CONTESTS]]
            return _Contests([first for first, _ in chosen], [other for _, other in chosen])
        columns = list(range(min(count, _CONTESTS)))
        levels = np.full(len(columns), self._reveal.parameter)
        if self._reveal.kind is Kind.ROUND:
            # One of the numbers where a rounding jumps.
            units = 10**self._reveal.parameter
            levels = (np.floor(np.median(scores[:, columns], axis=0) * units) + 0.5) / units
        return _Contests(columns, [], levels * _multiple(exact, scores))


def _multiple(exact: Floats, scores: Floats) -> float:
    """The power of two by which a planned file's numbers are multiples of the scores."""
    known = (exact != 0) & (scores != 0)
    if not known.any():
        return 1.0
    ratios = np.log2(np.abs(exact[known] / scores[known]))
    return float(np.exp2(np.rint(np.median(ratios))))


class _Contests:
    """Differences whose signs a policy looks at."""

    def __init__(self, first: list[int], other: list[int], level: Floats | None = None) -> None:
        self._first, self._other, self._level = first, other, level
        self.count = len(first)

    def gaps(self, scores: Floats) -> Floats:
        """Of scores [n, scores] the differences [n, contests]."""
        if self._level is not None:
            return np.asarray(scores[:, self._first] - self._level)
        return np.asarray(scores[:, self._first] - scores[:, self._other])
