"""Where a request is on its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oracle.store.states import RequestState

_R = RequestState
#: The stages in order, and the states that each means.
STAGES: Mapping[str, tuple[RequestState, ...]] = {
    "seen": (_R.SEEN, _R.ACCEPTED),
    "proving": (_R.QUEUED, _R.RUNNING),
    "sending": (_R.PROVED, _R.PENDING),
    "done": (_R.MINED, _R.FINAL),
    "other": (_R.SKIPPED, _R.FAILED, _R.EXPIRED, _R.LOST, _R.CANCELLED, _R.ORPHANED),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the way and how many requests are in it."""

    name: str
    amount: int
    #: The same by state; states without any are left out.
    states: dict[str, int]


def stage_of(state: RequestState) -> str:
    """The stage that a state belongs to."""
    return next(name for name, states in STAGES.items() if state in states)


def stages(counts: Mapping[RequestState, int]) -> tuple[Stage, ...]:
    """All stages, by numbers of requests in each state."""
    found = (
        (name, {state.value: counts[state] for state in states if state in counts})
        for name, states in STAGES.items()
    )
    return tuple(Stage(name, sum(states.values()), states) for name, states in found)
