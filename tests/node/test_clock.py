"""Operators D9: deadlines go by the chain's time; a machine's clock that is off ends nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from oracle.errors import ProverCrashed, ProverUnavailable, RequestBusy
from oracle.log import request_hex
from oracle.store import operator
from oracle.store.states import RequestState
from tests.store.makers import force_state

from .world import NOW, VERIFIER_CODE, Clock, World, batch, served, spec

HOUR = 3600
MakeWorld = Callable[..., World]


def off(world: World, seconds: float) -> Clock:
    """The world's node has a clock that is off; the chain's, which is returned, is right."""
    right = Clock(world.clock.now)
    world.chain._clock = right
    world.clock.now += seconds
    return right


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()


@pytest.mark.parametrize("seconds", [2 * HOUR, -2 * HOUR])
def test_clock_is_off__request_with_an_hour_to_go__is_answered(
    world: World, seconds: float
) -> None:
    off(world, seconds)
    request_id = world.ask(lifetime=HOUR)
    world.settle()
    assert world.state(request_id) == "final"
    assert "expired" not in world.trail(request_id)


@pytest.mark.parametrize("seconds", [2 * HOUR, -2 * HOUR])
def test_clock_jumps__proof_is_being_made__goes_on_and_is_delivered(
    world: World, seconds: float
) -> None:
    world.prover.held = True
    request_id = world.ask(lifetime=HOUR)
    world.settle()
    off(world, seconds)
    world.chain.mine()
    world.node.janitor.step()
    assert world.state(request_id) == "running"
    world.prover.held = False
    world.settle()
    assert "expired" not in world.trail(request_id)


@pytest.mark.parametrize("seconds", [2 * HOUR, -2 * HOUR])
def test_clock_is_off__deadline_passes_on_the_chain__expires(world: World, seconds: float) -> None:
    right = off(world, seconds)
    world.prover.held = True
    request_id = world.ask(lifetime=HOUR)
    world.settle()
    right.now += HOUR + 1
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "expired"


def test_clock_jumps_ahead__answer_on_its_way__is_not_given_up(world: World) -> None:
    world.chain.automine = False
    request_id = world.ask(lifetime=HOUR)
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "pending"
    off(world, 2 * HOUR)
    # Nobody mines it for a block: it is asked again whether its request has ended.
    sent, world.chain.mempool = world.chain.mempool, []
    world.chain.mine()
    world.settle()
    intent = world.store.live_intent(request_id)
    assert intent is not None
    assert not any(attempt.cancels for attempt in intent.attempts)
    world.chain.mempool = [*sent, *world.chain.mempool]
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "final"


def give_up(world: World, request_id: int) -> None:
    """What a version did that went by the machine's clock."""
    row = world.row(request_id)
    assert world.store.move(request_id, row.state, RequestState.EXPIRED, "deadline passed")


def test_given_up_by_a_wrong_clock__next_start__answers_it(make_world: MakeWorld) -> None:
    world = make_world()
    world.prover.held = True
    request_id = world.ask(lifetime=HOUR)
    world.settle()
    give_up(world, request_id)
    world.restart()
    world.settle()
    assert world.state(request_id) == "final"
    assert "request taken back, its deadline has not passed on the chain" in {
        line["event"] for line in world.events()
    }


def test_given_up_by_another_node_of_the_store__is_taken_back_while_running(world: World) -> None:
    """Of several nodes one may be of an older version, with a wrong clock."""
    world.prover.held = True
    request_id = world.ask(lifetime=HOUR)
    world.settle()
    give_up(world, request_id)
    world.prover.held = False
    world.settle()
    assert world.state(request_id) == "final"


def test_given_up_with_its_answer_on_its_way__mined_in_time__is_final(world: World) -> None:
    """The chain's newest block is later than the deadline by the time that this is seen."""
    world.chain.automine = False
    request_id = world.ask(lifetime=HOUR)
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "pending"
    force_state(world.store, request_id, RequestState.EXPIRED)
    world.chain.mine()
    world.clock.now += HOUR + 1
    world.chain.mine()
    world.settle()
    assert world.trail(request_id)[-3:] == ["pending", "mined", "final"]


def test_given_up_rightly__next_start__stays_and_no_step_is_added(world: World) -> None:
    world.prover.held = True
    request_id = world.ask(lifetime=HOUR)
    world.settle()
    world.clock.now += HOUR + 1
    world.chain.mine()
    world.settle()
    before = world.trail(request_id)
    assert before[-1] == "expired"
    world.restart()
    world.settle()
    assert world.trail(request_id) == before


def test_newest_block_is_later__a_proof_is_being_made__is_given_up_when_that_is_confirmed(
    make_world: MakeWorld,
) -> None:
    world = make_world(confirmations=3)
    world.prover.held = True
    request_id = world.ask(lifetime=300)
    world.chain.mine(3)
    world.settle()
    assert world.state(request_id) == "running"
    world.clock.now += 301
    world.chain.mine(3)
    world.settle()
    assert world.state(request_id) == "running"
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "expired"


def test_later_block_leaves_the_chain__request_is_answered(world: World) -> None:
    world.prover.held = True
    request_id = world.ask(lifetime=HOUR)
    world.settle()
    world.clock.now += HOUR + 1
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "expired"
    world.clock.now -= HOUR + 1
    world.chain.reorg(1, keep=False)
    world.prover.held = False
    world.settle()
    assert world.state(request_id) == "final"


def test_simulation_is_of_a_block_to_come__too_late_there_only__waits(world: World) -> None:
    """Some endpoints simulate with the time of now, which the chain has not got to."""
    world.chain.revert_with = ("DeadlinePassed", (1,))
    request_id = world.ask(lifetime=HOUR)
    world.settle()
    for _ in range(3):
        world.chain.mine()
        world.settle()
    assert world.trail(request_id)[-2:] == ["running", "proved"]
    world.clock.now += HOUR + 1
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "expired"


def test_mined_too_late_in_a_block_that_was_not_seen__did_not_fail(world: World) -> None:
    world.chain.automine = False
    request_id = world.ask(lifetime=HOUR)
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "pending"
    world.clock.now += HOUR + 1
    world.chain.mine()
    world.node.submitter.step()
    world.settle()
    assert world.state(request_id) == "expired"
    assert "failed" not in world.trail(request_id)


def test_requeue__given_up_too_early__takes_it_up(world: World) -> None:
    world.prover.held = True
    request_id = world.ask(lifetime=HOUR)
    world.settle()
    give_up(world, request_id)
    operator.requeue(world.store, [request_hex(request_id)])
    assert world.state(request_id) == "seen"
    world.prover.held = False
    world.settle()
    assert world.state(request_id) == "final"


def test_cancel__given_up_too_early__ends_it_for_good(world: World) -> None:
    world.prover.held = True
    request_id = world.ask(lifetime=HOUR)
    world.settle()
    give_up(world, request_id)
    operator.cancel(world.store, [request_hex(request_id)])
    world.restart()
    world.settle()
    assert world.state(request_id) == "cancelled"


@pytest.mark.parametrize("change", [operator.requeue, operator.cancel])
def test_requeue_and_cancel__deadline_has_passed__say_that_it_can_be_refunded(
    world: World, change: Callable[..., object]
) -> None:
    world.prover.held = True
    request_id = world.ask(lifetime=HOUR)
    world.settle()
    world.clock.now += HOUR + 1
    world.chain.mine()
    world.settle()
    with pytest.raises(RequestBusy) as caught:
        change(world.store, [request_hex(request_id)])
    line = caught.value.line()
    assert "has passed on the chain" in line
    assert f"oracle refund {request_hex(request_id)}" in line
    assert "nothing is left to do" not in line


def test_clock_is_ahead_by_longer_than_rows_are_kept__deletes_nothing(
    make_world: MakeWorld,
) -> None:
    world = make_world(retention_seconds=2 * HOUR, min_income=10**18)
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "skipped"
    off(world, 3 * HOUR)
    world.restart()
    world.settle()
    assert world.state(request_id) == "skipped"


def test_clock_is_behind_by_longer_than_rows_are_kept__deletes_nothing_young(
    make_world: MakeWorld,
) -> None:
    world = make_world(retention_seconds=HOUR, min_income=10**18)
    off(world, -2 * HOUR)
    request_id = world.ask()
    world.settle()
    world.restart()
    world.settle()
    assert world.state(request_id) == "skipped"


# --- what waits by the machine's clock does not wait for ever when that is set back ---


def test_clock_is_set_back__transaction_is_stuck__is_replaced(world: World) -> None:
    world.chain.automine = False
    request_id = world.ask()
    world.chain.mine()
    world.settle()
    world.chain.mempool.clear()
    world.clock.now -= 2 * HOUR
    world.settle()
    world.clock.now += 61
    world.settle()
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "final"


def test_clock_is_set_back__prover_could_not_start__is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = world.prover.submit

    def refuse(job: object) -> None:
        raise ProverUnavailable("no room")

    monkeypatch.setattr(world.prover, "submit", refuse)
    request_id = world.ask(lifetime=3 * HOUR)
    world.settle()
    monkeypatch.setattr(world.prover, "submit", submit)
    world.clock.now -= 2 * HOUR
    world.settle()
    assert world.state(request_id) == "final"


def test_clock_is_set_back__proof_is_to_be_tried_later__is_tried(world: World) -> None:
    world.prover.errors.append(ProverCrashed("signal 9"))
    request_id = world.ask(lifetime=3 * HOUR)
    world.settle()
    assert world.state(request_id) == "queued"
    world.clock.now -= 2 * HOUR
    world.settle()
    assert world.state(request_id) == "final"


def test_clock_is_set_back__request_was_skipped_for_now__is_looked_at_again(world: World) -> None:
    world.chain.balances[world.signer.address] = 0
    request_id = world.ask(lifetime=3 * HOUR)
    world.settle()
    assert world.state(request_id) == "skipped"
    world.chain.balances.clear()
    world.clock.now -= 2 * HOUR
    world.settle()
    assert world.state(request_id) == "final"


@pytest.mark.parametrize("seconds", [2 * HOUR, -2 * HOUR])
def test_clock_is_off__request_waits_for_others__no_longer_than_it_may(
    tmp_path: Path, seconds: float
) -> None:
    model = spec(batches=(batch(4),))
    world = World(tmp_path, {"batch_wait_seconds": 10}, served=(served(model),))
    world.model_id = world.chain.register(model, verifier_code=VERIFIER_CODE)
    try:
        off(world, seconds)
        request_id = world.ask(lifetime=HOUR)
        world.settle()
        assert world.state(request_id) == "accepted"
        world.clock.now += 11
        world.settle()
        assert world.state(request_id) == "final"
    finally:
        world.die()


# --- it is shown ---


@pytest.mark.parametrize(("seconds", "words"), [(2 * HOUR, "ahead of"), (-2 * HOUR, "behind")])
def test_clock_is_off__node_is_ready_and_warns(world: World, seconds: float, words: str) -> None:
    right = off(world, seconds)
    for _ in range(3):
        world.clock.now += 12
        right.now += 12
        world.chain.mine()
        world.settle()
    assert world.node.health.ready()["chain"] is None
    (warning,) = world.node.health.warnings().items()
    assert warning[0] == "clock"
    assert words in warning[1]
    drift = world.clock.now - right.now
    # By the way that a block took to be seen.
    assert world.node.health._probe.drift.seconds == pytest.approx(drift, abs=12)
    assert [line["event"] for line in world.events()].count("clock drift") == 1


def test_clock_is_right__warns_of_nothing(world: World) -> None:
    for _ in range(3):
        world.clock.now += 12
        world.chain.mine()
        world.settle()
    world.clock.now += 10 * HOUR
    world.settle()
    assert world.node.health.warnings() == {}
    assert world.clock.now > NOW
