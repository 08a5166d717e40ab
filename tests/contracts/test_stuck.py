"""Requests and callbacks that got stuck: what is wrong, and how anyone can help."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_abi import encode
from eth_utils import keccak

from oracle import tensor
from tests.contracts.evm import Contract, Reverted
from tests.contracts.world import (
    ALICE,
    BOB,
    FEE,
    FULFILLED,
    GAS_MONEY,
    OUTPUT,
    PUBLISHER,
    RESULT,
    THIEF,
    ZERO,
    Ticket,
    World,
    packed,
    ticket,
)

(
    R_UNKNOWN,
    R_FULFILLED,
    R_UNDELIVERED,
    R_REFUNDED,
    R_MISMATCH,
    R_EXPIRED,
    R_UNDERFUNDED,
    R_WAITING,
) = range(8)
DELIVERED = tensor.pack(RESULT, OUTPUT.width)


def top_up(world: World, asked: Ticket, value: int, sender: str = BOB) -> Ticket:
    receipt = world.oracle("topUp", asked.request_id, asked.preimage, sender=sender, value=value)
    return replace(asked, gas_money=receipt.event("RequestToppedUp")["gasMoney"])


def retry(world: World, asked: Ticket, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "requestId": asked.request_id,
        "callbackContract": asked.callback_contract,
        "callbackGas": asked.callback_gas,
        "refundTo": asked.refund_to,
        "gasLimit": asked.callback_gas,
        "output": DELIVERED,
        "callbackData": asked.callback_data,
    }
    return world.oracle("retryCallback", *(arguments | changes).values(), sender=BOB)


@pytest.fixture
def broken(world: World) -> tuple[Contract, Ticket]:
    """A consumer whose callback has failed once."""
    consumer = world.deploy("RepairableConsumer")
    asked = world.ask(consumer, data=b"context")
    assert not world.fulfil(asked).event("RequestFulfilled")["callbackSucceeded"]
    return consumer, asked


def test_top_up__raises_the_gas_money_that_a_node_can_earn(world: World) -> None:
    asked = world.request(value=FEE + 80)
    raised = top_up(world, asked, 10**9)
    assert raised.gas_money == 80 + 10**9
    with pytest.raises(Reverted, match="CommitmentMismatch"):
        world.fulfil(asked)
    assert world.fulfil(raised).event("RequestFulfilled")["gasPaid"] > 80
    assert world.chain.balance(world.oracle.address) == FEE + 80 + 10**9


def test_top_up__proof_made_before__still_fits(world: World) -> None:
    asked = world.request()
    proof = world.proof(asked)
    world.fulfil(top_up(world, asked, GAS_MONEY), proof=proof)


@pytest.mark.parametrize(
    ("present", "least"), [(0, 1), (7, 1), (80, 10), (GAS_MONEY, GAS_MONEY // 8)]
)
def test_top_up__less_than_an_eighth__is_refused(world: World, present: int, least: int) -> None:
    """Otherwise a wei in front of each fulfilment would hold a request up for ever."""
    asked = world.request(value=FEE + present)
    with pytest.raises(Reverted, match="TopUpTooSmall") as caught:
        top_up(world, asked, least - 1)
    assert caught.value.values == (least - 1, least)
    top_up(world, asked, least)


def test_top_up__request_that_ended_or_expired__is_refused(world: World) -> None:
    ended, expired = world.request(), world.request(lifetime=60)
    world.fulfil(ended)
    world.chain.advance(61)
    with pytest.raises(Reverted, match="NotOpen"):
        top_up(world, ended, GAS_MONEY)
    with pytest.raises(Reverted, match="DeadlinePassed"):
        top_up(world, expired, GAS_MONEY)


def test_top_up__beyond_96_bits__is_refused(world: World) -> None:
    """A wrap would leave the request with next to nothing, and the money with nobody."""
    asked = world.request()
    world.chain.fund(BOB, 2**97)
    with pytest.raises(Reverted, match="SafeCast"):
        top_up(world, asked, 2**96)


def test_top_up__refund__returns_it_too(world: World) -> None:
    raised = top_up(world, world.request(lifetime=60, refund_to=ALICE), GAS_MONEY)
    world.chain.advance(61)
    world.refund(raised)
    assert world.credit(ALICE) == FEE + 2 * GAS_MONEY


def test_retry__failed_callback__can_be_made_again_once_repaired(
    world: World, broken: tuple[Contract, Ticket]
) -> None:
    consumer, asked = broken
    terms = [
        consumer.address,
        asked.callback_gas,
        asked.refund_to,
        keccak(DELIVERED),
        keccak(b"context"),
    ]
    expected = keccak(encode(["address", "uint64", "address", "bytes32", "bytes32"], terms))
    assert world.oracle.read("undelivered", asked.request_id) == expected
    with pytest.raises(Reverted, match="CallbackFailed"):
        retry(world, asked)
    consumer("repair")
    assert retry(world, asked).event("CallbackRetried")["requestId"] == asked.request_id
    assert (consumer.read("calls"), consumer.read("output")) == (1, DELIVERED)
    assert world.oracle.read("undelivered", asked.request_id) == bytes(32)
    with pytest.raises(Reverted, match="NothingToRetry"):
        retry(world, asked)
    assert consumer.read("calls") == 1


def test_retry__with_more_gas__gets_exactly_that(
    world: World, broken: tuple[Contract, Ticket]
) -> None:
    consumer, asked = broken
    consumer("repair")
    retry(world, asked, gasLimit=900_000)
    assert 899_000 < consumer.read("gasAtEntry") < 900_000


def test_retry__with_less_gas_than_promised__is_refused(
    world: World, broken: tuple[Contract, Ticket]
) -> None:
    _, asked = broken
    with pytest.raises(Reverted, match="RetryGas") as caught:
        retry(world, asked, gasLimit=asked.callback_gas - 1)
    assert caught.value.values == (asked.callback_gas - 1, asked.callback_gas)


@pytest.mark.parametrize(
    "changes",
    [
        {"output": DELIVERED[:-1] + b"\7"},
        {"callbackData": b"other"},
        {"callbackContract": THIEF},
        {"callbackGas": 1},
        {"refundTo": THIEF},
        {"requestId": 7},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_retry__of_something_else__is_refused(
    world: World, broken: tuple[Contract, Ticket], changes: dict[str, Any]
) -> None:
    consumer, asked = broken
    consumer("repair")
    with pytest.raises(Reverted, match="NothingToRetry"):
        retry(world, asked, **changes)


def test_retry__callback_that_succeeded__is_refused(world: World) -> None:
    consumer = world.deploy("RecordingConsumer")
    asked = world.ask(consumer)
    world.fulfil(asked)
    with pytest.raises(Reverted, match="NothingToRetry"):
        retry(world, asked)


def test_retry__request_without_callback__is_refused(world: World) -> None:
    asked = world.request()
    world.fulfil(asked)
    with pytest.raises(Reverted, match="NothingToRetry"):
        retry(world, asked)


def test_retry__reentering_retry__is_refused(world: World) -> None:
    consumer = world.deploy("ReentrantConsumer")
    asked = world.ask(consumer, gas=1_000)
    world.fulfil(asked)
    again = (asked.request_id, consumer.address, 1_000, asked.refund_to, 100_000, DELIVERED, b"")
    consumer("prepare", world.oracle.calldata("retryCallback", *again))
    retry(world, asked, gasLimit=500_000)
    assert consumer.read("attacked")
    assert not consumer.read("succeeded")


def test_retry__nested_request__refunds_the_outer_requests_refund_address(world: World) -> None:
    """Not whoever retries, and not the consumer, which may be unable to withdraw."""
    consumer = world.deploy("NestedConsumer")
    context = encode(["uint256", "bytes"], [world.model_id, packed()])
    asked = world.ask(consumer, gas=400_000, data=context)
    assert not world.fulfil(asked).event("RequestFulfilled")["callbackSucceeded"]
    world.chain.fund(consumer.address, FEE + GAS_MONEY)
    assert ticket(retry(world, asked).events).refund_to == asked.refund_to != consumer.address


@pytest.mark.parametrize("before", ["fulfill", "retryCallback"])
def test_request_callback__after_a_callback_in_the_same_transaction__refunds_its_origin(
    world: World, broken: tuple[Contract, Ticket], before: str
) -> None:
    """What holds inside a callback is over with it."""
    consumer, failed = broken
    consumer("repair")
    if before == "fulfill":
        arguments = world.fulfil_arguments(world.ask(consumer))
    else:
        gas, refund_to = failed.callback_gas, failed.refund_to
        arguments = (
            failed.request_id,
            consumer.address,
            gas,
            refund_to,
            gas,
            DELIVERED,
            b"context",
        )
    first = world.oracle.calldata(before, *arguments)
    free = world.register(fee=0)
    second = world.oracle.calldata("requestCallback", free, packed(), ZERO, 0, b"")
    sequence = world.chain.deploy("Sequence")
    receipt = sequence("perform", world.oracle.address, [first, second], sender=BOB)
    assert ticket(receipt.events).refund_to == BOB


# --- diagnose ---

FIELDS = (
    "reason",
    "gasMoneyShort",
    "topUpRequired",
    "secondsLeft",
    "callbackMissing",
    "callbackGasLow",
    "modelClosed",
    "verifierLost",
)


@pytest.fixture
def lens(world: World) -> Contract:
    return world.deploy("InferenceLens")


def diagnose(lens: Contract, asked: Ticket) -> dict[str, Any]:
    found = lens.read("diagnose", asked.request_id, asked.preimage, asked.input)
    return dict(zip(FIELDS, found, strict=True))


def test_diagnose__open_request__is_waiting_with_its_time_left(
    world: World, lens: Contract
) -> None:
    asked = world.request(lifetime=60)
    world.chain.advance(10)
    found = diagnose(lens, asked)
    assert found == dict.fromkeys(FIELDS, 0) | {"reason": R_WAITING, "secondsLeft": 50}


def test_diagnose__ended_requests__say_how(
    world: World, lens: Contract, broken: tuple[Contract, Ticket]
) -> None:
    done, late = world.request(), world.request(lifetime=60)
    world.fulfil(done)
    world.chain.advance(61)
    assert diagnose(lens, late)["reason"] == R_EXPIRED
    world.refund(late)
    assert diagnose(lens, done)["reason"] == R_FULFILLED
    assert diagnose(lens, late)["reason"] == R_REFUNDED
    assert diagnose(lens, broken[1])["reason"] == R_UNDELIVERED
    assert diagnose(lens, replace(done, request_id=7))["reason"] == R_UNKNOWN


def test_diagnose__other_terms__are_a_mismatch(world: World, lens: Contract) -> None:
    asked = world.request()
    top_up(world, asked, GAS_MONEY)
    assert diagnose(lens, asked)["reason"] == R_MISMATCH


def test_diagnose__other_input__is_a_mismatch(world: World, lens: Contract) -> None:
    asked = world.request()
    found = lens.read("diagnose", asked.request_id, asked.preimage, asked.input + b"\0")
    assert found[0] == R_MISMATCH


@pytest.mark.parametrize(("codec", "row"), [(0, packed()), (1, b"1 2 3 4 ")])
def test_diagnose__request_of_several_rows__looks_at_its_own_verifier(
    world: World, lens: Contract, codec: int, row: bytes
) -> None:
    wide = world.chain.deploy("HashVerifier")
    circuits = [world.circuit(), world.circuit(size=4, verifier=wide.address)]
    model = world.register(codec=codec, verifiers=circuits)
    single = world.request(model_id=model, data=row)
    several = ticket(
        world.oracle(
            "requestBatchInference", 3, model, row * 3, ZERO, 0, b"", 0, 0, value=3 * FEE
        ).events
    )

    def lost() -> list[bool]:
        return [bool(diagnose(lens, asked)["verifierLost"]) for asked in (single, several)]

    assert lost() == [False, False]
    world.chain.erase_code(wide.address)
    assert lost() == [False, True]
    with pytest.raises(Reverted, match="VerifierChanged"):
        world.fulfil(several, outputs=RESULT * 4, proof=b"")


def test_diagnose__dead_callback_closed_model_lost_verifier__are_named(
    world: World, lens: Contract
) -> None:
    consumer = world.deploy("RecordingConsumer")
    asked = world.ask(consumer, gas=24_999)
    assert diagnose(lens, asked)["callbackGasLow"]
    assert not diagnose(lens, world.ask(consumer, gas=25_000))["callbackGasLow"]
    assert not diagnose(lens, asked)["callbackMissing"]
    world.chain.erase_code(consumer.address)
    world.registry("close", world.model_id, sender=PUBLISHER)
    world.chain.erase_code(world.verifier.address)
    found = diagnose(lens, asked)
    assert (found["callbackMissing"], found["modelClosed"], found["verifierLost"]) == (1, 1, 1)
    assert found["reason"] == R_WAITING


def test_status__after_retry__stays_fulfilled(
    world: World, broken: tuple[Contract, Ticket]
) -> None:
    consumer, asked = broken
    consumer("repair")
    retry(world, asked)
    assert world.status(asked) == FULFILLED
