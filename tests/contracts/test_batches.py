"""One proof for many requests, and one request for many inputs: every item on its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from oracle import tensor
from tests.contracts.evm import Reverted
from tests.contracts.world import (
    ALICE,
    BOB,
    FEE,
    FULFILLED,
    GAS_MONEY,
    INPUT,
    NODE,
    NUMBERS,
    OPEN,
    OUTPUT,
    RECEIVER,
    REFUNDED,
    RESULT,
    THIEF,
    ZERO,
    Ticket,
    World,
    packed,
    ticket,
)

SIZE = 4
NOT_OPEN, COMMITMENT_MISMATCH, DEADLINE_PASSED, PREIMAGE_MISMATCH = range(4)


@pytest.fixture
def model(world: World) -> int:
    """A model with circuits for one row and for four."""
    return world.register(sizes=(1, SIZE))


def asks(world: World, model: int, count: int, **how: Any) -> list[Ticket]:
    """Requests with inputs of their own."""
    return [
        world.request(model_id=model, data=packed([i, *NUMBERS[1:]]), **how) for i in range(count)
    ]


def results(receipt: Any) -> dict[int, bytes]:
    """Delivered output bytes by request."""
    found = [e.values for e in receipt.events if e.name == "AICallbackResult"]
    return {event["requestId"]: event["output"] for event in found}


def skipped(receipt: Any) -> dict[int, int]:
    found = [e.values for e in receipt.events if e.name == "RequestSkipped"]
    return {event["requestId"]: event["reason"] for event in found}


@pytest.mark.parametrize("count", [2, 3, SIZE])
def test_batch__each_item_gets_its_own_rows_output(world: World, model: int, count: int) -> None:
    tickets = asks(world, model, count)
    outputs = tuple(range(3 * SIZE))
    receipt = world.fulfil_batch(tickets, size=SIZE, outputs=outputs)
    assert receipt.value == count
    assert results(receipt) == {
        t.request_id: tensor.pack(outputs[3 * i : 3 * i + 3], OUTPUT.width)
        for i, t in enumerate(tickets)
    }
    assert all(world.status(t) == FULFILLED for t in tickets)


def test_batch__one_item__uses_the_circuit_for_one_row(world: World, model: int) -> None:
    assert world.fulfil_batch(asks(world, model, 1), size=1).value == 1


def test_batch__more_items_than_rows__is_refused(world: World, model: int) -> None:
    with pytest.raises(Reverted, match="InvalidBatchSize") as caught:
        world.fulfil_batch(asks(world, model, SIZE + 1), size=SIZE + 1)
    assert caught.value.values == (SIZE + 1, SIZE)


def test_batch__of_nothing__is_refused(world: World) -> None:
    with pytest.raises(Reverted, match="NothingToDeliver"):
        world.oracle("fulfillBatch", [], NODE, [], b"", sender=NODE)


def test_batch__one_finished_item__does_not_stop_the_others(world: World, model: int) -> None:
    tickets = asks(world, model, 3)
    world.fulfil(tickets[1])
    paid_once = world.credit(NODE)
    receipt = world.fulfil_batch(tickets, size=SIZE)
    assert receipt.value == 2
    assert results(receipt).keys() == {tickets[0].request_id, tickets[2].request_id}
    assert skipped(receipt) == {tickets[1].request_id: NOT_OPEN}
    assert world.credit(NODE) > paid_once


def test_batch__expired_refunded_and_changed_items__are_skipped_with_their_reasons(
    world: World, model: int
) -> None:
    expired, refunded = asks(world, model, 2, lifetime=60)
    changed, good = asks(world, model, 2)
    world.chain.advance(61)
    world.refund(refunded)
    world.oracle("topUp", changed.request_id, changed.preimage, sender=BOB, value=changed.gas_money)
    receipt = world.fulfil_batch([expired, refunded, changed, good], size=SIZE)
    assert skipped(receipt) == {
        expired.request_id: DEADLINE_PASSED,
        refunded.request_id: NOT_OPEN,
        changed.request_id: COMMITMENT_MISMATCH,
    }
    assert results(receipt).keys() == {good.request_id}
    assert [world.status(t) for t in (expired, refunded, changed)] == [OPEN, REFUNDED, OPEN]


@pytest.mark.parametrize("field", ["input", "callback_data"])
def test_batch__item_with_other_bytes__is_skipped(world: World, model: int, field: str) -> None:
    good, other = asks(world, model, 2)
    items, *rest = world.batch_arguments([good, other], size=SIZE)
    request_id, preimage, data, context = items[1]
    items[1] = (
        (request_id, preimage, packed([9, 9, 9, 9]), context)
        if field == "input"
        else (request_id, preimage, data, b"other")
    )
    rows = [tensor.unpack(item[2], INPUT) for item in items]
    proof = world.statement(
        tensor.pad(rows, SIZE), [good.request_id, other.request_id], NODE, RESULT * SIZE
    )
    receipt = world.oracle("fulfillBatch", items, *rest[:-1], proof, sender=NODE)
    assert skipped(receipt) == {other.request_id: PREIMAGE_MISMATCH}
    assert world.status(other) == OPEN


def test_batch__the_same_request_twice__is_delivered_and_paid_once(
    world: World, model: int
) -> None:
    (asked,) = asks(world, model, 1, refund_to=ALICE)
    receipt = world.fulfil_batch([asked, asked], size=SIZE)
    assert receipt.value == 1
    assert skipped(receipt) == {asked.request_id: NOT_OPEN}
    paid = sum(map(world.credit, (NODE, RECEIVER, ALICE)))
    assert paid == FEE + GAS_MONEY == world.chain.balance(world.oracle.address)


def test_batch__all_items_finished__says_so_before_the_proof_is_checked(
    world: World, model: int
) -> None:
    tickets = asks(world, model, 2)
    world.fulfil_batch(tickets, size=SIZE)
    with pytest.raises(Reverted, match="NothingToDeliver"):
        world.fulfil_batch(tickets, size=SIZE, proof=b"anything")


def test_batch__requests_for_two_models__are_refused(world: World, model: int) -> None:
    (mine,), (other,) = asks(world, model, 1), asks(world, world.model_id, 1)
    with pytest.raises(Reverted, match="MixedModels") as caught:
        world.fulfil_batch([mine, other], size=SIZE)
    assert caught.value.values == (other.request_id,)


@pytest.mark.parametrize("wrong", ["order", "padding", "payee", "ids", "output"])
def test_batch__proof_of_another_statement__is_rejected(
    world: World, model: int, wrong: str
) -> None:
    tickets = asks(world, model, 3)
    rows = [tensor.unpack(t.input, INPUT) for t in tickets]
    ids = [t.request_id for t in tickets]
    statement: dict[str, Any] = {
        "numbers": tensor.pad(rows, SIZE),
        "request_ids": ids,
        "payee": NODE,
        "outputs": RESULT * SIZE,
    }
    statement |= {
        "order": {"request_ids": ids[::-1]},
        "padding": {"numbers": tensor.pad([*rows, rows[1]], SIZE)},
        "payee": {"payee": THIEF},
        "ids": {"request_ids": ids[:2]},
        "output": {"outputs": (RESULT[0] + 1, *(RESULT * SIZE)[1:])},
    }[wrong]
    with pytest.raises(Reverted, match="ProofRejected"):
        world.fulfil_batch(tickets, size=SIZE, proof=world.statement(**statement))
    world.fulfil_batch(tickets, size=SIZE)


@pytest.mark.parametrize("count", [0, 3 * SIZE - 1, 3 * SIZE + 1, 9])
def test_batch__outputs_without_the_padding__are_rejected(
    world: World, model: int, count: int
) -> None:
    with pytest.raises(Reverted, match="OutputLength") as caught:
        world.fulfil_batch(asks(world, model, 3), size=SIZE, outputs=[1] * count)
    assert caught.value.values == (count, 3 * SIZE)


def test_batch__output_of_a_padding_row__is_ignored_whatever_it_is(
    world: World, model: int
) -> None:
    outputs = (*(RESULT * 2), *[OUTPUT.maximum + 1] * 6)
    assert world.fulfil_batch(asks(world, model, 2), size=SIZE, outputs=outputs).value == 2


def test_batch__output_of_a_delivered_row_out_of_range__is_rejected(
    world: World, model: int
) -> None:
    outputs = (OUTPUT.maximum + 1, *(RESULT * SIZE)[1:])
    with pytest.raises(Reverted, match="InvalidOutput"):
        world.fulfil_batch(asks(world, model, 2), size=SIZE, outputs=outputs)


def test_batch__hostile_consumers__do_not_stop_the_others(world: World, model: int) -> None:
    names = ("RevertingConsumer", "BurningConsumer", "RecordingConsumer")
    consumers = [world.deploy(name) for name in names]
    tickets = [
        ticket(c("ask", model, packed(), 200_000, b"", value=FEE + GAS_MONEY).events)
        for c in consumers
    ]
    receipt = world.fulfil_batch(tickets, size=SIZE)
    assert receipt.value == 3
    done = [e.values for e in receipt.events if e.name == "RequestFulfilled"]
    assert [event["callbackSucceeded"] for event in done] == [False, False, True]
    assert consumers[2].read("output") == tensor.pack(RESULT, OUTPUT.width)


def test_batch__callback_that_ends_another_item__finds_it_ended(world: World, model: int) -> None:
    """All items end before the first callback, and what ends requests is guarded anyway."""
    consumer = world.deploy("ReentrantConsumer")
    first = ticket(consumer("ask", model, packed(), 1_000_000, b"", value=FEE + GAS_MONEY).events)
    second = world.request(model_id=model)
    consumer("prepare", world.oracle.calldata("refund", second.request_id, second.preimage))
    receipt = world.fulfil_batch([first, second], size=SIZE)
    assert receipt.value == 2
    assert consumer.read("attacked")
    assert not consumer.read("succeeded")


def test_batch__gas_of_the_proof__is_shared(world: World, model: int) -> None:
    """Three requests pay what the transaction cost, each about a third, to the wei."""
    world.fulfil(world.request(refund_to=BOB))
    before, spare = world.credit(NODE), world.credit(BOB)
    tickets = asks(world, model, 3, refund_to=BOB)
    receipt = world.fulfil_batch(tickets, size=SIZE)
    done = [e.values for e in receipt.events if e.name == "RequestFulfilled"]
    paid = [event["gasPaid"] for event in done]
    cost = receipt.gas_used * 10
    assert cost <= sum(paid) <= cost * 1.2
    assert max(paid) - min(paid) < cost * 0.1
    assert world.credit(NODE) - before == sum(paid) + 3 * (FEE - FEE // 4)
    assert world.credit(BOB) == spare + sum(t.gas_money for t in tickets) - sum(paid)


def test_batch__small_escrow__pays_no_more_than_it_has(world: World, model: int) -> None:
    poor = world.request(model_id=model, value=FEE + 1, refund_to=BOB)
    rich = world.request(model_id=model, refund_to=ALICE)
    world.chain.gas_price = 10**9
    receipt = world.fulfil_batch([poor, rich], size=SIZE)
    done = [e.values["gasPaid"] for e in receipt.events if e.name == "RequestFulfilled"]
    assert done[0] <= poor.gas_money
    assert done[1] <= rich.gas_money
    assert world.credit(BOB) == poor.gas_money - done[0]


def request_batch(world: World, model: int, rows: int, **how: Any) -> Ticket:
    data = b"".join(packed([i, *NUMBERS[1:]]) for i in range(rows))
    value = rows * FEE + GAS_MONEY
    arguments = {"size": rows, "data": data, "value": value, "da": (0, 0)} | how
    receipt = world.oracle(
        "requestBatchInference",
        arguments["size"],
        model,
        arguments["data"],
        ZERO,
        0,
        b"",
        *arguments["da"],
        sender=ALICE,
        value=arguments["value"],
    )
    return ticket(receipt.events)


@pytest.mark.parametrize("rows", [1, 2, 3, SIZE])
def test_request_batch__all_rows__come_back_in_one_output(
    world: World, model: int, rows: int
) -> None:
    asked = request_batch(world, model, rows)
    assert asked.fee == rows * FEE
    size = 1 if rows == 1 else SIZE
    width = INPUT.length * INPUT.width
    inputs = [
        tensor.unpack(asked.input[i : i + width], INPUT) for i in range(0, rows * width, width)
    ]
    outputs = tuple(range(3 * size))
    proof = world.statement(tensor.pad(inputs, size), [asked.request_id], NODE, outputs)
    receipt = world.fulfil(asked, outputs=outputs, proof=proof)
    delivered = receipt.event("AICallbackResult")["output"]
    assert delivered == tensor.pack(outputs[: 3 * rows], OUTPUT.width)
    assert receipt.event("RequestFulfilled")["feePaid"] == rows * (FEE - FEE // 4)


@pytest.mark.parametrize("size", [0, SIZE + 1, 2**255])
def test_request_batch__size_without_a_circuit__is_refused(
    world: World, model: int, size: int
) -> None:
    with pytest.raises(Reverted, match="InvalidBatchSize") as caught:
        request_batch(world, model, 2, size=size)
    assert caught.value.values == (size, SIZE)
    with pytest.raises(Reverted, match="InvalidBatchSize"):
        world.oracle.read("estimateFeeBatch", model, 0, size)


def test_request_batch__input_of_another_length__is_refused(world: World, model: int) -> None:
    with pytest.raises(Reverted, match="InputLength") as caught:
        request_batch(world, model, 2, size=3)
    assert caught.value.values == (16, 24)


def test_request_batch__element_of_a_later_row_out_of_range__names_it(
    world: World, model: int
) -> None:
    data = packed() + packed([0, 0, INPUT.maximum + 1, 0])
    with pytest.raises(Reverted, match="InputRange") as caught:
        request_batch(world, model, 2, data=data)
    assert caught.value.values == (6, INPUT.maximum + 1)


def test_request_batch__fee_for_fewer_rows__is_underpaid(world: World, model: int) -> None:
    with pytest.raises(Reverted, match="Underpaid"):
        request_batch(world, model, 3, value=3 * FEE - 1)


@pytest.mark.parametrize("da", [(1, 0), (0, 1), (2, 2)])
def test_request__other_data_availability__is_refused(
    world: World, model: int, da: tuple[int, int]
) -> None:
    with pytest.raises(Reverted, match="UnsupportedDataAvailability"):
        request_batch(world, model, 2, da=da)
    with pytest.raises(Reverted, match="UnsupportedDataAvailability"):
        world.oracle("requestCallback", model, packed(), ZERO, 0, b"", *da, value=FEE)


def test_request__seven_arguments__equal_the_five(world: World) -> None:
    receipt = world.oracle(
        "requestCallback", world.model_id, packed(), ZERO, 0, b"", 0, 0, sender=ALICE, value=FEE
    )
    world.fulfil(ticket(receipt.events))


def test_batch__request_of_several_rows__cannot_be_an_item(world: World, model: int) -> None:
    wide, narrow = request_batch(world, model, 2), world.request(model_id=model)
    items = [(t.request_id, t.preimage, t.input, t.callback_data) for t in (wide, narrow)]
    with pytest.raises(Reverted, match="InputLength"):
        world.oracle("fulfillBatch", items, NODE, [0] * 12, b"", sender=NODE)


def test_estimate_fee_batch__one_row__equals_estimate_fee(world: World, model: int) -> None:
    assert world.oracle.read("estimateFeeBatch", model, 7, 1) == world.oracle.read(
        "estimateFee", model, 7
    )


def test_batch__item_with_a_forged_preimage__is_skipped(world: World, model: int) -> None:
    good, victim = asks(world, model, 2)
    receipt = world.fulfil_batch([good, replace(victim, refund_to=THIEF)], size=SIZE)
    assert skipped(receipt) == {victim.request_id: COMMITMENT_MISMATCH}
    assert world.credit(THIEF) == 0
