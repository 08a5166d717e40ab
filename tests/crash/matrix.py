"""Runs a scenario with real processes, undisturbed or with kills, and looks at how it ended."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oracle.chain.contracts import Status
from oracle.config import project_root
from oracle.testing import _Sent

from .line import Exchange
from .node import LEASE, RESTART, Life, as_line
from .outside import Outside, Scenario

#: Processes after which a scenario should be over.
_MOST_LIVES = 60


@dataclass(frozen=True)
class Point:
    """A place at which the node may be killed."""

    number: int
    at: str
    steps: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Ending:
    """How a scenario ended."""

    #: In the order in which they were made.
    states: tuple[str, ...]
    #: They may differ: what a request was when its deadline passed, for one.
    reasons: tuple[str, ...] = field(compare=False)
    statuses: tuple[Status, ...]
    #: Accounts and nonces of the node's mined transactions in the order of the chain.
    mined: tuple[tuple[str, int], ...]
    #: How many of them answered nothing.
    in_vain: int
    #: Times that the node fulfilled each request.
    fulfilled: tuple[int, ...]
    nonces: frozenset[tuple[str, int]]
    #: Nonces whose transaction the node still waits for.
    open: tuple[int, ...]
    #: Transactions that wait in the mempool.
    waiting: int


@dataclass(frozen=True)
class StoreKind:
    """A kind of store that the whole matrix runs on."""

    #: The configuration's `store` of a new one, given an empty folder.
    place: Callable[[Path], str]
    #: Others may have it too: what a node held is free once its lease is over.
    is_shared: bool


class Forge:
    """The process that forks nodes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.node"],
            cwd=project_root(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, life: Life) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(as_line(life) + "\n")
        self._process.stdin.flush()

    def wait(self) -> int:
        """Exit code of the node that was started; minus the signal's number if one ended it."""
        assert self._process.stdout is not None
        return os.waitstatus_to_exitcode(int(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


@contextmanager
def forge() -> Iterator[Forge]:
    process = Forge()
    try:
        yield process
    finally:
        process.close()


@dataclass
class Run:
    """One run of a scenario."""

    scenario: Scenario
    forge: Forge
    folder: Path
    kind: StoreKind

    def __post_init__(self) -> None:
        self.outside = Outside(self.scenario)
        self.folder.mkdir(parents=True)
        self._store = self.kind.place(self.folder)
        #: Points of each process in turn.
        self.points: list[list[Point]] = []
        self.killed = 0
        self._traces = itertools.count()

    def play(self, kills: Iterable[int] = ()) -> Ending:
        """Start the node until the script is over.

        Args:
            kills: for each process in turn the number of the point that it is killed at, 0 for
                none; those for which there is no number live.
        """
        numbers = itertools.chain(kills, itertools.repeat(0))
        with Exchange(self.outside, self.folder / "outside") as exchange:
            for _ in range(_MOST_LIVES):
                life = self._life(exchange, self.outside.key, kill_at=next(numbers))
                self.forge.start(life)
                code = self.forge.wait()
                last = self._look_back(life, code)
                if code == 0:
                    return self._ending(last)
                if code == -signal.SIGKILL and self.kind.is_shared:
                    self.outside.now += LEASE
        raise AssertionError(f"{self.scenario.name} is not over after {_MOST_LIVES} processes")

    def play_beside(self, second: Forge, key: str, kill_at: int = 0) -> Ending:
        """Start the node beside another one, which goes on with the script when the first is gone.

        Args:
            second: forks the other node.
            key: the other node's account.
            kill_at: number of the point at which the first is killed; 0 for none.
        """
        with Exchange(self.outside, self.folder / "outside") as exchange:
            other = self._life(exchange, key, stands_by=True)
            second.start(other)
            self.outside.wait_for_second()
            life = self._life(exchange, self.outside.key, kill_at=kill_at)
            self.forge.start(life)
            code = self.forge.wait()
            self.outside.let_second_go_on()
            other_code = second.wait()
            self._look_back(life, code)
            return self._ending(self._look_back(other, other_code))

    def _life(self, exchange: Exchange, key: str, **more: Any) -> Life:
        trace = self.folder / f"trace-{next(self._traces)}"
        options = dict(self.scenario.options)
        return Life(self._store, exchange.socket, str(trace), key, options, **more)

    def _look_back(self, life: Life, code: int) -> dict[str, Any]:
        """Note the points of a process that exited with ``code``; the last line of its trace."""
        assert code in (0, RESTART, -signal.SIGKILL), f"the node exited with {code}"
        lines = [json.loads(line) for line in Path(life.trace).read_text().splitlines()]
        self.points.append([_point(line) for line in lines if "number" in line])
        if code == -signal.SIGKILL:
            assert self.points[-1][-1].number == life.kill_at
            self.killed += 1
        return lines[-1]

    def _ending(self, last: dict[str, Any]) -> Ending:
        chain, ids = self.outside.chain, self.outside.requests
        fulfilled = {i.to_bytes(32, "big").hex(): 0 for i in ids}
        topic = chain._oracle.topic("RequestFulfilled").hex()
        mined = []
        in_vain = 0
        for block in chain._blocks:
            for action in block.actions:
                if not isinstance(action, _Sent) or action.hash not in block.receipts:
                    continue
                mined.append((action.sender, action.nonce))
                topics = [log["topics"] for log in block.receipts[action.hash]["logs"]]
                answered = [each[1][2:] for each in topics if each[0] == "0x" + topic]
                in_vain += not answered
                for request_id in answered:
                    fulfilled[request_id] += 1
        return Ending(
            states=tuple(last["requests"].get(hex(i), "unknown") for i in ids),
            reasons=tuple(last["reasons"].get(hex(i), "") for i in ids),
            statuses=tuple(chain.status(i) for i in ids),
            mined=tuple(mined),
            in_vain=in_vain,
            fulfilled=tuple(fulfilled.values()),
            nonces=frozenset((account, nonce) for account, nonce in last["nonces"]),
            open=tuple(last["open"]),
            waiting=len(chain.mempool),
        )


def _point(line: dict[str, Any]) -> Point:
    return Point(line["number"], line["at"], tuple((a, b, c) for a, b, c in line["steps"]))
