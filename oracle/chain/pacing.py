"""How often an endpoint is asked, and for how much at once.

A budget while it answers, a rest after it failed, and as many blocks in a log query as it took.

Pure but for the clock. Callers hold a lock.
"""

from __future__ import annotations

import math
from collections.abc import Callable

#: Seconds of the first rest after a failure; doubles with each failure in a row, up to the longest.
FIRST_REST = 1.0
LONGEST_REST = 60.0
#: Most seconds that an endpoint's own ``Retry-After`` is believed.
LONGEST_ASKED = 3600.0
#: Seconds for which an endpoint that has no such method is asked for it last.
LACKING = 600.0
#: More blocks than any chain has.
NO_LIMIT = 2**63
#: A log query grows by this share after each full one that was answered.
GROWTH = 8
#: Full log queries that are answered before a size that was refused is tried again.
_PATIENCE = 32


class TokenBucket:
    """At most ``burst`` calls at once, and ``rate`` a second on average.

    Args:
        rate: calls a second; None for no limit.
        burst: calls that may come at once.
        clock: monotonic seconds.
    """

    def __init__(self, rate: float | None, burst: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._counted_at = clock()

    def take(self, patience: float = math.inf) -> float:
        """Take one token; seconds to wait until it is earned.

        It is not taken if these are more than ``patience``.
        """
        if self._rate is None:
            return 0.0
        now = self._clock()
        earned = max(0.0, now - self._counted_at) * self._rate
        self._tokens = min(self._tokens + earned, float(self._burst)) - 1
        self._counted_at = now
        wait = max(0.0, -self._tokens / self._rate)
        if wait > patience:
            self._tokens += 1
        return wait


class Rest:
    """When an endpoint that failed may be asked again.

    A rest that the endpoint asked for is kept whatever happens. One of our own only means that
    others are asked first.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._failures = 0
        #: Whether the endpoint asked for it.
        self.is_asked = False

    @property
    def left(self) -> float:
        """Seconds until it is over; 0 when there is none."""
        return max(0.0, self._until - self._clock())

    def begin(self) -> None:
        """It failed: rest longer with each failure in a row."""
        self._start(self._own())
        self.is_asked = False

    def obey(self, seconds: float | None) -> None:
        """It asked to be left alone, for ``seconds`` if it said how long."""
        own = self._own()
        self._start(own if seconds is None else min(max(seconds, own), LONGEST_ASKED))
        self.is_asked = True

    def end(self) -> None:
        """It answered."""
        self._failures = 0

    def _own(self) -> float:
        return min(FIRST_REST * 2.0 ** min(self._failures, 16), LONGEST_REST)

    def _start(self, seconds: float) -> None:
        self._failures += 1
        self._until = max(self._until, self._clock() + seconds)


class Span:
    """How many blocks an endpoint takes in one log query, as its answers teach.

    Providers name their limits in words of their own, or in none: they time out. So whatever a
    query of several blocks came to, if it was no answer, the next one is smaller.

    Args:
        cap: blocks that it is never asked for more of; None for no such limit.
    """

    def __init__(self, cap: int | None = None) -> None:
        self._cap = cap or NO_LIMIT
        #: Most blocks to ask for.
        self.most = self._cap
        # The largest query that it answered.
        self._good = 0
        # The smallest that it refused, not to be tried at each step again.
        self._refused = NO_LIMIT
        self._answered = 0

    def failed(self, blocks: int, *, suggested: int | None = None, refused: bool) -> None:
        """A query of more than one block was not answered.

        Args:
            blocks: how many.
            suggested: how many the endpoint says it takes.
            refused: whether it answered so; it may have been down otherwise.
        """
        is_size = 0 < self._good < blocks
        if suggested is not None and 0 < suggested < blocks:
            self.most = suggested
        else:
            self.most = self._good if is_size else blocks // 2
        if not is_size:
            # What it took once it takes no more.
            self._good = 0
        if refused or is_size:
            self._refused = min(self._refused, blocks)
            self._answered = 0

    def answered(self, blocks: int) -> None:
        """A query was answered."""
        self._good = max(self._good, blocks)
        if blocks < self.most or self.most == self._cap:
            return
        self._answered += 1
        if self._answered > _PATIENCE:
            self._refused, self._answered = NO_LIMIT, 0
        grown = min(blocks + max(1, blocks // GROWTH), self._refused - 1)
        self.most = min(max(blocks, grown), self._cap)
