"""The forms of a model that are worth a search: the same answers, smaller circuits.

A function of one number is looked up in a table of all arguments that a promised input can bring
about. Where such tables are what makes the circuit high, the curves are limited to where they rise;
where no circuit takes the promised range at all, each feature is limited to its own range as well.
"""

from __future__ import annotations

from collections.abc import Callable

from oracle.circuits import ranges
from oracle.circuits.clamp import clamp, flatten, has_curves
from oracle.circuits.onnx import Model
from oracle.circuits.trial import Floats
from oracle.circuits.tuner import Found, Goal, Subject
from oracle.errors import CircuitError, RangeTooWide

#: What a limited curve may add to an error, as a share of the bound; and as the finest of all.
_FLAT_SHARE = 1 / 128
_FINEST = 2.0**-15


def search(
    model: Model,
    samples: Floats,
    goal: Goal,
    tune: Callable[[Model], tuple[Subject, Found]],
    progress: Callable[[str], None],
) -> tuple[Subject, Found]:
    """The form with the best circuit, and what the search of it came to.

    Args:
        model: as its file says.
        samples: inputs, float [n, inputs].
        goal: what is wanted.
        tune: searches one form.
        progress: called with a few words before each further form.

    Raises:
        CircuitError: as `tuner.tune`, for the last form that was worth a search.
    """
    best, flat = None, model
    try:
        best = tune(model)
    except RangeTooWide:
        if not has_curves(model):
            return _clamped(model, samples, tune, progress)
    if has_curves(model) and (best is None or _tables_decide(best[1])):
        progress("limiting curves to where they rise")
        flat = flatten(model, max(goal.max_error * _FLAT_SHARE, _FINEST))
        try:
            found = tune(flat)
        except CircuitError as error:
            if best is None and not isinstance(error, RangeTooWide):
                raise
        else:
            best = found if best is None else min(best, found, key=lambda each: _rank(goal, each))
    return best or _clamped(flat, samples, tune, progress)


def _clamped(
    model: Model,
    samples: Floats,
    tune: Callable[[Model], tuple[Subject, Found]],
    progress: Callable[[str], None],
) -> tuple[Subject, Found]:
    progress("no circuit takes the whole range: limiting each feature to its own")
    return tune(clamp(model, ranges.each_feature(samples)))


def _tables_decide(found: Found) -> bool:
    """Whether the best circuit could not be half as high for its lookup tables."""
    settings = found.finalists[0].settings
    low, high = settings["run_args"]["lookup_range"]
    return bool(2 * (high - low + 1) > 1 << found.finalists[0].candidate.shape.logrows)


def _rank(goal: Goal, each: tuple[Subject, Found]) -> tuple[float, float]:
    estimate = each[1].finalists[0].candidate.estimate
    return goal.objective.rank(estimate.gas, estimate.prove_seconds)
