"""Bugs that other provers' daemons have had, each as a test of this one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from oracle.config import NodeConfig
from oracle.errors import ProverCrashed, ProverMemory, ProverUnavailable, StoreError
from oracle.prover import ray
from oracle.prover.configured import prover_for
from oracle.store.database import Database

from .world import World


def test_job_state_in_memory__restart__attempts_pause_and_memory_are_kept(world: World) -> None:
    world.prover.errors.extend([ProverMemory(), ProverCrashed()])
    request_id = world.ask()
    world.settle()
    (first,) = world.prover.submitted
    world.restart()
    world.settle()
    # The pause goes on, and what it knew of the job's memory with it.
    assert world.state(request_id) == "queued"
    assert world.prover.submitted == []
    world.clock.now += 3
    world.settle()
    (second,) = world.prover.submitted
    assert second.memory_bytes == 2 * first.memory_bytes
    job = world.store.job(second.job_id)
    assert job is not None
    assert job.attempts == 2
    assert world.state(request_id) == "final"


def test_capacity_counted_by_messages__ends_of_jobs_never_reported__capacity_comes_back(
    make_world: Callable[..., World],
) -> None:
    world = make_world(workers=2)
    ids = [world.ask() for _ in range(6)]
    for _ in range(2):
        # The prover forgets what it was given and says nothing, as often as it likes.
        world.prover.held = True
        world.settle()
        world.prover.close()
        world.clock.now += 640
    world.prover.held = False
    for _ in range(6):
        world.settle()
        world.clock.now += 60
    assert [world.state(i) for i in ids] == ["final"] * 6
    assert world.store.live_leases(world.clock.now) == 0
    assert world.prover.capacity() == 2


@pytest.mark.parametrize("blocks", [0, 5_000])
def test_worked_on_requests_already_fulfilled__nothing_is_proved_for_them(
    make_world: Callable[..., World], blocks: int
) -> None:
    """Read at once, or long before their ends are: the chunk is 2,000 blocks."""
    world = make_world()
    world.die()
    ids = [world.ask(), world.ask()]
    world.chain.mine(blocks)
    for request_id in ids:
        world.chain.end(request_id)
    world.start()
    world.settle()
    assert [world.state(i) for i in ids] == ["lost", "lost"]
    assert world.prover.submitted == []
    assert world.chain.received == []


def test_disk_full_while_accepting__nothing_is_half_done_and_it_goes_on_with_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's disk and the prover's, each full for a while."""
    request_id = world.ask()
    world.node.watcher.step()
    with monkeypatch.context() as patch:
        patch.setattr(Database, "run", _full(Database.run))
        for _ in range(3):
            for service in world.node.services.values():
                try:
                    service.step()
                except StoreError:
                    continue
    assert world.state(request_id) == "seen"
    assert world.trail(request_id) == ["seen"]
    with monkeypatch.context() as patch:
        patch.setattr(world.prover, "submit", _refuse)
        world.settle()
    assert world.state(request_id) == "queued"
    world.clock.now += 10
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1


def _full(run: Callable[..., int]) -> Callable[..., int]:
    def refuse(database: Database, name: str, /, **values: object) -> int:
        if name in ("move_request", "note", "put_job"):
            raise StoreError("database or disk is full")
        return run(database, name, **values)

    return refuse


def _refuse(job: object) -> None:
    raise ProverUnavailable("No space left on device")


def test_optional_service_down__cluster_of_provers__node_starts_and_keeps_every_request(
    make_world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "_CONNECT_SECONDS", 0.2)
    world = make_world(prover="ray", ray_address="127.0.0.1:1", work_dir=tmp_path / "jobs")
    config: NodeConfig = world.node._parts.config
    cluster = prover_for(config, config.work_dir, config.workers)
    try:
        world.node.runner._prover = cluster
        request_id = world.ask()
        world.settle()
        assert world.state(request_id) == "queued"
        reported = [event for event in world.events() if event["event"] == "no proof can start"]
        assert reported[0]["code"] == "PROVER_UNAVAILABLE"
        assert "127.0.0.1:1" in reported[0]["detail"]
    finally:
        cluster.close()
    # It is back: here, the double takes its place.
    world.node.runner._prover = world.prover
    world.clock.now += 10
    world.settle()
    assert world.state(request_id) == "final"
