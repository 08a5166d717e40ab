"""The forms of a model that are worth a search: the same answers, smaller circuits.

A function of one number is looked up in a table of all arguments that a promised input can bring
about. Roots and reciprocals may be looked up too. Norms may enlarge what they divide, where nothing
else takes every promised input. Where tables are what makes the circuit high, the
curves are limited to where they rise. What comes of a form may be given an arithmetic of our own
(`plans`), also where the circuit compiler's own serves nowhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from oracle.circuits import plans, tuner
from oracle.circuits.curves import flatten, has_curves
from oracle.circuits.judge import Candidate, Goal, Judge, Subject, Tuned
from oracle.circuits.norms import widen
from oracle.circuits.onnx import Model
from oracle.circuits.plans import Planned
from oracle.circuits.roots import tabulate
from oracle.circuits.tuner import Found
from oracle.errors import CircuitError

#: What a limited curve may add to an error, as a share of the bound; and as the finest of all.
_FLAT_SHARE = 1 / 128
_FINEST = 2.0**-15
Progress = Callable[[str], None]
Plans = Callable[[Subject, Judge, Candidate | None, Progress, Tuned | None], Planned]
Tune = Callable[[Subject, Judge, Progress], Found]


def search(
    model: Model,
    goal: Goal,
    judge: Callable[[Model], tuple[Subject, Judge]],
    progress: Progress,
    tune: Tune = tuner.tune,
    plan: Plans = plans.search,
) -> Found:
    """The form with the best circuit, and what the search of it came to.

    Args:
        model: as its file says.
        goal: what is wanted.
        judge: says what a form is measured by.
        progress: called with a few words before each further form.
        tune: searches one form in the circuit compiler's own arithmetic.
        plan: searches for an arithmetic of one form that beats a rival.

    Raises:
        CircuitError: as `tuner.tune`, for the form that came nearest.
    """
    attempts = _Attempts(goal, judge, tune, progress)
    attempts.add(model)
    tabled = tabulate(model)
    if tabled.tabled:
        progress("looking up roots and reciprocals")
        attempts.add(tabled)
    widened = widen(model, wanted=attempts.best is None)
    if widened.widened:
        progress("enlarging what norms divide")
        attempts.add(widened)
    if has_curves(model) and (attempts.best is None or _tables_decide(attempts.best[1])):
        progress("limiting curves to where they rise")
        level = max(goal.max_error * _FLAT_SHARE, _FINEST)
        attempts.add(flatten(attempts.best[0] if attempts.best else widened, level))
    best, notes = attempts.best[1] if attempts.best else None, []
    certain = [each for each in best.finalists if attempts.is_certain(each)][:1] if best else []
    for form, subject, judged in attempts.judged:
        if attempts.best and form not in attempts.succeeded:
            continue
        rival = best.finalists[0].candidate if best else None
        known = min(certain, key=lambda each: goal.rank(each.candidate.estimate), default=None)
        planned = plan(subject, judged, rival, progress, known)
        if planned.ended:
            notes.append(planned.ended)
        certain += [planned.certain] if planned.certain else []
        candidates = (*planned.candidates, *(best.candidates if best else ()))
        if planned.best is not None:
            best = Found((planned.best,), candidates)
        elif best is not None:
            best = dataclasses.replace(best, candidates=candidates)
    if best is None and not certain:
        raise attempts.failure
    chosen = _preferred(goal, best, certain)
    return dataclasses.replace(chosen, notes=tuple(dict.fromkeys(notes)))


def _preferred(goal: Goal, best: Found | None, certain: Sequence[Tuned]) -> Found:
    """The best, or one whose error is certain if that costs little more."""

    def rank(tuned: Tuned) -> tuple[float, float]:
        return goal.rank(tuned.candidate.estimate)

    sure = min(certain, key=rank, default=None)
    if best is None or sure is None or sure in best.finalists:
        return best or Found((sure,) if sure else (), ())
    dear = rank(sure)[0] > rank(best.finalists[0])[0] * plans.WORTH
    return best if dear else Found((sure,), best.candidates)


class _Attempts:
    """Searches of several forms, and the best of them."""

    def __init__(
        self,
        goal: Goal,
        judge: Callable[[Model], tuple[Subject, Judge]],
        tune: Tune,
        progress: Progress,
    ) -> None:
        self._goal, self._judge, self._tune, self._progress = goal, judge, tune, progress
        self.best: tuple[Model, Found] | None = None
        #: All forms, in their order.
        self.judged: list[tuple[Model, Subject, Judge]] = []
        #: Those that came to a circuit.
        self.succeeded: list[Model] = []
        self.failure: CircuitError

    def is_certain(self, tuned: Tuned) -> bool:
        """Whether a circuit's error is certain to keep the bound."""
        _, _, judge = self.judged[0]
        return judge.is_certain(tuned)

    def add(self, model: Model) -> None:
        """Search one more form."""
        subject, judge = self._judge(model)
        self.judged.append((model, subject, judge))
        try:
            found = self._tune(subject, judge, self._progress)
        except CircuitError as error:
            self.failure = error
            return
        self.succeeded.append(model)
        if self.best is None or self._rank(found) < self._rank(self.best[1]):
            self.best = model, found

    def _rank(self, found: Found) -> tuple[float, float]:
        return self._goal.rank(found.finalists[0].candidate.estimate)


def _tables_decide(found: Found) -> bool:
    """Whether the best circuit could not be half as high for its lookup tables."""
    settings = found.finalists[0].settings
    low, high = settings["run_args"]["lookup_range"]
    return bool(2 * (high - low + 1) > 1 << found.finalists[0].candidate.shape.logrows)
