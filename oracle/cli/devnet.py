"""``oracle devnet``: a local chain in the background, with contracts and a model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from oracle import background, demo
from oracle.background import Standing
from oracle.circuits.bundle import Bundle
from oracle.cli.following import typed
from oracle.cli.options import Json, examples
from oracle.cli.progress import report, waiting
from oracle.errors import UsageError

app = typer.Typer(
    help="A local chain in the background, with contracts, a model and funded accounts.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

#: Numbers of an input that are printed for whoever wants to ask.
_SHOWN = 64
_Folder = Annotated[Path | None, typer.Option(help="Folder of its state; build/devnet by default.")]


@app.command(
    epilog=examples(
        "oracle devnet up",
        "oracle devnet up --node",
        "oracle devnet up --bundle my-bundle --port 8546",
    )
)
def up(
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle of the model; the demo's iris model by default.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            help=f"Where the chain listens; {background.PORT} by default.", min=0, max=65_535
        ),
    ] = None,
    node: Annotated[
        bool, typer.Option("--node", help="Run a node in the background, too, with its page.")
    ] = False,
    folder: _Folder = None,
    as_json: Json = False,
) -> None:
    """Start anvil in the background, deploy everything, register the model.

    Run again, it finds what runs and starts only what is missing: with another --bundle, its model
    is registered as well, and a node that lacks it is started again. The oracle's address goes to
    deployments/31337.json, where the other commands find it. Several may run, each in a --folder
    and on a --port of its own: --rpc says which one a command means.
    """
    place = (folder or background.folder_of()).resolve()
    steps = report()
    found = background.find(place)
    if found is not None and port and not found.url.endswith(f":{port}"):
        raise UsageError(
            f"the devnet of {place} runs at {found.url}, not on port {port}",
            remedy="Give another folder with --folder, or stop that one first: "
            f"oracle devnet down --folder {typed(str(place))}",
        )
    if found is None:
        with steps.step("Load the model's bundle") as detail:
            loaded = demo.iris_bundle(detail) if bundle is None else Bundle.load(bundle)
        chosen = background.PORT if port is None else port
        example = demo.FLOWER if bundle is None else None
        found = background.up(place, loaded, steps, port=chosen, with_node=node, example=example)
    elif bundle is not None:
        found = background.add(place, found, Bundle.load(bundle), steps, with_node=node)
    elif node:
        found = background.start_node(place, found, steps)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found)))
    else:
        typer.echo(_text(found))


@app.command(epilog=examples("oracle devnet down"))
def down(folder: _Folder = None, as_json: Json = False) -> None:
    """Stop the chain and the node that `oracle devnet up` started, and nothing else."""
    with waiting("Stopping the devnet"):
        found = background.down((folder or background.folder_of()).resolve())
    if as_json:
        typer.echo(json.dumps({"stopped": found is not None}))
    else:
        typer.echo("no devnet is running" if found is None else f"stopped {found.url}")


def _text(found: Standing) -> str:
    lines = [
        f"chain    {found.url}, id {found.chain_id}, process {found.anvil.pid}",
        f"oracle   {found.oracle}",
        f"model    {found.model_id}, {found.model}",
        *(f"model    {each.model_id}, {each.model}" for each in found.added),
        f"caller   {typed(found.caller_key)}",
        f"node     {typed(found.node_config)}"
        + (f", process {found.node.pid}" if found.node and found.node.is_running else ""),
        *(
            [f"page     {found.page}"]
            if found.page and found.node and found.node.is_running
            else []
        ),
        "",
    ]
    if found.node is None or not found.node.is_running:
        lines.append(
            f"A node answers requests:  oracle node run --config {typed(found.node_config)}"
        )
    lines += _ask(found, found.example)
    for each in found.added:
        lines += _ask(found, each.example, f" --model {each.model_id}")
    return "\n".join(lines)


def _ask(found: Standing, example: str, model: str = "") -> list[str]:
    rpc = "" if found.url.endswith(f":{background.PORT}") else f" --rpc {found.url}"
    asked = example if example.count(",") < _SHOWN else "VALUES"
    lines = [f"Ask:  oracle request {asked}{model} --key-file {typed(found.caller_key)}{rpc}"]
    if asked == "VALUES":
        count, number = example.count(",") + 1, example.partition(",")[0]
        lines.append(f"VALUES are {count} numbers with commas between them, {number} for example")
    return lines
