"""Try to break what a circuit promises, before a publisher or a requester does.

A finalist computes rows that the search has not seen: every sample that was given, rows from all
over the promised ranges, rows just beyond the margins of jumps, and rows that climb, from the worst
ones on, towards a greater error. Each is made of numbers that a request could carry, and is
compared with the publisher's file on exactly these numbers. What breaks the bound, or has no proof,
is handed back to the search.

Where our own model of the arithmetic has the circuit's very integers for rows of every kind, it
computes thousands more, and the circuit itself the worst of them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from oracle.circuits import boundary, trial
from oracle.circuits.arithmetic import Arithmetic
from oracle.circuits.compared import Compared
from oracle.circuits.guarantee import Guarantee
from oracle.circuits.judge import MARGIN_BOUNDS, Goal, Tuned, shown
from oracle.circuits.probes import inside
from oracle.circuits.promise import Kind, whole_elements
from oracle.circuits.reference import Reference
from oracle.circuits.reveal import Kind as Policy
from oracle.circuits.steep import halfway
from oracle.circuits.trial import Floats

Number = TypeVar("Number", np.float64, np.int64)

#: A finalist has to keep this share of the bound, so that rows nobody tried keep all of it.
KEPT = 0.9
#: Rows of each kind for a circuit of 2**_SMALL rows or less; half for each doubling above.
_EACH, _SMALL = 16, 11
_LEAST_EACH = 8
#: Rows of each kind where our own arithmetic computes them.
_MANY = 160
#: Samples at most.
_SAMPLES, _FEWER_SAMPLES = 512, 128
#: Numbers of samples whose rounding is measured.
_ROUNDED_NUMBERS = 1_000_000
#: Segments on which a row beside a jump is looked for, of so many numbers in all at most.
_SEGMENTS, _SEGMENT_NUMBERS = 240, 40_000
#: Steps of the climb, rows that climb, and tries of each in a step.
_STEPS, _CLIMBERS, _TRIES = 3, 6, 6
_MORE_STEPS, _MORE_CLIMBERS, _MORE_TRIES = 10, 10, 16
#: The worst rows, which the circuit itself computes in the end.
_CONFIRMED = 24
#: Rows that are handed back.
_HANDED_BACK = 12
#: Not the search's own.
_SEED = 20_000


@dataclass(frozen=True, slots=True)
class Rounding:
    """What rounding inputs to a request's numbers makes of the file's own answers."""

    #: Greatest difference of a score.
    most: float
    #: Share of the rows that get another answer by the policy.
    moved: float
    #: Samples that were compared.
    rows: int


@dataclass(frozen=True, slots=True)
class Attacked:
    """What came of an attack."""

    #: Rows that were computed.
    rows: int
    #: Greatest error outside the margins of jumps, of the witness that our prover makes.
    error: float
    #: What rounding samples to the grid makes of the file's own answers.
    rounding: Rounding
    #: Share of the samples whose answer may differ by a jump.
    near: float
    #: Greatest less least score of the float model, over the samples; of one score, the most.
    spread: float
    #: Weights that are zero in the circuit and not in the model.
    vanished: int
    #: Rows that break the promise, float [k, inputs]; the worst first.
    broken: Floats
    #: Says how the first of them does; empty if none does.
    finding: str
    #: What is certain for all rows and witnesses; None if nothing is.
    guarantee: Guarantee | None = None


def attack(
    tuned: Tuned,
    reference: Reference,
    samples: Floats,
    goal: Goal,
    arithmetic: Arithmetic | None,
    share: float = KEPT,
) -> Attacked:
    """Attack a finalist.

    Args:
        tuned: the circuit.
        reference: the publisher's file.
        samples: all that were given, float [n, inputs].
        goal: has the bound.
        arithmetic: our own model of the circuit's; None if there is none.
        share: how much of the bound an error may take.
    """
    return _Attack(tuned, reference, samples, goal, share).run(arithmetic)


class _Attack:
    def __init__(
        self, tuned: Tuned, reference: Reference, samples: Floats, goal: Goal, share: float
    ) -> None:
        self._tuned, self._reference, self._samples = tuned, reference, samples
        self._bound, self._share = goal.max_error, share
        self._promise, self._scale = tuned.subject.promise, tuned.input.scale
        self._random = np.random.default_rng(_SEED)
        self._whole = whole_elements(tuned.subject.model.inputs)
        self._rows = np.empty((0, tuned.input.length), dtype=np.int64)
        self._errors = np.empty(0)
        #: Rows that the circuit does not take have no outputs.
        self._outputs: list[Floats | None] = []
        self._expected = self._of_samples = np.empty((0, 0))
        #: How far each row is from the next jump, in margins: up to 1 either answer is right.
        self._margins = np.empty(0)
        self._jumps = tuned.subject.reveal.kind is not Policy.FULL or reference.has_jumps
        #: Computes rows in place of the circuit.
        self._arithmetic: Arithmetic | None = None

    def run(self, arithmetic: Arithmetic | None) -> Attacked:
        """All of it."""
        self._try(self._on_grid(_thinned(self._samples, _FEWER_SAMPLES)))
        near, self._of_samples = float(np.mean(self._margins <= 1)), self._expected
        higher = max(0, self._tuned.candidate.shape.logrows - _SMALL)
        each = max(_LEAST_EACH, _EACH >> higher)
        if self._promise.kind is Kind.RANGES:
            self._try(self._kinds(each, _SEED))
        if arithmetic is not None and self._agrees(arithmetic):
            self._arithmetic = arithmetic
        elif self._promise.kind is Kind.RANGES:
            self._try(self._beside(each))
            self._try(self._steep(each))
            for _ in range(_STEPS):
                self._try(self._higher(_CLIMBERS, _TRIES))
        if self._arithmetic is not None:
            self._try(self._on_grid(_thinned(self._samples, _SAMPLES)))
            if self._promise.kind is Kind.RANGES:
                self._try(self._kinds(_MANY, _SEED + 1))
                self._try(self._beside(_SEGMENTS))
                self._try(self._steep(_SEGMENTS))
                self._try(self._towards_others(self._arithmetic))
                for _ in range(_MORE_STEPS):
                    self._try(self._higher(_MORE_CLIMBERS, _MORE_TRIES))
            self._arithmetic = None
            self._confirm()
        return self._result(near, arithmetic)

    def _kinds(self, each: int, seed: int) -> npt.NDArray[np.int64]:
        low, high = self._promise.low, self._promise.high
        return self._on_grid(inside(low, high, self._samples, self._whole, seed=seed, each=each))

    def _beside(self, segments: int) -> npt.NDArray[np.int64]:
        """Rows just beyond the margin of a jump, on segments between rows of any kind."""
        if not self._jumps:
            return self._rows[:0]
        ends = self._segments(segments)
        return self._fitting(boundary.beside(*ends, self._distances, self._random))

    def _steep(self, segments: int) -> npt.NDArray[np.int64]:
        """Rows where scores change fastest, on segments between rows of any kind."""
        return self._fitting(halfway(*self._segments(segments), self._answers))

    def _segments(self, segments: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        count = max(1, min(segments, _SEGMENT_NUMBERS // self._rows.shape[1]))
        first, second = self._rows[self._random.integers(0, len(self._rows), (2, count))]
        return first, second

    def _answers(self, rows: npt.NDArray[np.int64]) -> Floats:
        return self._reference.answers(self._real(rows))

    def _distances(self, rows: npt.NDArray[np.int64]) -> Floats:
        """How far rows are from the next jump, in margins."""
        scores = self._answers(rows)
        return np.minimum(self._of_policy(scores), self._of_model(rows))

    def _of_policy(self, scores: Floats) -> Floats:
        """How far scores are from another answer by the policy, in margins."""
        distances = self._tuned.subject.reveal.distance(scores) / self._bound
        return np.where(np.isfinite(scores).all(axis=1), distances, np.inf)

    def _of_model(self, rows: npt.NDArray[np.int64]) -> Floats:
        """How far rows are from a jump inside the model, in margins."""
        if not self._reference.has_jumps:
            return np.full(len(rows), np.inf)
        return self._reference.distances(self._real(rows)) / (MARGIN_BOUNDS * self._bound)

    def _fitting(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The promised rows next to some."""
        unit = 1 << self._scale
        rows = np.where(self._whole, np.rint(rows / unit).astype(np.int64) * unit, rows)
        return np.asarray(np.clip(rows, *np.array(self._promise.integers(self._scale)).T))

    def _agrees(self, arithmetic: Arithmetic) -> bool:
        """Whether our arithmetic has what the circuit has for all rows so far.

        It may take a row for too large that the circuit takes; such rows are the circuit's.
        """
        found = arithmetic.evaluate(self._rows)
        scale = arithmetic.output_scale
        return all(
            bool(overflow) if real is None else np.array_equal(np.ldexp(real, scale), integers)
            for real, integers, overflow in zip(
                self._outputs, found.outputs, found.overflow, strict=True
            )
        )

    def _confirm(self) -> None:
        """Let the circuit compute the worst rows again."""
        worst = np.argsort(-self._errors, kind="stable")[:_CONFIRMED]
        kept = np.setdiff1d(np.arange(len(self._rows)), worst)
        rows = self._rows[worst]
        self._rows, self._errors = self._rows[kept], self._errors[kept]
        self._outputs = [self._outputs[index] for index in kept]
        self._expected, self._margins = self._expected[kept], self._margins[kept]
        self._try(rows)

    def _on_grid(self, rows: Floats) -> npt.NDArray[np.int64]:
        return self._promise.on_grid(rows, self._scale)

    def _real(self, rows: npt.NDArray[np.int64]) -> Floats:
        return np.ldexp(rows.astype(np.float64), -self._scale)

    def _computed(self, rows: npt.NDArray[np.int64]) -> list[Floats | None]:
        """The circuit's outputs; None for a row that it does not take."""
        graph = self._tuned.subject.graph_for(self._tuned.tag)
        found = trial.run_integers(graph, self._tuned.settings, rows.tolist())
        return [
            None
            if integers is None
            else self._taken(np.ldexp(np.array(integers, dtype=np.float64), -found.scale))
            for integers in found.integers
        ]

    def _modelled(
        self, rows: npt.NDArray[np.int64], arithmetic: Arithmetic
    ) -> tuple[npt.NDArray[np.int64], list[Floats | None]]:
        """Rows and their outputs by our arithmetic.

        Those that it takes for too large the circuit computes: a few, and if it takes one of them,
        all.
        """
        evaluated = arithmetic.evaluate(rows)
        plain, large = np.flatnonzero(~evaluated.overflow), np.flatnonzero(evaluated.overflow)
        real = np.ldexp(evaluated.outputs[plain].astype(np.float64), -arithmetic.output_scale)
        outputs = [self._taken(row) for row in real]
        asked = _thinned(large, _CONFIRMED) if len(large) else large
        while len(asked):
            found = self._computed(rows[asked])
            outputs += found
            plain = np.concatenate([plain, asked])
            large = np.setdiff1d(large, asked)
            asked = large if any(each is not None for each in found) else large[:0]
        return rows[plain], outputs

    def _taken(self, real: Floats) -> Floats | None:
        """Outputs, if the contract takes them."""
        spec = self._tuned.output
        low, high = (np.ldexp(float(each), -spec.scale) for each in (spec.minimum, spec.maximum))
        return real if np.all((real >= low) & (real <= high)) else None

    def _try(self, rows: npt.NDArray[np.int64]) -> None:
        """Compute rows and keep what comes of them."""
        if not len(rows):
            return
        if self._arithmetic is None:
            outputs = self._computed(rows)
        else:
            rows, outputs = self._modelled(rows, self._arithmetic)
        expected = self._answers(rows)
        errors = np.full(len(rows), np.inf)
        taken = [index for index, each in enumerate(outputs) if each is not None]
        if taken:
            proved = np.array([outputs[index] for index in taken])
            found = self._tuned.subject.reveal.error(expected[taken], proved)
            errors[taken] = np.where(np.isfinite(found), found, np.inf)
        of_model = self._of_model(rows)
        # Only what is over the bound needs an excuse: the others still lead the climb.
        over = np.isfinite(errors) & (errors > self._bound * self._share)
        errors[over & (of_model <= 1)] = 0.0
        self._rows = np.vstack([self._rows, rows])
        self._errors = np.concatenate([self._errors, errors])
        self._outputs += outputs
        self._expected = np.vstack([self._expected.reshape(-1, expected.shape[1]), expected])
        margins = np.minimum(self._of_policy(expected), of_model)
        self._margins = np.concatenate([self._margins, margins])

    def _higher(self, climbers: int, tries: int) -> npt.NDArray[np.int64]:
        """Neighbours of the worst rows: one element elsewhere, a step aside, or towards another."""
        # Where there is no error yet, what is nearest to a jump leads.
        order = np.lexsort((self._margins, -self._errors))
        return self._neighbours(self._rows[order[:climbers]], tries)

    def _towards_others(self, arithmetic: Arithmetic) -> npt.NDArray[np.int64]:
        """Rows that climb towards another answer than the file's, where a policy hides the scores."""
        subject = self._tuned.subject
        compared = Compared.of(subject, self._reference.scored, subject.graph, arithmetic)
        if compared is None:
            return self._rows[:0]
        return self._fitting(
            compared.astray(self._rows, self._expected, self._neighbours, self._random)
        )

    def _neighbours(self, worst: npt.NDArray[np.int64], tries: int) -> npt.NDArray[np.int64]:
        bounds = np.array(self._promise.integers(self._scale))
        rows = np.repeat(worst, tries, axis=0)
        for index, row in enumerate(rows):
            element = self._random.integers(len(row))
            low, high = bounds[element]
            kind = index % 4
            if kind == 0:
                row[element] = self._random.integers(low, high, endpoint=True)
            elif kind == 1:
                row[element] += self._random.choice([-2, -1, 1, 2])
            elif kind == 2:
                moved = self._random.random(len(row)) < self._random.choice([0.1, 0.3])
                ends = bounds[np.arange(len(row)), self._random.integers(0, 2, len(row))]
                row[moved] = ends[moved]
            else:
                other = worst[self._random.integers(len(worst))]
                weight = self._random.uniform()
                row[:] = np.rint(weight * row + (1 - weight) * other)
        return self._fitting(rows)

    def _result(self, near: float, arithmetic: Arithmetic | None) -> Attacked:
        broken = np.flatnonzero(~(self._errors <= self._bound * self._share))
        broken = broken[np.argsort(-self._errors[broken], kind="stable")]
        finite = self._errors[np.isfinite(self._errors)]
        return Attacked(
            rows=len(self._rows),
            error=float(finite.max(initial=0.0)),
            rounding=self._rounding(),
            near=near,
            spread=float(np.ptp(self._of_samples, axis=0).max()),
            vanished=0 if arithmetic is None else arithmetic.vanished,
            broken=self._real(self._rows[broken[:_HANDED_BACK]]),
            finding=self._finding(int(broken[0])) if len(broken) else "",
        )

    def _rounding(self) -> Rounding:
        samples = _thinned(self._samples, max(1, _ROUNDED_NUMBERS // self._samples.shape[1]))
        given = self._reference.answers(samples)
        rounded = self._answers(self._on_grid(samples))
        answers = self._tuned.subject.reveal.answers
        return Rounding(
            most=float(np.abs(given - rounded).max()),
            moved=float(np.mean((answers(given) != answers(rounded)).any(axis=1))),
            rows=len(samples),
        )

    def _finding(self, index: int) -> str:
        row, output = shown(self._real(self._rows[index])), self._outputs[index]
        if output is None:
            return f"the input {row} is promised and cannot be proved"
        return (
            f"the input {row}, within the promised range, is off by {self._errors[index]:.3g}: "
            f"expected {shown(self._expected[index])}, proved {shown(output)}"
        )


def _thinned(rows: npt.NDArray[Number], most: int) -> npt.NDArray[Number]:
    """At most so many, evenly spread."""
    return rows[:: -(-len(rows) // most)]
