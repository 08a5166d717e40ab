"""/livez and /readyz mean it: each kind of trouble turns them, and its end turns them back."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from oracle import checks
from oracle import node as node_module
from oracle.drift import Drift
from oracle.errors import ProverCrashed, ProverUnavailable, RpcUnreachable, StoreError
from oracle.health import ChainProbe, Pulse
from tests.node.world import World
from tests.patience import PATIENCE

from .stage import Stage

MakeWorld = Callable[..., World]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.02)


class Running:
    """A node with its threads and its port."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.thread = threading.Thread(target=world.node.run)
        self.thread.start()
        wait_until(lambda: '"ready"' in world.lines.getvalue())

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        port = self.world.options["http_port"]
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}{path}", timeout=PATIENCE
            ) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def stop(self) -> None:
        self.world.node.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@pytest.fixture
def run(make_world: MakeWorld) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(**options: Any) -> Running:
        values = {"http_port": free_port(), "poll_seconds": 0.05, **options}
        running.append(Running(make_world(**values)))
        return running[-1]

    yield start
    for each in running:
        each.stop()


@pytest.mark.parametrize("name", ["watcher", "scheduler", "runner", "submitter", "janitor"])
def test_livez__a_service_hangs__fails_and_names_it_until_it_goes_on(
    run: Callable[..., Running], name: str
) -> None:
    node = run(stall_seconds=0.5)
    assert node.get("/livez")[0] == 200
    held, service = threading.Event(), node.world.node.services[name]
    step = service.step

    def hang() -> bool:
        held.wait(PATIENCE)
        return step()

    service.step = hang  # type: ignore[method-assign]
    wait_until(lambda: node.get("/livez")[0] == 503)
    assert list(node.get("/livez")[1]["wrong"]) == [name]
    assert node.get("/readyz")[0] == 503
    held.set()
    wait_until(lambda: node.get("/livez")[0] == 200)


def test_check__beside_the_node_that_serves__does_not_warn_of_its_port(
    run: Callable[..., Running],
) -> None:
    node = run()
    assert node.get("/livez")[0] == 200
    assert checks.pages(node.world.node._parts.config) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_livez__a_thread_is_dead__fails(run: Callable[..., Running]) -> None:
    node = run()

    def die() -> bool:
        # Ends a thread without a trace: the supervisor survives everything that is an Exception.
        raise SystemExit

    node.world.node.services["janitor"].step = die  # type: ignore[method-assign]
    wait_until(lambda: node.get("/livez")[0] == 503)
    assert node.get("/livez")[1]["wrong"] == {"janitor": "its thread has ended"}


def test_livez__an_endpoint_is_down__stays_alive(run: Callable[..., Running]) -> None:
    node = run()
    node.world.endpoint.fail("eth_getBlockByNumber", RpcUnreachable("down"), times=10**9)
    wait_until(lambda: "service paused" in node.world.lines.getvalue())
    assert node.get("/livez")[0] == 200


def test_infernet__healthy_is_not_a_constant(run: Callable[..., Running]) -> None:
    node = run()
    wait_until(lambda: node.get("/readyz")[0] == 200)
    node.world.endpoint.fail("eth_getBalance", RpcUnreachable("down"), times=10**9)
    node.world.clock.now += 31
    status, report = node.get("/readyz")
    assert status == 503
    assert "RPC_UNREACHABLE: down" in report["wrong"]["chain"]
    node.world.endpoint.fail("eth_getBalance", RpcUnreachable("down"), times=0)
    node.world.clock.now += 31
    assert node.get("/readyz")[0] == 200


def test_stopping__stays_alive_but_is_not_ready(run: Callable[..., Running]) -> None:
    node = run(drain_seconds=10)
    node.world.prover.held = True
    node.world.ask()
    wait_until(lambda: '"proving"' in node.world.lines.getvalue())
    node.world.node.stop()
    wait_until(lambda: node.get("/readyz")[0] == 503)
    assert node.get("/readyz")[1]["wrong"]["services"] == "the node is stopping"
    assert node.get("/livez")[0] == 200
    node.world.prover.held = False
    node.thread.join(PATIENCE)
    assert not node.thread.is_alive()


def test_others__optional_service_down__does_not_stop_the_node(run: Callable[..., Running]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        node = run(http_port=other.getsockname()[1])
        request_id = node.world.ask()
        wait_until(lambda: '"request final"' in node.world.lines.getvalue())
        assert node.world.chain.fulfilments(request_id) == 1
        # Where status reads it, and a check before or beside it, too.
        wait_until(lambda: any(each.subject == "pages" for each in node.world.store.troubles()))
        (warning,) = checks.pages(node.world.node._parts.config)
        assert warning.is_warning
        assert "no pages and no metrics would be served" in warning.detail
    (line,) = [e for e in node.world.events() if e["event"] == "no pages are served"]
    assert (line["level"], line["code"]) == ("error", "CONFIG")


def test_watchdog__a_service_hangs__systemd_hears_nothing_more(
    run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(node_module, "_WATCHDOG_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        node = run(stall_seconds=0.3)
        assert systemd.recv(100) == b"READY=1"
        assert systemd.recv(100) == b"WATCHDOG=1"
        held, watcher = threading.Event(), node.world.node.watcher
        step = watcher.step
        watcher.step = lambda: held.wait(PATIENCE) and step()  # type: ignore[method-assign]
        wait_until(lambda: any(node.world.node.health.alive().values()))
        systemd.settimeout(0.5)
        # What was sent before it hung is read first.
        with suppress(TimeoutError):
            while True:
                systemd.recv(100)
        with pytest.raises(TimeoutError):
            systemd.recv(100)
        held.set()
        systemd.settimeout(PATIENCE)
        assert systemd.recv(100) == b"WATCHDOG=1"


@pytest.fixture
def stage(make_world: MakeWorld) -> Stage:
    found = Stage(make_world)
    found.hold(60)
    return found


def wrong(world: World) -> dict[str, str]:
    return {name: text for name, text in world.node.health.ready().items() if text}


def test_readyz__all_well__finds_nothing(stage: Stage) -> None:
    assert wrong(stage.ill) == {}


def test_readyz__cursor_far_behind__says_how_far(stage: Stage) -> None:
    stage.ill.chain.mine(150)
    stage.ill.clock.now += 31
    assert wrong(stage.ill) == {"cursor": "150 blocks behind"}
    stage.ill.settle()
    assert wrong(stage.ill) == {}


def test_readyz__store_cannot_be_written__says_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run = stage.ill.store, stage.ill.store._db.run

    def full(name: str, /, **values: Any) -> int:
        if values.get("name") == "write_probes":
            raise StoreError("database or disk is full")
        return run(name, **values)

    monkeypatch.setattr(store._db, "run", full)
    assert wrong(stage.ill) == {"store": "STORE: database or disk is full."}


def test_readyz__really_writes(stage: Stage) -> None:
    path = stage.ill.folder / "node.db"
    other = sqlite3.connect(path)
    before = other.execute("PRAGMA data_version").fetchone()
    assert wrong(stage.ill) == {}
    assert other.execute("PRAGMA data_version").fetchone() != before
    other.close()


def test_readyz__account_below_its_minimum__says_both_sums(stage: Stage) -> None:
    world = stage.ill
    world.chain.balances[world.signer.address] = 5
    world.clock.now += 31
    assert wrong(world) == {"account": f"holds 5 wei, {10**16} are needed"}


def test_readyz__prover_cannot_start__says_why_until_it_can(stage: Stage) -> None:
    world = stage.ill
    submit = world.prover.submit

    def refuse(_: Any) -> None:
        raise ProverUnavailable("no proof can start in jobs (No space left on device)")

    world.prover.submit = refuse  # type: ignore[method-assign]
    world.ask()
    world.settle()
    assert "No space left" in wrong(world)["prover"]
    world.prover.submit = submit  # type: ignore[method-assign]
    world.clock.now += 61
    world.settle()
    assert wrong(world) == {}


def test_readyz__last_proofs_all_failed__says_with_what_until_one_succeeds(stage: Stage) -> None:
    world = stage.ill
    for count in range(1, 4):
        world.prover.errors.extend([ProverCrashed("signal 9")] * 3)
        world.ask(count, count)
        for _ in range(4):
            world.settle()
            world.clock.now += 10
        assert ("prover" in wrong(world)) == (count == 3)
    world.ask(9, 9)
    world.settle()
    world.clock.now += 1
    assert wrong(world) == {}


@pytest.mark.parametrize("name", ["disk", "memory"])
def test_readyz__disk_or_memory_below_its_reserve__says_so(
    make_world: MakeWorld, name: str
) -> None:
    stage = Stage(make_world, **{f"min_{name}_bytes": 2**61})
    stage.hold(60)
    assert list(wrong(stage.ill)) == [name]


def test_pulse__counts_from_the_step_or_from_the_end_of_the_rest() -> None:
    now = [100.0]
    pulse = Pulse(10, lambda: now[0])
    pulse.working()
    now[0] += 9
    assert pulse.overdue < 0
    now[0] += 2
    assert pulse.overdue > 0
    pulse.resting(60)
    now[0] += 69
    assert pulse.overdue < 0
    now[0] += 2
    assert pulse.overdue > 0


def test_probe__asked_often__asks_the_chain_seldom(world: World) -> None:
    now = [0.0]
    probe = ChainProbe(
        world.chain.rpc(), world.signer.address, Drift(lambda: now[0]), lambda: now[0]
    )
    first = probe.look()
    world.chain.mine()
    assert probe.look() == first
    now[0] += 30
    assert probe.look().head == first.head + 1
    # A clock that was set back does not keep the old look.
    world.chain.mine()
    now[0] -= 1000
    assert probe.look().head == first.head + 2
