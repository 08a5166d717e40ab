"""``oracle encode`` and ``oracle decode``: between numbers and the bytes of a registered model."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from oracle.cli.chain import LOCAL, ChainId, Oracle, Url, chain_of
from oracle.cli.following import Given
from oracle.cli.numbers import NumbersCommand, Values, numbers_of
from oracle.cli.options import Json, examples
from oracle.cli.progress import waiting
from oracle.cli.request import client_of, show_rows
from oracle.errors import TensorEncoding

app = typer.Typer(rich_markup_mode="rich", add_completion=False)

ModelId = Annotated[int, typer.Option(help="Id of the model.", min=1)]


@app.command(
    cls=NumbersCommand,
    epilog=examples("oracle encode 5.1,3.5,1.4,0.2", "oracle encode '[[1,2],[3,4]]' --model 2"),
)
def encode(
    values: Values,
    model: ModelId = 1,
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    as_json: Json = False,
) -> None:
    """Print the request bytes of an input, in hex: what a contract is to send.

    They are checked as a request is: number of elements, range, codec.
    """
    numbers = numbers_of(values)
    with Given(rpc, chain_id, oracle).told(), waiting("Reading the model"):
        data = client_of(chain_of(rpc, chain_id, oracle)).encode(model, numbers)
    said = "0x" + data.hex()
    typer.echo(json.dumps({"input": said}) if as_json else said)


@app.command(
    epilog=examples("oracle decode 0x00000000001ec35f...", "oracle decode 0x302e35 --model 2")
)
def decode(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Result bytes in hex.")],
    model: ModelId = 1,
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    as_json: Json = False,
) -> None:
    """Print the numbers that result bytes carry, one line a row."""
    try:
        data = bytes.fromhex(output.removeprefix("0x"))
    except ValueError:
        raise TensorEncoding(
            f"'{output}' is not bytes in hex", remedy="Give 0x and two hex digits a byte"
        ) from None
    with Given(rpc, chain_id, oracle).told(), waiting("Reading the model"):
        rows = client_of(chain_of(rpc, chain_id, oracle)).decode(model, data)
    if as_json:
        typer.echo(json.dumps({"output": rows.tolist()}))
        return
    show_rows(rows)
