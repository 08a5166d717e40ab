"""Several nodes on one PostgreSQL store: work is shared, never doubled, and taken over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from oracle.chain.contracts import Ended
from oracle.errors import DutyLost, StoreError
from oracle.store.states import IntentState, RequestState
from tests.postgres import PostgresServer

from .test_whole_path import Killed, Killer
from .world import KEY, Clock, World

OTHER_KEY = "0x" + "22" * 32
LEASE = 30.0


@pytest.fixture
def make_fleet(tmp_path: Path, postgres: PostgresServer) -> Iterator[Callable[..., list[World]]]:
    """Makes nodes on one chain and one store, one for each key."""
    made: list[World] = []

    def make(*keys: str, **options: Any) -> list[World]:
        options = {"store": postgres.fresh(), "lease_seconds": LEASE, **options}
        fleet: list[World] = []
        for key in keys:
            beside = fleet[0] if fleet else None
            fleet.append(World(tmp_path / str(len(made)), options, key=key, beside=beside))
            made.append(fleet[-1])
        return fleet

    yield make
    for world in made:
        world.die()


accounts = pytest.mark.parametrize("keys", [(KEY, KEY), (KEY, OTHER_KEY)], ids=["same", "other"])


def settle(*fleet: World, rounds: int = 60) -> None:
    """Step the nodes in turn, service by service, until none has anything to do."""
    for _ in range(rounds):
        worked = False
        for name in fleet[0].node.services:
            for world in fleet:
                worked |= world.node.services[name].step()
        if not worked:
            return
    raise AssertionError("still busy")


def silence(*living: World) -> None:
    """Let a lease pass in which only these nodes are heard of."""
    clock = living[0].clock
    for _ in range(5):
        clock.now += LEASE / 4 + 0.1
        for world in living:
            world.node.keeper.step()


def start_proof(world: World) -> int:
    """A request whose proof takes until `world.prover` is let go."""
    world.prover.held = True
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "running"
    return request_id


def assert_answered_once(world: World, ids: list[int]) -> None:
    assert [world.state(i) for i in ids] == ["final"] * len(ids)
    assert [world.chain.fulfilments(i) for i in ids] == [1] * len(ids)
    # No transaction was in vain: each one sent answered a request.
    assert len(set(world.chain.received)) == len(ids)


@accounts
def test_requests__are_shared_and_each_is_answered_once(
    make_fleet: Callable[..., list[World]], keys: tuple[str, str]
) -> None:
    first, second = make_fleet(*keys)
    for world in (first, second):
        world.prover.held = True
    ids = [first.ask(i, i) for i in range(6)]
    settle(first, second)
    # Each proves one, and not the same.
    assert len(first.store.requests(RequestState.RUNNING)) == 2
    assert first.prover.submitted[0].job_id != second.prover.submitted[0].job_id
    for world in (first, second):
        world.prover.held = False
    settle(first, second)
    assert_answered_once(first, ids)
    assert len(first.prover.submitted) + len(second.prover.submitted) == 6
    assert first.prover.submitted
    assert second.prover.submitted


def test_two_accounts__each_sends_and_is_paid_for_its_own_proofs(
    make_fleet: Callable[..., list[World]],
) -> None:
    first, second = make_fleet(KEY, OTHER_KEY)
    ids = [first.ask(i, i) for i in range(6)]
    settle(first, second)
    assert_answered_once(first, ids)
    events = first.oracle.events(0, first.chain.height)
    paid = [event.beneficiary for event in events if isinstance(event, Ended)]
    proved = {first.signer.address: first, second.signer.address: second}
    assert set(paid) == set(proved)
    for address, world in proved.items():
        assert paid.count(address) == len(world.prover.submitted)
    intents = first.store.intents(IntentState.FINAL)
    for address in proved:
        nonces = [intent.nonce for intent in intents if intent.account == address]
        assert nonces == list(range(len(nonces)))


def test_one_account__only_one_node_sends_and_both_prove(
    make_fleet: Callable[..., list[World]],
) -> None:
    first, second = make_fleet(KEY, KEY)
    ids = [first.ask(i, i) for i in range(4)]
    settle(first, second)
    assert_answered_once(first, ids)
    assert "eth_sendRawTransaction" in first.endpoint.calls
    assert "eth_sendRawTransaction" not in second.endpoint.calls
    assert second.prover.submitted
    # Nor did the second read the chain.
    assert "eth_getLogs" not in second.endpoint.calls


@accounts
def test_node_killed_while_it_proves__the_other_waits_for_its_lease_and_finishes(
    make_fleet: Callable[..., list[World]], keys: tuple[str, str]
) -> None:
    first, second = make_fleet(*keys)
    request_id = start_proof(first)
    # The first is never heard of again. While its lease lasts nobody touches what it has.
    settle(second)
    assert second.prover.submitted == []
    silence(second)
    settle(second)
    assert_answered_once(second, [request_id])
    assert second.chain.fulfilments(request_id) == 1
    job = second.store.job(second.row(request_id).job_id or "")
    assert job is not None
    assert job.attempts == 1


@accounts
def test_clock_that_was_ahead_is_set_right__node_killed_after_that__its_lease_is_over_in_time(
    make_fleet: Callable[..., list[World]], keys: tuple[str, str]
) -> None:
    first, second = make_fleet(*keys)
    first.clock.now += 3600
    settle(first, second)
    first.clock.now -= 3600
    request_id = start_proof(first)
    second.settle()
    silence(second)
    settle(second)
    assert_answered_once(second, [request_id])


@accounts
@pytest.mark.parametrize("hours", [2, -2])
def test_lease__machines_whose_clocks_are_hours_apart__neither_takes_what_the_other_has(
    make_fleet: Callable[..., list[World]], keys: tuple[str, str], hours: int
) -> None:
    first, second = make_fleet(*keys)
    second.clock = Clock(first.clock.now + hours * 3600)
    second.restart()
    request_id = start_proof(first)
    settle(second)
    assert second.prover.submitted == []
    # The first is never heard of again: what it had is free after a lease, whatever the clocks.
    for _ in range(5):
        first.common.now += LEASE / 4 + 0.1
        second.clock.now += LEASE / 4 + 0.1
        settle(second)
    assert_answered_once(second, [request_id])


@pytest.mark.parametrize(
    ("keys", "after", "stride"),
    # Before and after every second step: between them that is every point.
    [((KEY, KEY), False, 2), ((KEY, KEY), True, 2), ((KEY, OTHER_KEY), True, 3)],
    ids=["same-before", "same-after", "other"],
)
def test_node_killed_at_any_point__the_other_answers_every_request_once(
    make_fleet: Callable[..., list[World]],
    monkeypatch: pytest.MonkeyPatch,
    keys: tuple[str, str],
    after: bool,
    stride: int,
) -> None:
    for countdown in range(1, 200, stride):
        first, second = make_fleet(*keys)
        request_id = first.ask()
        killer = Killer(countdown, after=after)
        with monkeypatch.context() as patch:
            killer.watch(patch, first)
            with suppress(Killed):
                first.settle()
        silence(second)
        settle(second)
        trail = second.trail(request_id)
        assert second.state(request_id) == "final", (countdown, trail)
        assert second.chain.fulfilments(request_id) == 1
        assert len(set(second.chain.received)) == 1, f"two transactions after {countdown}: {trail}"
        for world in (first, second):
            world.die()
        if not killer.struck:
            assert countdown > 40, "the scenario is shorter than it should be"
            return
    raise AssertionError("the scenario did not end")


@accounts
def test_start_of_another_node__takes_nothing_from_one_that_lives(
    make_fleet: Callable[..., list[World]], keys: tuple[str, str]
) -> None:
    first, second = make_fleet(*keys)
    request_id = start_proof(first)
    second.restart()
    settle(second)
    assert first.state(request_id) == "running"
    first.prover.held = False
    settle(first, second)
    assert_answered_once(first, [request_id])
    assert len(first.prover.submitted) == 1
    assert second.prover.submitted == []


@accounts
def test_node_taken_for_dead__comes_back__stops_what_is_not_its_own_any_more(
    make_fleet: Callable[..., list[World]], keys: tuple[str, str]
) -> None:
    first, second = make_fleet(*keys)
    request_id = start_proof(first)
    second.prover.held = True
    silence(second)
    settle(second)
    assert second.state(request_id) == "running"
    # The first was only asleep.
    settle(first)
    assert first.prover.cancelled == [first.prover.submitted[0].job_id]
    assert any("taken for dead" in event["event"] for event in first.events())
    for world in (first, second):
        world.prover.held = False
    settle(first, second)
    assert_answered_once(first, [request_id])


def test_sender_asleep_while_it_signs__sends_nothing_that_is_not_in_the_ledger(
    make_fleet: Callable[..., list[World]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_fleet(KEY, KEY)
    request_id = first.ask()
    first.until(lambda: first.store.counts() == {RequestState.PROVED: 1})
    sign = first.node.submitter._sign

    def sleep(*args: Any) -> Any:
        signed = sign(*args)
        silence(second)
        settle(second)
        return signed

    monkeypatch.setattr(first.node.submitter, "_sign", sleep)
    with pytest.raises(DutyLost):
        first.node.submitter.step()
    settle(first, second)
    assert_answered_once(first, [request_id])


def test_reader_asleep_while_it_reads__does_not_move_the_cursor(
    make_fleet: Callable[..., list[World]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_fleet(KEY, KEY)
    first.settle()
    request_id = first.ask()
    events = first.oracle.events

    def sleep(*args: Any) -> Any:
        found = events(*args)
        silence(second)
        second.node.watcher.step()
        return found

    monkeypatch.setattr(first.node.watcher._oracle, "events", sleep)
    with pytest.raises(DutyLost):
        first.node.watcher.step()
    settle(second)
    assert_answered_once(second, [request_id])


def test_transaction_of_a_dead_account__is_brought_to_its_end_by_the_others(
    make_fleet: Callable[..., list[World]],
) -> None:
    first, second = make_fleet(KEY, OTHER_KEY)
    first.chain.automine = False
    request_id = first.ask()
    first.chain.mine()
    first.settle()
    assert first.state(request_id) == "pending"
    # The endpoint forgets it; only the bytes in the store can bring it back.
    first.chain.mempool.clear()
    silence(second)
    second.clock.now += 60
    second.node.keeper.step()
    settle(second)
    second.chain.mine()
    settle(second)
    assert_answered_once(second, [request_id])
    (ended,) = [e for e in first.oracle.events(0, first.chain.height) if isinstance(e, Ended)]
    assert ended.beneficiary == first.signer.address


def test_transaction_of_a_living_account__is_its_own_nodes_matter(
    make_fleet: Callable[..., list[World]],
) -> None:
    first, second = make_fleet(KEY, OTHER_KEY)
    first.chain.automine = False
    request_id = first.ask()
    first.chain.mine()
    first.settle()
    first.chain.mine()
    settle(second)
    assert first.state(request_id) == "pending"
    assert "eth_getTransactionReceipt" not in second.endpoint.calls


def test_database_restarts__nodes_go_on(
    make_fleet: Callable[..., list[World]], postgres: PostgresServer
) -> None:
    first, second = make_fleet(KEY, OTHER_KEY)
    ids = [first.ask(i, i) for i in range(3)]
    first.until(lambda: first.store.counts().get(RequestState.QUEUED, 0) > 0)
    postgres.restart()
    for world in (first, second):
        with pytest.raises(StoreError):
            world.node.scheduler.step()
    settle(first, second)
    assert_answered_once(first, ids)


def test_model_that_only_the_other_serves__is_not_refused_for_good(
    make_fleet: Callable[..., list[World]],
) -> None:
    first, second = make_fleet(KEY, OTHER_KEY)
    first.served = ()
    first.restart()
    request_id = first.ask()
    first.settle()
    assert first.row(request_id).reason.startswith("no_bundle")
    second.clock.now += 61
    for world in (first, second):
        world.node.keeper.step()
    settle(second, first)
    assert_answered_once(second, [request_id])


def test_job_of_a_bundle_that_a_node_lacks__is_left_to_the_other(
    make_fleet: Callable[..., list[World]],
) -> None:
    first, second = make_fleet(KEY, KEY)
    second.served = ()
    second.restart()
    first.prover.held = True
    ids = [first.ask(i, i) for i in range(2)]
    settle(first, second)
    assert second.prover.submitted == []
    first.prover.held = False
    settle(first, second)
    assert_answered_once(first, ids)


def test_node_stops__is_no_member_any_more(make_fleet: Callable[..., list[World]]) -> None:
    first, second = make_fleet(KEY, KEY)
    assert {member.account for member in first.store.members()} == {first.signer.address}
    assert len(first.store.members()) == 2
    first.node.stop()
    first.node.run()
    (left,) = second.store.members()
    # Its duties are free at once.
    request_id = second.ask()
    settle(second)
    assert_answered_once(second, [request_id])
    assert left.workers == 1
