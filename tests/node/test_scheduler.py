"""Refusals, each with its reason, before anything is spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from oracle import tensor
from oracle.chain.input_ranges import deployed_code
from oracle.services import scheduler
from oracle.testing import CALLER, GAS_UNITS, ORACLE
from oracle.types import InputKind, ProofSystem

from .world import VERIFIER_CODE, World, served, spec


def refusal(world: World, request_id: int) -> str:
    world.settle()
    assert world.state(request_id) == "skipped"
    assert world.prover.submitted == []
    assert world.chain.received == []
    (line,) = [event for event in world.events() if event["event"] == "request skipped"]
    row = world.row(request_id)
    assert row.reason == f"{line['reason']}: {line['detail']}"
    return str(line["reason"])


def test_decide__unknown_model__skips(world: World) -> None:
    assert refusal(world, world.ask(model_id=9)) == "unknown_model"


def test_decide__codec_of_a_newer_version__skips_and_goes_on(world: World) -> None:
    newer = world.chain.register(spec(codec=7), verifier_code=VERIFIER_CODE)
    request_id = world.ask(model_id=newer)
    assert refusal(world, request_id) == "model_unsupported"
    other = world.ask()
    world.settle()
    assert world.state(other) == "final"


def test_decide__no_bundle__skips(world: World) -> None:
    other = world.chain.register(spec(vk_hash=b"w" * 32), verifier_code=VERIFIER_CODE)
    assert refusal(world, world.ask(model_id=other)) == "no_bundle"


def test_decide__verifier_code_changed__skips(world: World) -> None:
    world.chain.change_code(world.model_id, b"something else")
    assert refusal(world, world.ask()) == "verifier_differs"


def test_decide__bundle_with_another_verifier__skips(make_world: Callable[..., World]) -> None:
    world = make_world(served=(served(spec(verifier_code_hash=b"x" * 32)),))
    assert refusal(world, world.ask()) == "verifier_differs"


def test_decide__bundle_with_another_range__skips(make_world: Callable[..., World]) -> None:
    wider = tensor.TensorSpec(length=2, width=4, scale=8, minimum=-5000, maximum=5000)
    world = make_world(served=(served(spec(input=wider)),))
    assert refusal(world, world.ask()) == "bundle_differs"


def test_decide__twin_with_another_srs__skips(world: World) -> None:
    twin = world.chain.register(spec(srs_hash=b"x" * 32), verifier_code=VERIFIER_CODE)
    assert refusal(world, world.ask(model_id=twin)) == "no_bundle"


@pytest.mark.parametrize(
    "changes", [{"input_kind": InputKind.COMMITMENT}, {"system": ProofSystem.GROTH16}]
)
def test_decide__twin_of_another_kind__skips(world: World, changes: dict[str, Any]) -> None:
    twin = world.chain.register(spec(), verifier_code=VERIFIER_CODE, **changes)
    assert refusal(world, world.ask(model_id=twin)) == "bundle_differs"


def test_decide__twin_whose_verifier_gets_too_little_gas__skips(world: World) -> None:
    twin = world.chain.register(spec(verify_gas=499_999), verifier_code=VERIFIER_CODE)
    assert refusal(world, world.ask(model_id=twin)) == "bundle_differs"


def test_decide__twin_whose_verifier_gets_more_gas__accepts(world: World) -> None:
    twin = world.chain.register(spec(verify_gas=500_001), verifier_code=VERIFIER_CODE)
    request_id = world.ask(model_id=twin)
    world.settle()
    assert world.state(request_id) == "final"


@pytest.mark.parametrize(("min_income", "state"), [(700, "final"), (701, "skipped")])
def test_decide__fee_without_the_publishers_share__must_reach_the_minimum(
    make_world: Callable[..., World], min_income: int, state: str
) -> None:
    world = make_world(min_income=min_income)
    model = world.chain.register(spec(), verifier_code=VERIFIER_CODE, fee=1000, receiver_bps=3000)
    request_id = world.ask(model_id=model)
    world.settle()
    assert world.state(request_id) == state
    if state == "skipped":
        assert refusal(world, request_id) == "income_low"


@pytest.mark.parametrize("data", [b"", b"\0" * 7, b"\0" * 9, b"\x7f" * 8])
def test_decide__input_of_wrong_length_or_range__skips(world: World, data: bytes) -> None:
    assert refusal(world, world.chain.request(world.model_id, data)) == "input_invalid"


RANGED = spec(input_ranges=((-1000, 0), (1, 5)))


@pytest.mark.parametrize(
    ("numbers", "state"),
    [((0, 5), "final"), ((-1000, 1), "final"), ((1, 1), "skipped"), ((0, 0), "skipped")],
)
def test_decide__element_in_or_beyond_its_own_range__counts_for_itself(
    make_world: Callable[..., World], numbers: tuple[int, int], state: str
) -> None:
    """The contract refuses such a request; one whose checker does not is for the node to skip."""
    world = make_world(served=(served(RANGED),))
    model = world.chain.register(RANGED, verifier_code=VERIFIER_CODE)
    request_id = world.ask(*numbers, model_id=model)
    world.settle()
    assert world.state(request_id) == state
    if state == "skipped":
        assert refusal(world, request_id) == "input_invalid"


@pytest.mark.parametrize("ranges", [(), ((-1000, 0), (1, 6))])
def test_decide__bundle_with_other_input_ranges__skips(
    make_world: Callable[..., World], ranges: tuple[tuple[int, int], ...]
) -> None:
    world = make_world(served=(served(RANGED),))
    other = world.chain.register(spec(input_ranges=ranges), verifier_code=VERIFIER_CODE)
    assert refusal(world, world.ask(0, 1, model_id=other)) == "bundle_differs"


def test_decide__input_checker_not_there_yet__is_taken_up_once_the_endpoint_has_it(
    make_world: Callable[..., World],
) -> None:
    world = make_world(served=(served(RANGED),))
    model = world.chain.register(RANGED, verifier_code=VERIFIER_CODE)
    world.chain.change_checker(model, b"")
    request_id = world.ask(0, 1, model_id=model)
    assert refusal(world, request_id) == "verifier_differs"
    world.chain.change_checker(model, deployed_code(RANGED.input_ranges))
    world.clock.now += 61
    world.settle()
    assert world.state(request_id) == "final"


def test_decide__deadline_nearer_than_proof_and_margin__skips(
    make_world: Callable[..., World],
) -> None:
    world = make_world(deadline_margin=30)
    assert refusal(world, world.ask(lifetime=30)) == "deadline_near"


def test_decide__deadline_just_far_enough__accepts(make_world: Callable[..., World]) -> None:
    world = make_world(deadline_margin=30)
    request_id = world.ask(lifetime=31)
    world.settle()
    assert world.state(request_id) == "final"


def test_decide__slow_proofs_on_this_machine__count_for_the_deadline(
    make_world: Callable[..., World],
) -> None:
    world = make_world(deadline_margin=0, served=(served(spec(), prove_seconds=100.0),))
    assert refusal(world, world.ask(lifetime=99)) == "deadline_near"


def test_decide__queue_ahead__counts_for_the_deadline(make_world: Callable[..., World]) -> None:
    world = make_world(deadline_margin=0, served=(served(spec(), prove_seconds=10.0),))
    world.prover.held = True
    ids = [world.ask(lifetime=25) for _ in range(3)]
    for _ in range(10):
        world.node.watcher.step()
    for _ in range(3):
        world.node.scheduler.step()
    # Decisions come before queueing, so the third sees no queue; one more request does.
    late = world.ask(lifetime=25)
    world.settle()
    assert [world.state(i) for i in ids].count("skipped") == 0
    assert world.row(late).reason.startswith("deadline_near")


def test_decide__money_below_gas_cost__skips(world: World) -> None:
    assert refusal(world, world.ask(gas_money=10**9)) == "fee_low"


def test_decide__money_at_the_base_fee_without_room__skips(world: World) -> None:
    assert refusal(world, world.ask(gas_money=GAS_UNITS * 10**9)) == "fee_low"


def test_skipped_for_a_low_fee__base_fee_falls__is_answered(world: World) -> None:
    request_id = world.ask(gas_money=GAS_UNITS * 10**9)
    world.settle()
    assert world.state(request_id) == "skipped"
    for _ in range(3):
        world.clock.now += 61
        world.chain.mine()
        world.settle()
    assert world.trail(request_id) == ["seen", "skipped"]
    world.chain.base_fee //= 2
    world.chain.mine()
    world.clock.now += 61
    world.settle()
    assert world.state(request_id) == "final"


def test_skipped_for_a_low_fee__base_fee_falls_between_two_looks__is_answered(
    world: World,
) -> None:
    """The fault run's "refunded though answerable": each look met the dear part of a swing."""
    dear = world.chain.base_fee
    request_id = world.ask(gas_money=GAS_UNITS * 10**9)
    world.settle()
    assert world.state(request_id) == "skipped"
    for base_fee in (dear, dear // 2):
        world.clock.now += 10
        world.chain.base_fee = base_fee
        world.chain.mine()
        world.settle()
    assert world.state(request_id) == "final"


def test_skipped_for_a_low_fee__base_fee_falls_too_little__only_those_that_can_pay_are_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_RECONSIDER_BATCH", 2)
    poor = [world.ask(gas_money=10**9) for _ in range(4)]
    better = [world.ask(gas_money=GAS_UNITS * 10**9) for _ in range(5)]
    world.settle()
    world.chain.base_fee //= 2
    world.chain.mine()
    world.settle()
    assert {world.state(request_id) for request_id in better} == {"final"}
    assert {tuple(world.trail(request_id)) for request_id in poor} == {("seen", "skipped")}


def test_skipped_for_a_low_fee__topped_up_while_gas_is_dear__is_answered_when_it_falls(
    world: World,
) -> None:
    request_id = world.ask(gas_money=10**9)
    world.settle()
    world.chain.top_up(request_id, GAS_UNITS * 10**9)
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "skipped"
    world.chain.base_fee //= 2
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "final"


def test_skipped__model_turns_out_to_need_a_newer_version__those_behind_it_are_looked_at(
    world: World,
) -> None:
    first = world.ask(model_id=2)
    poor = world.ask(gas_money=GAS_UNITS * 10**9)
    world.settle()
    assert world.row(first).reason.startswith("unknown_model")
    world.chain.register(spec(codec=7), verifier_code=VERIFIER_CODE)
    world.chain.base_fee //= 2
    world.clock.now += 61
    world.settle()
    world.chain.mine()
    world.settle()
    assert world.state(first) == "skipped"
    assert world.state(poor) == "final"


def test_skipped_for_a_queue__queue_ends__is_answered(make_world: Callable[..., World]) -> None:
    world = make_world(deadline_margin=0, served=(served(spec(), prove_seconds=100.0),))
    world.prover.held = True
    first = world.ask()
    world.settle()
    late = world.ask(lifetime=190)
    world.settle()
    assert world.row(late).reason.startswith("deadline_near")
    world.prover.held = False
    world.settle()
    assert world.state(first) == "final"
    world.clock.now += 61
    world.settle()
    assert world.state(late) == "final"


def test_skipped__many__are_looked_at_in_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_RECONSIDER_BATCH", 2)
    poor = [world.ask(gas_money=10**9) for _ in range(4)]
    better = world.ask(gas_money=GAS_UNITS * 10**9)
    world.settle()
    world.chain.base_fee //= 2
    world.chain.mine()
    for _ in range(3):
        world.clock.now += 61
        world.settle()
    assert world.state(better) == "final"
    assert {world.state(request_id) for request_id in poor} == {"skipped"}


def test_decide__clock_behind_the_chain__uses_the_chains(world: World) -> None:
    request_id = world.ask(lifetime=100)
    world.clock.now += 95
    world.chain.mine()
    world.clock.now -= 95
    assert refusal(world, request_id) == "deadline_near"


def test_balance_low__is_skipped_visibly_and_answered_when_funded(world: World) -> None:
    world.chain.balances[world.signer.address] = 1
    request_id = world.ask()
    world.settle()
    assert refusal(world, request_id) == "low_balance"
    assert "holds 1 wei" in world.row(request_id).reason
    del world.chain.balances[world.signer.address]
    world.clock.now += 61
    world.settle()
    assert world.state(request_id) == "final"
    assert world.trail(request_id)[:3] == ["seen", "skipped", "seen"]


@pytest.mark.parametrize(
    ("option", "reason"), [("min_disk_bytes", "low_disk"), ("min_memory_bytes", "low_memory")]
)
def test_disk_or_memory_low__takes_nothing_and_says_why(
    make_world: Callable[..., Any], option: str, reason: str
) -> None:
    world = make_world(**{option: 2**62})
    request_id = world.ask()
    world.settle()
    assert refusal(world, request_id) == reason
    assert world.prover.submitted == []
    world.options[option] = 0
    world.restart()
    world.settle()
    assert world.state(request_id) == "final"


def test_disk_low__request_that_is_refused_anyway__says_the_lasting_reason(
    make_world: Callable[..., Any],
) -> None:
    world = make_world(min_disk_bytes=2**62, min_income=10**18)
    request_id = world.ask()
    world.settle()
    assert refusal(world, request_id) == "income_low"


def test_account_has_its_most_open_requests__the_next_waits_for_them(
    make_world: Callable[..., Any],
) -> None:
    world = make_world(max_open_per_account=2)
    world.prover.held = True
    ids = [world.ask(i, i) for i in range(3)]
    world.settle()
    assert [world.state(i) for i in ids] == ["running", "queued", "skipped"]
    assert world.row(ids[2]).reason.startswith("requester_limit: ")
    world.prover.held = False
    world.settle()
    world.clock.now += 61
    world.settle()
    assert [world.state(i) for i in ids] == ["final"] * 3


@pytest.mark.parametrize("option", ["refused_accounts", "only_accounts"])
def test_account_not_worked_for__is_refused_for_good(
    make_world: Callable[..., Any], option: str
) -> None:
    world = make_world(**{option: (CALLER if option == "refused_accounts" else ORACLE,)})
    request_id = world.ask()
    world.settle()
    assert refusal(world, request_id) == "requester_refused"
    world.clock.now += 61
    world.settle()
    assert world.trail(request_id) == ["seen", "skipped"]


def test_skipped__restart_with_the_bundle__is_answered(make_world: Callable[..., Any]) -> None:
    world = make_world(served=())
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "skipped"
    world.served = (served(spec()),)
    world.restart()
    world.settle()
    assert world.state(request_id) == "final"


def test_verifier_not_there_yet__is_skipped_and_taken_up_once_the_endpoint_has_it(
    world: World,
) -> None:
    world.chain.change_code(world.model_id, b"")
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "skipped"
    world.chain.change_code(world.model_id, VERIFIER_CODE)
    world.clock.now += 61
    world.settle()
    assert world.state(request_id) == "final"


def test_verifiers_code__that_is_right__is_read_once(world: World) -> None:
    for _ in range(3):
        world.ask()
        world.settle()
    assert world.endpoint.calls.count("eth_getCode") == 1
