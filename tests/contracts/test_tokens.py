"""Fees in ERC-20 tokens: nobody is credited with more than arrived."""

from __future__ import annotations

from typing import Any

import pytest
from eth_utils import keccak

from oracle import tensor
from tests.contracts.evm import Contract, Reverted
from tests.contracts.world import (
    ALICE,
    BOB,
    FEE,
    GAS_MONEY,
    NODE,
    OUTPUT,
    OWNER,
    RECEIVER,
    RESULT,
    ZERO,
    World,
    packed,
    ticket,
)

FUNDS = 100 * FEE


def token_of(world: World, name: str) -> Contract:
    """A token that ALICE holds and lets the oracle take."""
    token = world.chain.deploy(name)
    token("mint", ALICE, FUNDS)
    token("approve", world.oracle.address, 2**256 - 1, sender=ALICE)
    return token


def held(token: Contract, account: str) -> int:
    return int(token.read("balanceOf", account))


@pytest.fixture
def token(world: World) -> Contract:
    return token_of(world, "TestToken")


@pytest.mark.parametrize("name", ["TestToken", "NoReturnToken"])
def test_token_fee__is_pulled_shared_and_withdrawn(world: World, name: str) -> None:
    token = token_of(world, name)
    world.oracle("setProtocolFee", 1_000, sender=OWNER)
    asked = world.request(model_id=world.register(token=token.address), value=GAS_MONEY)
    assert (asked.fee, asked.gas_money) == (FEE, GAS_MONEY)
    assert held(token, world.oracle.address) == FEE
    done = world.fulfil(asked).event("RequestFulfilled")
    rest = FEE - FEE // 10
    shares = {NODE: rest - rest // 4, RECEIVER: rest // 4, world.oracle.address: FEE // 10}
    assert {who: world.credit(who, token.address) for who in shares} == shares
    assert done["feePaid"] == shares[NODE]
    assert world.credit(NODE) == done["gasPaid"]
    world.oracle("withdrawTo", token.address, BOB, sender=NODE)
    world.oracle("withdrawProtocolFees", token.address, BOB, sender=OWNER)
    world.oracle("withdrawTo", token.address, BOB, sender=RECEIVER)
    assert held(token, BOB) == FEE
    with pytest.raises(Reverted, match="NothingToWithdraw"):
        world.oracle("withdrawTo", token.address, BOB, sender=NODE)


def test_token_fee__refund__returns_both_currencies(world: World, token: Contract) -> None:
    model = world.register(token=token.address)
    asked = world.request(model_id=model, value=GAS_MONEY, refund_to=BOB, lifetime=60)
    world.chain.advance(61)
    world.refund(asked)
    assert (world.credit(BOB), world.credit(BOB, token.address)) == (GAS_MONEY, FEE)


def test_token_fee__gas_money__is_eth_and_cannot_come_from_the_token(
    world: World, token: Contract
) -> None:
    model = world.register(token=token.address)
    assert world.oracle.read("estimateFee", model, 0) == 0
    assert world.request(model_id=model, value=0).gas_money == 0


def test_token_fee__without_allowance__reverts(world: World, token: Contract) -> None:
    with pytest.raises(Reverted, match="ERC20InsufficientAllowance"):
        world.request(BOB, model_id=world.register(token=token.address), value=0)


def test_token_fee__fee_on_transfer__is_refused(world: World) -> None:
    model = world.register(token=token_of(world, "FeeOnTransferToken").address)
    with pytest.raises(Reverted, match="TokenShortfall") as caught:
        world.request(model_id=model, value=GAS_MONEY)
    assert caught.value.values[1:] == (FEE - FEE // 100, FEE)


def test_token_fee__token_that_answers_false__is_refused(world: World) -> None:
    model = world.register(token=world.chain.deploy("FalseToken").address)
    with pytest.raises(Reverted, match="SafeERC20FailedOperation"):
        world.request(model_id=model, value=GAS_MONEY)


def test_token_fee__token_switched_off__holds_only_its_own_credits(world: World) -> None:
    token = token_of(world, "NoReturnToken")
    world.fulfil(world.request(model_id=world.register(token=token.address), value=GAS_MONEY))
    token("switchOff")
    with pytest.raises(Reverted):
        world.oracle("withdrawTo", token.address, BOB, sender=NODE)
    world.oracle("withdrawTo", BOB, sender=NODE)
    assert world.credit(NODE, token.address) > 0


def test_token_fee__payment_inside_a_payment__is_refused(world: World) -> None:
    """A token that calls its holder during a transfer: what the holder deposits meanwhile must not
    count for the request as well."""
    token = world.chain.deploy("HookedToken")
    payer = world.chain.deploy("DoublePayer", world.oracle.address, token.address)
    token("mint", payer.address, FUNDS)
    model = world.register(token=token.address)
    with pytest.raises(Reverted, match="NestedTokenPayment"):
        payer("ask", model, packed(), value=GAS_MONEY)


def test_token_fee__two_payments_in_one_transaction__are_both_taken(
    world: World, token: Contract
) -> None:
    """One after the other, unlike one inside the other."""
    sequence = world.chain.deploy("Sequence")
    token("mint", sequence.address, 2 * FEE)
    allow = token.calldata("approve", world.oracle.address, 2 * FEE)
    sequence("perform", token.address, [allow])
    model = world.register(token=token.address)
    ask = world.oracle.calldata("requestCallback", model, packed(), ZERO, 0, b"")
    sequence("perform", world.oracle.address, [ask, ask])
    assert held(token, world.oracle.address) == 2 * FEE


@pytest.mark.parametrize("function", ["fulfill", "fulfillBatch", "retryCallback"])
def test_token_fee__delivery_inside_a_payment__is_refused(world: World, function: str) -> None:
    """A callback run there could not pay for a request in tokens: whoever delivers could make any
    such callback fail."""
    token = world.chain.deploy("CallingToken")
    payer = world.deploy("Interrupter", token.address)
    token("mint", payer.address, FUNDS)
    consumer = world.deploy("RepairableConsumer")
    asked = world.ask(consumer)
    if function == "fulfill":
        arguments = world.fulfil_arguments(asked)
    elif function == "fulfillBatch":
        arguments = world.batch_arguments([asked], size=1)
    else:
        world.fulfil(asked)
        gas, output = asked.callback_gas, tensor.pack(RESULT, OUTPUT.width)
        arguments = (asked.request_id, consumer.address, gas, asked.refund_to, gas, output, b"")
    consumer("repair")
    model = world.register(token=token.address)
    payer("ask", model, packed(), world.oracle.calldata(function, *arguments), value=GAS_MONEY)
    assert held(token, world.oracle.address) == FEE
    assert not payer.read("succeeded")
    assert payer.read("answer") == keccak(text="NestedTokenPayment()")[:4]
    world.oracle(function, *arguments)
    assert consumer.read("calls") == 1


def test_token_fee__of_many_rows_beyond_96_bits__is_refused(world: World, token: Contract) -> None:
    """Cut to 96 bits, two rows would cost two units."""
    model = world.register(token=token.address, fee=2**95 + 1, sizes=(1, 2))
    with pytest.raises(Reverted, match="SafeCast"):
        world.oracle(
            "requestBatchInference", 2, model, packed() * 2, ZERO, 0, b"", 0, 0, sender=ALICE
        )


@pytest.mark.parametrize("token_name", ["TestToken", "NoReturnToken"])
def test_withdraw_token__to_nobody_or_the_oracle_itself__is_refused(
    world: World, token_name: str
) -> None:
    token = token_of(world, token_name)
    world.oracle("depositToken", token.address, BOB, 1_000, sender=ALICE)
    world.oracle("depositToken", token.address, world.oracle.address, 1_000, sender=ALICE)
    for recipient in (ZERO, world.oracle.address):
        with pytest.raises(Reverted, match="NothingToWithdraw"):
            world.oracle("withdrawTo", token.address, recipient, sender=BOB)
        with pytest.raises(Reverted, match="NothingToWithdraw"):
            world.oracle("withdrawProtocolFees", token.address, recipient, sender=OWNER)
    assert world.credit(BOB, token.address) == 1_000


def test_withdraw_token__token_that_answers_false__keeps_the_credit(world: World) -> None:
    token = token_of(world, "MiserToken")
    world.oracle("depositToken", token.address, BOB, 1_000, sender=ALICE)
    with pytest.raises(Reverted, match="SafeERC20FailedOperation"):
        world.oracle("withdrawTo", token.address, BOB, sender=BOB)
    assert world.credit(BOB, token.address) == 1_000


def test_token_fee__batch__is_for_all_rows(world: World, token: Contract) -> None:
    model = world.register(token=token.address, sizes=(1, 4))
    receipt = world.oracle(
        "requestBatchInference", 3, model, packed() * 3, ZERO, 0, b"", 0, 0, sender=ALICE
    )
    assert ticket(receipt.events).fee == 3 * FEE == held(token, world.oracle.address)


def test_deposit_token__credits_what_arrived(world: World) -> None:
    token = token_of(world, "FeeOnTransferToken")
    receipt = world.oracle("depositToken", token.address, BOB, 1_000, sender=ALICE)
    assert receipt.event("Deposited")["amount"] == 990
    assert world.credit(BOB, token.address) == 990 == held(token, world.oracle.address)


@pytest.mark.parametrize("case", ["eth", "nobody", "nothing"])
def test_deposit_token__of_nothing_or_for_nobody__is_refused(
    world: World, token: Contract, case: str
) -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        "eth": (ZERO, BOB, 1),
        "nobody": (token.address, ZERO, 1),
        "nothing": (token.address, BOB, 0),
    }
    with pytest.raises(Reverted, match="InvalidDeposit"):
        world.oracle("depositToken", *arguments[case], sender=ALICE)


def test_worthless_token__cannot_be_withdrawn_as_another(world: World, token: Contract) -> None:
    other = token_of(world, "NoReturnToken")
    world.oracle("depositToken", token.address, BOB, 1_000, sender=ALICE)
    for currency in (other.address, ZERO):
        with pytest.raises(Reverted, match="NothingToWithdraw"):
            world.oracle("withdrawTo", currency, BOB, sender=BOB)
