from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_abi import encode
from eth_utils import keccak

from tests.contracts.evm import CHAIN_ID, Reverted
from tests.contracts.world import (
    ALICE,
    BOB,
    FEE,
    GAS_MONEY,
    INPUT,
    NUMBERS,
    OPEN,
    THIEF,
    UNKNOWN,
    ZERO,
    World,
    packed,
)


def test_request__stores_only_the_hash_of_its_terms(world: World) -> None:
    ticket = world.request(lifetime=60)
    expected = keccak(
        encode(
            [
                "address",
                "uint256",
                "address",
                "uint64",
                "address",
                "uint64",
                "uint96",
                "uint96",
                "uint64",
                "uint16",
                "bytes32",
                "bytes32",
            ],
            ticket.preimage,
        )
    )
    assert world.oracle.read("commitments", ticket.request_id) == expected
    assert ticket.fee == FEE
    assert ticket.gas_money == GAS_MONEY
    assert ticket.deadline == world.chain.now + 60
    assert world.chain.balance(world.oracle.address) == FEE + GAS_MONEY
    assert world.status(ticket) == OPEN
    assert not world.oracle.read("isFinalized", ticket.request_id)


def test_request__id__is_derived_from_its_content(world: World) -> None:
    """A request mined again after a reorg gets the same id; anything else gets another."""
    numbers = tuple(NUMBERS), tuple(reversed(NUMBERS))
    asked = [(ALICE, 0), (ALICE, 0), (BOB, 0), (ALICE, 1), (ALICE, 0), (ALICE, 1)]
    tickets = [world.request(who, data=packed(numbers[which])) for who, which in asked]
    # New questions are not counted; what an account asks again is.
    for ticket, repeat in zip(tickets, (0, 1, 0, 0, 2, 3), strict=True):
        content = (
            CHAIN_ID,
            world.oracle.address,
            repeat,
            ticket.account,
            world.model_id,
            keccak(ticket.input),
        )
        types = ["uint256", "address", "uint256", "address", "uint256", "bytes32"]
        assert ticket.request_id == int.from_bytes(keccak(encode(types, content)), "big")


def test_status__unknown_request__is_not_final(world: World) -> None:
    assert world.oracle.read("status", 7) == UNKNOWN
    assert not world.oracle.read("isFinalized", 7)


@pytest.mark.parametrize("length", [0, 7, 9, 16])
def test_request__wrong_input_length__is_rejected(world: World, length: int) -> None:
    with pytest.raises(Reverted, match="InputLength") as caught:
        world.request(data=bytes(length))
    assert caught.value.values == (length, 8)


def test_request__unbounded_input__is_rejected_before_it_is_read(world: World) -> None:
    with pytest.raises(Reverted, match="InputLength"):
        world.request(data=bytes(100_000))


@pytest.mark.parametrize("index", range(INPUT.length))
@pytest.mark.parametrize("value", [INPUT.minimum - 1, INPUT.maximum + 1, -(2**15), 2**15 - 1])
def test_request__element_out_of_range__names_it(world: World, index: int, value: int) -> None:
    numbers = list(NUMBERS)
    numbers[index] = value
    with pytest.raises(Reverted, match="InputRange") as caught:
        world.request(data=packed(numbers))
    assert caught.value.values == (index, value)


def test_request__elements_at_the_edges__are_accepted(world: World) -> None:
    edges = [INPUT.minimum, INPUT.maximum, 0, -1]
    ticket = world.request(data=packed(edges))
    world.fulfil(ticket)


@pytest.mark.parametrize(
    ("target", "gas"), [(ALICE, 0), (ZERO, 1), (BOB, 100_000), (ALICE, 5_000_001)]
)
def test_request__inconsistent_callback__is_rejected(world: World, target: str, gas: int) -> None:
    with pytest.raises(Reverted, match="InvalidCallback"):
        world.request(ALICE, callback_contract=target, callback_gas=gas)


def test_request__spoofed_callback_target__is_rejected(world: World) -> None:
    victim = world.deploy("RecordingConsumer")
    spoofer = world.chain.deploy("SpoofingCaller")
    with pytest.raises(Reverted, match="InvalidCallback"):
        spoofer(
            "ask",
            world.oracle.address,
            world.model_id,
            packed(),
            victim.address,
            sender=THIEF,
            value=FEE + GAS_MONEY,
        )


def test_request__deadline_bounds__are_held(world: World) -> None:
    for lifetime in (0, -1, 30 * 86_400 + 1):
        with pytest.raises(Reverted, match="InvalidDeadline"):
            world.request(lifetime=lifetime)
    world.request(lifetime=1)
    world.request(lifetime=30 * 86_400)


def test_request__zero_refund_address__is_rejected(world: World) -> None:
    with pytest.raises(Reverted, match="InvalidRefundAddress"):
        world.request(refund_to=ZERO)


def test_request__less_than_the_fee__is_rejected(world: World) -> None:
    with pytest.raises(Reverted, match="Underpaid") as caught:
        world.request(value=FEE - 1)
    assert caught.value.values == (FEE - 1, FEE)
    assert world.request(value=FEE).gas_money == 0


def test_request__more_money_than_the_terms_can_hold__is_rejected(world: World) -> None:
    world.chain.fund(ALICE, 2**100)
    with pytest.raises(Reverted, match="SafeCastOverflowedUintDowncast"):
        world.request(value=FEE + 2**96)


def test_request_callback__defaults__refund_the_account_and_last_a_day(world: World) -> None:
    consumer = world.deploy("RecordingConsumer")
    ticket = world.ask(consumer, sender=BOB, data=b"context")
    assert ticket.account == ticket.callback_contract == consumer.address
    assert ticket.refund_to == BOB
    assert ticket.deadline == world.chain.now + 86_400
    assert ticket.callback_data == b"context"
    assert ticket.callback_gas == 200_000


def test_request_callback__never_calls_back_inside_the_request(world: World) -> None:
    consumer = world.deploy("RecordingConsumer")
    world.ask(consumer)
    assert consumer.read("calls") == 0


TERMS: dict[str, Any] = {
    "account": THIEF,
    "model_id": 2,
    "callback_contract": THIEF,
    "callback_gas": 1,
    "refund_to": THIEF,
    "deadline": 2_000_000_000,
    "fee": FEE + 1,
    "gas_money": GAS_MONEY + 1,
    "gas_units": 1,
    "protocol_bps": 1,
    "input": packed([0, 0, 0, 0]),
    "callback_data": b"other",
}


@pytest.mark.parametrize("field", TERMS)
def test_terms__changed_after_the_request__match_no_commitment(world: World, field: str) -> None:
    ticket = world.request()
    forged = replace(ticket, **{field: TERMS[field]})
    assert forged != ticket
    with pytest.raises(Reverted, match="CommitmentMismatch"):
        world.fulfil(forged)
    world.chain.advance(3601)
    with pytest.raises(Reverted, match="CommitmentMismatch"):
        world.refund(forged)
