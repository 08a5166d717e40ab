"""Signed requests: `OracleClient.sign_request` and `relay`, the commands, against the real contracts."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from eth_account import Account
from eth_utils.crypto import keccak
from typer.testing import CliRunner

from oracle.chain.rpc import Rpc
from oracle.chain.signed_requests import TYPE, Envelope, message, read, written
from oracle.chain.signer import LocalSigner
from oracle.cli.main import app
from oracle.client import OracleClient
from oracle.config import project_root
from oracle.devnet import CHAIN_ID, fund_new_key, transact
from oracle.errors import (
    ContractMismatch,
    CostAboveMaximum,
    CreditTooSmall,
    NonceUsed,
    OracleError,
    SignatureExpired,
    SignatureInvalid,
    SignedRequestMalformed,
    TensorLength,
    TensorRange,
    TipTooSmall,
    TransactionReverted,
    UsageError,
    WrongChain,
)
from oracle.relaying import refusal
from oracle.types import ZERO_ADDRESS

from .test_anvil import Devnet, deploy, devnet
from .test_client import client, make_client

__all__ = ["client", "devnet", "make_client"]  # pytest finds the fixtures by their names here

ETHER = 10**18
TIP = 77
OTHER = Account.from_key(b"\x09" * 32)
VALUES = [0.5, -1.25]


@pytest.fixture
def relayer(devnet: Devnet, tmp_path: Path) -> OracleClient:
    """Another funded account's client."""
    fund_new_key(devnet.anvil.w3, tmp_path / "relayer.key", ETHER)
    signer = LocalSigner.from_key_file(tmp_path / "relayer.key")
    return OracleClient(Rpc([devnet.anvil.url], CHAIN_ID), devnet.oracle.address, signer)


def resigned(signed: Envelope, key: Any = OTHER, **changes: Any) -> Envelope:
    """The same with other terms, of another account that signs them."""
    request = replace(signed.request, account=key.address, **changes)
    text = message(signed.chain_id, signed.oracle, request)
    return replace(signed, request=request, signature=bytes(key.sign_message(text).signature))


def test_type__is_the_contracts(devnet: Devnet, client: OracleClient) -> None:
    """What is missing, 4: the type string is in the docs, and hashes to what `hashOf` hashes to."""
    signed = client.sign_request(1, VALUES, tip=TIP, nonce=5, max_cost=9)
    text = message(signed.chain_id, signed.oracle, signed.request)
    digest = keccak(b"\x19" + text.version + text.header + text.body)
    given = devnet.oracle.functions.hashOf(tuple(vars_of(signed))).call()
    assert digest == bytes(given)
    page = (project_root() / "docs" / "contract-developers.md").read_text()
    assert TYPE.replace(",", ", ") in " ".join(page.split())


def vars_of(signed: Envelope) -> list[Any]:
    return [getattr(signed.request, name) for name in signed.request.__slots__]


def test_relay__a_signed_request__is_paid_from_the_signers_credit_and_answered(
    devnet: Devnet, client: OracleClient, relayer: OracleClient
) -> None:
    assert client.deposit(ETHER // 2) == ETHER // 2
    spent = devnet.anvil.w3.eth.get_balance
    signed = client.sign_request(1, VALUES, tip=TIP)
    before = spent(client.account)  # type: ignore[arg-type]
    handle = relayer.relay(signed)
    assert spent(client.account) == before, "the signer sends nothing"  # type: ignore[arg-type]
    assert relayer.credit() == TIP
    (event,) = devnet.oracle.events.RequestRelayed().get_logs(from_block=0)
    assert event["args"]["requestId"] == handle.request_id
    assert event["args"]["account"] == client.account
    devnet.settle()
    assert handle.wait(60).values.tolist() == VALUES[::-1]
    assert client.handle(handle.request_id).wait(60).payee == devnet.account


def test_relay__what_cannot_be_submitted__is_an_error_of_its_own_and_nothing_is_sent(
    devnet: Devnet, client: OracleClient, relayer: OracleClient
) -> None:
    client.deposit(ETHER // 2)
    good = client.sign_request(1, VALUES, tip=TIP, nonce=1)
    request = good.request
    flipped = bytes([good.signature[0] ^ 1]) + good.signature[1:]
    smart = deploy(devnet.anvil, "SmartAccount").address
    used, cancelled = (client.sign_request(1, VALUES, nonce=n) for n in (2, 3))
    relayer.relay(used)
    cancel = client._abi.call("cancelNonce", 3)
    client._transact(cancel)
    far = good.request.deadline + 40 * 86_400
    cases: list[tuple[str, Envelope, type[OracleError], str]] = [
        ("chain", replace(good, chain_id=1), WrongChain, "for chain 1, this is 31337"),
        ("oracle", replace(good, oracle=smart), ContractMismatch, f"oracle at {smart}"),
        ("input", replace(good, input=good.input + b"\0"), SignedRequestMalformed, "input"),
        ("data", replace(good, callback_data=b"x"), SignedRequestMalformed, "callbackData"),
        ("late", resigned(good, valid_until=1), SignatureExpired, "until 1, now"),
        ("tip", good, TipTooSmall, f"{TIP} wei, less than 78"),
        (
            "raised tip",
            replace(good, request=replace(request, relayer_tip=78)),
            SignatureInvalid,
            "",
        ),
        ("flipped", replace(good, signature=flipped), SignatureInvalid, client.account),
        ("none", replace(good, signature=b""), SignatureInvalid, client.account),
        ("short", replace(good, signature=good.signature[:64]), SignatureInvalid, ""),
        ("zeros", replace(good, signature=bytes(65)), SignatureInvalid, ""),
        ("long", replace(good, signature=good.signature + b"\0"), SignatureInvalid, ""),
        (
            "contract",
            replace(good, request=replace(request, account=smart)),
            SignatureInvalid,
            "refused",
        ),
        ("used", used, NonceUsed, "NonceUsed"),
        ("cancelled", cancelled, NonceUsed, "NonceUsed"),
        ("dear", client.sign_request(1, VALUES, max_cost=5), CostAboveMaximum, "5)"),
        ("poor", resigned(good), CreditTooSmall, OTHER.address),
        ("model", resigned(good, model_id=9), UsageError, "no model 9"),
        ("deadline", resigned(good, deadline=far), TransactionReverted, "InvalidDeadline"),
        (
            "callback",
            resigned(good, callback_contract=smart, callback_gas=9),
            TransactionReverted,
            "InvalidCallback",
        ),
    ]
    count = devnet.anvil.w3.eth.get_transaction_count
    sent = count(relayer.account)  # type: ignore[arg-type]
    for name, signed, kind, words in cases:
        least = 78 if name == "tip" else 0
        with pytest.raises(kind) as caught:
            relayer.relay(signed, least_tip=least)
        assert type(caught.value) is kind, (name, caught.value)
        assert words in caught.value.line(), name
        assert caught.value.remedy or kind is TransactionReverted, name
    assert count(relayer.account) == sent  # type: ignore[arg-type]
    assert relayer.relay(good).request_id, "and what they were made of is good"


def test_relay__of_a_smart_account__asks_its_code(
    devnet: Devnet, client: OracleClient, relayer: OracleClient
) -> None:
    smart = deploy(devnet.anvil, "SmartAccount")
    client.deposit(ETHER // 2, smart.address)
    made = client.sign_request(1, VALUES)
    request = replace(made.request, account=smart.address, refund_to=smart.address)
    signed = replace(made, request=request, signature=b"anything")
    digest = devnet.oracle.functions.hashOf(tuple(vars_of(signed))).call()
    transact(smart.functions.approve(digest), devnet.anvil.w3.eth.accounts[0])
    handle = relayer.relay(signed)
    (event,) = devnet.oracle.events.RequestRelayed().get_logs(from_block=0)
    assert (event["args"]["requestId"], event["args"]["account"]) == (
        handle.request_id,
        smart.address,
    )


WRONG: dict[str, tuple[Callable[[OracleClient], Any], type[UsageError]]] = {
    "rows": (lambda c: c.sign_request(1, [VALUES, VALUES]), TensorLength),
    "too many": (lambda c: c.sign_request(1, [1, 2, 3]), TensorLength),
    "too great": (lambda c: c.sign_request(1, [1e9, 0]), TensorRange),
    "no model": (lambda c: c.sign_request(7, VALUES), UsageError),
    "lifetime": (lambda c: c.sign_request(1, VALUES, lifetime=0), UsageError),
    "validity": (lambda c: c.sign_request(1, VALUES, valid_for=-1), UsageError),
    "cost": (lambda c: c.sign_request(1, VALUES, max_cost=-1), UsageError),
    "cost of 97 bits": (lambda c: c.sign_request(1, VALUES, max_cost=1 << 96), UsageError),
    "tip": (lambda c: c.sign_request(1, VALUES, tip=1.5), UsageError),  # type: ignore[arg-type]
    "nonce": (lambda c: c.sign_request(1, VALUES, nonce=1 << 256), UsageError),
    "refund": (lambda c: c.sign_request(1, VALUES, refund_to="me"), UsageError),
    "deposit of nothing": (lambda c: c.deposit(0), UsageError),
    "refund to nobody": (lambda c: c.sign_request(1, VALUES, refund_to=ZERO_ADDRESS), UsageError),
    "deposit to a name": (lambda c: c.deposit(1, "me"), UsageError),
    "deposit to nobody": (lambda c: c.deposit(1, ZERO_ADDRESS), UsageError),
}


def test_sign_request__wrong_arguments__are_errors_of_the_tree(
    devnet: Devnet, client: OracleClient
) -> None:
    """contract-developers D8: of these methods, too."""
    for name, (call, kind) in WRONG.items():
        with pytest.raises(kind) as caught:
            call(client)
        assert caught.value.remedy, name
    reader = OracleClient(Rpc([devnet.anvil.url], CHAIN_ID), devnet.oracle.address)
    with pytest.raises(UsageError, match="no key to sign with"):
        reader.sign_request(1, VALUES)


def command(devnet: Devnet, words: str, *more: str, given: bytes = b"") -> Result:
    place = ("--rpc", devnet.anvil.url, "--oracle", devnet.oracle.address)
    return CliRunner().invoke(app, [*shlex.split(words), *place, *more], input=given)


def test_commands__sign_and_relay__through_a_pipe_and_a_file(
    devnet: Devnet, client: OracleClient, relayer: OracleClient, tmp_path: Path
) -> None:
    caller, other = (f"--key-file={tmp_path / name}.key" for name in ("caller", "relayer"))
    paid = command(devnet, f"deposit --wei {ETHER // 2}", "--account", client.account, other)
    assert f"the credit of {client.account} is now 0.5 ETH" in paid.output
    made = command(devnet, "sign-request 0.5,-1.25 --tip 77 --nonce 4", caller)
    assert made.exit_code == 0, made.exception
    signed = read(made.stdout)
    assert (signed.request.relayer_tip, signed.request.nonce) == (77, 4)
    key = (tmp_path / "caller.key").read_text().strip().removeprefix("0x")
    assert key not in made.output
    piped = command(devnet, "relay --json", other, given=made.stdout.encode())
    said = json.loads(piped.stdout)
    assert said["tip"] == 77
    assert client.handle(said["request_id"]).request_id

    (tmp_path / "signed.json").write_text(written(client.sign_request(1, VALUES)))
    filed = command(devnet, f"relay {tmp_path / 'signed.json'}", other)
    assert client.handle(filed.stdout.strip()).deadline
    again = command(devnet, f"relay {tmp_path / 'signed.json'}", other)
    assert isinstance(again.exception, NonceUsed)
    lifetime = command(devnet, "sign-request 1,2 --lifetime 9999999999", caller)
    assert isinstance(lifetime.exception, UsageError)


def test_relay__no_credit__names_a_command_that_finds_the_same_oracle(
    devnet: Devnet, client: OracleClient, relayer: OracleClient, tmp_path: Path
) -> None:
    signed = client.sign_request(1, VALUES)
    refused = command(
        devnet, "relay", f"--key-file={tmp_path / 'relayer.key'}", given=written(signed).encode()
    ).exception
    assert isinstance(refused, CreditTooSmall)
    assert refused.remedy
    (printed,) = re.findall(r"oracle (deposit .*)", refused.remedy)
    typed = printed.replace("WEI", str(ETHER // 2)).replace("KEY", f"{tmp_path / 'relayer.key'}")
    done = CliRunner().invoke(app, shlex.split(typed))
    assert done.exit_code == 0, done.exception
    assert relayer.relay(signed).request_id


def test_relay__fee_in_a_token__no_credit__names_what_adds_to_it(
    devnet: Devnet, client: OracleClient, relayer: OracleClient
) -> None:
    token = deploy(devnet.anvil, "TestToken").address
    signed = client.sign_request(1, VALUES)
    error = TransactionReverted("InsufficientCredit(...)", name="InsufficientCredit")
    found = refusal(error, signed, token)
    assert isinstance(found, CreditTooSmall)
    assert not found.command
    assert f"in {token} by its depositToken" in (found.remedy or "")


def test_relay__hostile_input__is_one_line(devnet: Devnet, tmp_path: Path) -> None:
    key = f"--key-file={tmp_path / 'nobody.key'}"
    for given in (b"", b"{}", b"\xff\xfe", b"0" * (1 << 22)):
        refused = command(devnet, "relay", key, given=given).exception
        assert isinstance(refused, SignedRequestMalformed), given[:9]
    for name in ("nowhere.json", "."):
        refused = command(devnet, f"relay {tmp_path / name}", key).exception
        assert isinstance(refused, UsageError)
        assert "cannot be read" in refused.line()
