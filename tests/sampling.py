"""Exhaustive sets: whole in `make test-long`, sampled otherwise, by another seed each day.

The seed is printed, and ``--sample SEED`` repeats it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

#: Variables of the environment, for the processes of one run.
WHOLE = "PYTEST_EXHAUSTIVE"
SEED = "PYTEST_SAMPLE_SEED"

T = TypeVar("T")


def is_whole() -> bool:
    """Whether nothing is left out."""
    return bool(os.environ.get(WHOLE))


def seed() -> int:
    """Of today's samples, or of this run's."""
    given = os.environ.get(SEED)
    return int(given) if given else int(datetime.now(UTC).strftime("%Y%m%d"))


def sample(name: str, cases: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of the cases, in their order; all of them in a whole run.

    Args:
        name: of the set, so that two sets are not sampled alike.
        cases: the whole set.
        most: how many.
    """
    if is_whole() or len(cases) <= most:
        return list(cases)
    chosen = sorted(_random(name).sample(range(len(cases)), most))
    return [cases[index] for index in chosen]


def cover(name: str, cases: Sequence[T], kinds: Callable[[T], Iterable[Hashable]]) -> list[T]:
    """Cases of which every kind that occurs has one, in their order; all of them in a whole run.

    Args:
        name: as in `sample`.
        cases: the whole set.
        kinds: what a case is an example of.
    """
    if is_whole():
        return list(cases)
    order = list(range(len(cases)))
    _random(name).shuffle(order)
    missing = {kind for case in cases for kind in kinds(case)}
    chosen = []
    for index in order:
        new = missing & set(kinds(cases[index]))
        if new:
            missing -= new
            chosen.append(index)
    return [cases[index] for index in sorted(chosen)]


def _random(name: str) -> random.Random:
    # A string seeds alike in every process.
    return random.Random(f"{seed()} {name}")
