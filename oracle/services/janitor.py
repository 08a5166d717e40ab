"""Ends what is too late and deletes what is old.

Invariant: what is too late is the chain's to say. A clock of this machine ends nothing, and what
was ended though the chain's time still allows an answer is taken back.
"""

from __future__ import annotations

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from oracle.log import request_hex
from oracle.store.ledger import Store
from oracle.store.records import Cursor
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
        clock: seconds since the epoch; for the age of rows only.
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
        """Expire, take back and trim; False when nothing was due."""
        cursor = self._store.cursor()
        if cursor is None:
            return False
        early = self._take_back()
        late = self._store.expired()
        for row in late:
            if self._store.move(
                row.request_id, row.state, RequestState.EXPIRED, f"deadline passed, was {row.state}"
            ):
                self._log.warning(
                    "request expired", request=request_hex(row.request_id), was=row.state.value
                )
        self._trim(cursor)
        return bool(early or late)

    def _take_back(self) -> bool:
        """Have requests decided on anew whose deadline has not passed on the chain after all."""
        early = self._store.expired_too_early()
        for row in early:
            if self._store.move(
                row.request_id,
                RequestState.EXPIRED,
                RequestState.SEEN,
                "its deadline has not passed on the chain",
            ):
                self._log.warning(
                    "request taken back, its deadline has not passed on the chain",
                    request=request_hex(row.request_id),
                )
        return bool(early)

    def _trim(self, cursor: Cursor) -> None:
        now = self._clock()
        if 0 <= now - self._trimmed_at < _TRIM_INTERVAL:
            return
        deleted = self._store.trim(
            blocks_before=cursor.block - self._kept_blocks,
            # A clock that is ahead would delete what is still of use.
            rows_before=min(now, cursor.head_timestamp) - self._retention_seconds,
        )
        if not deleted:
            self._trimmed_at = now
