"""What an account does with the oracle contract: ask, read, top up, retry, refund, withdraw."""

from __future__ import annotations

import json
from typing import Annotated

import numpy as np
import typer

from oracle.chain.signer import Signer
from oracle.cli.chain import (
    LOCAL,
    Chain,
    ChainId,
    FirstBlock,
    KeyFile,
    Keystore,
    Oracle,
    PasswordFile,
    RequestId,
    Url,
    address_of,
    chain_of,
    signer_of,
)
from oracle.cli.following import Given
from oracle.cli.numbers import NumbersCommand, Values, numbers_of
from oracle.cli.options import Json, examples
from oracle.cli.progress import waiting
from oracle.client import TIMEOUT, Array, Handle, OracleClient, Result
from oracle.errors import RequestTimeout
from oracle.log import request_hex
from oracle.why import ether

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command(
    cls=NumbersCommand,
    epilog=examples(
        "oracle request 5.1,3.5,1.4,0.2 --key-file build/devnet/caller.key",
        "oracle request 5.1,3.5,1.4,0.2 --model 2 --rpc https://rpc.example --chain-id 11155111 "
        "--keystore caller.json --password-file caller.password --json",
    ),
)
def request(
    values: Values,
    model: Annotated[int, typer.Option(help="Id of the model.", min=1)] = 1,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for the answer; 0 does not wait.", min=0)
    ] = TIMEOUT,
    lifetime: Annotated[
        int | None, typer.Option(help="Seconds until it can be refunded instead; 30 to 2592000.")
    ] = None,
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    key_file: KeyFile = None,
    keystore: Keystore = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Send a request, wait for its proof, print the answer.

    The request's id goes to stderr at once, the answer to stdout when it is there.
    """
    numbers = numbers_of(values)
    given = Given(rpc, chain_id, oracle, None, key_file, keystore, password_file)
    client = client_of(
        chain_of(rpc, chain_id, oracle), signer_of(key_file, keystore, password_file)
    )
    with given.told(), waiting("Sending the request"):
        handle = client.request(model, numbers, lifetime=lifetime)
    with given.told():
        tell(handle, timeout, as_json=as_json)


@app.command(epilog=examples("oracle result 0x1a2b...", "oracle result 0x1a2b... --timeout 60"))
def result(
    request_id: RequestId,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for it.", min=0)] = 0,
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    first_block: FirstBlock = None,
    as_json: Json = False,
) -> None:
    """Print the proved answer of a request, anyone's.

    Exits with 6 while there is none (REQUEST_TIMEOUT) and when none can come any more
    (REQUEST_REFUNDED).
    """
    chain = chain_of(rpc, chain_id, oracle, first_block)
    given = Given(rpc, chain_id, oracle, first_block)
    with given.told(), waiting("Reading the chain"):
        handle = client_of(chain).handle(request_id, chain.first_block)
        found = handle.wait(timeout) if timeout else handle.result()
        if found is None:
            name = request_hex(handle.request_id)
            raise RequestTimeout(
                f"request {name} has no answer yet", remedy="Wait with --timeout, or ask"
            ).ending_in(f"oracle why {name}")
    show(found, as_json=as_json)


@app.command(epilog=examples("oracle top-up 0x1a2b... --wei 200000000000000 --key-file caller.key"))
def top_up(
    request_id: RequestId,
    wei: Annotated[int, typer.Option(help="How much to add.", min=1)],
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    first_block: FirstBlock = None,
    key_file: KeyFile = None,
    keystore: Keystore = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Raise the gas money of an open request, anyone's; `oracle why` says by how much."""
    chain = chain_of(rpc, chain_id, oracle, first_block)
    client = client_of(chain, signer_of(key_file, keystore, password_file))
    number = client.request_id(request_id, chain.first_block)
    given = Given(rpc, chain_id, oracle, first_block, key_file, keystore, password_file)
    with given.told(), waiting("Topping up"):
        has = client.top_up(number, wei, chain.first_block)
    said = {"request_id": request_hex(number), "gas_money": has}
    typer.echo(json.dumps(said) if as_json else f"the gas money is now {ether(has)}")


@app.command(epilog=examples("oracle retry 0x1a2b... --gas 200000 --key-file caller.key"))
def retry(
    request_id: RequestId,
    gas: Annotated[
        int | None, typer.Option(help="Gas for the callback; by default what was promised.", min=1)
    ] = None,
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    first_block: FirstBlock = None,
    key_file: KeyFile = None,
    keystore: Keystore = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Make a failed callback again; `oracle why` says with how much gas."""
    chain = chain_of(rpc, chain_id, oracle, first_block)
    client = client_of(chain, signer_of(key_file, keystore, password_file))
    number = client.request_id(request_id, chain.first_block)
    given = Given(rpc, chain_id, oracle, first_block, key_file, keystore, password_file)
    with given.told(), waiting("Making the callback again"):
        client.retry(number, gas, chain.first_block)
    said = {"request_id": request_hex(number), "delivered": True}
    typer.echo(json.dumps(said) if as_json else "the callback succeeded")


@app.command(epilog=examples("oracle refund 0x1a2b... --key-file caller.key"))
def refund(
    request_id: RequestId,
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    first_block: FirstBlock = None,
    key_file: KeyFile = None,
    keystore: Keystore = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Have an expired request's escrow credited to its refund address; then `oracle withdraw`."""
    chain = chain_of(rpc, chain_id, oracle, first_block)
    client = client_of(chain, signer_of(key_file, keystore, password_file))
    number = client.request_id(request_id, chain.first_block)
    given = Given(rpc, chain_id, oracle, first_block, key_file, keystore, password_file)
    with given.told(), waiting("Refunding"):
        client.refund(number, chain.first_block)
    said = {"request_id": request_hex(number), "refunded": True}
    text = "refunded to the request's refund address as credit"
    typer.echo(json.dumps(said) if as_json else text)


@app.command(
    epilog=examples(
        "oracle withdraw --key-file node.key",
        "oracle withdraw --key-file node.key --to 0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    )
)
def withdraw(
    to: Annotated[
        str | None, typer.Option(help="Who gets the money; by default the account itself.")
    ] = None,
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    key_file: KeyFile = None,
    keystore: Keystore = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Send the account's credit (earned fees, refunds, unspent gas money) to an address."""
    client = client_of(
        chain_of(rpc, chain_id, oracle), signer_of(key_file, keystore, password_file)
    )
    recipient = client.account if to is None else address_of(to, "--to")
    with waiting("Withdrawing"):
        wei = client.withdraw(recipient)
    said = {"wei": wei, "to": recipient}
    typer.echo(json.dumps(said) if as_json else f"{wei} wei sent to {recipient}")


def client_of(chain: Chain, signer: Signer | None = None) -> OracleClient:
    """The client of a chain's oracle."""
    return OracleClient(chain.rpc, chain.oracle, signer)


def tell(handle: Handle, timeout: float, *, as_json: bool, **more: int) -> None:
    """Print a request that was just sent: its answer, or without a timeout its id and ``more``."""
    name = request_hex(handle.request_id)
    if timeout == 0:
        said = {"request_id": name, "block": handle.block_number, "gas_used": handle.gas_used}
        typer.echo(json.dumps(said | more) if as_json else name)
        return
    typer.echo(f"request {name}", err=True)
    with waiting("Waiting for its proof"):
        found = handle.wait(timeout)
    show(found, as_json=as_json)


def show(found: Result, *, as_json: bool) -> None:
    """Print an answer's numbers, or all of it as JSON."""
    if as_json:
        said = {
            "request_id": request_hex(found.request_id),
            "output": found.values.tolist(),
            "payee": found.payee,
            "block": found.block_number,
            "transaction": "0x" + found.transaction_hash.hex(),
        }
        typer.echo(json.dumps(said))
        return
    show_rows(found.values)


def show_rows(rows: Array) -> None:
    """Print numbers, a line a row."""
    for row in np.atleast_2d(rows):
        typer.echo(", ".join(f"{value:g}" for value in row))
