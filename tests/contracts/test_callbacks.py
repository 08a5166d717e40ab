"""No consumer can block, cheat or outspend a fulfilment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from eth_abi import encode
from eth_utils import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle import tensor
from tests.contracts.evm import Contract, Receipt, Reverted
from tests.contracts.world import (
    ALICE,
    BOB,
    FEE,
    FULFILLED,
    GAS_MONEY,
    NODE,
    OPEN,
    OUTPUT,
    OWNER,
    RESULT,
    THIEF,
    ZERO,
    Ticket,
    World,
    make_world,
    packed,
    ticket,
)


def assert_fulfilled_without_callback(world: World, open_ticket: Ticket, receipt: Receipt) -> None:
    assert world.status(open_ticket) == FULFILLED
    assert not receipt.event("RequestFulfilled")["callbackSucceeded"]
    assert receipt.event("AICallbackResult")["output"] == tensor.pack(RESULT, OUTPUT.width)
    assert world.credit(NODE) >= FEE * 3 // 4


def test_callback__reverting_consumer__does_not_block_fulfilment(world: World) -> None:
    asked = world.ask(world.deploy("RevertingConsumer"))
    assert_fulfilled_without_callback(world, asked, world.fulfil(asked))


def test_callback__gas_burning_consumer__uses_its_gas_and_no_more(world: World) -> None:
    asked = world.ask(world.deploy("BurningConsumer"), gas=1_000_000)
    receipt = world.fulfil(asked)
    assert_fulfilled_without_callback(world, asked, receipt)
    assert 1_000_000 < receipt.gas_used < 1_200_000


@pytest.mark.parametrize("reverts", [True, False])
def test_callback__return_bomb__is_not_copied(world: World, reverts: bool) -> None:
    """600 kB of memory cost the consumer 0.74M gas; copying them would cost the node as much."""
    asked = world.ask(world.deploy("BombingConsumer", reverts), gas=800_000)
    receipt = world.fulfil(asked)
    assert receipt.event("RequestFulfilled")["callbackSucceeded"] is not reverts
    assert receipt.gas_used < 1_000_000


def test_callback__self_destructed_consumer__does_not_block_fulfilment(world: World) -> None:
    consumer = world.deploy("RecordingConsumer")
    asked = world.ask(consumer)
    world.chain.erase_code(consumer.address)
    assert_fulfilled_without_callback(world, asked, world.fulfil(asked))


def test_callback__account_without_code__does_not_block_fulfilment(world: World) -> None:
    asked = world.request(ALICE, callback_contract=ALICE, callback_gas=50_000)
    assert_fulfilled_without_callback(world, asked, world.fulfil(asked))


def test_callback__not_wanted__is_not_made(world: World) -> None:
    asked = world.request()
    assert_fulfilled_without_callback(world, asked, world.fulfil(asked))


def test_callback__too_little_gas__reverts_instead_of_failing_the_callback(world: World) -> None:
    """63/64 griefing: with every gas limit the consumer gets exactly its gas, or nothing happens."""
    consumer = world.deploy("RecordingConsumer")
    entries = set()
    refused = 0
    for gas in range(1_200_000, 900_000, -7_919):
        asked = world.ask(consumer, gas=900_000)
        error = refusal(partial(world.fulfil, asked, gas=gas))
        if error is None:
            entries.add(consumer.read("gasAtEntry"))
        else:
            assert error == "NotEnoughGas"
            assert world.status(asked) == OPEN
            refused += 1
    assert refused > 5
    assert len(entries) == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(gas=st.integers(30_000, 400_000), promised=st.integers(1, 300_000))
def test_exact_call__any_gas__grants_the_promise_or_reverts(gas: int, promised: int) -> None:
    world = make_world()
    meter = world.chain.deploy("GasMeter")
    harness = world.chain.deploy("LibraryHarness")
    error = refusal(partial(harness, "callNoReturn", meter.address, promised, b"", gas=gas))
    seen = meter.read("seen")
    if error is not None:
        # Refused by the check, or too short of gas to reach it.
        assert error == "NotEnoughGas" or "OutOfGas" in error
        assert gas * 63 // 64 < promised + 40_000
    elif seen:
        assert promised - 200 < seen < promised
    else:
        assert promised < METER_NEEDS


def refusal(transaction: Callable[[], object]) -> str | None:
    """The error that a transaction reverts with, if it does."""
    try:
        transaction()
    except Reverted as reverted:
        return reverted.name
    return None


def test_callback__nested_request__is_served_in_its_turn(world: World) -> None:
    consumer = world.deploy("NestedConsumer")
    world.chain.fund(consumer.address, FEE + GAS_MONEY)
    context = encode(["uint256", "bytes"], [world.model_id, packed()])
    receipt = world.fulfil(world.ask(consumer, gas=400_000, data=context))
    assert receipt.event("RequestFulfilled")["callbackSucceeded"]
    nested = ticket(receipt.events)
    assert nested.request_id == consumer.read("nestedRequestId")
    assert nested.account == consumer.address
    assert world.status(nested) == OPEN
    assert world.fulfil(nested).event("RequestFulfilled")["callbackSucceeded"]


def test_callback__nested_request__refunds_the_outer_requester_not_the_node(world: World) -> None:
    consumer = world.deploy("NestedConsumer")
    world.chain.fund(consumer.address, FEE + GAS_MONEY)
    context = encode(["uint256", "bytes"], [world.model_id, packed()])
    outer = world.ask(consumer, gas=400_000, data=context)
    nested = ticket(world.fulfil(outer).events)
    assert nested.refund_to == outer.refund_to != NODE


#: Everything that ends a request, lowers a credit or measures a balance.
GUARDED = (
    "fulfill",
    "fulfillBatch",
    "retryCallback",
    "refund",
    "topUp",
    "requestFor",
    "depositToken",
    "withdrawTo",
    "withdrawTo token",
    "withdrawProtocolFees",
)


def arm(world: World, consumer: Contract, function: str) -> None:
    """Give the consumer a call that succeeds unless it comes while another one is running."""
    oracle, chain = world.oracle, world.chain
    if function in ("fulfill", "fulfillBatch", "refund", "topUp"):
        other = world.request(lifetime=60)
        arguments: tuple[Any, ...] = (other.request_id, other.preimage)
        if function == "fulfill":
            arguments = world.fulfil_arguments(other)
        elif function == "fulfillBatch":
            arguments = world.batch_arguments([other], size=1)
        elif function == "refund":
            chain.advance(61)
    elif function == "retryCallback":
        failing = world.deploy("RepairableConsumer")
        failed = world.ask(failing)
        world.fulfil(failed)
        failing("repair")
        output = tensor.pack(RESULT, OUTPUT.width)
        gas, refund_to = failed.callback_gas, failed.refund_to
        arguments = (failed.request_id, failing.address, gas, refund_to, gas, output, b"")
    elif function == "requestFor":
        account = chain.deploy("SmartAccount")
        hashes = keccak(packed()), keccak(b"")
        end = chain.now + 60
        free = world.register(fee=0)
        order = (account.address, free, hashes[0], ZERO, 0, hashes[1], ALICE, end, 0, 0, 0, end)
        account("approve", oracle.read("hashOf", order))
        arguments = (order, packed(), b"", b"")
    elif function == "depositToken":
        token = chain.deploy("NoReturnToken")
        token("mint", consumer.address, 1)
        arguments = (token.address, THIEF, 1)
    elif function == "withdrawProtocolFees":
        oracle("deposit", oracle.address, sender=ALICE, value=1)
        oracle("transferOwnership", consumer.address, sender=OWNER)
        consumer("prepare", oracle.calldata("acceptOwnership"))
        strike(consumer)
        arguments = (ZERO, THIEF)
    else:
        oracle("deposit", consumer.address, sender=ALICE, value=1)
        arguments = (ZERO, THIEF) if function == "withdrawTo token" else (THIEF,)
    call = oracle.calldata(function.partition(" ")[0], *arguments)
    consumer("prepare", call, value=GAS_MONEY if function == "topUp" else 0)


def strike(consumer: Contract) -> None:
    """Have the consumer make its call now."""
    consumer.chain.send(ALICE, consumer.address, b"", 0, 16_000_000)


def assert_refused(consumer: Contract) -> None:
    """Its call was refused by the guard, and by nothing else: now it succeeds."""
    assert consumer.read("attacked")
    assert not consumer.read("succeeded")
    assert consumer.read("answer") == GUARD
    strike(consumer)
    assert consumer.read("succeeded")


@pytest.mark.parametrize("function", GUARDED)
def test_callback__reentering__is_refused(world: World, function: str) -> None:
    consumer = world.deploy("ReentrantConsumer")
    asked = world.ask(consumer, gas=1_000_000)
    arm(world, consumer, function)
    assert world.fulfil(asked).event("RequestFulfilled")["callbackSucceeded"]
    assert_refused(consumer)


def test_callback__reentering_with_its_own_request__is_refused(world: World) -> None:
    consumer = world.deploy("ReentrantConsumer")
    asked = world.ask(consumer, gas=1_000_000)
    consumer("prepare", world.oracle.calldata("fulfill", *world.fulfil_arguments(asked)))
    world.fulfil(asked)
    assert consumer.read("attacked")
    assert not consumer.read("succeeded")


@pytest.mark.parametrize("function", GUARDED)
def test_withdrawal__reentering__is_refused(world: World, function: str) -> None:
    consumer = world.deploy("ReentrantConsumer")
    arm(world, consumer, function)
    world.oracle("deposit", BOB, sender=ALICE, value=7)
    world.oracle("withdrawTo", consumer.address, sender=BOB)
    assert world.chain.balance(consumer.address) >= 7
    assert_refused(consumer)


#: A first write to storage, and what surrounds it.
METER_NEEDS = 25_000
#: ReentrancyGuardReentrantCall()
GUARD = bytes.fromhex("3ee5aeb5")


def test_consumer__callback_from_a_stranger__is_refused(world: World) -> None:
    consumer = world.deploy("PredictionConsumer", world.model_id)
    with pytest.raises(Reverted, match="NotOracle"):
        consumer("aiOracleCallback", 1, tensor.pack(RESULT, OUTPUT.width), b"", sender=THIEF)
    plain = world.deploy("PlainCaller")
    with pytest.raises(Reverted, match="UnauthorizedCallbackSource"):
        plain("aiOracleCallback", 1, b"", b"", sender=THIEF)


def test_prediction_consumer__result__is_stored_decoded_under_its_request(world: World) -> None:
    consumer = world.deploy("PredictionConsumer", world.model_id)
    value = max(consumer.read("fee"), FEE + GAS_MONEY)
    receipt = consumer("predict", packed(), sender=ALICE, value=value)
    asked = ticket(receipt.events)
    assert receipt.value == asked.request_id
    assert consumer.read("prediction", asked.request_id) == (False, 0, ())
    delivered = world.fulfil(asked)
    assert delivered.event("RequestFulfilled")["callbackSucceeded"]
    assert consumer.read("prediction", asked.request_id) == (True, 0, RESULT)
    assert delivered.event("Predicted") == {
        "requestId": asked.request_id,
        "label": 0,
        "scores": RESULT,
    }


@pytest.mark.parametrize(("scores", "label"), [((-3, -1, -2), 1), ((5, 5, 5), 0), ((0, 1, 2), 2)])
def test_prediction_consumer__label__is_the_first_greatest_score(
    world: World, scores: tuple[int, ...], label: int
) -> None:
    consumer = world.deploy("PredictionConsumer", world.model_id)
    asked = ticket(consumer("predict", packed(), value=FEE + GAS_MONEY).events)
    world.fulfil(asked, outputs=scores)
    assert consumer.read("prediction", asked.request_id) == (True, label, scores)


def test_plain_caller__knowing_only_ora__gets_its_result(world: World) -> None:
    caller = world.deploy("PlainCaller")
    receipt = caller("ask", world.model_id, packed(), sender=ALICE, value=FEE + GAS_MONEY)
    asked = ticket(receipt.events)
    world.fulfil(asked)
    assert caller.read("results", asked.request_id) == tensor.pack(RESULT, OUTPUT.width)
