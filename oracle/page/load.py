"""How busy the prover is and was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from oracle.store.ledger import Store
from oracle.store.records import ProverStep
from oracle.store.states import JobState, RequestState

#: Seconds in a bar, and how many bars.
BAR_SECONDS = 10
BARS = 60
#: Proofs that the bars are made from at most; a node that makes more is shown for less long.
_STEPS = 2_000
#: Waiting proofs that are counted.
_COUNTED = 1_000


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the prover is and was."""

    workers: int
    running: int
    #: A thousand at most.
    queued: int
    bar_seconds: int
    #: Share of the workers' time, oldest first; the last bar ends now.
    bars: tuple[float, ...]


def load(store: Store, now: float, workers: int) -> Load:
    """The load of ``workers`` at a time."""
    running, queued = (
        store.count_jobs(state, _COUNTED) for state in (JobState.RUNNING, JobState.QUEUED)
    )
    # From twice as long ago: a proof that runs all through the first bars began before them.
    steps = store.prover_steps(now - 2 * BARS * BAR_SECONDS, _STEPS)
    return Load(workers, running, queued, BAR_SECONDS, busy(steps, now, workers))


def busy(steps: Iterable[ProverStep], now: float, workers: int) -> tuple[float, ...]:
    """Share of the workers' time that went into proofs, bar by bar up to ``now``.

    A proof that has no end yet runs until now. Shares are 0 to 1.
    """
    begun: dict[str, float] = {}
    spans: list[tuple[float, float]] = []
    for step in steps:
        if step.state is RequestState.RUNNING:
            begun.setdefault(step.job_id, step.at)
        elif step.job_id in begun:
            spans.append((begun.pop(step.job_id), step.at))
    spans += [(at, now) for at in begun.values()]
    first = now - BARS * BAR_SECONDS
    seconds = [0.0] * BARS
    for start, end in spans:
        for index in range(
            max(0, int((start - first) // BAR_SECONDS)),
            min(BARS, int((end - first) // BAR_SECONDS) + 1),
        ):
            left = first + index * BAR_SECONDS
            seconds[index] += max(0.0, min(end, left + BAR_SECONDS) - max(start, left))
    return tuple(min(1.0, round(each / BAR_SECONDS / workers, 3)) for each in seconds)
