"""A request's whole way through the services."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest

from oracle.chain.contracts import Status
from oracle.errors import RpcUnreachable
from oracle.store.database import Database
from oracle.types import Codec

from .world import VERIFIER_CODE, World, served, spec


def test_request__answered__goes_through_every_state_and_is_paid_once(world: World) -> None:
    request_id = world.ask(3, -4)
    world.settle()
    assert world.trail(request_id) == [
        *("seen", "accepted", "queued", "running", "proved", "pending", "mined", "final")
    ]
    assert world.chain.status(request_id) is Status.FULFILLED
    assert world.chain.fulfilments(request_id) == 1
    (job,) = world.prover.submitted
    assert job.inputs == (3, -4)


def test_request__tag__names_the_payee_of_the_configuration(
    make_world: Callable[..., World],
) -> None:
    payee = "0x" + "77" * 20
    world = make_world(payee=payee)
    request_id = world.ask()
    world.settle()
    # The double's chain checks the proof against the payee in the calldata.
    assert world.chain.fulfilments(request_id) == 1
    (ended,) = [e for e in world.oracle.events(0, world.chain.height) if hasattr(e, "status")]
    assert ended.beneficiary == payee


def test_requests__several__are_answered_in_chain_order_with_consecutive_nonces(
    make_world: Callable[..., World],
) -> None:
    world = make_world(workers=2)
    ids = [world.ask(i, i) for i in range(5)]
    world.settle()
    assert [job.inputs[0] for job in world.prover.submitted] == [0, 1, 2, 3, 4]
    assert all(world.chain.fulfilments(request_id) == 1 for request_id in ids)
    assert len(world.chain.received) == 5


class Killed(BaseException):
    """The process is gone."""


class Killer:
    """Kills at the n-th commit or endpoint call, before or after it takes effect."""

    def __init__(self, countdown: int, *, after: bool) -> None:
        self._countdown = countdown
        self._after = after
        self.struck = False

    def watch(self, patch: pytest.MonkeyPatch, world: World) -> None:
        run, send = Database.run, type(world.chain).send
        patch.setattr(Database, "run", lambda db, *a, **k: self.around(lambda: run(db, *a, **k)))
        patch.setattr(
            type(world.chain), "send", lambda chain, *a: self.around(lambda: send(chain, *a))
        )

    def around(self, action: Callable[[], object]) -> object:
        self._countdown -= 1
        if self._countdown == 0:
            self.struck = True
            if self._after:
                action()
            raise Killed
        return action()


@pytest.mark.parametrize("after", [False, True])
def test_kill_at_any_point__restart__answers_once_and_sends_one_transaction(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    for countdown in range(1, 200):
        world = make_world()
        request_id = world.ask()
        killer = Killer(countdown, after=after)
        with monkeypatch.context() as patch:
            killer.watch(patch, world)
            with suppress(Killed):
                world.settle()
        world.restart()
        world.settle()
        assert world.state(request_id) == "final", (countdown, world.trail(request_id))
        assert world.chain.fulfilments(request_id) == 1
        assert len(set(world.chain.received)) == 1, f"two transactions after a kill at {countdown}"
        if not killer.struck:
            assert countdown > 40, "the scenario is shorter than it should be"
            return
    raise AssertionError("the scenario did not end")


def test_restart__while_proving__proves_again_and_does_not_count_the_interrupted_attempt(
    world: World,
) -> None:
    request_id = world.ask()
    world.prover.held = True
    world.settle()
    assert world.state(request_id) == "running"
    world.restart()
    assert world.state(request_id) == "queued"
    world.settle()
    assert world.state(request_id) == "final"
    job = world.store.job(world.row(request_id).job_id or "")
    assert job is not None
    assert job.attempts == 1


def test_start__requests_from_before__are_found_from_the_start_block(world: World) -> None:
    world.die()
    ids = [world.ask() for _ in range(3)]
    world.chain.mine(10)
    world.start()
    world.settle()
    assert [world.chain.fulfilments(i) for i in ids] == [1, 1, 1]


def test_rpc_down_for_a_while__request__is_answered_afterwards(world: World) -> None:
    request_id = world.ask()
    for method in ("eth_getBlockByNumber", "eth_getLogs", "eth_call", "eth_sendRawTransaction"):
        world.endpoint.fail(method, RpcUnreachable("down"), times=2)
    for _ in range(20):
        for service in world.node.services.values():
            try:
                service.step()
            except RpcUnreachable:
                continue
    world.settle()
    assert world.chain.fulfilments(request_id) == 1


def test_daemon__imports__no_prover_library_no_compiler_and_stays_small() -> None:
    program = """
import sys
import oracle.node, oracle.cli.node
heavy = {"ezkl", "onnxruntime", "onnx", "ape", "solcx", "sklearn"} & set(sys.modules)
status = open("/proc/self/status").read()
rss = int(status.split("VmRSS:")[1].split()[0]) // 1024
print(sorted(heavy), rss)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy, rss = done.stdout.rsplit(maxsplit=1)
    assert heavy == "[]"
    assert int(rss) < 150


def test_request__text_codec__is_read_as_text_and_answered(
    make_world: Callable[..., World],
) -> None:
    # The same numbers as a packed model would get; only the bytes of the request differ.
    text = spec(codec=Codec.TEXT)
    world = make_world(served=(served(text, bundle_id="t" * 64),))
    model_id = world.chain.register(text, verifier_code=VERIFIER_CODE)
    request_id = world.chain.request(model_id, b"[0.5, -1.25]")
    garbage = world.chain.request(model_id, b"[0.5, x]")
    world.settle()
    assert world.state(request_id) == "final"
    assert (world.state(garbage), world.row(garbage).reason[:13]) == ("skipped", "input_invalid")
