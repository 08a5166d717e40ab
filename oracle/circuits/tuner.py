"""Search for the best circuit that is accurate enough.

ezkl's defaults are far from good: its decomposition base alone forces 2**15 rows, and its
calibration moves only scales. Here every layout worth a look (`shapes`) gets an estimate of what it
costs (`cost`), and the search takes them the best first:

- for its multiplier, the least scale whose outputs meet the error bound;
- the range of what its lookup tables are asked, which may need more table columns: then it goes
  back into the queue with a new estimate;
- whether it takes every sample and every row of the promised ranges.

The first that passes has the best estimate. Those that follow within the estimate's own error are
finalists too, unless they are estimated worse in every respect; the builder builds and measures
the finalists.

Batch sizes share one arithmetic: what was chosen for one row, `widen` lays out for several.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oracle.circuits import cost, quick, trial
from oracle.circuits.cost import Objective, usable_rows
from oracle.circuits.judge import (
    FIRST_SAMPLES,
    HEADROOM,
    Candidate,
    Comparison,
    Goal,
    Judge,
    Subject,
    Tuned,
)
from oracle.circuits.shapes import (
    ANY_SCALE,
    MAX_LOGROWS,
    MAX_SPREAD,
    SPARE_LOGROWS,
    TALL_LOGROWS,
    Shape,
    Survey,
    filled,
    least_logrows,
    loosened,
    refused,
    roomy,
    shapes,
    survey,
)
from oracle.circuits.trial import Floats, Graph
from oracle.circuits.verifier import MAX_CODE_BYTES, too_large
from oracle.errors import (
    CircuitError,
    CircuitInaccurate,
    CircuitTooLarge,
    ProverError,
    ProverMemory,
    ProverTimeout,
    RangeTooWide,
)

Json = dict[str, Any]

SCALES = range(3, 17)
#: Scales that are tried although rows do not fit.
_BEYOND = 2
#: Circuits that are built and measured for one row.
FINALISTS = 3
#: Estimates of seconds are this good, those of gas better: a rival within it may be the best.
_TIME_ERROR = 1.2
_GAS_ERROR = 1.05
#: Estimates of verifier code are this good.
CODE_ERROR = 1.12
#: Scales that are looked at for one whose error is certain.
_FINER = 4
#: A finer scale that leaves more than this share of the error does not help.
_GAIN = 0.95


@dataclass(frozen=True, slots=True)
class Found:
    """What the search came to."""

    #: The best estimate first.
    finalists: tuple[Tuned, ...]
    #: Everything that was considered, the best estimate first.
    candidates: tuple[Candidate, ...]
    #: What a search left out, and why.
    notes: tuple[str, ...] = ()


def tune(subject: Subject, judge: Judge, progress: Callable[[str], None] = lambda _: None) -> Found:
    """Choose settings.

    Args:
        subject: what to tune.
        judge: what it is measured by.
        progress: called with a few words before each step.

    Raises:
        ModelUnsupported: ezkl cannot express the model, or no transaction could verify it.
        CircuitInaccurate: no candidate meets the bound.
        RangeTooWide: candidates that meet it do not take every row.
        CircuitTooLarge: every candidate needs more memory or time than there is.
        VerifierTooLarge: no candidate's verifier fits a contract.
    """
    cost.require_verifiable(subject.model.input_length)
    surveyed = survey(subject.at(ANY_SCALE).graph)
    return _Search(subject, judge, surveyed, progress).run()


def widen(tuned: Tuned, goal: Goal, batch: Path, size: int) -> tuple[Json, Candidate]:
    """Settings of a circuit that computes ``size`` rows with the arithmetic of ``tuned``.

    Scales and multiplier stay; base, legs and columns change, and bound numbers no tighter than
    for one row: what one row can prove, a batch can prove.

    Args:
        tuned: the circuit for one row.
        goal: what is wanted.
        batch: file of the model for ``size`` rows, with the tag input of ``tuned``; absolute.
        size: rows of a batch.

    Raises:
        ModelUnsupported: ezkl cannot express the batch, or it needs too many rows.
        CircuitTooLarge, VerifierTooLarge: as `tune`.
        CircuitError: rows of a batch do not get the same outputs as one by one.
    """
    graph = dataclasses.replace(tuned.subject.graph, path=batch, layout=tuned.tag)
    one = tuned.candidate.shape
    lookups = (tuned.run_args["lookup_range"][0], tuned.run_args["lookup_range"][1])
    width = lookups[1] - lookups[0] + 1
    surveyed = survey(graph, [one.multiplier])
    candidates = [
        _estimated(surveyed, shape, goal, -(-width // usable_rows(shape.logrows)))
        for shape in shapes(surveyed, one.bound, tags=[one.tag])
    ]
    for candidate in sorted(_affordable(candidates, goal), key=_rank(goal)):
        scale = tuned.run_args["input_scale"]
        run_args = candidate.shape.run_args(scale, lookups)
        settings = trial.settings(graph, [run_args])[0]["settings"]
        if settings is not None and least_logrows(settings) <= candidate.shape.logrows:
            _require_same_outputs(graph, tuned, settings, size)
            return settings, candidate
    raise refused(f"it gave no settings for {size} rows")


def logrows_of(settings: Json) -> int:
    """Base-two logarithm of the circuit's height."""
    return int(settings["run_args"]["logrows"])


# --- the search -----------------------------------------------------------------------------------


class _Search:
    """One run of `tune`."""

    def __init__(
        self,
        subject: Subject,
        judge: Judge,
        surveyed: Survey,
        progress: Callable[[str], None],
    ) -> None:
        self._subject = subject
        self._judge, self._goal = judge, judge.goal
        self._survey = surveyed
        self._progress = progress
        #: By multiplier, what `_settle` found.
        self._settled: dict[int, _Settled | None] = {}
        #: By multiplier: a bound that was too tight.
        self._tight: dict[int, int] = {}
        #: One that was accurate on the rows seen, and not on those held back.
        self._vetoed: Comparison | None = None
        #: One was accurate and could not take every row.
        self._outreached = False
        #: What the circuit compiler said first of a candidate that it refused.
        self._refusal = ""
        #: The most accurate that was seen.
        self._closest: Comparison | None = None

    def run(self) -> Found:
        found = self._among(SPARE_LOGROWS)
        if not found.finalists and not self._subject.promise.is_uniform:
            # Its numbers are as small as they get, so its tables need room.
            found = self._among(TALL_LOGROWS)
        if not found.finalists:
            raise self._none_fits()
        return found

    def _among(self, spare: int) -> Found:
        """The best of the layouts up to so far above the least height; perhaps none."""
        every = [
            _estimated(self._survey, shape, self._goal)
            for shape in shapes(self._survey, spare=spare)
        ]
        known = {each.shape: each for each in every}
        rank = _rank(self._goal)
        queue = [(rank(each), n, each) for n, each in enumerate(_affordable(every, self._goal))]
        heapq.heapify(queue)
        finalists: list[Tuned] = []
        while queue and len(finalists) < FINALISTS:
            _, n, candidate = heapq.heappop(queue)
            if finalists and not self._rivals(candidate, finalists):
                continue
            examined = self._examine(candidate)
            if isinstance(examined, Tuned):
                finalists.append(examined)
                known[candidate.shape] = examined.candidate
                continue
            known[candidate.shape] = examined
            if examined.estimate != candidate.estimate:
                heapq.heappush(queue, (rank(examined), n, examined))
        return Found(tuple(finalists), tuple(sorted(known.values(), key=rank)))

    def _rivals(self, candidate: Candidate, finalists: Sequence[Tuned]) -> bool:
        """Whether it may turn out better than the best estimate, and than each finalist in some."""
        best = finalists[0].candidate.estimate
        margin = _GAS_ERROR if self._goal.objective is Objective.GAS else _TIME_ERROR
        one = candidate.estimate
        near = self._goal.rank(one)[0] <= self._goal.rank(best)[0] * margin
        return near and all(
            one.gas < each.candidate.estimate.gas
            or one.prove_seconds < each.candidate.estimate.prove_seconds
            for each in finalists
        )

    def _examine(self, candidate: Candidate) -> Candidate | Tuned:
        """A finalist, or why it is none; with another estimate it has to queue again."""
        shape = candidate.shape
        if shape.multiplier not in self._settled:
            self._settled[shape.multiplier] = self._settle(shape.multiplier)
        settled = self._settled[shape.multiplier]
        if settled is None:
            return dataclasses.replace(candidate, outcome="not accurate at any scale")
        candidate = dataclasses.replace(candidate, scale=settled.scale)
        if shape.bound <= self._tight.get(shape.multiplier, 0):
            return dataclasses.replace(candidate, outcome="its numbers are larger")
        low, high = settled.lookups
        spread = -(-(high - low + 1) // usable_rows(shape.logrows))
        if spread > MAX_SPREAD:
            return dataclasses.replace(candidate, outcome="its lookup tables are larger")
        wider = _estimated(self._survey, shape, self._goal, spread).estimate
        if wider != candidate.estimate:
            return dataclasses.replace(candidate, estimate=wider)
        return self._prove_tried(candidate, settled)

    def _prove_tried(self, candidate: Candidate, settled: _Settled) -> Candidate | Tuned:
        """Whether the circuit takes every row that is tried."""
        shape = candidate.shape
        lookups = filled(settled.lookups, usable_rows(shape.logrows))
        self._progress(f"trying 2**{shape.logrows} rows, {shape.columns} columns")
        run_args = shape.run_args(settled.scale, lookups)
        subject = self._subject.at(settled.scale)
        graph = subject.graph_for(shape.tag)
        settings = trial.settings(graph, [run_args])[0]["settings"]
        if settings is None or least_logrows(settings) > shape.logrows:
            return dataclasses.replace(candidate, outcome="its rows are more")
        rows = self._judge.tried_at(settled.scale)
        found = trial.run(graph, settings, rows, all_or_none=True)
        compared = self._compare(found, settled.scale)
        if compared is None:
            tight = self._tight.get(shape.multiplier, 0)
            self._tight[shape.multiplier] = max(shape.bound, tight)
            return dataclasses.replace(candidate, outcome="its numbers are larger")
        asked = run_args | graph.asked
        return self._judge.tuned(subject, candidate, settings, asked, compared)

    def _settle(self, multiplier: int) -> _Settled | None:
        """The least scale that is accurate, and what its lookups are asked; None if there is none.

        Accuracy depends on scale and multiplier alone, and grows with the scale. The held-back rows
        have no say in it but a veto.
        """
        least, most, found = SCALES.start, SCALES.stop - 1, None
        while most > least and not self._judge.takes(most):
            most -= 1
        finest = most
        coarser = math.inf
        while least <= most:
            scale = (least + most) // 2
            self._progress(f"measuring scale {scale}, multiplier {multiplier}")
            compared = self._at(multiplier, scale, self._judge.rows[:FIRST_SAMPLES])
            if compared is None:
                # Numbers grow with the scale, and these are too large for any circuit.
                most = scale - 1
            elif self._judge.accurate(compared):
                found, most = scale, scale - 1
            else:
                error = self._judge.seen(compared)
                if error > coarser * _GAIN:
                    # It is not rounding that makes the outputs differ.
                    break
                least, coarser = scale + 1, error
        # The first look had fewer samples.
        return None if found is None else self._all_rows(multiplier, range(found, finest + 1))

    def _all_rows(self, multiplier: int, scales: Sequence[int]) -> _Settled | None:
        """The first scale that is accurate on every row, or one of the next that is certain."""
        beyond = 0
        for scale in scales:
            rows = self._judge.tried_at(scale)
            if not self._may_pass(multiplier, scale, rows):
                continue
            compared = self._at(multiplier, scale, rows)
            if compared is None:
                # Numbers grow with the scale, but for the reciprocal of what is zero at a coarse one.
                self._outreached = True
                beyond += 1
                if beyond == _BEYOND:
                    return None
                continue
            if self._judge.accurate(compared):
                if self._judge.confirmed(compared):
                    settled = _Settled(scale, loosened(compared.lookups))
                    finer = [each for each in scales if each >= scale]
                    return self._certain(multiplier, finer) or settled
                self._vetoed = compared
        return None

    def _may_pass(self, multiplier: int, scale: int, rows: Floats) -> bool:
        """Whether our own arithmetic does not say that the circuit is not accurate on the rows."""
        graph = self._subject.at(scale).graph
        outcome = quick.sketch(graph, roomy(multiplier).run_args(scale), rows)
        compared = None if outcome is None else self._compare(outcome, scale)
        if compared is None:
            # Not known, or too large for any circuit, which is for the circuit to say.
            return True
        if not self._judge.accurate(compared):
            return False
        if not self._judge.confirmed(compared):
            self._vetoed = compared
            return False
        return True

    def _certain(self, multiplier: int, scales: Sequence[int]) -> _Settled | None:
        """A scale, of the first few, at which the error is certain to keep the bound.

        A finer scale costs nothing by itself; its numbers may need more room.
        """
        for scale in scales[:_FINER]:
            run_args = roomy(multiplier).run_args(scale)
            if not self._judge.would_be_certain(self._subject.at(scale), run_args):
                continue
            compared = self._at(multiplier, scale, self._judge.tried_at(scale))
            if compared is not None and self._judge.accurate(compared):
                return _Settled(scale, loosened(compared.lookups))
        return None

    def _at(self, multiplier: int, scale: int, rows: Floats) -> Comparison | None:
        graph, run_args = self._subject.at(scale).graph, roomy(multiplier).run_args(scale)
        try:
            first = quick.sketch(graph, run_args, rows) if len(rows) <= FIRST_SAMPLES else None
            found = first or trial.sketch(graph, run_args, rows)
        except (ProverMemory, ProverTimeout):
            raise
        except ProverError as error:
            # ezkl refuses some scales of some graphs, and a panic is a refusal too.
            self._refusal = self._refusal or error.message
            return None
        return self._compare(found, scale)

    def _compare(self, found: trial.Outcome, scale: int) -> Comparison | None:
        """As `Judge.compare`; keeps the most accurate that was seen."""
        compared, seen = self._judge.compare(found, scale), self._judge.seen
        if compared and (self._closest is None or seen(compared) < seen(self._closest)):
            self._closest = compared
        return compared

    def _none_fits(self) -> CircuitError:
        bound = self._goal.max_error
        if self._closest is None:
            why = "its numbers are too large"
            if self._refusal:
                why = f"the circuit compiler failed on every candidate: {self._refusal}"
            return CircuitInaccurate(
                f"no circuit takes the samples: {why}",
                remedy="Scale inputs and activations to a smaller range",
            )
        if self._outreached or any(self._settled.values()):
            return RangeTooWide(
                remedy="Promise less: --margin 0, or --range INDEX=LOW,HIGH for the widest inputs; "
                "or scale inputs and activations to a smaller range",
            )
        if self._vetoed is not None:
            least = float(np.nanmax(self._vetoed.errors)) / HEADROOM
            return CircuitInaccurate(
                f"{self._judge.worst_unseen(self._vetoed)}; allowed {bound:g}",
                remedy=f"Allow --max-error {least:.2g}, promise less (--margin, --range), or give "
                "more samples",
            )
        least = self._judge.seen(self._closest) / HEADROOM
        return CircuitInaccurate(
            f"no circuit met the error bound {bound:g}; in the best, "
            f"{self._judge.worst_seen(self._closest)}",
            remedy=f"Allow --max-error {least:.2g}, or scale inputs and activations to a smaller "
            "range",
        )


@dataclass(frozen=True, slots=True)
class _Settled:
    """What is known of a multiplier."""

    scale: int
    #: Least and greatest value that is looked up.
    lookups: tuple[int, int]


# --- candidates -----------------------------------------------------------------------------------


def _estimated(surveyed: Survey, shape: Shape, goal: Goal, lookup_columns: int = 1) -> Candidate:
    """The candidate of a shape whose every lookup table takes so many columns."""
    structure = surveyed.structure(shape)
    lookups = len(surveyed.settings[shape.kind]["required_lookups"])
    structure = dataclasses.replace(
        structure, spread=structure.spread + lookups * (lookup_columns - 1)
    )
    return Candidate(shape, cost.estimate(structure, shape.logrows, goal.speed))


def _rank(goal: Goal) -> Callable[[Candidate], tuple[float, ...]]:
    """Sorts candidates, the best estimate first; of equals the one of smaller numbers."""

    def rank(candidate: Candidate) -> tuple[float, ...]:
        shape = candidate.shape
        return (*goal.rank(candidate.estimate), shape.multiplier, -shape.bound)

    return rank


def _affordable(candidates: Sequence[Candidate], goal: Goal) -> list[Candidate]:
    """Those within the limits.

    Raises:
        CircuitTooLarge, VerifierTooLarge: there are none.
    """
    if not candidates:
        raise CircuitTooLarge(
            f"the circuit needs more than 2**{MAX_LOGROWS} rows",
            remedy="Use a smaller model, or a smaller batch",
        )
    small = [c for c in candidates if c.estimate.memory_bytes <= goal.memory_bytes]
    if not small:
        least = min(c.estimate.memory_bytes for c in candidates)
        raise CircuitTooLarge(
            f"a proof would need {least >> 20:,} MiB of memory, this machine gives "
            f"{goal.memory_bytes >> 20:,} MiB",
            remedy="Use a smaller model, a smaller batch, or a machine with more memory",
        )
    quick = [c for c in small if c.estimate.prove_seconds <= goal.seconds]
    if not quick:
        least_seconds = min(c.estimate.prove_seconds for c in small)
        raise CircuitTooLarge(
            f"a proof would take {least_seconds:,.0f} s here, the limit is {goal.seconds:,.0f} s",
            remedy="Use a smaller model, a smaller batch, or a faster machine",
        )
    deployable = [c for c in quick if c.estimate.verifier_bytes <= MAX_CODE_BYTES * CODE_ERROR]
    if not deployable:
        raise too_large(min(c.estimate.verifier_bytes for c in quick), "would have")
    # Only where nothing surely fits is it worth a build to find out.
    sure = [c for c in deployable if c.estimate.verifier_bytes * CODE_ERROR <= MAX_CODE_BYTES]
    return sure or deployable


# --- batches --------------------------------------------------------------------------------------


def _require_same_outputs(graph: Graph, tuned: Tuned, settings: Json, size: int) -> None:
    # Whole batches: the first rows again at the end.
    count = -(-len(tuned.tried) // size) * size
    rows = np.resize(tuned.tried, (count, tuned.input.length))
    expected = trial.run(tuned.subject.graph_for(tuned.tag), tuned.settings, rows).integers
    outputs = trial.run(graph, settings, rows.reshape(count // size, -1)).integers
    same_scales = all(
        settings[name] == tuned.settings[name]
        for name in ("model_input_scales", "model_output_scales")
    )
    if not same_scales or _flat(outputs) != _flat(expected):
        raise CircuitError(
            f"{size} rows at once do not get the outputs that each gets alone",
            remedy="Export a model whose rows do not influence each other",
        )


def _flat(rows: list[list[int] | None]) -> list[int | None]:
    """The numbers of all rows; None stands for a row that did not fit."""
    return [value for row in rows for value in (row if row is not None else [None])]
