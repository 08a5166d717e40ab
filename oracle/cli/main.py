"""The ``oracle`` command: assembles the sub-commands and turns errors into one line."""

from __future__ import annotations

import signal
import sys

import typer

from oracle import __version__
from oracle.cli import demo, deploy, model, node, request
from oracle.errors import OracleError

app = typer.Typer(
    name="oracle",
    help="Verifiable inference on chain: ask a model from a contract, get a proved answer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("demo")(demo.demo)
app.command("deploy")(deploy.deploy)
app.command("request")(request.request)
app.command("refund")(request.refund)
app.command("withdraw")(request.withdraw)
app.add_typer(model.app, name="model")
app.add_typer(node.app, name="node")


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    pass


def run() -> None:
    """Entry point. Exit codes are those of `oracle.errors`; 2 also covers wrong usage."""
    # Let `finally` blocks run, so that nothing that was started here is left behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        app()
    except OracleError as error:
        sys.stderr.write(error.line() + "\n")
        sys.exit(error.exit_code)
