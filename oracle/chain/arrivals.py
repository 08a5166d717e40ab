"""When new blocks were told of, and so how long nobody need ask for one. Pure but for the clock.

What tells of blocks is not believed: it may say when to look, more often than that costs calls, and
may keep quiet. So it rings no more often than polling would ask, and is relied on only while its
blocks come one after the other: after three block times of silence all is as without it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

#: Block times of silence after which nothing is told any more.
_SILENT = 3
#: Seconds of a block time that is believed: half-dead chains and sockets are asked as often as any.
_LONGEST_BLOCK = 15.0
#: Gaps between blocks that tell the block time, and those without which there is none.
_GAPS, _LEAST_GAPS = 8, 2


class Arrivals:
    """Blocks as they were told of. Thread safe.

    Args:
        least_seconds: between two that are worth a look.
        clock: monotonic seconds.
    """

    def __init__(self, least_seconds: float, clock: Callable[[], float]) -> None:
        self._least = least_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._times: deque[float] = deque(maxlen=_GAPS + 1)
        self._looked_at = float("-inf")
        #: The highest block of the last ones that were told; -1 before any.
        self.told = -1

    def heard(self, number: int) -> bool:
        """A block was told of: whether it is worth a look at once."""
        with self._lock:
            self._times.append(self._clock())
            self.told = number
            return self._is_worth_a_look()

    def began(self) -> bool:
        """A connection was made, and blocks may have been missed: whether to look at once."""
        with self._lock:
            self._times.clear()
            self.told = -1
            return self._is_worth_a_look()

    def seconds_left(self) -> float:
        """How long the next block may take to be told of; 0 when blocks are not told of."""
        with self._lock:
            if len(self._times) <= _LEAST_GAPS:
                return 0.0
            gaps = len(self._times) - 1
            block_time = min((self._times[-1] - self._times[0]) / gaps, _LONGEST_BLOCK)
            return max(0.0, self._times[-1] + _SILENT * block_time - self._clock())

    def _is_worth_a_look(self) -> bool:
        now = self._clock()
        if now - self._looked_at < self._least:
            return False
        self._looked_at = now
        return True
