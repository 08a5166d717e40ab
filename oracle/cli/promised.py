"""What ``oracle model build`` is told to promise."""

from __future__ import annotations

import math
from collections.abc import Sequence

from oracle.circuits.promise import Kind, Wanted
from oracle.circuits.row import Range
from oracle.errors import UsageError


def wanted_of(kind: str, margin: float, ranges: Sequence[str] | None) -> Wanted:
    """What ``--promise``, ``--margin`` and all ``--range`` ask for.

    Raises:
        UsageError: one of them cannot be read.
    """
    try:
        chosen = Kind(kind)
    except ValueError:
        raise UsageError(f"--promise {kind} is unknown", remedy="Use ranges or samples") from None
    found: dict[int | None, Range] = {}
    for text in ranges or ():
        index, equals, bounds = text.rpartition("=")
        low, comma, high = bounds.partition(",")
        try:
            position = int(index) if equals else None
            limits = Range(float(low), float(high))
        except ValueError:
            comma = ""
        if not comma or not (math.isfinite(limits.low) and limits.low <= limits.high < math.inf):
            raise UsageError(
                f"--range {text} is no range", remedy="Write --range LOW,HIGH or INDEX=LOW,HIGH"
            )
        found[position] = limits
    return Wanted(chosen, margin, found)
