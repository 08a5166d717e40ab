"""The ``oracle`` command: finds the sub-commands and turns errors into one line."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from oracle import __version__
from oracle.cli.options import examples
from oracle.errors import OracleError, UsageError

_NAME = "oracle"
#: What the parser returns after Ctrl-C, by the convention of shells.
_INTERRUPTED = 128 + signal.SIGINT
#: Why standard output cannot be written: the disk is full, or it is closed.
_NO_OUTPUT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EIO})


@dataclass(frozen=True, slots=True)
class Door:
    """A sub-command that is imported when it is used."""

    #: Below ``oracle.cli``; its ``app`` is the command, or a group that holds it.
    module: str
    #: What the list of commands says of it.
    help: str


#: Chain, numpy and compilers take seconds to import: help and completion do without.
DOORS = {
    "doctor": Door("doctor", "Look at this machine's tools, memory, disk and cores."),
    "demo": Door("demo", "Run the whole path once on a local devnet, with a real proof."),
    "devnet": Door("devnet", "A local chain in the background, with contracts and a model."),
    "deploy": Door("deploy", "Put registry and oracle on a chain, once whatever happens."),
    "model": Door("model", "Build circuits from ONNX models, look at them, check them."),
    "request": Door("request", "Send a request, wait for its proof, print the answer."),
    "result": Door("request", "Print the proved answer of a request, anyone's."),
    "encode": Door("tensors", "Print the request bytes of an input."),
    "decode": Door("tensors", "Print the numbers that result bytes carry."),
    "why": Door("why", "Tell what a request waits for, and what to do."),
    "top-up": Door("request", "Raise the gas money of an open request."),
    "retry": Door("request", "Make a failed callback again."),
    "refund": Door("request", "Have an expired request's money credited."),
    "withdraw": Door("request", "Send an account's credit to an address."),
    "sign-request": Door("gasless", "Sign a request that somebody else submits."),
    "relay": Door("gasless", "Submit a request that another account signed."),
    "deposit": Door("gasless", "Add to the credit that pays for signed requests."),
    "node": Door("node", "The daemon that proves and answers requests."),
}


def opened(name: str) -> Any:
    """The command behind a door."""
    command: Any = get_command(import_module(f"oracle.cli.{DOORS[name].module}").app)
    # A module of several commands is a group; one that is a group itself has no such command.
    return getattr(command, "commands", {}).get(name, command)


class _Doors(TyperGroup):
    """Lists doors, and opens the one that is gone through."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*DOORS, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in DOORS:
            return TyperCommand(cmd_name, help=DOORS[cmd_name].help)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, opened(name) if name in DOORS else command, rest


app = typer.Typer(
    name=_NAME,
    cls=_Doors,
    help="Verifiable inference on chain: ask a model from a contract, get a proved answer.",
    epilog=examples(
        "oracle doctor",
        "oracle devnet up --node",
        "oracle request 5.1,3.5,1.4,0.2 --key-file build/devnet/caller.key",
        "oracle --install-completion",
        heading="Begin with",
    ),
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


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
    if sys.stdout is None:
        # Closed by the shell: what is printed must not vanish without a word.
        sys.stdout = _Closed()
    try:
        code = app(prog_name=_NAME, standalone_mode=False)
        sys.stdout.flush()
    except OracleError as error:
        code = _refuse(error)
    except typer.TyperException as error:
        # Without a message it is a group without a command, whose help has been printed.
        code = _refuse(_misused(error)) if error.format_message() else error.exit_code
    except OSError as error:
        if error.errno not in _NO_OUTPUT or error.filename is not None:
            raise
        _drop_output()
        code = _refuse(
            UsageError(
                f"the output cannot be written ({error.strerror})",
                remedy="Send it where there is room",
            )
        )
    except typer.Abort as stop:
        # The parser's word for an EOFError, which nobody typed: no command asks for anything.
        raise stop.__cause__ or stop from None
    if code == _INTERRUPTED:
        sys.stderr.write("stopped\n")
    sys.exit(code if isinstance(code, int) else 0)


class _Closed(io.TextIOBase):
    """Standard output where there is none."""

    def write(self, _: str) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _drop_output() -> None:
    """Have nothing left to be written at the end, which would fail again."""
    if not isinstance(sys.stdout, _Closed):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _refuse(error: OracleError) -> int:
    sys.stderr.write(error.line() + "\n")
    return error.exit_code


def _misused(error: typer.TyperException) -> UsageError:
    """A wrong option or argument as an error of the tree."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else _NAME
    return UsageError(error.format_message(), remedy=f"See: {command} --help")
