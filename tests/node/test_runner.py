"""Proofs: retries by error code, capacity, jobs nobody waits for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from oracle.errors import (
    OracleError,
    ProofInvalid,
    ProverCrashed,
    ProverInput,
    ProverMemory,
    ProverUnavailable,
)
from oracle.store.states import RequestState

from .world import World


def prove(world: World, *errors: OracleError) -> int:
    """Ask, let the first proofs fail, wait out the pauses."""
    world.prover.errors.extend(errors)
    request_id = world.ask()
    for _ in range(6):
        world.settle()
        world.clock.now += 60
    return request_id


@pytest.mark.parametrize("error", [ProverInput("bad"), ProofInvalid()])
def test_error_that_stays__fails_at_once_with_its_code(world: World, error: OracleError) -> None:
    request_id = prove(world, error)
    assert world.state(request_id) == "failed"
    assert world.row(request_id).reason == error.line()
    assert len(world.prover.submitted) == 1
    assert world.chain.received == []


def test_out_of_memory__is_tried_once_more_with_twice_the_room(world: World) -> None:
    request_id = prove(world, ProverMemory(), ProverMemory())
    first, second = world.prover.submitted
    assert second.memory_bytes == 2 * first.memory_bytes
    assert world.row(request_id).reason == ProverMemory().line()


def test_out_of_memory__enough_room_the_second_time__is_answered(world: World) -> None:
    assert world.state(prove(world, ProverMemory())) == "final"


def test_crash__is_tried_three_times(world: World) -> None:
    request_id = prove(world, *[ProverCrashed()] * 9)
    assert len(world.prover.submitted) == 3
    assert world.state(request_id) == "failed"


def test_crash__waits_before_the_next_try(world: World) -> None:
    world.prover.errors.append(ProverCrashed())
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "queued"
    world.clock.now += 1.9
    world.settle()
    assert world.state(request_id) == "queued"
    world.clock.now += 0.2
    world.settle()
    assert world.state(request_id) == "final"


def test_capacity__is_never_exceeded(make_world: Callable[..., World]) -> None:
    world = make_world(workers=2)
    world.prover.held = True
    for _ in range(5):
        world.ask()
    world.settle()
    assert len(world.prover.submitted) == 2
    assert len(world.store.requests(RequestState.RUNNING)) == 2


def test_second_proof__too_little_memory_beside_the_first__waits_for_its_end(
    make_world: Callable[..., World],
) -> None:
    world = make_world(workers=2)
    world.prover.held = True
    world.prover.most_memory = (3 << 30) // 2
    ids = [world.ask(), world.ask()]
    world.settle()
    assert [world.state(i) for i in ids] == ["running", "queued"]
    assert [step for step in world.trail(ids[1]) if step == "running"] == []
    world.prover.held = False
    world.settle()
    assert [world.state(i) for i in ids] == ["final", "final"]


def test_only_proof__more_memory_than_there_is__starts_all_the_same(world: World) -> None:
    world.prover.most_memory = 1
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "final"


def test_request_fulfilled_by_another__stops_the_proof(world: World) -> None:
    world.prover.held = True
    request_id = world.ask()
    world.settle()
    world.chain.end(request_id)
    world.settle()
    assert world.state(request_id) == "lost"
    assert world.prover.cancelled == [world.prover.submitted[0].job_id]
    assert world.store.live_leases(world.clock.now) == 0


def test_deadline_passes_while_proving__stops_the_proof(world: World) -> None:
    world.prover.held = True
    request_id = world.ask(lifetime=100)
    world.settle()
    world.clock.now += 101
    world.settle()
    assert world.state(request_id) == "running"
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "expired"
    assert world.prover.cancelled


def test_prover_forgets_a_job__its_lease_lapses_and_it_is_tried_again(world: World) -> None:
    request_id = world.ask()
    world.prover.held = True
    world.settle()
    world.prover.close()
    world.prover.held = False
    world.clock.now += 631
    world.settle()
    assert world.state(request_id) == "queued"
    world.clock.now += 10
    world.settle()
    assert world.state(request_id) == "final"


def test_prover_cannot_start__waits_longer_each_time_and_loses_no_request(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(job: object) -> None:
        raise ProverUnavailable("No space left on device")

    world = make_world(workers=2)
    ids = [world.ask(), world.ask()]
    with monkeypatch.context() as patch:
        patch.setattr(world.prover, "submit", no_space)
        for _ in range(20):
            world.settle()
            world.clock.now += 61
    assert [world.state(i) for i in ids] == ["queued", "queued"]
    assert "No space left" in world.row(ids[0]).reason
    pauses = [event["in_"] for event in world.events() if event["event"] == "no proof can start"]
    assert pauses[:7] == [2, 4, 8, 16, 32, 60, 60]
    assert len(pauses) == 20
    world.settle()
    assert [world.state(i) for i in ids] == ["final", "final"]
    # The next fault begins with a short pause again.
    with monkeypatch.context() as patch:
        patch.setattr(world.prover, "submit", no_space)
        world.ask()
        world.settle()
    assert world.events()[-1]["in_"] == 2


def test_failed_for_this_machines_fault__restart_tries_again(world: World) -> None:
    request_id = prove(world, *[ProverCrashed()] * 3)
    assert world.state(request_id) == "failed"
    world.restart()
    world.settle()
    assert world.state(request_id) == "final"


def test_failed_for_the_requests_fault__restart_leaves_it(world: World) -> None:
    request_id = prove(world, ProverInput("bad"))
    world.restart()
    world.settle()
    assert world.state(request_id) == "failed"
    assert world.prover.submitted == []


def test_bundle_removed_while_queued__fails_with_the_reason(world: World) -> None:
    world.prover.held = True
    first, second = world.ask(), world.ask()
    world.settle()
    world.served = ()
    world.restart()
    world.settle()
    assert world.row(first).reason.startswith("NO_BUNDLE")
    assert world.row(second).reason.startswith("NO_BUNDLE")
