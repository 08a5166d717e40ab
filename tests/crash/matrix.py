"""Runs a scenario with real processes, undisturbed or with kills, and looks at how it ended."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oracle.chain.contracts import Status
from oracle.config import project_root
from oracle.testing import _Sent

from .line import Exchange
from .node import RESTART, STORES, Life, as_line
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
    #: Nonces of the account's mined transactions in the order of the chain.
    mined: tuple[int, ...]
    #: Times that the node fulfilled each request.
    fulfilled: tuple[int, ...]
    nonces: tuple[int, ...]
    #: Nonces whose transaction the node still waits for.
    open: tuple[int, ...]
    #: Transactions that wait in the mempool.
    waiting: int


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

    def run(self, life: Life) -> int:
        """Exit code of a node; minus the signal's number if one ended it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(as_line(life) + "\n")
        self._process.stdin.flush()
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
    kind: str

    def __post_init__(self) -> None:
        self.outside = Outside(self.scenario)
        self.folder.mkdir(parents=True)
        self._store = STORES[self.kind].place(self.folder)
        #: Points of each process in turn.
        self.points: list[list[Point]] = []
        self.killed = 0

    def play(self, kills: Iterable[int] = ()) -> Ending:
        """Start the node until the script is over.

        Args:
            kills: for each process in turn the number of the point that it is killed at, 0 for
                none; those for which there is no number live.
        """
        numbers = itertools.chain(kills, itertools.repeat(0))
        with Exchange(self.outside, self.folder / "outside") as exchange:
            for life in range(_MOST_LIVES):
                trace = self.folder / f"trace-{life}"
                at = next(numbers)
                code = self.forge.run(
                    Life(
                        self.kind,
                        self._store,
                        exchange.socket,
                        str(trace),
                        dict(self.scenario.options),
                        at,
                    )
                )
                lines = [json.loads(line) for line in trace.read_text().splitlines()]
                self.points.append([_point(line) for line in lines if "number" in line])
                if code == 0:
                    return self._ending(lines[-1])
                if code == -signal.SIGKILL:
                    assert self.points[-1][-1].number == at
                    self.killed += 1
                else:
                    assert code == RESTART, f"the node exited with {code}"
        raise AssertionError(f"{self.scenario.name} is not over after {_MOST_LIVES} processes")

    def _ending(self, last: dict[str, Any]) -> Ending:
        chain, ids = self.outside.chain, self.outside.requests
        mined = [
            action.nonce
            for block in chain._blocks
            for action in block.actions
            if isinstance(action, _Sent) and action.hash in block.receipts
        ]
        own = {i.to_bytes(32, "big").hex(): 0 for i in ids}
        fulfilled = chain._oracle.topic("RequestFulfilled").hex()
        for block in chain._blocks:
            for receipt in block.receipts.values():
                for log in receipt["logs"]:
                    if log["topics"][0] == "0x" + fulfilled:
                        own[log["topics"][1][2:]] += 1
        return Ending(
            states=tuple(last["requests"].get(hex(i), "unknown") for i in ids),
            reasons=tuple(last["reasons"].get(hex(i), "") for i in ids),
            statuses=tuple(chain.status(i) for i in ids),
            mined=tuple(mined),
            fulfilled=tuple(own.values()),
            nonces=tuple(sorted(last["nonces"])),
            open=tuple(last["open"]),
            waiting=len(chain.mempool),
        )


def _point(line: dict[str, Any]) -> Point:
    return Point(line["number"], line["at"], tuple((a, b, c) for a, b, c in line["steps"]))
