"""``oracle node``: run the daemon, check its configuration, ask how it is doing."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from oracle.checks import Finding
from oracle.cli import begin, move, queue
from oracle.cli import report as reports
from oracle.cli.options import examples
from oracle.config import NodeConfig, load_node_config
from oracle.log import make_logger, request_hex
from oracle.store.ledger import Store
from oracle.store.records import Job

app = typer.Typer(
    help="The daemon that proves and answers requests.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

app.command(epilog=begin.INIT)(begin.init)
app.command(epilog=begin.SRS)(begin.srs)
app.command(epilog=reports.REPORT)(reports.report)
app.command()(queue.requeue)
app.command()(queue.cancel)
app.command()(queue.export)
app.command(epilog=move.EXAMPLES)(move.move_store)

_Config = Annotated[Path, typer.Option("--config", help="The node's TOML file.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command(epilog=examples("oracle node run --config node.toml", "oracle node run --dry-run"))
def run(
    config: _Config = Path("node.toml"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Decide and prove, and send nothing.")
    ] = False,
) -> None:
    """Watch, prove and submit until SIGTERM or Ctrl-C; a second one ends at once.

    SIGHUP has the terms and the endpoints read anew.
    """
    from oracle.node import build, run_until_signal

    def load() -> NodeConfig:
        loaded = load_node_config(config)
        return loaded.model_copy(update={"dry_run": True}) if dry_run else loaded

    settings = load()
    log = make_logger(sys.stderr, json=settings.log_format == "json")
    with build(settings, log) as node:
        run_until_signal(node, load)


@app.command(epilog=examples("oracle node check", "oracle node check --no-trial-proof --json"))
def check(
    config: _Config = Path("node.toml"),
    trial_proof: Annotated[
        bool, typer.Option(help="Also prove each model once; seconds to minutes.")
    ] = True,
    as_json: _Json = False,
) -> None:
    """Look at everything that must be right before a start; sends nothing.

    Each endpoint with all that a node asks, the clock, the chain's fork, contracts, key and balance, store, disk, memory, models, a trial proof of each.
    """
    from oracle.node import check as check_node

    findings = check_node(load_node_config(config), trial_proof=trial_proof)
    failed = [finding.error for finding in findings if finding.error is not None]
    if as_json:
        report = {"ok": not failed, "findings": [_as_json(finding) for finding in findings]}
        typer.echo(json.dumps(report, indent=2))
        raise typer.Exit(failed[0].exit_code if failed else 0)
    for finding in findings:
        typer.echo(_row(finding))
    if failed:
        raise failed[0]


def _as_json(finding: Finding) -> dict[str, Any]:
    error = finding.error
    return {
        "subject": finding.subject,
        "ok": error is None,
        "warning": finding.is_warning,
        "detail": finding.detail,
        "code": error.code if error else None,
        "remedy": error.remedy if error else None,
    }


def _row(finding: Finding) -> str:
    error = finding.error
    text = finding.detail if error is None else error.line()
    sign = "FAIL" if error is not None else "WARN" if finding.is_warning else "ok"
    return f"{sign:4}  {finding.subject:8}  {' '.join(text.split())}"


@app.command(epilog=examples("oracle node status", "oracle node status --last 50 --json"))
def status(
    config: _Config = Path("node.toml"),
    as_json: _Json = False,
    last: Annotated[int, typer.Option(help="How many requests to list.")] = 10,
) -> None:
    """What stands in the way, requests by state, the newest with their reasons, batches.

    Reads the store only, also beside a running node, which tells there which of its services and
    endpoints are in trouble.
    """
    settings = load_node_config(config)
    store = Store.open(
        settings.store, settings.chain_id, settings.oracle, time.time, read_only=True
    )
    try:
        report = _report(store, last, settings.start_block)
    finally:
        store.close()
    typer.echo(json.dumps(report, indent=2) if as_json else _text(report))


def _report(store: Store, last: int, start_block: int) -> dict[str, Any]:
    cursor = store.cursor()
    has_read = cursor is not None and cursor.block >= start_block
    batches = [_batch(store, job) for job in store.open_batches(last)]
    return {
        "block": cursor.block if cursor and has_read else None,
        "head": cursor.head if cursor and cursor.head_timestamp else None,
        "head_age": round(time.time() - cursor.head_timestamp)
        if cursor and cursor.head_timestamp
        else None,
        "troubles": [
            {
                "node": trouble.node,
                "subject": trouble.subject,
                "code": trouble.code,
                "detail": trouble.detail,
                "since": _moment(trouble.since),
            }
            for trouble in store.troubles()
        ],
        "requests": {state.value: amount for state, amount in store.counts().items()},
        "last": [
            {
                "request_id": request_hex(row.request_id),
                "model_id": row.request.model_id,
                "state": row.state.value,
                "reason": row.reason,
                "block": row.request.block_number,
                "job": row.job_id,
                "updated": _moment(row.updated_at),
            }
            for row in store.recent(last)
        ],
        "batches": batches,
        "nodes": [
            {
                "name": member.name,
                "account": member.account,
                "payee": member.payee,
                "workers": member.workers,
            }
            for member in (store.members() if store.is_shared else ())
        ],
    }


def _batch(store: Store, job: Job) -> dict[str, Any]:
    """A proof of several requests that is on its way: those it is still to answer, and how far."""
    states = Counter(row.state.value for row in store.requests_of(job.job_id))
    return {
        "job": job.job_id,
        "proof": job.state.value,
        "error": job.error,
        "rows": job.size,
        "requests": [request_hex(request_id) for request_id in job.request_ids],
        "states": dict(states),
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _progress(report: dict[str, Any]) -> str:
    """How far the chain was read, and how old what is known of it is."""
    if report["head"] is None:
        return "the chain was not seen yet"
    head = f"{report['head']}, {report['head_age']} s old"
    return (
        f"nothing read yet of {head}"
        if report["block"] is None
        else (f"block {report['block']} of {head}")
    )


def _text(report: dict[str, Any]) -> str:
    lines = [f"{_progress(report)}; requests: {_amounts(report['requests'])}"]
    lines += [
        f"trouble since {trouble['since'][:19]}  {trouble['subject']}  {trouble['code']}: "
        f"{trouble['detail']}"
        for trouble in report["troubles"]
    ]
    lines += [
        f"{row['request_id'][:10]:10}  {row['state']:9}  {row['updated'][:19]}  {row['reason']}"
        for row in report["last"]
    ]
    lines += [
        f"batch {row['job'][:8]}  proof {row['proof']:9}  {len(row['requests'])} requests in "
        f"{row['rows']} rows: {_amounts(row['states'])}"
        for row in report["batches"]
    ]
    lines += [
        f"node {node['name']}  {node['workers']} workers  account {node['account']}"
        for node in report["nodes"]
    ]
    return "\n".join(lines)


def _amounts(counts: dict[str, int]) -> str:
    return ", ".join(f"{amount} {state}" for state, amount in counts.items()) or "none"
