"""Wei in, wei out: fees, gas payments, refunds, withdrawals."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.evm import Reverted
from tests.contracts.world import (
    ALICE,
    BOB,
    FEE,
    FULFILLED,
    GAS_MONEY,
    NODE,
    RECEIVER,
    REFUNDED,
    THIEF,
    ZERO,
    World,
    make_world,
)

PUBLISHER_FEE = FEE // 4


def all_credits(world: World) -> int:
    return sum(map(world.credit, (ALICE, BOB, NODE, RECEIVER, THIEF)))


@settings(max_examples=40, deadline=None)
@given(
    fee=st.integers(0, 10**20),
    bps=st.integers(0, 10_000),
    surplus=st.integers(0, 10**20),
    gas_price=st.integers(0, 10**14),
)
def test_fulfill__any_amounts__split_to_the_wei(
    fee: int, bps: int, surplus: int, gas_price: int
) -> None:
    world = make_world()
    world.chain.gas_price = gas_price
    model = world.register(fee=fee, receiverBps=bps)
    ticket = world.request(model_id=model, value=fee + surplus, refund_to=BOB)
    fulfilled = world.fulfil(ticket).event("RequestFulfilled")
    publisher = fee * bps // 10_000
    assert world.credit(RECEIVER) == publisher
    assert fulfilled["feePaid"] == fee - publisher
    assert world.credit(NODE) == fulfilled["feePaid"] + fulfilled["gasPaid"]
    assert world.credit(BOB) == surplus - fulfilled["gasPaid"]
    assert all_credits(world) == fee + surplus == world.chain.balance(world.oracle.address)


def test_fulfill__gas_payment__covers_what_the_transaction_cost(world: World) -> None:
    """Within 3%, once the payee's credit exists; the callback is paid for as well."""
    world.fulfil(world.request())
    for callback_gas in (100_000, 2_000_000):
        consumer = world.deploy("BurningConsumer")
        ticket = world.ask(consumer, gas=callback_gas, value=FEE + 10 * GAS_MONEY)
        receipt = world.fulfil(ticket)
        paid = receipt.event("RequestFulfilled")["gasPaid"]
        cost = receipt.gas_used * world.chain.gas_price
        assert cost <= paid <= cost * 1.03


def test_fulfill__gas_price_above_the_escrowed_price__is_paid_at_the_escrowed_price(
    world: World,
) -> None:
    """A spike between request and fulfilment, or a payee who names a price of its own."""
    ticket = world.request()
    world.chain.gas_price = 10**9
    spent = world.fulfil(ticket).event("RequestFulfilled")["gasPaid"]
    # The escrow was made for more gas than a stub verifier uses; the rest still goes back.
    assert 0 < spent < ticket.gas_money / 2
    assert world.credit(ALICE) == ticket.gas_money - spent


def test_fulfill__gas_price_below_the_escrowed_price__is_paid_at_the_lower_price(
    world: World,
) -> None:
    world.chain.gas_price = 1
    receipt = world.fulfil(world.request())
    assert receipt.event("RequestFulfilled")["gasPaid"] < 200_000


def test_fulfill__padded_calldata__earns_nothing(world: World) -> None:
    plain, padded = world.request(), world.request()
    world.fulfil(world.request())
    paid = FEE + world.fulfil(plain).event("RequestFulfilled")["gasPaid"]
    before = world.credit(NODE)
    calldata = world.oracle.calldata("fulfill", *world.fulfil_arguments(padded)) + bytes(10_000)
    world.chain.send(NODE, world.oracle.address, calldata, 0, 16_000_000)
    assert world.credit(NODE) - before <= paid * 1.01


def test_fulfill__more_gas_used_than_escrowed_for__costs_the_escrow_and_no_more(
    world: World,
) -> None:
    """A prover that inflates its proof cannot reach the requester's other credit."""
    world.fulfil(world.request())
    earlier = world.credit(ALICE)
    accepting = world.chain.deploy("FixedAnswerVerifier", (1).to_bytes(32, "big"))
    model = world.register(verifier=accepting.address, verifyGas=50_000)
    ticket = world.request(model_id=model)
    world.chain.gas_price = 10**9
    fulfilled = world.fulfil(ticket, proof=bytes(20_000)).event("RequestFulfilled")
    assert fulfilled["feePaid"] == FEE - PUBLISHER_FEE
    assert fulfilled["gasPaid"] == ticket.gas_money
    assert world.credit(ALICE) == earlier


def test_fulfill__no_gas_money__still_pays_the_fee(world: World) -> None:
    world.fulfil(world.request(value=FEE))
    assert world.credit(NODE) == FEE - PUBLISHER_FEE
    assert world.credit(ALICE) == 0


def test_fulfill__overpaid_request__returns_the_surplus(world: World) -> None:
    ticket = world.request(value=FEE + 10**18)
    world.chain.gas_price = 10
    world.fulfil(ticket)
    assert world.credit(ALICE) > 10**18 - 10**8


def test_refund__after_the_deadline__returns_everything(world: World) -> None:
    ticket = world.request(lifetime=60, refund_to=BOB)
    world.chain.advance(61)
    receipt = world.refund(ticket, sender=THIEF)
    refunded = receipt.event("RequestRefunded")
    assert (refunded["fee"], refunded["gasMoney"]) == (FEE, GAS_MONEY)
    assert world.credit(BOB) == FEE + GAS_MONEY
    assert world.status(ticket) == REFUNDED
    assert world.oracle.read("isFinalized", ticket.request_id)


def test_refund__until_the_deadline__is_refused(world: World) -> None:
    ticket = world.request(lifetime=60)
    world.chain.advance(60)
    with pytest.raises(Reverted, match="DeadlineNotPassed"):
        world.refund(ticket)


def test_refund__twice_or_after_fulfilment__is_refused(world: World) -> None:
    first, second = world.request(lifetime=60), world.request(lifetime=60)
    world.fulfil(first)
    world.chain.advance(61)
    with pytest.raises(Reverted, match="NotOpen") as caught:
        world.refund(first)
    assert caught.value.values == (first.request_id, FULFILLED)
    world.refund(second)
    for end in (world.refund, world.fulfil):
        with pytest.raises(Reverted, match="NotOpen") as caught:
            end(second)
        assert caught.value.values == (second.request_id, REFUNDED)


def test_refund__needs_neither_node_nor_publisher_nor_verifier(world: World) -> None:
    """A vanished node, a closed model and a dead verifier together cannot hold the money."""
    ticket = world.request(lifetime=60)
    world.registry("close", world.model_id, sender="0x" + "b0" * 20)
    world.chain.erase_code(world.verifier.address)
    world.chain.advance(61)
    world.refund(ticket)
    assert world.credit(ALICE) == FEE + GAS_MONEY


def test_withdraw__pays_the_whole_credit_once(world: World) -> None:
    world.fulfil(world.request())
    credit, fresh = world.credit(NODE), "0x" + "99" * 20
    receipt = world.oracle("withdrawTo", fresh, sender=NODE)
    assert receipt.event("Withdrawn")["amount"] == credit
    assert world.chain.balance(fresh) == credit
    assert world.credit(NODE) == 0
    with pytest.raises(Reverted, match="NothingToWithdraw"):
        world.oracle("withdrawTo", fresh, sender=NODE)


def test_withdraw__to_zero__is_refused(world: World) -> None:
    world.fulfil(world.request())
    with pytest.raises(Reverted, match="NothingToWithdraw"):
        world.oracle("withdrawTo", ZERO, sender=NODE)


def test_withdraw__recipient_that_refuses__changes_nothing(world: World) -> None:
    world.fulfil(world.request())
    credit = world.credit(NODE)
    refusing = world.deploy("RecordingConsumer")
    with pytest.raises(Reverted, match="WithdrawalFailed"):
        world.oracle("withdrawTo", refusing.address, sender=NODE)
    assert world.credit(NODE) == credit


def test_request__consumer_that_cannot_be_paid__does_not_trap_its_money(world: World) -> None:
    ticket = world.ask(world.deploy("RecordingConsumer"), sender=ALICE)
    world.fulfil(ticket)
    before = world.chain.balance(ALICE)
    credit = world.credit(ALICE)
    world.oracle("withdrawTo", ALICE, sender=ALICE)
    assert credit > 0
    assert world.chain.balance(ALICE) == before + credit


def test_oracle__plain_ether__is_refused(world: World) -> None:
    with pytest.raises(Reverted):
        world.chain.send(ALICE, world.oracle.address, b"", 1, 100_000)
