"""A dry run decides and proves, and sends nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from oracle.cli.main import app
from oracle.cli.node import _report, _text
from oracle.metrics import PREFIX
from oracle.node import _check_balance
from oracle.services.rehearsal import Rehearsal
from tests.node.world import World

MakeWorld = Callable[..., World]


@pytest.fixture
def dry(make_world: MakeWorld) -> World:
    return make_world(dry_run=True)


@pytest.fixture
def sent(dry: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods that were called."""
    methods: list[str] = []
    inner = dry.endpoint.send

    def send(method: str, params: list[Any]) -> Any:
        methods.append(method)
        return inner(method, params)

    monkeypatch.setattr(dry.endpoint, "send", send)
    return methods


def test_dry_run__request__is_proved_and_nothing_is_sent_or_signed(
    dry: World, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operators, missing 5."""

    def sign(*_: object) -> None:
        raise AssertionError("signed")

    monkeypatch.setattr(type(dry.signer), "sign", sign)
    first, second = dry.ask(), dry.ask(3, 4)
    dry.settle()
    assert dry.state(first) == dry.state(second) == "proved"
    assert "eth_sendRawTransaction" not in sent
    assert isinstance(dry.node.submitter, Rehearsal)
    told = [e for e in dry.events() if e["event"] == "dry run: would be sent"]
    assert len(told) == 2
    # Once each, however often it steps.
    dry.chain.mine(5)
    dry.settle()
    assert len([e for e in dry.events() if e["event"].startswith("dry run: would")]) == 2


def test_dry_run__many_proofs__all_are_looked_at(dry: World) -> None:
    asked = [dry.ask() for _ in range(45)]
    dry.settle(rounds=500)
    told = " ".join(
        str(e.get("request", e.get("requests", "")))
        for e in dry.events()
        if e["event"] == "dry run: would be sent"
    )
    assert len(told.split()) == len(asked)


def test_dry_run__delivery_would_revert__is_told(dry: World) -> None:
    request = dry.ask()
    dry.until(lambda: dry.state(request) == "proved")
    # Another node answers it before it was looked at.
    dry.chain.end(request)
    dry.node.submitter.step()
    (told,) = [e for e in dry.events() if e["event"] == "dry run: would be refused"]
    assert told["level"] == "warning"
    assert told["code"]


def test_dry_run__without_money__works(make_world: MakeWorld) -> None:
    world = make_world(dry_run=True)
    world.chain.balances[world.signer.address] = 0
    request = world.ask()
    world.settle()
    assert world.state(request) == "proved"
    parts = world.node._parts
    assert "needs none" in _check_balance(parts.rpc, world.signer.address, parts.config)
    assert world.node.health.ready()["account"] is None


def test_dry_run__is_told_wherever_somebody_looks(dry: World) -> None:
    dry.node._say_ready()
    assert any(e["event"] == "dry run" and e["level"] == "warning" for e in dry.events())
    dry.node.keeper.step()
    assert "DRY_RUN: requests are decided and proved, and nothing is sent" in _text(
        _report(dry.store, 10, 0)
    )
    pages = dry.node.pages()
    assert f"{PREFIX}dry_run 1.0".encode() in pages["/metrics"]({}).body
    assert b'"dry_run": true' in pages["/api/state"]({}).body
    assert b"DRY RUN: nothing is sent" in pages["/panels.js"]({}).body


def test_node_that_sends__is_not_told_to_be_dry(world: World) -> None:
    world.node._say_ready()
    world.node.keeper.step()
    assert "DRY_RUN" not in _text(_report(world.store, 10, 0)) + world.lines.getvalue()
    assert f"{PREFIX}dry_run 0.0".encode() in world.node.pages()["/metrics"]({}).body


def test_dry_run__then_a_node_that_sends_on_the_same_store__answers_what_is_open(
    dry: World,
) -> None:
    request = dry.ask()
    dry.settle()
    dry.options["dry_run"] = False
    dry.restart()
    dry.settle()
    dry.chain.mine()
    dry.settle()
    assert dry.chain.fulfilments(request) == 1


def test_run__flag__is_in_the_help() -> None:
    shown = CliRunner().invoke(app, ["node", "run", "--help"], env={"COLUMNS": "200"}).output
    assert "--dry-run" in shown
