"""SIGHUP: terms and endpoints are read anew, a bad file changes nothing (operators, missing 7)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oracle.access import EndpointTable
from oracle.config import NodeConfig
from oracle.errors import ConfigError, WrongChain
from oracle.node import run_until_signal
from oracle.reload import RELOADABLE
from oracle.testing import FakeChain
from oracle.testing_http import over_http
from tests.node.world import World
from tests.patience import PATIENCE

MakeWorld = Callable[..., World]


def config_of(world: World) -> NodeConfig:
    return world.node._parts.config


def reload(world: World, **fields: Any) -> None:
    """As at SIGHUP, with some fields changed."""
    world.node.reload(lambda: config_of(world).model_copy(update=fields))


def events(world: World, name: str) -> list[dict[str, Any]]:
    return [event for event in world.events() if event["event"].startswith(name)]


def test_terms__changed__hold_for_new_requests_and_for_those_refused_by_the_old(
    make_world: MakeWorld,
) -> None:
    world = make_world(min_income=10**18)
    refused = world.ask()
    world.settle()
    assert world.state(refused) == "skipped"
    assert "income_low" in world.row(refused).reason
    reload(world, min_income=0)
    world.settle()
    world.chain.mine()
    world.settle()
    assert world.chain.fulfilments(refused) == 1
    (told,) = events(world, "configuration taken")
    assert told["fields"] == "min_income"


def test_lists__changed__are_taken_up_both_ways(make_world: MakeWorld) -> None:
    world = make_world()
    first = world.ask()
    world.settle()
    requester = world.row(first).request.account
    reload(world, refused_accounts=(requester,))
    second = world.ask()
    world.settle()
    assert "requester_refused" in world.row(second).reason
    reload(world, refused_accounts=())
    world.settle()
    world.chain.mine()
    world.settle()
    assert world.chain.fulfilments(second) == 1


def test_terms__unchanged__nothing_happens_twice(make_world: MakeWorld) -> None:
    world = make_world(min_income=10**18)
    refused = world.ask()
    world.settle()
    before = world.trail(refused)
    for _ in range(3):
        reload(world)
        world.settle()
    assert world.trail(refused) == before


def test_file__bad__keeps_the_old_terms_and_says_so(make_world: MakeWorld) -> None:
    world = make_world(min_income=10**18)
    old = config_of(world)

    def bad() -> NodeConfig:
        raise ConfigError("node.toml, line 3: min_income: not a number", remedy="Correct it")

    world.node.reload(bad)
    assert config_of(world) is old
    (told,) = events(world, "configuration not taken")
    assert (told["level"], told["code"]) == ("error", "CONFIG")
    assert "line 3" in told["detail"]
    assert any(
        (subject, code) == ("configuration", "CONFIG") and "the old one is kept" in words
        for subject, code, words in world.node.troubles()
    )
    refused = world.ask()
    world.settle()
    assert "income_low" in world.row(refused).reason
    # Put right, nothing is in the way any more.
    reload(world, min_income=0)
    assert not [subject for subject, *_ in world.node.troubles() if subject == "configuration"]


def test_file__bad_again_in_another_way__is_told_at_once(make_world: MakeWorld) -> None:
    world = make_world()
    for words in ("line 3: min_income: not a number", "line 5: payee: not an address"):

        def bad(words: str = words) -> NodeConfig:
            raise ConfigError(words)

        world.node.reload(bad)
        world.node.keeper.step()
        (told,) = [each for each in world.store.troubles() if each.subject == "configuration"]
        assert words in told.detail


def test_fields__that_need_a_start__are_named_and_left(make_world: MakeWorld) -> None:
    world = make_world()
    old = config_of(world)
    reload(world, workers=7, confirmations=3, dry_run=True, min_income=5, store=Path("other.db"))
    config = config_of(world)
    assert (config.min_income, config.workers, config.confirmations) == (5, 1, 0)
    assert (config.dry_run, config.store) == (False, old.store)
    (told,) = events(world, "these fields need a restart")
    assert told["fields"] == "confirmations, store, workers, dry_run"


def test_reloadable__is_nothing_that_money_or_identity_hangs_on() -> None:
    assert set(NodeConfig.model_fields) >= RELOADABLE
    assert not RELOADABLE & {
        "chain_id",
        "oracle",
        "store",
        "payee",
        "key_file",
        "bundles",
        "dry_run",
    }


def test_endpoints__changed__the_new_ones_are_asked(make_world: MakeWorld) -> None:
    world = make_world()
    with over_http(world.chain) as url:
        reload(world, rpc_urls=(url,))
        request = world.ask()
        world.settle()
        world.chain.mine()
        world.settle()
        assert world.chain.fulfilments(request) == 1
        (health,) = world.node._parts.rpc.health()
        assert health.name == url
        assert health.calls > 3


def test_endpoints__of_another_chain__are_refused_with_all_else(make_world: MakeWorld) -> None:
    world = make_world()
    old = config_of(world)
    with over_http(FakeChain(chain_id=5)) as url:
        reload(world, rpc_urls=(url,), min_income=5)
    assert config_of(world) is old
    (told,) = events(world, "configuration not taken")
    assert told["code"] == WrongChain.code
    assert world.node._parts.rpc.head().number == world.chain.height


def test_endpoints__unchanged__keep_what_they_learned(make_world: MakeWorld) -> None:
    world = make_world()
    kept = world.node._parts.rpc._endpoints
    reload(world, min_income=5)
    assert world.node._parts.rpc._endpoints is kept


def test_header__file_changed__the_new_key_is_sent(make_world: MakeWorld, tmp_path: Path) -> None:
    """A key is rotated without a restart, and without an edit of the configuration."""
    world = make_world()
    key = tmp_path / "rpc.key"
    key.write_text("first")
    key.chmod(0o600)
    with over_http(world.chain) as url:
        table = EndpointTable.model_validate({"url": url, "headers": {"A": {"file": str(key)}}})
        reload(world, rpc_urls=(table,))
        first = world.node._parts.rpc._endpoints
        reload(world)
        assert world.node._parts.rpc._endpoints is first
        key.write_text("second")
        reload(world)
        assert world.node._parts.rpc._endpoints is not first
        assert world.node._accesses[0].headers == {"A": "second"}
        # Open to others: refused, and the one in use goes on.
        key.chmod(0o644)
        second = world.node._parts.rpc._endpoints
        reload(world)
        assert world.node._parts.rpc._endpoints is second
        assert "second" not in world.lines.getvalue()


def test_health_and_metrics__go_by_the_new_terms(make_world: MakeWorld) -> None:
    world = make_world()
    pages = world.node.pages()
    world.chain.balances[world.signer.address] = 5 * 10**16
    reload(world, min_balance=10**17)
    world.clock.now += 100
    assert "are needed" in (world.node.health.ready()["account"] or "")
    assert b"oracle_node_balance_reserve_wei 1e+17" in pages["/metrics"]({}).body


def test_signal__hang_up__reads_the_configuration_and_goes_on(make_world: MakeWorld) -> None:
    world = make_world()
    read = threading.Event()
    kept = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}

    def load() -> NodeConfig:
        read.set()
        return config_of(world).model_copy(update={"min_income": 7})

    def send() -> None:
        while not any(event["event"] == "ready" for event in world.events()):
            read.wait(0.01)
        os.kill(os.getpid(), signal.SIGHUP)
        read.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        run_until_signal(world.node, load)
    finally:
        sender.join(PATIENCE)
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert read.is_set()
    assert config_of(world).min_income == 7
    assert world.events()[-1]["event"] == "stopped"
