"""Requests without ETH in hand: one account signs, another submits, and credit pays."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from oracle.chain import signed_requests
from oracle.chain.signed_requests import MOST
from oracle.cli.chain import (
    LOCAL,
    ChainId,
    KeyFile,
    Keystore,
    Oracle,
    PasswordFile,
    Url,
    address_of,
    chain_of,
    signer_of,
)
from oracle.cli.following import Given
from oracle.cli.numbers import NumbersCommand, Values, numbers_of
from oracle.cli.options import Json, examples
from oracle.cli.progress import waiting
from oracle.cli.request import client_of, tell
from oracle.client import LIFETIME
from oracle.errors import SignedRequestMalformed, UsageError
from oracle.why import ether

app = typer.Typer(rich_markup_mode="rich", add_completion=False)

_STDIN = "-"


@app.command(
    cls=NumbersCommand,
    epilog=examples(
        "oracle sign-request 5.1,3.5,1.4,0.2 --key-file build/devnet/caller.key > signed.json",
        "oracle sign-request 5.1,3.5,1.4,0.2 --tip 20000000000000 --valid-for 600 "
        "--keystore caller.json --password-file caller.password",
    ),
)
def sign_request(
    values: Values,
    model: Annotated[int, typer.Option(help="Id of the model.", min=1)] = 1,
    lifetime: Annotated[
        int, typer.Option(help="Seconds until it can be refunded instead; 30 to 2592000.")
    ] = LIFETIME,
    valid_for: Annotated[
        int | None,
        typer.Option(help="Seconds in which it may be submitted; those of --lifetime by default."),
    ] = None,
    max_cost: Annotated[
        int | None,
        typer.Option(
            help="Most wei for fee and gas money; by default what it is quoted for now.", min=0
        ),
    ] = None,
    tip: Annotated[int, typer.Option(help="Wei for whoever submits it.", min=0)] = 0,
    nonce: Annotated[
        int | None,
        typer.Option(
            help="A number that the account has not used; a random one by default.", min=0
        ),
    ] = None,
    refund_to: Annotated[
        str | None, typer.Option(help="Who gets unspent money; by default the account.")
    ] = None,
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    key_file: KeyFile = None,
    keystore: Keystore = None,
    password_file: PasswordFile = None,
) -> None:
    """Sign a request that somebody else submits with `oracle relay`, and print it as JSON.

    Nothing is sent. The account's credit at the oracle pays for the request and for the tip;
    `oracle deposit` adds to it.
    """
    numbers = numbers_of(values)
    signer = signer_of(key_file, keystore, password_file, "sign this")
    recipient = None if refund_to is None else address_of(refund_to, "--refund-to")
    client = client_of(chain_of(rpc, chain_id, oracle), signer)
    with Given(rpc, chain_id, oracle).told(), waiting("Signing the request"):
        signed = client.sign_request(
            model,
            numbers,
            lifetime=lifetime,
            valid_for=valid_for,
            max_cost=max_cost,
            tip=tip,
            nonce=nonce,
            refund_to=recipient,
        )
    typer.echo(signed_requests.written(signed))


@app.command(
    epilog=examples(
        "oracle relay signed.json --key-file relayer.key",
        "oracle relay - --key-file relayer.key --timeout 120",
    )
)
def relay(
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="The JSON; - is the standard input.")
    ] = _STDIN,
    min_tip: Annotated[int, typer.Option(help="Refuse a tip below it (wei).", min=0)] = 0,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for the answer; 0 does not wait.", min=0)
    ] = 0,
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    key_file: KeyFile = None,
    keystore: Keystore = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Submit a request that another account signed; this one pays for gas and gets the tip.

    It is checked first, on paper and by the contract: chain, oracle, bytes, time, nonce, signature,
    cost, credit. What would be refused is not sent.
    """
    signed = signed_requests.read(_text(file))
    signer = signer_of(key_file, keystore, password_file)
    client = client_of(chain_of(rpc, chain_id, oracle), signer)
    given = Given(rpc, chain_id, oracle)
    with given.told(), waiting("Submitting the request"):
        handle = client.relay(signed, least_tip=min_tip)
    with given.told():
        tell(handle, timeout, as_json=as_json, tip=signed.request.relayer_tip)


@app.command(
    epilog=examples(
        "oracle deposit --wei 1000000000000000 --key-file build/devnet/caller.key",
        "oracle deposit --wei 1000000000000000 "
        "--account 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --key-file caller.key",
    )
)
def deposit(
    wei: Annotated[int, typer.Option(help="How much to add.", min=1)],
    account: Annotated[
        str | None, typer.Option(help="Whose credit; by default that of the one who pays.")
    ] = None,
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    key_file: KeyFile = None,
    keystore: Keystore = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Add to an account's credit, which pays for the requests that it signs."""
    beneficiary = None if account is None else address_of(account, "--account")
    signer = signer_of(key_file, keystore, password_file)
    client = client_of(chain_of(rpc, chain_id, oracle), signer)
    with waiting("Depositing"):
        credit = client.deposit(wei, beneficiary)
    owner = client.account if beneficiary is None else beneficiary
    said = {"account": owner, "credit": credit}
    typer.echo(json.dumps(said) if as_json else f"the credit of {owner} is now {ether(credit)}")


def _text(file: str) -> str:
    """What a file or the standard input holds, if it can be a signed request."""
    try:
        if file == _STDIN:
            data = sys.stdin.buffer.read(MOST + 1)
        else:
            with Path(file).open("rb") as source:
                data = source.read(MOST + 1)
        return data.decode()
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read ({error.strerror})", remedy="Name a file, or - for stdin"
        ) from None
    except UnicodeDecodeError:
        raise SignedRequestMalformed(
            "this is no signed request: it is not text",
            remedy="Give what `oracle sign-request` or the npm package's `signRequest` made",
        ) from None
