"""Wei in, wei out: fees, gas payments, refunds, withdrawals."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle import fees, tensor
from tests.contracts.evm import Receipt, Reverted
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
    packed,
)

PUBLISHER_FEE = FEE // 4
MOST_CALLBACK_DATA = 8_192


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


@pytest.mark.parametrize("to", ["nobody", "consumer"])
def test_fulfill__gas_payment__covers_long_callback_data(world: World, to: str) -> None:
    world.fulfil(world.request())
    data = b"\xff" * MOST_CALLBACK_DATA
    if to == "nobody":
        asked = world.request(value=FEE + 10 * GAS_MONEY, callback_data=data)
    else:
        consumer = world.deploy("RevertingConsumer")
        asked = world.ask(consumer, data=data, value=FEE + 10 * GAS_MONEY)
    receipt = world.fulfil(asked)
    cost = receipt.gas_used * world.chain.gas_price
    assert cost <= receipt.event("RequestFulfilled")["gasPaid"] <= cost * 1.05


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("codec", [0, 1])
def test_fulfilment__gas_payment__covers_the_encoding_of_long_outputs(
    world: World, codec: int, count: int
) -> None:
    """As text, the outputs' encoding costs more than all the rest."""
    length = 100
    model = world.register(
        codec=codec,
        sizes=(1, 4),
        verifier=world.chain.deploy("FixedAnswerVerifier", (1).to_bytes(32, "big")).address,
        output=(length, 4, 14, -(2**31), 2**31 - 1),
    )
    outputs = [tensor.to_field(-123_456_789)] * length * count

    def fulfil() -> Receipt:
        tickets = [
            world.request(model_id=model, data=b"1,2,3,4" if codec else packed(), value=10**15)
            for _ in range(count)
        ]
        items = [(t.request_id, t.preimage, t.input, t.callback_data) for t in tickets]
        if count == 1:
            return world.oracle("fulfill", *items[0], NODE, outputs, b"proof", sender=NODE)
        return world.oracle("fulfillBatch", items, NODE, outputs, b"proof", sender=NODE)

    fulfil()
    receipt = fulfil()
    paid = [e.values["gasPaid"] for e in receipt.events if e.name == "RequestFulfilled"]
    cost = receipt.gas_used * world.chain.gas_price
    assert len(paid) == count
    assert cost <= sum(paid) <= cost * 1.2


def test_quote__most_callback_data__covers_the_least_price_of_calldata(world: World) -> None:
    """Where a transaction pays for its calldata alone if that is more (EIP-7623): with a proof of
    usual length, and a verifier of usual cost, it is not."""
    verifier = world.chain.deploy("CostlyVerifier")
    model = world.register(verifier=verifier.address, verifyGas=344_000)
    asked = world.request(model_id=model, callback_data=b"\xff" * MOST_CALLBACK_DATA)
    proof = b"\xff" * 3_000
    calldata = world.oracle.calldata("fulfill", *world.fulfil_arguments(asked, proof=proof))
    floor = 21_000 + sum(40 if byte else 10 for byte in calldata)
    receipt = world.fulfil(asked, proof=proof)
    assert floor * world.chain.gas_price <= receipt.event("RequestFulfilled")["gasPaid"]
    assert max(floor, receipt.gas_used) <= asked.gas_units


def test_request__more_callback_data__is_refused(world: World) -> None:
    limit = world.oracle.read("MAX_CALLBACK_DATA")
    assert limit == MOST_CALLBACK_DATA
    with pytest.raises(Reverted, match="CallbackDataTooLong") as caught:
        world.request(callback_data=bytes(limit + 1))
    assert caught.value.values == (limit + 1, limit)
    world.request(callback_data=bytes(limit))


def test_request__more_gas_than_a_transaction_may_use__is_refused(world: World) -> None:
    limit = 2**24
    model = world.register(
        verifyGas=10_000_000, input=(5_000, 2, 0, -1, 1), output=(500, 2, 0, -1, 1)
    )
    rest = limit - 160_000 - 10_000_000 - 5_500 * world.oracle.read("ELEMENT_GAS")
    asked = {"model_id": model, "data": bytes(10_000), "callback_contract": ALICE}
    assert world.request(**asked, callback_gas=rest).gas_units == limit
    with pytest.raises(Reverted, match="TooMuchGas") as caught:
        world.request(**asked, callback_gas=rest + 1)
    assert caught.value.values == (limit + 1, limit)
    world.oracle.read("estimateFee", model, rest)
    with pytest.raises(Reverted, match="TooMuchGas"):
        world.oracle.read("estimateFee", model, rest + 1)


def test_request__money_beyond_96_bits__is_refused(world: World) -> None:
    world.chain.fund(ALICE, 2**97)
    with pytest.raises(Reverted, match="SafeCast"):
        world.request(value=FEE + 2**96)


def test_quote__many_packed_numbers__covers_their_fulfilment(world: World) -> None:
    """Each of them as dear as can be, with a verifier that uses all its gas, at the gas limit that
    a node sets."""
    length = 1_000
    greatest = tensor.R // 2
    model = world.register(
        verifier=world.chain.deploy("CostlyVerifier").address,
        input=(length, 31, 0, -(2**247) + 1, 2**247 - 1),
        output=(length, 32, 0, -greatest, greatest),
    )
    asked = world.request(model_id=model, data=b"\x55" * 31 * length, value=10**15)
    arguments = (
        asked.request_id,
        asked.preimage,
        asked.input,
        asked.callback_data,
        NODE,
        [greatest] * length,
        b"\xff" * 3_000,
    )
    limit = fees.gas_limit(asked.gas_units, world.oracle.calldata("fulfill", *arguments))
    used = world.oracle("fulfill", *arguments, sender=NODE, gas=limit).gas_used
    assert used <= asked.gas_units


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


def test_withdraw__to_nobody_or_the_oracle_itself__is_refused(world: World) -> None:
    world.fulfil(world.request())
    for recipient in (ZERO, world.oracle.address):
        with pytest.raises(Reverted, match="NothingToWithdraw"):
            world.oracle("withdrawTo", recipient, sender=NODE)


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
