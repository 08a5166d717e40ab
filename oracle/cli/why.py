"""``oracle why``: what a request waits for, and what to do."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.markup import escape

from oracle.chain import deployments
from oracle.chain.contracts import OracleContract
from oracle.chain.rpc import Rpc, redacted
from oracle.chain.trail import find_id
from oracle.cli.chain import (
    LOCAL,
    Chain,
    ChainId,
    FirstBlock,
    Oracle,
    RequestId,
    Url,
    chain_of,
    signer_of,
)
from oracle.cli.following import Given, typed
from oracle.cli.options import Json, examples
from oracle.cli.progress import waiting
from oracle.config import NodeConfig, load_node_config
from oracle.errors import ConfigError, RequestUnknown
from oracle.log import request_hex
from oracle.store.ledger import Store
from oracle.store.running import is_running
from oracle.why import Cause, NodeView, Report, Starting, Step, ether, explain, values

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command(
    epilog=examples(
        "oracle why 0x1a2b...",
        "oracle why 0x1a2b... --config node.toml",
        "oracle why 0x1a2b... --json",
    )
)
def why(
    request_id: RequestId,
    config: Annotated[
        Path | None,
        typer.Option(help="A node's TOML file: its chain, and what the node makes of the request."),
    ] = None,
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    first_block: FirstBlock = None,
    as_json: Json = False,
) -> None:
    """Tell a request's life: every step, what it waits for now, and what to do.

    The chain alone says most. With a node's --config also what that node is doing, read from its
    ledger; it may be running. Exits with 2 when the oracle knows no such request.
    """
    settings = None if config is None else load_node_config(config)
    with waiting("Reading the chain"):
        chain = _chain(settings, rpc, chain_id, oracle, first_block)
        report = _look(request_id, settings, chain, rpc, shlex.quote(str(config)))
    given = _given(settings, Given(rpc, chain_id, oracle, first_block))
    report = dataclasses.replace(report, commands=tuple(map(given.whole, report.commands)))
    if as_json:
        typer.echo(json.dumps(values(report)))
    else:
        _draw(Console(), report)
    if report.cause is Cause.UNKNOWN:
        raise typer.Exit(RequestUnknown.exit_code)


def _chain(
    settings: NodeConfig | None,
    rpc: str,
    chain_id: int | None,
    oracle: str | None,
    first_block: int | None,
) -> Chain:
    if settings is None:
        return chain_of(rpc, chain_id, oracle, first_block)
    endpoints = Rpc(
        settings.endpoints,
        settings.chain_id,
        settings.rpc_timeout,
        cross_check=settings.log_cross_check,
    )
    first = settings.start_block if first_block is None else first_block
    return Chain(endpoints, settings.oracle, first)


def _given(settings: NodeConfig | None, given: Given) -> Given:
    """The options for the commands to be typed next; a node's configuration says its chain itself."""
    if settings is None:
        return given
    url = settings.endpoints[0].url
    # Its address may hold a key, which nobody typed here.
    shown = url if redacted(url) == url else "URL"
    return Given(shown, settings.chain_id, settings.oracle, given.first_block)


def _starting(chain: Chain, rpc: str) -> Starting:
    """How a node of this chain is started: the devnet's own, if it is a devnet that was started here."""
    try:
        devnet = deployments.devnet(chain.rpc, rpc)
    except ConfigError:
        # A damaged record says nothing; the chain was found without it.
        devnet = None
    if devnet is None or not devnet.folder or devnet.oracle != chain.oracle:
        return Starting()
    config = Path(devnet.folder, "node.toml")
    port = "" if rpc == LOCAL else f" --port {urlsplit(rpc).port}"
    return Starting(f"oracle devnet up --node --folder {typed(devnet.folder)}{port}", typed(config))


def _look(name: str, settings: NodeConfig | None, chain: Chain, rpc: str, config: str) -> Report:
    contract = OracleContract(chain.rpc, chain.oracle)
    contract.registry()  # says plainly when this is no oracle
    number = find_id(chain.rpc, contract, name, chain.first_block, chain.rpc.head().number)
    if settings is None:
        starting = _starting(chain, rpc)
        return explain(
            chain.rpc, contract, number, first_block=chain.first_block, starting=starting
        )
    store = Store.open(
        settings.store, settings.chain_id, settings.oracle, time.time, read_only=True
    )
    try:
        node = NodeView(
            store=store,
            is_running=is_running(store, settings.store),
            account=_account_of(settings),
            min_balance=settings.min_balance,
            confirmations=settings.confirmations,
            subsidy=settings.subsidy_per_request,
            config=config,
        )
        return explain(chain.rpc, contract, number, first_block=chain.first_block, node=node)
    finally:
        store.close()


def _account_of(settings: NodeConfig) -> str:
    """Who pays for the node's gas; a remote signer need not be asked."""
    if settings.signer_account is not None:
        return settings.signer_account
    return signer_of(settings.key_file, settings.keystore, settings.password_file).address


# --- for a person ---

_GOOD = frozenset({Cause.ANSWERED, Cause.REFUNDED})
_IN_HAND = frozenset(
    {
        *(Cause.PROVING, Cause.DELIVERING, Cause.CONFIRMING, Cause.NODE_BEHIND),
        *(Cause.CALLBACK_RETRIABLE, Cause.REORGANISED),
    }
)


def _draw(console: Console, report: Report) -> None:
    """Print a report."""

    def say(text: str) -> None:
        # A terminal gets whole words; whoever reads a pipe gets whole lines.
        console.print(text, highlight=False, soft_wrap=not console.is_terminal)

    say(f"[bold]{request_hex(report.request_id)}[/]")
    if report.request:
        say(f"[dim]{escape(_facts(report))}[/]")
    for step in report.steps:
        _draw_step(console, step)
    colour = "green" if report.cause in _GOOD else "yellow" if report.cause in _IN_HAND else "red"
    say(f"\n[bold {colour}]{report.cause.value.upper()}[/]  {escape(report.explanation)}.")
    for note in report.notes:
        say(f"[yellow]Note:[/] {escape(note)}.")
    if report.remedy:
        say(f"[bold]To do:[/] {escape(report.remedy)}.")
    for command in report.commands:
        # To be copied: the terminal may wrap it, no line end goes in between.
        console.print(f"  [cyan]{escape(command)}[/]", highlight=False, soft_wrap=True)


def _facts(report: Report) -> str:
    request = report.request
    if request is None:
        return ""
    left = report.seconds_left
    deadline = f", {_duration(left)} left" if left else ""
    return (
        f"{report.status.name.lower()}{deadline}; model {request.model_id}, fee "
        f"{ether(request.fee)}, gas money {ether(request.gas_money)}, asked by {request.account}"
    )


def _draw_step(console: Console, step: Step) -> None:
    when = datetime.fromtimestamp(step.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    place = f"block {step.block}" if step.block is not None else ""
    console.print(
        f"[dim]{when}[/]  {'[cyan]chain[/]' if step.source == 'chain' else 'node '}  "
        f"{escape(step.what):<20} {place}".rstrip(),
        highlight=False,
        soft_wrap=True,
    )
    for line in filter(None, (step.detail, step.transaction)):
        console.print(f"[dim]           {escape(line)}[/]", highlight=False, soft_wrap=True)


def _duration(seconds: int) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
