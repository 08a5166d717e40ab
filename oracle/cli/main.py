"""The ``oracle`` command: assembles the sub-commands and turns errors into one line."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

import typer

from oracle import __version__
from oracle.cli import demo, devnet, doctor, model, node, request, why
from oracle.cli.options import examples
from oracle.errors import OracleError, UsageError

_ASK = "oracle request 5.1,3.5,1.4,0.2 --key-file build/devnet/caller.key"

app = typer.Typer(
    name="oracle",
    help="Verifiable inference on chain: ask a model from a contract, get a proved answer.",
    epilog=examples(
        "oracle doctor",
        "oracle devnet up",
        _ASK,
        "oracle --install-completion",
        heading="Begin with",
    ),
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("doctor", epilog=examples("oracle doctor", "oracle doctor --json"))(doctor.doctor)
app.command("demo", epilog=examples("oracle demo", "oracle demo --json --keep /tmp/demo"))(
    demo.demo
)
app.add_typer(devnet.app, name="devnet")
app.add_typer(model.app, name="model")
app.command(
    "request",
    epilog=examples(
        _ASK,
        "oracle request 5.1,3.5,1.4,0.2 --model 2 --rpc https://rpc.example --chain-id 11155111 "
        "--keystore caller.json --password-file caller.password --json",
    ),
)(request.request)
app.command(
    "result", epilog=examples("oracle result 0x1a2b...", "oracle result 0x1a2b... --timeout 60")
)(request.result)
app.command(
    "why",
    epilog=examples(
        "oracle why 0x1a2b...",
        "oracle why 0x1a2b... --config node.toml",
        "oracle why 0x1a2b... --json",
    ),
)(why.why)
app.command(
    "top-up", epilog=examples("oracle top-up 0x1a2b... --wei 200000000000000 --key-file my.key")
)(request.top_up)
app.command("retry", epilog=examples("oracle retry 0x1a2b... --gas 200000 --key-file my.key"))(
    request.retry
)
app.command("refund", epilog=examples("oracle refund 0x1a2b... --key-file my.key"))(request.refund)
app.command(
    "withdraw",
    epilog=examples("oracle withdraw --key-file node.key", "oracle withdraw --to 0xabc..."),
)(request.withdraw)
app.add_typer(node.app, name="node")


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: bool = typer.Option(  # noqa: ARG001 - its callback acts
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run() -> None:
    """Entry point. Exit codes are those of `oracle.errors`; 2 also covers wrong usage."""
    # Let `finally` blocks run, so that nothing that was started here is left behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        code = app(standalone_mode=False)
    except OracleError as error:
        code = _refuse(error)
    except typer.TyperException as error:
        # Without a message it is a group without a command, whose help has been printed.
        code = _refuse(_misused(error)) if error.message else error.exit_code
    except BrokenPipeError:
        # The reader of a pipe has gone. Python would complain once more when it flushes at exit.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    sys.exit(code if isinstance(code, int) else 0)


def _refuse(error: OracleError) -> int:
    sys.stderr.write(error.line() + "\n")
    return error.exit_code


def _misused(error: typer.TyperException) -> UsageError:
    """A wrong option or argument as an error of the tree."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "oracle"
    return UsageError(error.format_message(), remedy=f"See: {command} --help")
