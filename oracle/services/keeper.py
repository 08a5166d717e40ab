"""Says that this node lives, and takes over from nodes that do not.

Invariant: work that a node holds is freed once its lease is over, and never while it lives.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable

from structlog.typing import FilteringBoundLogger

from oracle.store.ledger import Store
from oracle.store.records import Trouble

#: A node says four times in a lease that it lives.
BEATS = 4
#: Seconds after which the words of a trouble that goes on are written again.
_TOLD_AGAIN = 60.0


class Keeper:
    """Keeps this node's place among those that share the store.

    Args:
        store: the ledger.
        account: who sends.
        payee: whom the proofs name.
        workers: proofs at the same time.
        lease_seconds: silence after which other nodes take over.
        clock: seconds since the epoch.
        log: for a person.
        troubles: subject, code and detail of what stands in this node's way now.
    """

    def __init__(
        self,
        store: Store,
        *,
        account: str,
        payee: str,
        workers: int,
        lease_seconds: float,
        clock: Callable[[], float],
        log: FilteringBoundLogger,
        troubles: Callable[[], Iterable[tuple[str, str, str]]] = tuple,
    ) -> None:
        self._store = store
        self._troubles = troubles
        self._told: tuple[Trouble, ...] = ()
        self._told_at = float("-inf")
        self._account = account
        self._payee = payee
        self._workers = workers
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._log = log
        self._said_at = float("-inf")

    def join(self) -> None:
        """Take this node's place: before anything else is done with the store."""
        # A node that joins anew has said nothing yet.
        self._told = ()
        self._store.join(
            name=f"{socket.gethostname()}:{os.getpid()}",
            account=self._account,
            payee=self._payee,
            workers=self._workers,
            lease=self._lease_seconds,
        )
        self._said_at = self._clock()

    def tell_anew(self) -> None:
        """Have the words of what stands in the way written at the next step: they are of now."""
        self._told_at = float("-inf")

    def step(self) -> bool:
        """Say that this node lives, look for those that do not; False when nothing was freed."""
        self._tell()
        silent = self._clock() - self._said_at
        # Less than nothing: the clock was ahead when it said so, and the lease would last too long.
        if not self._store.is_shared or 0 <= silent < self._lease_seconds / BEATS:
            return False
        if self._store.beat():
            self._said_at = self._clock()
        else:
            self._log.warning("taken for dead by the other nodes", silent=silent)
            self.join()
        jobs, requests = self._store.take_over()
        if jobs or requests:
            self._log.warning("took over from a silent node", jobs=jobs, requests=requests)
        return bool(jobs or requests)

    def _tell(self) -> None:
        """Keep what stands in this node's way where others can read it."""
        now = self._clock()
        since = {(each.subject, each.code): each.since for each in self._told}
        found = tuple(
            Trouble(subject, code, detail, since.get((subject, code), now))
            for subject, code, detail in self._troubles()
        )
        # The words of one trouble change with each try: they are not written each time.
        same = since.keys() == {(each.subject, each.code) for each in found}
        if same and (not found or 0 <= now - self._told_at < _TOLD_AGAIN):
            return
        self._store.set_troubles(found)
        self._told, self._told_at = found, now
