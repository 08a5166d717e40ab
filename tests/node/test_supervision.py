"""Threads: crashes are survived, rings are heard, a stop is prompt."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from oracle import node
from oracle.errors import RpcUnreachable
from oracle.health import Pulse
from oracle.log import make_logger
from oracle.node import Doorbell, Supervised, run_until_signal
from tests.patience import PATIENCE

from .world import World


class Scripted:
    """A service that does what its script says, then nothing."""

    def __init__(self, *script: bool | Exception) -> None:
        self._script = list(script)
        self.steps = 0
        self.finished = threading.Event()

    def step(self) -> bool:
        self.steps += 1
        if not self._script:
            self.finished.set()
            return False
        action = self._script.pop(0)
        if isinstance(action, Exception):
            raise action
        return action


def supervise(
    service: Scripted, doorbell: Doorbell | None = None, interval: float = 60
) -> tuple[Supervised, threading.Event, io.StringIO]:
    stop, lines = threading.Event(), io.StringIO()
    thread = Supervised(
        "scripted",
        service,
        doorbell=doorbell or Doorbell(),
        stop=stop,
        interval=lambda: interval,
        log=make_logger(lines, json=True),
    )
    thread.start()
    return thread, stop, lines


def events(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_service_raises__is_logged_with_its_code_and_goes_on() -> None:
    service = Scripted(RpcUnreachable("down"), ValueError("bug"), True)
    doorbell = Doorbell()
    thread, stop, lines = supervise(service, doorbell)
    assert service.finished.wait(PATIENCE)
    stop.set()
    doorbell.ring()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    first, second = events(lines)
    assert (first["code"], first["event"]) == ("RPC_UNREACHABLE", "service paused")
    assert (second["code"], second["event"]) == ("CRASH", "service crashed")
    assert "ValueError: bug" in second["exception"]


def test_pulse__trouble__is_over_with_the_next_step_that_goes_well() -> None:
    pulse = Pulse(10.0)
    pulse.failed("RPC_REJECTED", "first")
    pulse.failed("RPC_UNREACHABLE", "second")
    assert pulse.trouble == ("RPC_UNREACHABLE", "second")
    pulse.went_well()
    assert pulse.trouble is None
    assert len(pulse.recent()) == 2


def test_service_keeps_failing__pauses_grow() -> None:
    service, doorbell = Scripted(*[RpcUnreachable("down")] * 3), Doorbell()
    thread, stop, lines = supervise(service, doorbell)
    assert service.finished.wait(PATIENCE)
    stop.set()
    doorbell.ring()
    thread.join(PATIENCE)
    pauses = [event["seconds"] for event in events(lines)]
    assert pauses == [0.25, 0.5, 1.0]


def test_doorbell__rung__ends_the_wait_of_the_others() -> None:
    doorbell, idle = Doorbell(), Scripted()
    thread, stop, _ = supervise(idle, doorbell)
    assert idle.finished.wait(PATIENCE)
    before = idle.steps
    time.sleep(0.05)
    assert idle.steps == before
    other, other_stop, _ = supervise(Scripted(True), doorbell)
    deadline = time.monotonic() + PATIENCE
    while idle.steps == before and time.monotonic() < deadline:
        time.sleep(0.005)
    assert idle.steps > before
    for event in (stop, other_stop):
        event.set()
    doorbell.ring()
    for supervised in (thread, other):
        supervised.join(PATIENCE)
        assert not supervised.is_alive()


def test_doorbell__rung_between_look_and_wait__is_not_lost() -> None:
    doorbell = Doorbell()
    heard = doorbell.rings
    doorbell.ring()
    waiter = threading.Thread(target=doorbell.wait, args=(heard, 10 * PATIENCE), daemon=True)
    waiter.start()
    waiter.join(PATIENCE)
    assert not waiter.is_alive()


def wait_for_event(world: World, name: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if f'"event": "{name}"' in world.lines.getvalue():
            return
        time.sleep(0.005)
    raise AssertionError(f"no '{name}' in {world.lines.getvalue()[-1000:]}")


def test_node__threads__answer_a_request_and_stop_when_told(
    make_world: Callable[..., World],
) -> None:
    world = make_world(poll_seconds=0.02)
    thread = threading.Thread(target=world.node.run)
    thread.start()
    wait_for_event(world, "ready")
    request_id = world.ask()
    wait_for_event(world, "request final")
    world.node.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert world.chain.fulfilments(request_id) == 1


@contextmanager
def telling(act: Callable[[ServerConnection], None]) -> Iterator[str]:
    """A WebSocket that does something once it is subscribed to."""

    def handle(connection: ServerConnection) -> None:
        try:
            connection.recv(PATIENCE)
            connection.send('{"id": 1, "result": "0x1"}')
            act(connection)
        except ConnectionClosed:
            pass

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def tell_of_blocks(connection: ServerConnection) -> None:
    while True:
        connection.send('{"method": "eth_subscription", "params": {"result": {"number": "0x1"}}}')
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("act", "poll_seconds"),
    [(tell_of_blocks, 3600), (lambda connection: connection.close(), 0.02)],
    ids=["it tells of blocks, polling is rare", "it closes cleanly each time, polling goes on"],
)
def test_node__websocket__wakes_the_poller_and_is_not_needed(
    make_world: Callable[..., World],
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[ServerConnection], None],
    poll_seconds: float,
) -> None:
    monkeypatch.setattr(node, "_TOLD_SECONDS", 0.05)
    with telling(act) as url:
        world = make_world(poll_seconds=poll_seconds, ws_url=url)
        thread = threading.Thread(target=world.node.run)
        thread.start()
        wait_for_event(world, "ready")
        request_id = world.ask()
        wait_for_event(world, "request final")
        world.node.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert world.chain.fulfilments(request_id) == 1


def test_node__signal__stops_in_good_time_whatever_the_poll_interval(
    make_world: Callable[..., World],
) -> None:
    world = make_world(poll_seconds=10 * PATIENCE)
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        run_until_signal(world.node)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert world.events()[-1]["event"] == "stopped"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_node__second_signal__ends_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, second: int
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def both(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), second)

    monkeypatch.setattr(world.node, "run", both)
    try:
        run_until_signal(world.node)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert codes == [128 + second]
