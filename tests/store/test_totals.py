"""Counts that outlive restarts and rows, and count each change once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from oracle.store.database import Location, open_database
from oracle.store.totals import PROOF_BOUNDS, Totals, histogram
from tests.node.conftest import make_world
from tests.node.world import World

__all__ = ["make_world"]


@pytest.fixture
def totals(location: Location) -> Iterator[Totals]:
    database = open_database(location)
    yield Totals(database)
    database.close()


def test_histogram__seconds__are_in_their_buckets_cumulatively(totals: Totals) -> None:
    for seconds in (0.1, 0.25, 0.26, 700.0):
        totals.observe("proof_seconds", seconds, PROOF_BOUNDS)
    found = histogram(totals.read(), "proof_seconds", PROOF_BOUNDS)
    buckets = dict(found.buckets)
    assert (buckets["0.25"], buckets["0.5"], buckets["600.0"], buckets["+Inf"]) == (2, 3, 3, 4)
    assert found.sum == pytest.approx(700.61)


def test_histogram__nothing_yet__has_all_its_buckets_at_zero(totals: Totals) -> None:
    found = histogram(totals.read(), "proof_seconds", PROOF_BOUNDS)
    assert [amount for _, amount in found.buckets] == [0.0] * (len(PROOF_BOUNDS) + 1)


def test_wei__more_than_63_bits__is_counted(totals: Totals) -> None:
    totals.add("wei_spent", "", 2**70)
    totals.add("wei_spent", "", 2**70)
    assert totals.read()["wei_spent"][""] == float(2**71)


def test_request__answered__is_counted_once_with_its_cost_and_income(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    world.ask()
    world.settle()
    found = world.store.totals()
    assert found["request_steps"] == dict.fromkeys(
        ("seen", "accepted", "queued", "running", "proved", "pending", "mined", "final"), 1
    )
    assert found["decisions"] == {"accepted": 1}
    assert found["proofs"] == {"proved:": 1}
    assert found["transactions"] == {"fulfilled": 1}
    assert found["gas_used"][""] > 0
    assert found["wei_spent"][""] == found["gas_used"][""] * world.chain.base_fee
    assert found["wei_earned"]["gas"] == found["wei_spent"][""]
    assert found["proof_seconds_sum"][""] == pytest.approx(0.5)


def test_restart_and_deleted_rows__take_nothing_back(make_world: Callable[..., World]) -> None:
    world = make_world(retention_seconds=1)
    for values in ((1, 1), (2, 2)):
        world.ask(*values)
    world.settle()
    before = world.store.totals()
    world.clock.now += 3600
    world.chain.mine()
    world.settle()
    assert world.store.recent(10) == []
    world.restart()
    after = world.store.totals()
    assert {name: after[name] for name in before} == before


def test_transaction__left_the_chain_and_mined_again__is_counted_when_it_is_final(
    make_world: Callable[..., World],
) -> None:
    world = make_world(confirmations=2)
    request_id = world.ask()
    world.chain.mine(2)
    world.until(lambda: world.state(request_id) == "mined")
    assert "transactions" not in world.store.totals()
    world.chain.reorg(1, keep=True)
    world.chain.mine(4)
    world.settle()
    assert world.state(request_id) == "final"
    assert world.store.totals()["transactions"] == {"fulfilled": 1}


def test_change__undone__is_not_counted(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.ask()

    def fail_at_the_end() -> None:
        with world.store.transaction():
            world.node.watcher.step()
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        fail_at_the_end()
    assert "request_steps" not in world.store.totals()
