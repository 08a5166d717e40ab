"""``oracle request``, ``refund``, ``withdraw``: what an account does with the oracle contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from eth_utils.address import is_address
from rich.console import Console

from oracle.chain.deployments import load
from oracle.chain.rpc import Rpc
from oracle.chain.signer import LocalSigner
from oracle.client import OracleClient
from oracle.errors import TensorEncoding, UsageError

_Url = Annotated[str, typer.Option("--rpc", help="RPC endpoint of the chain.")]
_ChainId = Annotated[int, typer.Option(help="The chain that it must serve.", min=1)]
_Oracle = Annotated[
    str | None,
    typer.Option(help="Address of the oracle contract; by default as deployed on that chain."),
]
_KeyFile = Annotated[Path, typer.Option(help="File with the account's key (mode 0600).")]


def request(
    values: Annotated[str, typer.Argument(help="Input numbers, separated by commas.")],
    rpc: _Url,
    chain_id: _ChainId,
    key_file: _KeyFile,
    oracle: _Oracle = None,
    model: Annotated[int, typer.Option(help="Id of the model.", min=1)] = 1,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.", min=0)] = 120,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send a request, wait for its proof, print the answer.

    Example: oracle request 5.1,3.5,1.4,0.2 --rpc http://127.0.0.1:8545 --chain-id 31337
    --key-file my.key
    """
    try:
        numbers = [float(value) for value in values.split(",")]
    except ValueError:
        raise TensorEncoding(
            f"'{values}' is not a list of numbers", remedy="Separate numbers by commas: 5.1,3.5"
        ) from None
    client = _client(rpc, chain_id, oracle, key_file)
    ticket = client.request(model, numbers)
    console = Console(stderr=True)
    console.print(f"request {ticket.request_id:#066x}", highlight=False, soft_wrap=True)
    with console.status("Waiting for its proof"):
        result = client.wait(ticket, timeout)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "request_id": f"{result.request_id:#066x}",
                    "output": result.values,
                    "payee": result.payee,
                    "transaction": "0x" + result.transaction_hash.hex(),
                }
            )
        )
    else:
        typer.echo(", ".join(f"{value:g}" for value in result.values))


def refund(
    request_id: Annotated[str, typer.Argument(help="The request's id in hex.")],
    rpc: _Url,
    chain_id: _ChainId,
    key_file: _KeyFile,
    oracle: _Oracle = None,
    first_block: Annotated[int, typer.Option(help="Where to begin to look.", min=0)] = 0,
) -> None:
    """Have an expired request's escrow credited to its refund address; then `oracle withdraw`."""
    try:
        number = int(request_id, 16)
    except ValueError:
        raise UsageError(
            f"'{request_id}' is not a request id", remedy="Give 0x and 64 hex digits"
        ) from None
    _client(rpc, chain_id, oracle, key_file).refund(number, first_block)
    typer.echo("refunded to the request's refund address as credit")


def withdraw(
    rpc: _Url,
    chain_id: _ChainId,
    key_file: _KeyFile,
    oracle: _Oracle = None,
    to: Annotated[
        str | None, typer.Option(help="Who gets the money; by default the account itself.")
    ] = None,
) -> None:
    """Send the account's credit (earned fees, refunds, unspent gas money) to an address."""
    client = _client(rpc, chain_id, oracle, key_file)
    recipient = client.account if to is None else address_of(to, "--to")
    typer.echo(f"{client.withdraw(recipient)} wei sent to {recipient}")


def _client(rpc: str, chain_id: int, oracle: str | None, key_file: Path) -> OracleClient:
    endpoint, address = rpc_of(rpc, chain_id), oracle_of(oracle, chain_id)
    return OracleClient(endpoint, address, LocalSigner.from_key_file(key_file))


def oracle_of(option: str | None, chain_id: int) -> str:
    """The oracle that ``--oracle`` names, or else the one recorded in ``deployments/``.

    Raises:
        ConfigError: neither is there.
    """
    return load(chain_id).oracle if option is None else address_of(option, "--oracle")


def rpc_of(url: str, chain_id: int) -> Rpc:
    """The endpoint that ``--rpc`` names."""
    if not url.startswith(("http://", "https://")):
        raise UsageError(
            f"--rpc {url} is not an HTTP address", remedy="Give one like http://127.0.0.1:8545"
        )
    return Rpc([url], chain_id)


def address_of(text: str, option: str) -> str:
    """An address given as an option."""
    if not is_address(text):
        raise UsageError(
            f"{option} {text} is not an Ethereum address",
            remedy="Give 0x and 40 hex digits with a valid checksum",
        )
    return text
