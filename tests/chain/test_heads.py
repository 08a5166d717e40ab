"""The WebSocket that wakes the poller: it may close, go silent or refuse, and is opened again."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from oracle.chain.arrivals import Arrivals
from oracle.chain.heads import HeadListener
from oracle.log import make_logger
from tests.patience import PATIENCE

HEAD = json.dumps({"method": "eth_subscription", "params": {"result": {"number": "0x1"}}})


class Bell:
    """Counts its rings."""

    def __init__(self) -> None:
        self._rung = threading.Semaphore(0)

    def ring(self) -> None:
        self._rung.release()

    def hear(self, times: int = 1) -> bool:
        return all(self._rung.acquire(timeout=PATIENCE) for _ in range(times))


class Server:
    """A server whose connections do what ``script`` says once they are subscribed to."""

    def __init__(self, *script: Callable[[ServerConnection], None]) -> None:
        self._script = list(script)
        self.asked: list[str] = []

    def __call__(self, connection: ServerConnection) -> None:
        try:
            self.asked.append(json.loads(connection.recv(PATIENCE))["method"])
            act = self._script.pop(0) if len(self._script) > 1 else self._script[0]
            act(connection)
        except ConnectionClosed:
            pass


def subscribed(connection: ServerConnection) -> None:
    connection.send(json.dumps({"id": 1, "result": "0xabc"}))


def told_once(connection: ServerConnection) -> None:
    subscribed(connection)
    connection.send(HEAD)


def silent(connection: ServerConnection) -> None:
    subscribed(connection)
    connection.recv(PATIENCE)


def told_and_kept_open(connection: ServerConnection) -> None:
    told_once(connection)
    connection.recv(PATIENCE)


def refused(connection: ServerConnection) -> None:
    connection.send(json.dumps({"id": 1, "error": {"code": -32601, "message": "no"}}))
    connection.recv(PATIENCE)


@contextmanager
def serving(server: Server) -> Iterator[str]:
    with serve(server, "127.0.0.1", 0) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listening.socket.getsockname()[1]}/v1/SECRET"
        finally:
            listening.shutdown()
            thread.join()


@contextmanager
def listening(url: str, silence: float = 60) -> Iterator[tuple[Bell, io.StringIO]]:
    bell, lines, arrivals = Bell(), io.StringIO(), Arrivals(0, time.monotonic)
    log = make_logger(lines, json=True)
    listener = HeadListener(url, bell.ring, arrivals, log, silence=silence, first_pause=0.01)
    listener.start()
    try:
        yield bell, lines
    finally:
        listener.stop()
        listener.join(PATIENCE)
        assert not listener.is_alive()


def test_new_head__rings() -> None:
    server = Server(told_and_kept_open)
    with serving(server) as url, listening(url) as (bell, _):
        # Once for the subscription, once for the block.
        assert bell.hear(2)
        assert server.asked == ["eth_subscribe"]


@pytest.mark.parametrize("first", [told_once, silent, refused, lambda connection: None])
def test_closed_cleanly_or_silent_or_refused__is_opened_again(
    first: Callable[[ServerConnection], None],
) -> None:
    server = Server(first, told_and_kept_open)
    with serving(server) as url, listening(url, silence=0.3) as (bell, lines):
        while len(server.asked) < 2:
            assert bell.hear()
        assert bell.hear(2)
    assert "polling only" in lines.getvalue()
    assert "SECRET" not in lines.getvalue()


def test_nobody_there__goes_on_trying_until_somebody_is() -> None:
    server = Server(told_and_kept_open)
    with serve(server, "127.0.0.1", 0) as reserved:
        port = reserved.socket.getsockname()[1]
    with listening(f"ws://127.0.0.1:{port}") as (bell, lines):
        while lines.getvalue().count("polling only") < 2:
            threading.Event().wait(0.01)
        with serve(server, "127.0.0.1", port) as late:
            thread = threading.Thread(target=late.serve_forever)
            thread.start()
            assert bell.hear(2)
            late.shutdown()
            thread.join()
