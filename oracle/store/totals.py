"""Counts of what the node did, in the transaction of the change that is counted.

So they neither miss a change nor count one twice, whenever the node dies, and outlive both its
restarts and the rows they came from.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass

from oracle.store.database import Database

#: Upper ends of the histograms' buckets (seconds).
PROOF_BOUNDS = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
ANSWER_BOUNDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
OWN_BOUNDS = (0.05, 0.1, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
#: Label of the bucket without an end.
_REST = "+Inf"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Seconds, by bucket: upper end and number up to it, cumulative, the last without an end."""

    buckets: tuple[tuple[str, float], ...]
    sum: float


class Totals:
    """The counts in a database."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, name: str, label: str = "", amount: float = 1) -> None:
        """Count."""
        self._db.run("add_total", name=name, label=label, amount=float(amount))

    def observe(self, name: str, seconds: float, bounds: tuple[float, ...]) -> None:
        """Count a duration in its bucket."""
        index = bisect.bisect_left(bounds, seconds)
        self.add(name, str(bounds[index]) if index < len(bounds) else _REST)
        self.add(f"{name}_sum", "", seconds)

    def read(self) -> Mapping[str, Mapping[str, float]]:
        """All counts by name and label."""
        found: dict[str, dict[str, float]] = {}
        for row in self._db.rows("totals"):
            found.setdefault(row["name"], {})[row["label"]] = row["amount"]
        return found


def histogram(
    totals: Mapping[str, Mapping[str, float]], name: str, bounds: tuple[float, ...]
) -> Histogram:
    """A histogram of what `Totals.read` gave."""
    counts, amount, buckets = totals.get(name, {}), 0.0, []
    for label in (*map(str, bounds), _REST):
        amount += counts.get(label, 0.0)
        buckets.append((label, amount))
    return Histogram(tuple(buckets), totals.get(f"{name}_sum", {}).get("", 0.0))
