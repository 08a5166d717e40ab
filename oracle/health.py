"""Whether the node lives, and whether it can do its work: what /livez and /readyz say.

Alive: every service has finished a step, or rests no longer than it said it would. Ready: chain,
store, prover, account, disk and memory are as a request needs them, looked at when asked.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from oracle.aside import Aside
from oracle.chain.rpc import Rpc
from oracle.config import NodeConfig
from oracle.drift import Drift
from oracle.errors import OracleError, ProverUnavailable
from oracle.machine import available_memory, free_disk
from oracle.store.ledger import Store
from oracle.store.records import Cursor

#: Blocks that the cursor may be behind the newest block it may read.
NEAR_BLOCKS = 100
#: Proofs that must fail in a row before the prover counts as broken.
_FAILURES = 3
#: Seconds for which a look at the chain holds: health is asked for often, endpoints cost money.
_LOOK_AGE = 30.0
#: Seconds that the store gets to answer: who looks at the node waits for little longer.
_STORE_SECONDS = 2.0
#: Failures of a service that are remembered with their words.
_KEPT_FAILURES = 8

Clock = Callable[[], float]


class Pulse:
    """A service's sign of life, given by its thread and read by others.

    Args:
        stall_seconds: how long one step may take.
        clock: monotonic seconds.
    """

    def __init__(self, stall_seconds: float, clock: Clock = time.monotonic) -> None:
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._due = clock() + stall_seconds
        self._lock = threading.Lock()
        self._failures: Counter[str] = Counter()
        self._recent: deque[tuple[float, str, str]] = deque(maxlen=_KEPT_FAILURES)
        #: Code and detail of the last step's failure; None once a step went well.
        self.trouble: tuple[str, str] | None = None
        #: Steps that found nothing to do, since the start.
        self.idle_steps = 0

    def working(self) -> None:
        """A step begins."""
        self._due = self._clock() + self._stall_seconds

    def resting(self, seconds: float) -> None:
        """The next step begins in ``seconds`` at the latest."""
        self._due = self._clock() + seconds + self._stall_seconds

    def failed(self, code: str, detail: str = "") -> None:
        """A step raised an error with this code."""
        with self._lock:
            self._failures[code] += 1
            self._recent.append((self._clock(), code, detail))
        self.trouble = code, detail

    def went_well(self) -> None:
        """A step was finished."""
        self.trouble = None

    def recent(self) -> list[tuple[float, str, str]]:
        """The last failures, oldest first: seconds since, code, detail."""
        with self._lock:
            return [(self._clock() - at, code, detail) for at, code, detail in self._recent]

    def failures(self) -> Mapping[str, int]:
        """Steps that failed, by code."""
        with self._lock:
            return dict(self._failures)

    @property
    def overdue(self) -> float:
        """Seconds since the next sign was due; negative before that."""
        return self._clock() - self._due


@dataclass(frozen=True, slots=True)
class Watched:
    """A service as others see it."""

    name: str
    pulse: Pulse
    #: Whether its thread runs.
    running: Callable[[], bool]

    def trouble(self) -> str | None:
        """What is wrong with it; None for nothing."""
        if not self.running():
            return "its thread has ended"
        if self.pulse.overdue > 0:
            return f"no sign of life for {self.pulse.overdue:.0f} s longer than it may take"
        return None


@dataclass(frozen=True, slots=True)
class Look:
    """The chain as an endpoint shows it."""

    head: int
    #: Wei of the node's account, and its next nonce.
    balance: int
    nonce: int


class ChainProbe:
    """Looks at the chain, but not more often than every few seconds. Thread safe."""

    def __init__(self, rpc: Rpc, account: str, drift: Drift, clock: Clock = time.monotonic) -> None:
        self._rpc = rpc
        #: What each look tells of this machine's clock.
        self.drift = drift
        self._account = account
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Look | OracleError | None = None
        self._at = 0.0

    def look(self) -> Look:
        """The last look, made anew when it is old.

        Raises:
            OracleError: why the chain could not be seen.
        """
        with self._lock:
            # A clock that was set back must not keep an old look for long.
            if self._found is None or not 0 <= self._clock() - self._at < _LOOK_AGE:
                self._found = self._ask()
                self._at = self._clock()
            if isinstance(self._found, OracleError):
                raise self._found
            return self._found

    def _ask(self) -> Look | OracleError:
        try:
            head = self._rpc.head()
            self.drift.saw(head.number, head.timestamp)
            return Look(
                head=head.number,
                balance=self._rpc.balance(self._account),
                nonce=self._rpc.nonce(self._account),
            )
        except OracleError as error:
            return error


class Health:
    """Answers for a running node.

    Args:
        config: what it must have.
        store: the ledger.
        probe: the chain.
        watched: its services.
        stopping: whether it was told to stop, so that its services end.
    """

    def __init__(
        self,
        config: NodeConfig,
        store: Store,
        probe: ChainProbe,
        watched: tuple[Watched, ...],
        stopping: Callable[[], bool],
    ) -> None:
        self._stopping = stopping
        #: As it is now: some of it is read anew while the node runs.
        self.config = config
        self._store = store
        #: Asks the store, which may hang.
        self.aside = Aside(_STORE_SECONDS)
        self._probe = probe
        self.watched = watched

    def alive(self) -> dict[str, str | None]:
        """What is wrong with each service; None for nothing."""
        stopping = self._stopping()
        return {
            each.name: None if stopping and not each.running() else each.trouble()
            for each in self.watched
        }

    def ready(self) -> dict[str, str | None]:
        """What is wrong with each thing that the node needs; None for nothing."""
        checks = {
            "services": self._services,
            "chain": self._chain,
            "cursor": self._cursor,
            "store": self._writable,
            "prover": self._prover,
            "account": self._account,
            "disk": self._disk,
            "memory": self._memory,
        }
        return {name: _outcome(check) for name, check in checks.items()}

    def warnings(self) -> dict[str, str]:
        """What is not as it should be and does not keep the node from its work."""
        # The look is what a node that does not read the chain itself knows the clock by.
        with suppress(OracleError):
            self._probe.look()
        text = self._probe.drift.warning()
        return {} if text is None else {"clock": text}

    def _services(self) -> str | None:
        if self._stopping():
            return "the node is stopping"
        troubles = [f"{name}: {text}" for name, text in self.alive().items() if text]
        return "; ".join(troubles) or None

    def _chain(self) -> str | None:
        self._probe.look()
        return None

    def _cursor(self) -> str | None:
        head = self._probe.look().head
        cursor, is_read = self.aside.ask(self._read)
        if cursor is None:
            start = self.config.start_block
            beyond = f": start_block {start} is beyond the newest block, {head}"
            return f"the chain was not read yet{beyond if start > head else ''}"
        if cursor.block > head and not is_read:
            return f"nothing is read before block {cursor.block + 1}, and the newest is {head}"
        behind = head - self.config.confirmations - cursor.block
        return f"{behind} blocks behind" if behind > NEAR_BLOCKS else None

    def _read(self) -> tuple[Cursor | None, bool]:
        """How far the chain was read, and whether that block was: a new store's cursor is before it."""
        cursor = self._store.cursor()
        is_read = cursor is not None and self._store.block_hash(cursor.block) is not None
        return cursor, is_read

    def _writable(self) -> None:
        self.aside.ask(self._store.check_writable)

    def _prover(self) -> str | None:
        return self.aside.ask(lambda: self._store.prover_trouble(ProverUnavailable.code, _FAILURES))

    def _account(self) -> str | None:
        balance, needed = self._probe.look().balance, max(self.config.min_balance, 1)
        if self.config.dry_run:
            return None
        return f"holds {balance} wei, {needed} are needed" if balance < needed else None

    def _disk(self) -> str | None:
        for folder in self.config.folders.values():
            left = free_disk(folder)
            if left < self.config.min_disk_bytes:
                return f"{left} bytes left for {folder}, {self.config.min_disk_bytes} are kept"
        return None

    def _memory(self) -> str | None:
        left, kept = available_memory(), self.config.min_memory_bytes
        return f"{left} bytes left, {kept} are kept" if left < kept else None


def _outcome(check: Callable[[], str | None]) -> str | None:
    try:
        return check()
    except OracleError as error:
        return error.line()
