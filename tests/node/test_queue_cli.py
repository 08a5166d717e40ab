"""``oracle node requeue | cancel | export`` beside a running node, on both stores."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from pydantic import SecretStr
from typer.testing import CliRunner

from oracle.cli.node import app
from oracle.errors import OracleError, ProverInput
from oracle.log import request_hex
from oracle.store.database import Location
from oracle.store.states import IntentState, RequestState
from oracle.testing import ORACLE
from tests.patience import PATIENCE
from tests.store.makers import make_request

from .world import Clock, World


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "sqlite":
        store: Location = tmp_path / "node.db"
    else:
        store = request.getfixturevalue("postgres").fresh()
    # The commands have the machine's clock.
    made = World(tmp_path, {"store": store, "lease_seconds": 10**6}, clock=Clock(time.time()))
    yield made
    made.die()


@pytest.fixture
def node(world: World, tmp_path: Path) -> Callable[..., Result]:
    """``oracle node ...`` with the world's configuration."""
    store = world.options["store"]
    text = store.get_secret_value() if isinstance(store, SecretStr) else str(store)
    config = tmp_path / "node.toml"
    config.write_text(
        f'chain_id = {world.chain.chain_id}\nrpc_urls = ["http://fake"]\noracle = "{ORACLE}"\n'
        f'bundles = ["bundle"]\nstore = "{text}"\nwork_dir = "jobs"\nkey_file = "key"\n'
    )

    def run(command: str, *arguments: str) -> Result:
        return CliRunner().invoke(app, [command, *arguments, "--config", str(config)])

    return run


def refusal(result: Result) -> str:
    """The line of an error of the tree."""
    assert isinstance(result.exception, OracleError), result.exception
    assert result.stdout == ""
    return result.exception.line()


def held(world: World, *, count: int = 1) -> list[int]:
    """Requests whose first is being proved."""
    world.prover.held = True
    ids = [world.ask(i, i) for i in range(count)]
    world.settle()
    assert world.state(ids[0]) == "running"
    return ids


def failed(world: World) -> int:
    world.prover.errors.append(ProverInput("bad"))
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "failed"
    return request_id


def test_cancel__proof_is_running__it_ends_with_the_operators_reason(
    world: World, node: Callable[..., Result]
) -> None:
    first, second = held(world, count=2)
    result = node("cancel", request_hex(first))
    assert result.exit_code == 0, result.exception
    assert result.stdout == f"cancelled  {request_hex(first)}, which was running\n"
    world.settle()
    assert world.prover.cancelled == [world.prover.submitted[0].job_id]
    assert (world.state(first), world.row(first).reason) == ("cancelled", "operator: cancelled")
    world.prover.held = False
    world.settle()
    assert [world.chain.fulfilments(i) for i in (first, second)] == [0, 1]
    # A start does not take it up again.
    world.restart()
    world.settle()
    assert world.state(first) == "cancelled"


def test_cancel__proof_is_finished__nothing_is_sent(
    world: World, node: Callable[..., Result]
) -> None:
    request_id = world.ask()
    world.until(lambda: bool(world.store.counts().get("proved")))
    report = json.loads(node("cancel", request_hex(request_id), "--json").stdout)
    assert report == {"cancelled": [{"request_id": hex(request_id), "was": "proved"}]}
    world.settle()
    assert world.chain.received == []


def test_cancel__several_of_which_one_is_sent__changes_none(
    world: World, node: Callable[..., Result]
) -> None:
    world.chain.automine = False
    sent = world.ask()
    world.chain.mine()
    world.settle()
    assert world.state(sent) == "pending"
    (waiting,) = held_after(world)
    line = refusal(node("cancel", request_hex(waiting), request_hex(sent)))
    assert line.startswith(f"REQUEST_BUSY: request {hex(sent)} is pending and cannot be cancelled.")
    assert "wait for its end" in line
    assert world.state(waiting) == "running"


def held_after(world: World) -> list[int]:
    world.prover.held = True
    request_id = world.ask()
    world.chain.mine()
    # The transaction that waits in the pool was mined too, and is followed later.
    world.node.watcher.step()
    world.node.scheduler.step()
    world.node.runner.step()
    return [request_id]


def test_cancel__beside_a_transaction_of_the_node__waits_for_it(
    world: World, node: Callable[..., Result]
) -> None:
    (request_id,) = held(world)
    begun, done = threading.Event(), threading.Event()

    def write() -> None:
        with world.store.transaction():
            world.store.set_head(7, 7, 7)
            begun.set()
            done.wait(0.3)

    writer = threading.Thread(target=write)
    writer.start()
    assert begun.wait(PATIENCE)
    assert node("cancel", request_hex(request_id)).exit_code == 0
    writer.join()
    cursor = world.store.cursor()
    assert cursor is not None
    assert (cursor.head, world.state(request_id)) == (7, "cancelled")


def test_requeue__failed_request__is_answered(world: World, node: Callable[..., Result]) -> None:
    request_id = failed(world)
    # The first digits are enough.
    assert node("requeue", request_hex(request_id)[:12]).exit_code == 0
    assert world.state(request_id) == "seen"
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1
    steps = [step.reason for step in world.store.history(request_id)]
    assert "operator: taken up again" in steps


def test_requeue__job__stands_for_its_requests(world: World, node: Callable[..., Result]) -> None:
    request_id = failed(world)
    job_id = world.row(request_id).job_id
    assert job_id is not None
    report = json.loads(node("requeue", job_id[:8], "--json").stdout)
    assert report == {"requeued": [{"request_id": hex(request_id), "was": "failed"}]}
    world.settle()
    assert world.state(request_id) == "final"
    assert "no request of job" in refusal(node("requeue", job_id))


def test_requeue__cancelled_by_the_operator__is_answered_after_all(
    world: World, node: Callable[..., Result]
) -> None:
    (request_id,) = held(world)
    node("cancel", request_hex(request_id))
    world.settle()
    world.prover.held = False
    assert node("requeue", request_hex(request_id)).exit_code == 0
    world.settle()
    assert world.chain.fulfilments(request_id) == 1


def test_requeue__skipped_request__is_decided_on_anew(
    world: World, node: Callable[..., Result]
) -> None:
    request_id = world.ask(gas_money=1)
    world.settle()
    assert world.state(request_id) == "skipped"
    assert node("requeue", request_hex(request_id)).exit_code == 0
    world.settle()
    assert world.trail(request_id) == ["seen", "skipped", "seen", "skipped"]


@pytest.mark.parametrize("command", ["requeue", "cancel"])
def test_name_that_fits_nothing_or_several__is_refused(
    world: World, node: Callable[..., Result], command: str
) -> None:
    for number in (0xAB1, 0xAB2):
        world.store.add_request(make_request(number))
    assert "REQUEST_UNKNOWN: several requests begin with 0xab" in refusal(node(command, "0xab"))
    assert "REQUEST_UNKNOWN: the store knows no request 0xcd" in refusal(node(command, "0xcd"))
    for name in ("0x", "0xzz"):
        assert f"USAGE: '{name}' is not a request id" in refusal(node(command, name))


@pytest.mark.parametrize("command", ["cancel", "requeue"])
def test_name_in_decimal__is_found(world: World, node: Callable[..., Result], command: str) -> None:
    """contract-developers D9: the same forms as on the chain's side."""
    number = 0xABCDEF << 232
    world.store.add_request(make_request(number, deadline=2**40))
    if command == "requeue":
        world.store.move(number, RequestState.SEEN, RequestState.SKIPPED, "not paid")
    assert node(command, str(number)).exit_code == 0


def test_requeue__unknown_job__is_refused(world: World, node: Callable[..., Result]) -> None:
    assert "the store knows no job beef" in refusal(node("requeue", "beef"))


def test_name_with_the_zeros_that_explorers_write__is_found(
    world: World, node: Callable[..., Result]
) -> None:
    small = 0xABCDEF << 180
    for number in (small, 0xABCDEF << 232):
        world.store.add_request(make_request(number))
    assert request_hex(small).startswith("0x0000000000000abcdef")
    report = json.loads(node("cancel", request_hex(small)[:20], "--json").stdout)
    assert [row["request_id"] for row in report["cancelled"]] == [request_hex(small)]


def test_requeue__on_its_way_or_too_late__is_refused(
    world: World, node: Callable[..., Result]
) -> None:
    (running,) = held(world)
    assert "is running and cannot be taken up again" in refusal(
        node("requeue", request_hex(running))
    )
    world.store.add_request(make_request(5, deadline=2000))
    assert node("cancel", "0x5").exit_code == 0
    assert f"deadline of request {request_hex(5)} has passed" in refusal(node("requeue", "0x5"))


def test_export__json__is_every_request_with_its_answer(
    world: World, node: Callable[..., Result]
) -> None:
    answered = world.ask()
    world.settle()
    skipped = world.ask(gas_money=1)
    world.settle()
    rows = json.loads(node("export").stdout)
    assert [row["request_id"] for row in rows] == [request_hex(answered), request_hex(skipped)]
    first, second = rows
    (intent,) = world.store.intents(IntentState.FINAL)
    assert first["state"] == "final"
    assert first["transaction"] == "0x" + intent.attempts[-1].hash.hex()
    assert (first["nonce"], first["sender"]) == (0, world.signer.address)
    assert first["payee"] == world.signer.address
    assert first["proving_seconds"] == pytest.approx(0.5)
    assert first["gas_money"] == str(10**16)
    assert second["reason"].startswith("fee_low")
    assert second["transaction"] is None


def test_export__csv_since__has_what_moved_since(world: World, node: Callable[..., Result]) -> None:
    world.ask()
    world.settle()
    world.clock.now += 3600
    late = world.ask()
    world.settle()
    since = datetime.fromtimestamp(world.clock.now - 60, UTC)
    result = node("export", "--format", "csv", "--since", since.isoformat())
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["request_id"] for row in rows] == [request_hex(late)]
    assert rows[0]["state"] == "final"
    assert node("export", "--format", "csv", "--since", "1d").stdout.count("\n") == 3
    assert "is no time" in refusal(node("export", "--since", "yesterday"))


def test_export__empty_store__is_an_empty_list(world: World, node: Callable[..., Result]) -> None:
    assert json.loads(node("export", "--json").stdout) == []


def test_export__more_than_a_page__has_each_once(
    world: World, node: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oracle.store.operator._PAGE", 2)
    for number in range(1, 8):
        world.store.add_request(make_request(number, block_number=number // 3))
    rows = json.loads(node("export").stdout)
    assert sorted(int(row["request_id"], 16) for row in rows) == list(range(1, 8))


def test_status__shared_store__names_its_nodes(world: World, node: Callable[..., Result]) -> None:
    nodes = json.loads(node("status", "--json").stdout)["nodes"]
    assert [each["account"] for each in nodes] == (
        [world.signer.address] if world.store.is_shared else []
    )
