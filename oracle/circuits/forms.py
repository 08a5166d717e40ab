"""The forms of a model that are worth a search: the same answers, smaller circuits.

A function of one number is looked up in a table of all arguments that a promised input can bring
about. Roots and reciprocals may be looked up too. Where tables are what makes the circuit high, the
curves are limited to where they rise; where no circuit takes the promised range at all, each
feature is limited to its own range as well. What comes of it may be given an arithmetic of our own
(`plans`).
"""

from __future__ import annotations

from collections.abc import Callable

from oracle.circuits import plans, ranges
from oracle.circuits.clamp import clamp, flatten, has_curves
from oracle.circuits.judge import Candidate, Goal, Judge, Subject
from oracle.circuits.onnx import Model
from oracle.circuits.roots import tabulate
from oracle.circuits.trial import Floats
from oracle.circuits.tuner import Found
from oracle.errors import CircuitError, RangeTooWide

#: What a limited curve may add to an error, as a share of the bound; and as the finest of all.
_FLAT_SHARE = 1 / 128
_FINEST = 2.0**-15
Progress = Callable[[str], None]
Plans = Callable[[Subject, Judge, Candidate, Progress], tuple[Subject, Found] | None]


def search(
    model: Model,
    samples: Floats,
    goal: Goal,
    tune: Callable[[Model], tuple[Subject, Found]],
    progress: Progress,
    plan: Plans = plans.search,
) -> tuple[Subject, Found]:
    """The form with the best circuit, and what the search of it came to.

    Args:
        model: as its file says.
        samples: inputs, float [n, inputs].
        goal: what is wanted.
        tune: searches one form.
        progress: called with a few words before each further form.
        plan: searches for an arithmetic of one form that beats a rival.

    Raises:
        CircuitError: as `tuner.tune`, for the last form that was worth a search.
    """
    attempts = _Attempts(goal, tune)
    attempts.add(model)
    tabled = tabulate(model)
    if tabled.tabled:
        progress("looking up roots and reciprocals")
        attempts.add(tabled)
    if has_curves(model) and (attempts.best is None or _tables_decide(attempts.best[1])):
        progress("limiting curves to where they rise")
        level = max(goal.max_error * _FLAT_SHARE, _FINEST)
        attempts.add(flatten(attempts.best[0].model if attempts.best else model, level))
    if attempts.best is None:
        progress("no circuit takes the whole range: limiting each feature to its own")
        attempts.best = tune(clamp(attempts.last, ranges.each_feature(samples)))
        attempts.succeeded = [attempts.best]
    for subject, found in attempts.succeeded:
        rival = attempts.best[1].finalists[0].candidate
        planned = plan(subject, found.judge, rival, progress)
        attempts.best = planned or attempts.best
    return attempts.best


class _Attempts:
    """Searches of several forms, and the best of them."""

    def __init__(self, goal: Goal, tune: Callable[[Model], tuple[Subject, Found]]) -> None:
        self._goal = goal
        self._tune = tune
        self.best: tuple[Subject, Found] | None = None
        #: All that came to a circuit.
        self.succeeded: list[tuple[Subject, Found]] = []
        self.last: Model

    def add(self, model: Model) -> None:
        """Search one more form. One whose range is too wide counts as none.

        Raises:
            CircuitError: it fails for another reason, and no form did better.
        """
        self.last = model
        try:
            found = self._tune(model)
        except RangeTooWide:
            return
        except CircuitError:
            if self.best is None:
                raise
            return
        self.succeeded.append(found)
        if self.best is None or self._rank(found) < self._rank(self.best):
            self.best = found

    def _rank(self, each: tuple[Subject, Found]) -> tuple[float, float]:
        return self._goal.rank(each[1].finalists[0].candidate.estimate)


def _tables_decide(found: Found) -> bool:
    """Whether the best circuit could not be half as high for its lookup tables."""
    settings = found.finalists[0].settings
    low, high = settings["run_args"]["lookup_range"]
    return bool(2 * (high - low + 1) > 1 << found.finalists[0].candidate.shape.logrows)
