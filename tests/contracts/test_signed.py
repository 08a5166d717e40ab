"""Deposits, and requests that one account signs and another submits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import keccak

from tests.contracts.evm import CHAIN_ID, Receipt, Reverted
from tests.contracts.world import (
    ALICE,
    BOB,
    FEE,
    NODE,
    OWNER,
    THIEF,
    ZERO,
    World,
    packed,
    ticket,
)

KEY = Account.from_key(b"\7" * 32)
TIP = 77
FUNDS = 10**18
FIELDS = {
    "account": "address",
    "modelId": "uint256",
    "inputHash": "bytes32",
    "callbackContract": "address",
    "callbackGas": "uint64",
    "callbackDataHash": "bytes32",
    "refundTo": "address",
    "deadline": "uint64",
    "maxCost": "uint96",
    "relayerTip": "uint96",
    "nonce": "uint256",
    "validUntil": "uint64",
}


@dataclass(frozen=True)
class Order:
    """A request to sign."""

    message: dict[str, Any]
    chain_id: int
    oracle: str

    def signature(self, key: Any = KEY) -> bytes:
        domain = {
            "name": "InferenceOracle",
            "version": "1",
            "chainId": self.chain_id,
            "verifyingContract": self.oracle,
        }
        types = {"SignedRequest": [{"name": n, "type": t} for n, t in FIELDS.items()]}
        signed = key.sign_message(encode_typed_data(domain, types, self.message))
        return bytes(signed.signature)


def order(world: World, **changes: Any) -> Order:
    message = {
        "account": KEY.address,
        "modelId": world.model_id,
        "inputHash": keccak(packed()),
        "callbackContract": ZERO,
        "callbackGas": 0,
        "callbackDataHash": keccak(b""),
        "refundTo": KEY.address,
        "deadline": world.chain.now + 3600,
        "maxCost": FUNDS,
        "relayerTip": TIP,
        "nonce": 5,
        "validUntil": world.chain.now + 60,
    }
    return Order(message | changes, CHAIN_ID, world.oracle.address)


def submit(world: World, asked: Order, signature: bytes | None = None, **how: Any) -> Receipt:
    arguments = {"input": packed(), "data": b"", "sender": NODE} | how
    receipt: Receipt = world.oracle(
        "requestFor",
        tuple(asked.message.values()),
        arguments["input"],
        arguments["data"],
        asked.signature() if signature is None else signature,
        sender=arguments["sender"],
    )
    return receipt


@pytest.fixture
def funded(world: World) -> World:
    """The account has a deposit that somebody else paid."""
    world.oracle("deposit", KEY.address, sender=BOB, value=FUNDS)
    return world


def test_deposit__credits_the_account_and_can_be_withdrawn(world: World) -> None:
    receipt = world.oracle("deposit", ALICE, sender=BOB, value=5)
    assert receipt.event("Deposited")["amount"] == 5
    assert world.credit(ALICE) == 5
    world.oracle("withdrawTo", "0x" + "99" * 20, sender=ALICE)
    assert world.chain.balance("0x" + "99" * 20) == 5


@pytest.mark.parametrize(("account", "value"), [(ZERO, 1), (ALICE, 0)])
def test_deposit__of_nothing_or_for_nobody__is_refused(
    world: World, account: str, value: int
) -> None:
    with pytest.raises(Reverted, match="InvalidDeposit"):
        world.oracle("deposit", account, sender=BOB, value=value)


def test_signed_request__is_made_by_its_account_and_paid_from_its_credit(funded: World) -> None:
    receipt = submit(funded, order(funded))
    asked = ticket(receipt.events)
    assert asked.account == KEY.address
    assert funded.credit(KEY.address) == FUNDS - FEE - asked.gas_money - TIP
    assert funded.credit(NODE) == TIP
    relayed = receipt.event("RequestRelayed")
    assert (relayed["relayer"], relayed["nonce"], relayed["tip"]) == (NODE.lower(), 5, TIP)
    assert funded.oracle.read("isNonceUsed", KEY.address, 5)
    assert not funded.oracle.read("isNonceUsed", KEY.address, 6)
    funded.fulfil(asked)


def test_signed_request__digest__is_eip_712(world: World) -> None:
    asked = order(world)
    digest = world.oracle.read("hashOf", tuple(asked.message.values()))
    assert Account._recover_hash(digest, signature=asked.signature()) == KEY.address


def test_signed_request__twice__is_refused(funded: World) -> None:
    submit(funded, order(funded))
    with pytest.raises(Reverted, match="NonceUsed") as caught:
        submit(funded, order(funded))
    assert caught.value.values == (KEY.address.lower(), 5)


def test_signed_request__nonces__need_no_order(funded: World) -> None:
    for nonce in (2**256 - 1, 0, 256, 255):
        submit(funded, order(funded, nonce=nonce))


def test_signed_request__cancelled_nonce__is_refused(funded: World) -> None:
    world = funded
    world.chain.fund(KEY.address)
    receipt = world.oracle("cancelNonce", 5, sender=KEY.address)
    assert receipt.event("NonceCancelled")["nonce"] == 5
    with pytest.raises(Reverted, match="NonceUsed"):
        submit(world, order(world))
    with pytest.raises(Reverted, match="NonceUsed"):
        world.oracle("cancelNonce", 5, sender=KEY.address)
    assert not world.oracle.read("isNonceUsed", ALICE, 5)


@pytest.mark.parametrize("other", ["chain", "oracle", "signer", "field", "garbage"])
def test_signed_request__signature_for_something_else__is_refused(
    funded: World, other: str
) -> None:
    asked = order(funded)
    signature = {
        "chain": replace(asked, chain_id=5).signature(),
        "oracle": replace(asked, oracle=BOB).signature(),
        "signer": asked.signature(Account.from_key(b"\x08" * 32)),
        "field": order(funded, relayerTip=TIP - 1).signature(),
        "garbage": b"\1" * 65,
    }[other]
    with pytest.raises(Reverted, match="InvalidSignature"):
        submit(funded, asked, signature)
    assert funded.credit(KEY.address) == FUNDS


@pytest.mark.parametrize("field", FIELDS)
def test_signed_request__every_field_is_signed(funded: World, field: str) -> None:
    signed = order(funded)
    changed = {
        "address": THIEF,
        "bytes32": b"\1" * 32,
    }.get(FIELDS[field], int(signed.message[field] or 0) + 1 if "int" in FIELDS[field] else None)
    forged = replace(signed, message=signed.message | {field: changed})
    with pytest.raises(Reverted, match="InvalidSignature"):
        submit(funded, forged, signed.signature())


def test_signed_request__too_late__is_refused(funded: World) -> None:
    asked = order(funded)
    funded.chain.advance(61)
    with pytest.raises(Reverted, match="SignatureExpired"):
        submit(funded, asked)


def test_signed_request__in_its_last_second__is_accepted(funded: World) -> None:
    asked = order(funded)
    funded.chain.advance(60)
    submit(funded, asked)


def test_signed_request__above_its_maximum__is_refused(funded: World) -> None:
    with pytest.raises(Reverted, match="CostAboveMaximum") as caught:
        submit(funded, order(funded, maxCost=FEE - 1))
    assert caught.value.values == (FEE, FEE - 1)
    submit(funded, order(funded, maxCost=FEE))


def test_signed_request__more_than_the_credit__is_refused(world: World) -> None:
    world.oracle("deposit", KEY.address, sender=BOB, value=FEE + TIP - 1)
    with pytest.raises(Reverted, match="InsufficientCredit") as caught:
        submit(world, order(world))
    assert caught.value.values == (ZERO, FEE + TIP - 1, FEE + TIP)


@pytest.mark.parametrize("field", ["input", "data"])
def test_signed_request__other_bytes__are_refused(funded: World, field: str) -> None:
    with pytest.raises(Reverted, match="PreimageMismatch"):
        submit(funded, order(funded), **{field: packed([0, 0, 0, 0])})


def test_signed_request__callback_to_another__is_refused(funded: World) -> None:
    with pytest.raises(Reverted, match="InvalidCallback"):
        submit(funded, order(funded, callbackContract=BOB, callbackGas=50_000))


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"refundTo": ZERO}, "InvalidRefundAddress"), ({"deadline": 1}, "InvalidDeadline")],
)
def test_signed_request__ends_are_checked_as_in_a_paid_one(
    funded: World, changes: dict[str, Any], error: str
) -> None:
    with pytest.raises(Reverted, match=error):
        submit(funded, order(funded, **changes))


def test_signed_request__smart_account__signs_by_erc_1271(world: World) -> None:
    account = world.chain.deploy("SmartAccount")
    world.oracle("deposit", account.address, sender=BOB, value=FUNDS)
    asked = order(world, account=account.address)
    with pytest.raises(Reverted, match="InvalidSignature"):
        submit(world, asked, b"anything")
    account("approve", world.oracle.read("hashOf", tuple(asked.message.values())))
    assert ticket(submit(world, asked, b"anything").events).account == account.address


def test_signed_request__fee_in_a_token__comes_from_that_credit(funded: World) -> None:
    world = funded
    token = world.chain.deploy("TestToken")
    token("mint", ALICE, 10 * FEE)
    token("approve", world.oracle.address, 10 * FEE, sender=ALICE)
    asked = order(world, modelId=world.register(token=token.address), maxCost=0)
    with pytest.raises(Reverted, match="InsufficientCredit"):
        submit(world, asked)
    world.oracle("depositToken", token.address, KEY.address, FEE, sender=ALICE)
    assert ticket(submit(world, asked).events).fee == FEE
    assert world.credit(KEY.address, token.address) == 0
    assert world.credit(KEY.address) == FUNDS - TIP


def test_signed_request__while_paused__is_refused(funded: World) -> None:
    funded.oracle("setPaused", True, sender=OWNER)
    with pytest.raises(Reverted, match="RequestsPaused"):
        submit(funded, order(funded))
