"""How far this machine's clock is off the chain's. It ends nothing: it is shown, and warned of.

A block's age says little by itself: the chain may stand still, or a node may have slept. The age
of a block at the moment in which it appears says what the clock is worth.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

#: Seconds from which on the clock counts as wrong. Blocks are seldom older when they are first seen.
LIMIT = 60.0


class Drift:
    """The clock's lead on the chain, as of the newest block that was seen to come. Thread safe.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._newest = -1
        self._looked_at = -math.inf
        self._seconds = 0.0

    def saw(self, number: int, timestamp: int) -> None:
        """A look at the chain found this block to be its newest one."""
        now = self._clock()
        with self._lock:
            # A new block came after the last look. A clock that was set back since is no reason to
            # take that for long ago.
            since, self._looked_at = max(0.0, now - self._looked_at), now
            if number <= self._newest:
                return
            self._newest = number
            age = now - timestamp
            # At its least: so much of the age may be the time between the looks.
            self._seconds = max(0.0, age - since) if age > 0 else age

    @property
    def seconds(self) -> float:
        """By how much the clock is ahead of the chain's; negative if it is behind; 0 if not known."""
        with self._lock:
            return self._seconds

    def warning(self) -> str | None:
        """What to tell the operator; None while the clock agrees with the chain's."""
        seconds = self.seconds
        return describe(seconds) if abs(seconds) > LIMIT else None


def describe(seconds: float) -> str:
    """By how much a clock is ahead of the chain's, or behind it, for a person."""
    which = "ahead of" if seconds > 0 else "behind"
    return f"this machine's clock is {abs(seconds):.0f} s {which} the chain's"
