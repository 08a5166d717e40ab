"""Ends what is too late and deletes what is old."""

from __future__ import annotations

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from oracle.log import request_hex
from oracle.store.ledger import Store
from oracle.store.states import RequestState

#: Block hashes to keep beyond the confirmations: a deeper reorg reads again from the start.
_KEPT_BLOCKS = 512
#: Seconds between two deletions.
_TRIM_INTERVAL = 600.0


class Janitor:
    """Keeps the store true and small.

    Args:
        store: the ledger.
        confirmations: the watcher's.
        retention_seconds: how long ended requests are kept.
        clock: seconds since the epoch.
        log: for a person.
    """

    def __init__(
        self,
        store: Store,
        *,
        confirmations: int,
        retention_seconds: float,
        clock: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._kept_blocks = confirmations + _KEPT_BLOCKS
        self._retention_seconds = retention_seconds
        self._clock = clock
        self._log = log
        self._trimmed_at = float("-inf")

    def step(self) -> bool:
        """Expire and trim; False when nothing was due."""
        cursor = self._store.cursor()
        if cursor is None:
            return False
        now = max(self._clock(), cursor.head_timestamp)
        late = self._store.expired(now)
        for row in late:
            if self._store.move(
                row.request_id, row.state, RequestState.EXPIRED, f"deadline passed, was {row.state}"
            ):
                self._log.warning(
                    "request expired", request=request_hex(row.request_id), was=row.state.value
                )
        if self._clock() - self._trimmed_at >= _TRIM_INTERVAL:
            deleted = self._store.trim(
                blocks_before=cursor.block - self._kept_blocks,
                rows_before=self._clock() - self._retention_seconds,
            )
            if not deleted:
                self._trimmed_at = self._clock()
        return bool(late)
