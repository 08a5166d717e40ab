"""``oracle node report``: what the node earned, by day and model, with the gas that was really paid."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from oracle.cli.options import examples
from oracle.cli.queue import since_of
from oracle.config import load_node_config
from oracle.store.earnings import Earned
from oracle.store.ledger import Store

REPORT = examples("oracle node report --since 7d", "oracle node report --csv")
_ETHER = 10**18
_WIDEST = 10_000
#: Columns to leave out where a terminal has no room for all, the first first.
_LEAST_NEEDED = ("gas", "reverted", "transactions", "refunds", "fees", "spent", "requests", "model")


@dataclass(frozen=True, slots=True)
class Line:
    """A day's earnings of one model. Money in wei."""

    day: str
    #: Empty for transactions that answer nothing.
    model: str
    requests: int
    transactions: int
    #: Of these, those that were paid in vain.
    reverted: int
    gas: int
    spent: int
    fees: int
    refunds: int
    profit: int


def report(
    config: Annotated[Path, typer.Option("--config", help="The node's TOML file.")] = Path(
        "node.toml"
    ),
    since: Annotated[
        str, typer.Option(help="From that day (UTC): 2026-01-31, or 30d ago.")
    ] = "30d",
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout, in wei.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, in wei.")] = False,
) -> None:
    """What was earned, by day and model, with the gas really paid; also beside a running node.

    Counts transactions on the day they became final (UTC). Fees charged in a token are not in it.
    """
    first = datetime.fromtimestamp(since_of(since, time.time()), UTC).date()
    lines = _lines(config, first)
    if as_json:
        typer.echo(json.dumps({"days": [asdict(line) for line in lines], "total": _total(lines)}))
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(Line.__slots__)
        writer.writerows(asdict(line).values() for line in lines)
    else:
        _draw(lines, first)


def _lines(config: Path, first: date) -> list[Line]:
    settings = load_node_config(config)
    store = Store.open(
        settings.store, settings.chain_id, settings.oracle, time.time, read_only=True
    )
    try:
        by_place: dict[tuple[date, int | None], list[Earned]] = {}
        for earned in store.earnings(first):
            by_place.setdefault((earned.day, earned.model_id), []).append(earned)
    finally:
        store.close()
    return [_line(day, model, found) for (day, model), found in by_place.items()]


def _line(day: date, model: int | None, found: Sequence[Earned]) -> Line:
    return Line(
        day=day.isoformat(),
        model="" if model is None else str(model),
        requests=sum(each.requests for each in found),
        transactions=sum(each.transactions for each in found),
        reverted=sum(each.transactions for each in found if each.result == "reverted"),
        gas=sum(each.gas for each in found),
        spent=sum(each.spent for each in found),
        fees=sum(each.fees for each in found),
        refunds=sum(each.refunds for each in found),
        profit=sum(each.profit for each in found),
    )


def _total(lines: Sequence[Line]) -> dict[str, Any]:
    names = [name for name in Line.__slots__ if name not in ("day", "model")]
    return {name: sum(getattr(line, name) for line in lines) for name in names}


def _draw(lines: Sequence[Line], first: date) -> None:
    if not lines:
        typer.echo(f"no transaction became final since {first.isoformat()}")
        return
    console = Console(width=None if sys.stdout.isatty() else 140)
    names = list(Line.__slots__)
    table = _table(names, lines, first)
    left_out = []
    # Else nothing is wider than the terminal: it is cut instead.
    unbounded = console.options.update(max_width=_WIDEST)
    for name in _LEAST_NEEDED:
        if console.measure(table, options=unbounded).maximum <= console.width:
            break
        names.remove(name)
        left_out.append(name)
        table = _table(names, lines, first)
    console.print(table)
    if left_out:
        console.print(f"Not shown for want of room: {', '.join(left_out)}; --csv has all.")


def _table(names: Sequence[str], lines: Sequence[Line], first: date) -> Table:
    table = Table(title=f"Since {first.isoformat()}, money in ETH", title_justify="left")
    for name in names:
        justify: Literal["left", "right"] = "left" if name in ("day", "model") else "right"
        table.add_column(name, justify=justify, no_wrap=True)
    total = {"day": "total", "model": "", **_total(lines)}
    rows = [*map(asdict, lines), total]
    for row in rows:
        if row is total:
            table.add_section()
        table.add_row(*(_shown(name, row[name]) for name in names))
    return table


def _shown(name: str, value: Any) -> str:
    if name not in ("spent", "fees", "refunds", "profit"):
        return f"{value:,}" if isinstance(value, int) else str(value)
    # Exact: a float would round what is small beside what is large.
    sign, (whole, rest) = "-" if value < 0 else "", divmod(abs(value), _ETHER)
    return f"{sign}{whole}.{rest:018d}"[: len(sign) + len(str(whole)) + 10]
