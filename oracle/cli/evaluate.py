"""``oracle model evaluate``: what a bundle would prove of one's own rows, before anyone pays for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oracle.chain.toolchain import toolchain
from oracle.circuits.build import LIMITS
from oracle.circuits.bundle import Bundle
from oracle.circuits.evaluate import REFUSED, UNPROVABLE, Evaluation
from oracle.circuits.evaluate import evaluate as evaluate_bundle
from oracle.circuits.rows import read_labels, read_rows
from oracle.cli.options import Json
from oracle.cli.progress import report
from oracle.prover.sandbox import Sandbox

#: Labels that a table of who was taken for whom has room for.
_MOST_LABELS = 12


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    inputs: Annotated[
        Path, typer.Option(help="Rows: .npy, .npz or .csv, with a header or without.")
    ],
    labels: Annotated[
        Path | None, typer.Option(help="The right label of each row, to be compared with.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="The publisher's ONNX file; without it no error can be stated."),
    ] = None,
    srs: Annotated[
        Path | None, typer.Option(help="Folder of the bundle's SRS; by default the build folder's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute what the bundle would prove of each row, and compare it with the publisher's file.

    No proof is made; the integers are those that a proof would hold. A row is refused where the
    contract would refuse it, and unprovable where it would be taken and no proof could be made.
    """
    loaded = Bundle.load(bundle, srs)
    rows = read_rows(inputs)
    given = None if labels is None else read_labels(labels, len(rows))
    with report().step(f"Evaluate {bundle}") as detail:
        found = evaluate_bundle(
            loaded,
            rows,
            Sandbox(LIMITS, toolchain().ezkl_home),
            source=model,
            advance=lambda share: detail(f"{share:.0%} of the rows"),
        )
    if as_json:
        typer.echo(json.dumps(found.values(given)))
    else:
        _show(Console(), loaded, found, given)


def _show(console: Console, bundle: Bundle, found: Evaluation, labels: list[str] | None) -> None:
    console.print(escape(f"\n{bundle.name}  {bundle.bundle_id}"), highlight=False, soft_wrap=True)
    table = Table(show_header=False)
    table.add_row("rows", f"{len(found.status):,}")
    for status, meaning in (
        (REFUSED, "refused by the contract"),
        (UNPROVABLE, "taken by the contract and unprovable"),
    ):
        count = found.count(status)
        table.add_row(meaning, f"[red]{count:,}[/]" if count else "0")
    if found.errors is None:
        table.add_row("error", "not stated: give the publisher's file with --model")
    else:
        values = found.values()
        over = len(found.over_bound)
        table.add_row("greatest error", f"{values['max_abs_error']:.6g}")
        table.add_row(
            f"over the bound of {found.max_error:g}", f"[red]{over:,}[/]" if over else "0"
        )
        for share, error in (values["error_quantiles"] or {}).items():
            table.add_row(f"error of {float(share):.0%} of the rows at most", f"{error:.6g}")
        table.add_row("lost by rounding the inputs", f"{found.rounding_error or 0:.6g}")
        if found.label_agreement is not None:
            table.add_row("the file's label", f"{found.label_agreement:.1%}")
    if labels is not None and found.proved_labels:
        right = sum(labels[row] == proved for row, proved in found.proved_labels.items())
        table.add_row("the right label", f"{right / len(found.proved_labels):.1%}")
    console.print(table)
    if found.errors and found.over_bound:
        console.print("worst rows: " + ", ".join(map(str, found.over_bound[:5])))
    if labels is not None:
        _show_confusion(console, found, labels)


def _show_confusion(console: Console, found: Evaluation, labels: list[str]) -> None:
    pairs = found.confusion(labels)
    proved = sorted({column for _, column in pairs})
    given = sorted({row for row, _ in pairs})
    if not pairs or max(len(proved), len(given)) > _MOST_LABELS:
        return
    table = Table("label", *(f"proved {escape(column)}" for column in proved))
    for row in given:
        table.add_row(escape(row), *(str(pairs.get((row, column), 0)) for column in proved))
    console.print(table)
