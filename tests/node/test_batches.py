"""Several rows, and several requests, under one proof and in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

import pytest

from oracle import fees
from oracle.chain.contracts import Status
from oracle.chain.signer import Fees, Unsigned
from oracle.errors import ProverInput, ProverMemory, RpcLimit, RpcRejected, RpcUnreachable
from oracle.store.database import Database
from oracle.store.states import IntentState
from oracle.testing import GAS_UNITS, FakeChain

from .test_whole_path import Killed, Killer
from .world import VERIFIER_CODE, World, batch, served, spec

MODEL = spec(batches=(batch(4), batch(8)))
SERVED = served(MODEL)

MakeWorld = Callable[..., World]


def batched(make_world: MakeWorld, **options: object) -> World:
    """A node that can prove 1, 4 or 8 rows of the registered model."""
    world = make_world(served=(SERVED,), **options)
    world.model_id = world.chain.register(MODEL, verifier_code=VERIFIER_CODE)
    return world


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return batched(make_world)


def ask_together(world: World, amount: int, **options: int) -> list[int]:
    """Requests that one block holds, so that one look at the chain finds them all."""
    automine, world.chain.automine = world.chain.automine, False
    ids = [world.ask(i + 1, -i, **options) for i in range(amount)]
    world.chain.mine()
    world.chain.automine = automine
    return ids


def joined(world: World, amount: int, **options: int) -> tuple[int, list[int]]:
    """One request that a held prover works on, and others that waited for it and were joined."""
    world.prover.held = True
    first = world.ask(9, 9)
    world.settle()
    rest = ask_together(world, amount, **options)
    world.settle()
    assert {world.state(i) for i in rest} == {"accepted"}
    world.prover.held = False
    return first, rest


def proved_batch(world: World, amount: int, **options: int) -> list[int]:
    """Requests whose batch is proved and not sent."""
    first, rest = joined(world, amount, **options)
    world.until(lambda: all(world.state(i) == "proved" for i in rest))
    world.until(lambda: world.state(first) == "final")
    assert {world.state(i) for i in rest} == {"proved"}
    return rest


def states(world: World, ids: list[int]) -> list[str]:
    return [world.state(i) for i in ids]


def fulfilments(world: World, ids: list[int]) -> list[int]:
    return [world.chain.fulfilments(i) for i in ids]


# --- several rows in one request ---


@pytest.mark.parametrize(("rows", "size"), [(2, 4), (4, 4), (5, 8), (8, 8)])
def test_request_of_several_rows__is_proved_with_the_smallest_circuit(
    world: World, rows: int, size: int
) -> None:
    request_id = world.ask(*range(2 * rows))
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1
    (job,) = world.prover.submitted
    assert job.inputs == (*range(2 * rows), *((0, 1) * (size - rows)))


def test_request_of_more_rows_than_any_circuit__is_skipped(world: World) -> None:
    request_id = world.ask(*range(18))
    world.settle()
    assert world.row(request_id).reason.startswith("input_invalid: 9 rows")
    assert world.prover.submitted == []


def test_request_of_several_rows__one_out_of_range__is_skipped(world: World) -> None:
    request_id = world.ask(1, 2, 3, 1001)
    world.settle()
    assert world.row(request_id).reason.startswith("input_invalid")


def test_request_of_several_rows__is_joined_with_nothing(world: World) -> None:
    world.prover.held = True
    world.ask(9, 9)
    world.settle()
    wide = world.ask(1, 2, 3, 4)
    rest = ask_together(world, 2)
    world.prover.held = False
    world.settle()
    assert states(world, [wide, *rest]) == ["final"] * 3
    assert world.row(wide).job_id != world.row(rest[0]).job_id == world.row(rest[1]).job_id


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vk_hash": b"x" * 32}, "bundle_differs"),
        ({"srs_hash": b"x" * 32}, "bundle_differs"),
        ({"verify_gas": 599_999}, "bundle_differs"),
        ({"verifier_code_hash": b"x" * 32}, "verifier_differs"),
    ],
)
def test_batch_circuit_registered_differently__one_row_is_served_and_several_are_not(
    make_world: MakeWorld, change: dict[str, object], reason: str
) -> None:
    world = make_world(served=(SERVED,))
    other = spec(batches=(batch(4, **change),))
    world.model_id = world.chain.register(other, verifier_code=VERIFIER_CODE)
    wide = world.ask(1, 2, 3, 4)
    single = ask_together(world, 3)
    world.settle()
    assert world.row(wide).reason.startswith(reason)
    assert states(world, single) == ["final"] * 3
    assert [len(job.inputs) for job in world.prover.submitted] == [2, 2, 2]


# --- which requests are joined ---


def test_requests_that_wait_for_a_worker__are_answered_by_one_transaction(world: World) -> None:
    first, rest = joined(world, 3)
    world.settle()
    assert states(world, [first, *rest]) == ["final"] * 4
    assert fulfilments(world, [first, *rest]) == [1] * 4
    assert len(world.chain.received) == 2
    _, together = world.prover.submitted
    assert together.inputs == (1, 0, 2, -1, 3, -2, 1, 0)
    (line,) = [event for event in world.events() if event["event"] == "requests joined"]
    assert line["requests"] == " ".join(f"{i:#066x}" for i in rest)
    assert world.trail(rest[0]) == [
        *("seen", "accepted", "queued", "running", "proved", "pending", "mined", "final")
    ]


def test_idle_worker__a_single_request__does_not_wait(world: World) -> None:
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "final"


def test_more_than_the_largest_circuit__fills_it_and_the_rest_follows(world: World) -> None:
    first, rest = joined(world, 7)
    more = ask_together(world, 4, gas_money=10**16 + 1)
    world.settle()
    assert states(world, [first, *rest, *more]) == ["final"] * 12
    assert [len(job.inputs) // 2 for job in world.prover.submitted] == [1, 8, 4]
    assert world.prover.submitted[1].inputs[-2:] == (1, 0)


def test_five_waiting__four_in_the_smaller_circuit_save_more_gas(make_world: MakeWorld) -> None:
    dear = spec(batches=(batch(4), batch(8, verify_gas=1_500_000)))
    world = make_world(served=(served(dear),))
    world.model_id = world.chain.register(dear, verifier_code=VERIFIER_CODE)
    _, rest = joined(world, 5)
    world.settle()
    assert states(world, rest) == ["final"] * 5
    assert [len(job.inputs) // 2 for job in world.prover.submitted] == [1, 4, 1]


def test_batch_no_cheaper_than_alone__is_not_made(make_world: MakeWorld) -> None:
    dear = spec(batches=(batch(4, verify_gas=3_000_000),))
    world = make_world(served=(served(dear),))
    world.model_id = world.chain.register(dear, verifier_code=VERIFIER_CODE)
    ids = ask_together(world, 4)
    world.settle()
    assert states(world, ids) == ["final"] * 4
    assert len(world.chain.received) == 4


def test_batch_max_requests__limits_a_batch(make_world: MakeWorld) -> None:
    world = batched(make_world, batch_max_requests=2)
    _, rest = joined_up_to(world, 5)
    world.settle()
    assert states(world, rest) == ["final"] * 5
    assert [job.inputs for job in world.prover.submitted][1] == (1, 0, 2, -1, 1, 0, 1, 0)
    assert len(world.chain.received) == 4


def joined_up_to(world: World, amount: int) -> tuple[int, list[int]]:
    """As `joined`, where part of the requests need not wait."""
    world.prover.held = True
    first = world.ask(9, 9)
    world.settle()
    rest = ask_together(world, amount)
    world.settle()
    world.prover.held = False
    return first, rest


def test_batch_max_requests_of_one__proves_each_alone(make_world: MakeWorld) -> None:
    world = batched(make_world, batch_max_requests=1)
    _, rest = joined_up_to(world, 3)
    world.settle()
    assert states(world, rest) == ["final"] * 3
    assert len(world.chain.received) == 4


def test_batch_wait__requests_wait_that_long_for_others(make_world: MakeWorld) -> None:
    world = batched(make_world, batch_wait_seconds=10)
    first = world.ask(1, 1)
    world.settle()
    world.clock.now += 9
    second = world.ask(2, 2)
    world.settle()
    assert states(world, [first, second]) == ["accepted"] * 2
    world.clock.now += 1
    world.settle()
    assert states(world, [first, second]) == ["final"] * 2
    assert len(world.chain.received) == 1


def test_accepted__an_endpoint_lies_about_the_verifier_after_a_restart__waits_for_the_truth(
    make_world: MakeWorld,
) -> None:
    world = batched(make_world, batch_wait_seconds=10)
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "accepted"
    world.chain.change_code(world.model_id, b"")
    world.restart()
    world.clock.now += 11
    world.settle()
    assert world.state(request_id) == "accepted"
    world.chain.change_code(world.model_id, VERIFIER_CODE)
    world.settle()
    assert world.state(request_id) == "final"


def test_batch_wait__full_batch__does_not_wait(make_world: MakeWorld) -> None:
    world = batched(make_world, batch_wait_seconds=10)
    ids = ask_together(world, 8)
    world.settle()
    assert states(world, ids) == ["final"] * 8
    assert len(world.chain.received) == 1


def test_batch_wait__deadline_near__does_not_wait(make_world: MakeWorld) -> None:
    world = batched(make_world, batch_wait_seconds=1000, deadline_margin=30)
    near, far = world.ask(1, 1, lifetime=33), world.ask(2, 2)
    world.settle()
    assert states(world, [near, far]) == ["final", "final"]
    assert len(world.chain.received) == 1


def test_deadline_too_near_for_the_batch_circuit__is_proved_alone(make_world: MakeWorld) -> None:
    slow = served(MODEL, prove_seconds=1.0, batch_seconds=500.0)
    world = make_world(served=(slow,), deadline_margin=0)
    world.model_id = world.chain.register(MODEL, verifier_code=VERIFIER_CODE)
    ids = [*ask_together(world, 1, lifetime=400), *ask_together(world, 2)]
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert [len(job.inputs) // 2 for job in world.prover.submitted] == [1, 4]


def test_request_that_cannot_pay_its_own_part_any_more__is_not_joined(world: World) -> None:
    world.prover.held = True
    world.ask(9, 9)
    world.settle()
    poor = world.ask(5, 5, gas_money=GAS_UNITS * 2 * 10**9)
    rest = ask_together(world, 2, gas_money=10**17)
    world.settle()
    world.chain.base_fee = 10**10
    world.chain.mine()
    world.prover.held = False
    world.settle()
    assert states(world, rest) == ["final"] * 2
    assert world.state(poor) == "proved"
    world.chain.base_fee = 10**9
    world.chain.mine()
    world.settle()
    assert world.state(poor) == "final"


def test_two_models__are_not_mixed(world: World) -> None:
    other_spec = spec(vk_hash=b"w" * 32, batches=(batch(4),))
    world.served = (SERVED, served(other_spec, bundle_id="c" * 64))
    world.restart()
    other = world.chain.register(other_spec, verifier_code=VERIFIER_CODE)
    world.prover.held = True
    world.ask(9, 9)
    world.settle()
    ids = [world.ask(i, i, model_id=world.model_id if i % 2 else other) for i in range(4)]
    world.settle()
    world.prover.held = False
    world.settle()
    assert states(world, ids) == ["final"] * 4
    assert world.row(ids[0]).job_id == world.row(ids[2]).job_id
    assert world.row(ids[1]).job_id == world.row(ids[3]).job_id
    assert len(world.chain.received) == 3


def test_another_models_queue__does_not_hold_requests_for_ever(
    make_world: MakeWorld,
) -> None:
    plain = spec(vk_hash=b"w" * 32)
    world = make_world(served=(SERVED, served(plain, bundle_id="c" * 64)))
    world.model_id = world.chain.register(MODEL, verifier_code=VERIFIER_CODE)
    other = world.chain.register(plain, verifier_code=VERIFIER_CODE)
    world.prover.held = True
    world.ask(9, 9, model_id=other)
    world.settle()
    ids = ask_together(world, 2)
    world.settle()
    # More of the other model comes in all the time than can be proved.
    for i in range(8):
        world.clock.now += 1
        world.ask(i, 1, model_id=other)
        world.ask(i, 2, model_id=other)
        world.settle()
        world.prover.held = False
        world.node.runner.step()
        world.prover.held = True
        world.settle()
    assert world.store.backlog() > 5
    assert states(world, ids) == ["final"] * 2
    assert world.row(ids[0]).job_id == world.row(ids[1]).job_id


# --- a batch that cannot go as it was made ---


def test_one_ends_elsewhere_before_the_batch_is_sent__the_others_go(world: World) -> None:
    ids = proved_batch(world, 3)
    world.chain.end(ids[1])
    # The submitter looks before the watcher does.
    world.node.submitter.step()
    assert world.state(ids[1]) == "lost"
    world.settle()
    assert states(world, ids) == ["final", "lost", "final"]
    assert fulfilments(world, ids) == [1, 1, 1]
    assert len(world.chain.received) == 2


def test_one_ends_elsewhere_after_the_batch_was_sent__the_others_are_answered(
    world: World,
) -> None:
    ids = proved_batch(world, 3)
    world.chain.automine = False
    world.node.submitter.step()
    assert states(world, ids) == ["pending"] * 3
    world.chain.end(ids[0])
    world.chain.mine()
    world.settle()
    assert states(world, ids) == ["lost", "final", "final"]
    assert fulfilments(world, ids) == [1, 1, 1]


def test_receipt_without_its_events__is_asked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = proved_batch(world, 3)
    send = FakeChain.send

    def truncated(chain: FakeChain, method: str, params: list[object]) -> object:
        answer = send(chain, method, params)
        if method == "eth_getTransactionReceipt" and isinstance(answer, dict):
            return {**answer, "logs": answer["logs"][:1]}
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(FakeChain, "send", truncated)
        with pytest.raises(RpcUnreachable, match="without all of its events"):
            world.node.submitter.step()
    assert states(world, ids) == ["pending"] * 3
    world.settle()
    assert states(world, ids) == ["final"] * 3


def test_one_topped_up_after_the_batch_was_sent__is_answered_alone(world: World) -> None:
    ids = proved_batch(world, 3)
    world.chain.automine = False
    world.node.submitter.step()
    world.chain.top_up(ids[2], 10**15)
    world.chain.mine()
    world.chain.automine = True
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert fulfilments(world, ids) == [1, 1, 1]
    assert "accepted" in world.trail(ids[2])[4:]
    assert len(world.chain.received) == 3


def test_one_topped_up_before_the_batch_is_sent__the_proof_stays_good(world: World) -> None:
    ids = proved_batch(world, 3)
    world.chain.top_up(ids[2], 10**15)
    world.node.watcher.step()
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert len(world.prover.submitted) == 2
    assert len(world.chain.received) == 2


def test_one_topped_up_in_a_block_not_read_yet__is_left_out_and_answered_later(
    world: World,
) -> None:
    ids = proved_batch(world, 3)
    world.chain.top_up(ids[2], 10**15)
    world.node.submitter.step()
    assert world.state(ids[2]) == "accepted"
    for _ in range(2):
        world.node.submitter.step()
    assert states(world, ids) == ["mined", "mined", "accepted"]
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert fulfilments(world, ids) == [1, 1, 1]


def test_one_topped_up_and_read_just_before_sending__goes_with_its_batch_after_all(
    world: World,
) -> None:
    ids = proved_batch(world, 3)
    world.chain.top_up(ids[2], 10**15)
    world.node.submitter.step()
    assert world.state(ids[2]) == "accepted"
    world.node.watcher.step()
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert len(world.chain.received) == 2


def test_one_that_the_chain_does_not_know__the_others_wait_for_it_until_its_fate_is_read(
    world: World,
) -> None:
    ids = proved_batch(world, 3)
    world.options["confirmations"] = 3
    world.restart()
    opened = world.chain._statuses.pop(ids[1])
    world.settle()
    assert states(world, ids) == ["proved"] * 3
    world.chain.mine(3)
    world.settle()
    assert states(world, ids) == ["proved"] * 3
    world.chain.mine()
    world.settle()
    assert states(world, ids) == ["mined", "proved", "mined"]
    # It was only the endpoint that did not know it.
    world.chain._statuses[ids[1]] = opened
    world.settle()
    world.chain.mine(3)
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert fulfilments(world, ids) == [1, 1, 1]


def test_none_that_the_chain_knows__the_batch_stays_together(world: World) -> None:
    ids = proved_batch(world, 2)
    opened = [world.chain._statuses.pop(i) for i in ids]
    for _ in range(3):
        world.chain.mine()
        world.settle()
    assert states(world, ids) == ["proved"] * 2
    world.chain._statuses.update(zip(ids, opened, strict=True))
    world.settle()
    assert states(world, ids) == ["final"] * 2
    assert len(world.prover.submitted) == 2


def test_single_request_topped_up_while_it_is_sent__is_sent_again(world: World) -> None:
    request_id = world.ask()
    world.until(lambda: world.state(request_id) == "proved")
    world.chain.automine = False
    world.node.submitter.step()
    world.chain.top_up(request_id, 10**15)
    world.chain.mine()
    world.chain.automine = True
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1
    assert len(world.prover.submitted) == 1


def test_too_few_are_left__each_is_proved_alone(world: World) -> None:
    ids = proved_batch(world, 3)
    for ended in ids[:2]:
        world.chain.end(ended, Status.REFUNDED)
    world.settle()
    assert states(world, ids) == ["cancelled", "cancelled", "final"]
    assert [len(job.inputs) // 2 for job in world.prover.submitted] == [1, 4, 1]


def test_all_end_elsewhere_after_the_batch_was_sent__nothing_is_sent_again(world: World) -> None:
    ids = proved_batch(world, 2)
    world.chain.automine = False
    world.node.submitter.step()
    for ended in ids:
        world.chain.end(ended)
    world.chain.mine()
    world.settle()
    assert states(world, ids) == ["lost", "lost"]
    assert len(world.chain.received) == 2


def test_deadline_of_one_passes_before_the_batch_is_mined__only_that_one_expires(
    world: World,
) -> None:
    world.prover.held = True
    world.ask(9, 9)
    world.settle()
    near = world.ask(5, 5, lifetime=300)
    rest = ask_together(world, 2)
    world.settle()
    world.prover.held = False
    world.until(lambda: world.state(near) == "proved")
    world.chain.automine = False
    world.node.submitter.step()
    assert world.state(near) == "pending"
    world.clock.now += 301
    world.chain.mine(2)
    world.settle()
    assert states(world, [near, *rest]) == ["expired", "final", "final"]


def test_simulation_of_the_batch_reverts__each_is_answered_alone_with_the_reason_kept(
    world: World,
) -> None:
    world.chain.revert_batches_with = ("VerifierChanged", ("0x" + "00" * 20,))
    _, ids = joined(world, 3)
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert len(world.chain.received) == 4
    reasons = {step.reason for step in world.store.history(ids[0])}
    assert any("VerifierChanged" in reason for reason in reasons)
    # The batch's proof is not used again.
    assert world.prover.submitted[1].inputs[:2] == (1, 0)
    assert [len(job.inputs) // 2 for job in world.prover.submitted] == [1, 4, 1, 1, 1]


def test_endpoint_cannot_simulate_the_batch__each_is_answered_alone(world: World) -> None:
    ids = proved_batch(world, 3)
    world.endpoint.fail("eth_call", RpcRejected("gas limit too high"))
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert [len(job.inputs) // 2 for job in world.prover.submitted] == [1, 4, 1, 1, 1]


def test_endpoint_limits_calls_for_a_moment__the_batch_is_sent_afterwards(world: World) -> None:
    ids = proved_batch(world, 3)
    world.endpoint.fail("eth_call", RpcLimit())
    with pytest.raises(RpcLimit):
        world.node.submitter.step()
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert len(world.chain.received) == 2


def test_callbacks_that_may_use_much_gas__are_joined_as_far_as_one_transaction_goes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fees, "TRANSACTION_GAS", 2_500_000)
    _, ids = joined(world, 4)
    world.settle()
    assert states(world, ids) == ["final"] * 4
    # Three together, and one that finds no room.
    assert [len(job.inputs) // 2 for job in world.prover.submitted] == [1, 4, 1]
    assert world.prover.submitted[1].inputs == (1, 0, 2, -1, 3, -2, 1, 0)


def test_batch_reverts_when_mined__each_is_answered_alone(world: World) -> None:
    ids = proved_batch(world, 3)
    world.chain.automine = False
    world.node.submitter.step()
    world.chain.revert_batches_with = ("ProofRejected", ())
    world.chain.mine()
    world.chain.automine = True
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert fulfilments(world, ids) == [1, 1, 1]


@pytest.mark.parametrize("error", [ProverInput("bad row"), ProverMemory()])
def test_proof_of_the_batch_fails__each_is_proved_alone(world: World, error: Exception) -> None:
    first, ids = joined(world, 3)
    world.until(lambda: world.state(ids[0]) == "queued")
    world.prover.errors.extend([error] * 2 if isinstance(error, ProverMemory) else [error])
    for _ in range(3):
        world.settle()
        world.clock.now += 60
    assert states(world, [first, *ids]) == ["final"] * 4
    assert len(world.chain.received) == 4


def test_one_ends_while_the_batch_is_proved__the_proof_goes_on(world: World) -> None:
    _, ids = joined(world, 3)
    world.until(lambda: world.state(ids[0]) == "queued")
    world.prover.held = True
    world.settle()
    assert states(world, ids) == ["running"] * 3
    world.chain.end(ids[0])
    world.settle()
    assert world.prover.cancelled == []
    world.prover.held = False
    world.settle()
    assert states(world, ids) == ["lost", "final", "final"]


def test_all_end_while_the_batch_is_proved__the_proof_is_stopped(world: World) -> None:
    _, ids = joined(world, 2)
    world.until(lambda: world.state(ids[0]) == "queued")
    world.prover.held = True
    world.settle()
    for ended in ids:
        world.chain.end(ended)
    world.settle()
    assert len(world.prover.cancelled) == 1


# --- a batch's transaction ---


def test_batch_stuck__is_replaced_with_the_same_nonce(world: World) -> None:
    ids = proved_batch(world, 3)
    world.chain.automine = False
    world.node.submitter.step()
    (first,) = world.chain.mempool
    world.chain.base_fee = first.max_fee + 1
    world.chain.mine()
    world.clock.now += 61
    world.settle()
    (second,) = world.chain.mempool
    assert second.nonce == first.nonce
    assert second.data == first.data
    assert second.max_fee >= first.max_fee * 1.125
    world.chain.mine()
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert fulfilments(world, ids) == [1, 1, 1]


def test_batch_stuck__topped_up_meanwhile__is_replaced_with_the_new_preimage(
    world: World,
) -> None:
    ids = proved_batch(world, 3)
    world.chain.automine = False
    world.node.submitter.step()
    (first,) = world.chain.mempool
    world.chain.base_fee = first.max_fee + 1
    world.chain.top_up(ids[1], 10**16)
    world.chain.mine()
    world.settle()
    world.clock.now += 61
    world.settle()
    world.chain.mine()
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert len(world.prover.submitted) == 2


def test_batch_stuck__all_ended__only_the_nonce_is_used_up(world: World) -> None:
    ids = proved_batch(world, 2)
    world.chain.automine = False
    world.node.submitter.step()
    world.chain.base_fee = world.chain.mempool[0].max_fee + 1
    for ended in ids:
        world.chain.end(ended)
    world.chain.mine()
    world.clock.now += 61
    world.settle()
    (cancel,) = world.chain.mempool
    assert (cancel.to, cancel.data) == (world.signer.address, b"")
    world.chain.mine()
    world.settle()
    assert states(world, ids) == ["lost", "lost"]


def test_batch_stuck__most_of_its_money_gone__pays_no_more_than_the_rest_justifies(
    world: World,
) -> None:
    ids = proved_batch(world, 4)
    world.chain.automine = False
    world.node.submitter.step()
    (intent,) = world.store.intents(IntentState.PENDING)
    world.chain.base_fee = intent.ceiling // 2
    for ended in ids[1:]:
        world.chain.end(ended)
    world.chain.mine()
    for _ in range(40):
        world.clock.now += 61
        world.settle()
    (waiting,) = world.chain.mempool
    row = world.row(ids[0]).request
    assert waiting.max_fee <= row.gas_money // row.gas_units


def test_base_fee_above_what_the_batch_pays__waits(world: World) -> None:
    ids = proved_batch(world, 3)
    world.chain.base_fee = 10**12
    world.chain.mine()
    world.settle()
    assert states(world, ids) == ["proved"] * 3
    assert len(world.chain.received) == 1
    world.chain.base_fee = 10**9
    world.chain.mine()
    world.settle()
    assert states(world, ids) == ["final"] * 3


def test_nonce_taken_by_another_sender__the_batch_gets_a_new_one(world: World) -> None:
    ids = proved_batch(world, 3)
    world.chain.automine = False
    world.node.submitter.step()
    world.chain.mempool.clear()
    outside = world.signer.sign(
        Unsigned(31337, 1, world.signer.address, b"", 21_000, Fees(10**10, 1))
    )
    world.chain.automine = True
    world.chain.send("eth_sendRawTransaction", ["0x" + outside.raw.hex()])
    world.clock.now += 61
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert fulfilments(world, ids) == [1, 1, 1]
    assert len(world.prover.submitted) == 2


@pytest.mark.parametrize("keep", [True, False])
def test_reorg_of_the_batchs_block__it_is_delivered_again(
    make_world: MakeWorld, keep: bool
) -> None:
    world = batched(make_world, confirmations=2)
    world.prover.held = True
    ids = ask_together(world, 3)
    world.chain.mine(2)
    world.settle()
    world.prover.held = False
    world.settle()
    assert states(world, ids) == ["mined"] * 3
    world.chain.mine()
    world.chain.reorg(2, keep=keep)
    for _ in range(4):
        world.settle()
        world.chain.mine()
        world.clock.now += 61
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert fulfilments(world, ids) == [1, 1, 1]
    assert len(world.prover.submitted) == 1


def test_requests_mined_again_after_a_reorg__reuse_the_batchs_proof(world: World) -> None:
    world.chain.mine(2)
    world.prover.held = True
    ids = ask_together(world, 3)
    world.settle()
    world.prover.held = False
    world.until(lambda: world.state(ids[0]) == "proved")
    # Gone with their block, then mined in the next one.
    world.chain.reorg(1, keep=False)
    world.node.watcher.step()
    assert states(world, ids) == ["orphaned"] * 3
    world.chain.reopen(ids)
    world.settle()
    assert states(world, ids) == ["final"] * 3
    assert len(world.prover.submitted) == 1
    assert len(world.chain.received) == 1


@contextmanager
def killing(killer: Killer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every write and every call of an endpoint goes by the killer, who ends the block at one."""
    run, send = Database.run, FakeChain.send
    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr(
            Database, "run", lambda self, *a, **k: killer.around(lambda: run(self, *a, **k))
        )
        patch.setattr(FakeChain, "send", lambda self, *a: killer.around(lambda: send(self, *a)))
        yield


@pytest.mark.parametrize("after", [False, True])
def test_kill_at_any_point_of_a_batchs_life__restart__answers_each_once(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    for countdown in count(1):
        world = batched(make_world)
        ids = ask_together(world, 3)
        killer = Killer(countdown, after=after)
        with killing(killer, monkeypatch):
            world.settle()
        world.restart()
        world.settle()
        assert states(world, ids) == ["final"] * 3, (countdown, world.trail(ids[0]))
        assert fulfilments(world, ids) == [1, 1, 1]
        assert len(set(world.chain.received)) == 1, f"sent twice after a kill at {countdown}"
        if not killer.struck:
            assert countdown > 60, "the scenario is shorter than it should be"
            return


@pytest.mark.parametrize("after", [False, True])
def test_kill_at_any_point_while_one_is_skipped__restart__answers_the_others_once(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """A rival ends one and another is topped up, both between sending and mining."""
    for countdown in count(1):
        world = batched(make_world)
        ids = ask_together(world, 4)
        world.until(lambda: world.state(ids[0]) == "proved")  # noqa: B023 - called at once
        world.chain.automine = False
        world.node.submitter.step()
        world.chain.end(ids[1])
        world.chain.top_up(ids[2], 10**15)
        world.chain.mine()
        world.chain.automine = True
        killer = Killer(countdown, after=after)
        with killing(killer, monkeypatch):
            world.settle()
        world.restart()
        world.settle()
        expected = ["final", "lost", "final", "final"]
        assert states(world, ids) == expected, (countdown, world.trail(ids[2]))
        assert fulfilments(world, ids) == [1] * 4
        assert len(set(world.chain.received)) == 2, f"sent twice after a kill at {countdown}"
        if not killer.struck:
            assert countdown > 40, "the scenario is shorter than it should be"
            return


@pytest.mark.parametrize("after", [False, True])
def test_kill_at_any_point_while_a_batch_is_refused__restart__answers_each_alone(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    for countdown in count(1):
        world = batched(make_world)
        world.chain.revert_batches_with = ("VerifierChanged", ("0x" + "00" * 20,))
        ids = ask_together(world, 2)
        world.until(lambda: world.state(ids[0]) == "proved")  # noqa: B023 - called at once
        killer = Killer(countdown, after=after)
        with killing(killer, monkeypatch):
            world.settle()
        world.restart()
        world.settle()
        assert states(world, ids) == ["final"] * 2, (countdown, world.trail(ids[0]))
        assert fulfilments(world, ids) == [1, 1]
        assert len(set(world.chain.received)) == 2, f"sent twice after a kill at {countdown}"
        if not killer.struck:
            assert countdown > 60, "the scenario is shorter than it should be"
            return
