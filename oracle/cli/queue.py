"""``oracle node requeue | cancel | export``: the operator's hand in the queue, beside the node."""

from __future__ import annotations

import csv
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from oracle.config import load_node_config
from oracle.errors import UsageError
from oracle.log import request_hex
from oracle.store import operator
from oracle.store.ledger import Store
from oracle.store.records import ExportRow, RequestRow

_Config = Annotated[Path, typer.Option("--config", help="The node's TOML file.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
#: Columns that are numbers of wei, which may be more than other programs' integers hold.
_WEI = ("fee", "gas_money")
#: The end of the year 9999.
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
_TIMES = ("seen_at", "updated_at")


class Format(StrEnum):
    """What ``export`` writes."""

    JSON = "json"
    CSV = "csv"


def requeue(
    names: Annotated[
        list[str], typer.Argument(metavar="REQUEST_OR_JOB...", help="Ids, or their first digits.")
    ],
    config: _Config = Path("node.toml"),
    as_json: _Json = False,
) -> None:
    """Have requests decided on anew that were skipped, failed or cancelled; also beside a node."""
    _change(config, "requeued", lambda s: operator.requeue(s, names), as_json)


def cancel(
    names: Annotated[
        list[str], typer.Argument(metavar="REQUEST...", help="Ids, or their first digits.")
    ],
    config: _Config = Path("node.toml"),
    as_json: _Json = False,
) -> None:
    """End requests for this node: stop the proof, send nothing; also beside a running node."""
    _change(config, "cancelled", lambda s: operator.cancel(s, names), as_json)


def export(
    config: _Config = Path("node.toml"),
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.JSON,
    since: Annotated[
        str | None,
        typer.Option(help="Only what moved since: 2026-01-31, 2026-01-31T12:00Z, 36h or 7d ago."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Every request of the ledger on stdout, in chain order; also beside a running node."""
    if as_json and form is Format.CSV:
        raise UsageError("--json and --format csv exclude each other", remedy="Give one of them")
    begin = 0.0 if since is None else since_of(since, time.time())
    with _store(config, read_only=True) as store:
        rows = operator.export(store, begin)
        if form is Format.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(field.name for field in fields(ExportRow))
            writer.writerows(_plain(row).values() for row in rows)
            return
        typer.echo("[", nl=False)
        for before, row in zip(chain(["\n"], iter(lambda: ",\n", None)), rows, strict=False):
            typer.echo(before + json.dumps(_plain(row)), nl=False)
        typer.echo("\n]")


def _change(
    config: Path, what: str, change: Callable[[Store], Sequence[RequestRow]], as_json: bool
) -> None:
    with _store(config, operator=True) as store:
        rows = change(store)
    if as_json:
        report = [
            {"request_id": request_hex(row.request_id), "was": row.state.value} for row in rows
        ]
        typer.echo(json.dumps({what: report}, indent=2))
        return
    for row in rows:
        typer.echo(f"{what}  {request_hex(row.request_id)}, which was {row.state}")


@contextmanager
def _store(config: Path, *, read_only: bool = False, operator: bool = False) -> Iterator[Store]:
    settings = load_node_config(config)
    store = Store.open(
        settings.store,
        settings.chain_id,
        settings.oracle,
        time.time,
        read_only=read_only,
        operator=operator,
    )
    try:
        yield store
    finally:
        store.close()


def since_of(text: str, now: float) -> float:
    """Seconds since the epoch of an ISO date and time (UTC unless it says so), or of a time ago."""
    ago = re.fullmatch(r"(\d{1,18})([smhd])", text)
    if ago is not None:
        return _within(now - int(ago[1]) * _SECONDS[ago[2]])
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since {text} is no time", remedy="Write 2026-01-31, 2026-01-31T12:00Z, 36h or 7d"
        ) from None
    return _within((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _within(seconds: float) -> float:
    """A time that a date can say; there was no request before the first, nor will be after the last."""
    return min(max(0.0, seconds), _LAST)


def _plain(row: ExportRow) -> dict[str, Any]:
    values = asdict(row)
    values["request_id"] = request_hex(row.request_id)
    values["transaction"] = None if row.transaction is None else "0x" + row.transaction.hex()
    for name in _WEI:
        values[name] = str(values[name])
    for name in _TIMES:
        values[name] = datetime.fromtimestamp(values[name], UTC).isoformat()
    return values
