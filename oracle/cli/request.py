"""``oracle request``: ask a registered model from an account and wait for the proved answer."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.console import Console

from oracle.chain.rpc import Rpc
from oracle.chain.signer import LocalSigner
from oracle.client import OracleClient
from oracle.errors import TensorEncoding


def request(
    values: str = typer.Argument(help="Input numbers, separated by commas."),
    rpc: str = typer.Option(help="RPC endpoint of the chain."),
    chain_id: int = typer.Option(help="The chain that it must serve."),
    oracle: str = typer.Option(help="Address of the oracle contract."),
    key_file: Path = typer.Option(help="File with the paying account's key (mode 0600)."),
    model: int = typer.Option(1, help="Id of the model."),
    timeout: float = typer.Option(120.0, help="Seconds to wait for the answer."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Send a request, wait for its proof, print the answer.

    Example: oracle request 5.1,3.5,1.4,0.2 --rpc http://127.0.0.1:8545 --chain-id 31337
    --oracle 0x... --key-file my.key
    """
    try:
        numbers = [float(value) for value in values.split(",")]
    except ValueError:
        raise TensorEncoding(
            f"'{values}' is not a list of numbers", remedy="Separate numbers by commas: 5.1,3.5"
        ) from None
    client = OracleClient(Rpc([rpc], chain_id), oracle, LocalSigner.from_key_file(key_file))
    ticket = client.request(model, numbers)
    console = Console(stderr=True)
    with console.status(f"Request {ticket.request_id:#066x} mined; waiting for its proof"):
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
