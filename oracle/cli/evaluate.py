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
from oracle.circuits.bundle import Bundle, Origin
from oracle.circuits.classes import Classes
from oracle.circuits.evaluate import OK, REFUSED, UNPROVABLE, Evaluation, check_rows
from oracle.circuits.evaluate import evaluate as evaluate_bundle
from oracle.circuits.reveal import Reveal
from oracle.circuits.rows import read_labels, read_rows
from oracle.cli.options import Json
from oracle.cli.progress import report
from oracle.errors import UsageError
from oracle.prover.sandbox import Sandbox

#: Refused rows that the text names.
_FIRST = 5
#: Labels that a table of who was taken for whom has room for.
_MOST_LABELS = 12


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    inputs: Annotated[
        Path, typer.Option(help="Rows: .npy, .npz or .csv, with a header or without.")
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="The right label of each row, to be compared with: classes, or their indices."
        ),
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
    Exits with 2 if no row could be proved.
    """
    loaded = Bundle.load(bundle, srs)
    rows = read_rows(inputs, inputs=lambda: loaded.origin.inputs)
    check_rows(loaded, rows)
    given, are_indices = None, False
    if labels is not None:
        classes = _classes(loaded.origin)
        given, are_indices = classes.matched(read_labels(labels, len(rows), classes.all))
    with report().step(f"Evaluate {bundle}") as detail:
        found = evaluate_bundle(
            loaded,
            rows,
            Sandbox(LIMITS, toolchain().ezkl_home),
            source=model,
            advance=lambda share: detail(f"{share:.0%} of the rows"),
        )
    if as_json:
        values = {"name": loaded.name, "bundle_id": loaded.bundle_id, **found.values(given)}
        if given is not None:
            values["labels_are_indices"] = are_indices
        typer.echo(json.dumps(values))
    else:
        _show(Console(), loaded, found, given)
        if are_indices:
            typer.echo("labels: taken for the indices of the bundle's classes, from 0")
    if not found.count(OK):
        raise typer.Exit(2)


def agreement(origin: Origin) -> str:
    """What it is called that the file's greatest output, or its label, is the proved one's."""
    # Of numbers that nobody named, it is not known whether they are scores of classes.
    is_label = origin.labels or origin.reveal != str(Reveal())
    return "label agreement with the float model" if is_label else "same output the greatest"


def _classes(origin: Origin) -> Classes:
    classes = Classes.of(origin)
    if classes is None:
        numbers = sum(info.length for info in origin.outputs)
        raise UsageError(
            f"there is nothing to compare labels with: the bundle reveals {origin.reveal} of "
            f"{numbers} number{'s' if numbers > 1 else ''}, which says no label",
            remedy="Leave --labels out",
        )
    return classes


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
    if not found.count(OK):
        table.add_row("error", "not measured: no row could be proved")
    elif found.errors is None:
        table.add_row("error", "not stated: give the publisher's file with --model")
    else:
        _add_errors(table, bundle, found)
    accuracy = None if labels is None else found.accuracy(labels)
    if accuracy is not None:
        table.add_row("the right label", f"{accuracy:.1%}")
    console.print(table)
    _show_refusals(console, found)
    if found.errors and found.over_bound:
        console.print("worst rows: " + ", ".join(map(str, found.over_bound[:5])))
    if labels is not None:
        _show_confusion(console, found, labels)


def _add_errors(table: Table, bundle: Bundle, found: Evaluation) -> None:
    values = found.values()
    over = len(found.over_bound)
    table.add_row("greatest error", f"{values['max_abs_error']:.6g}")
    table.add_row(f"over the bound of {found.max_error:g}", f"[red]{over:,}[/]" if over else "0")
    for share, error in values["error_quantiles"].items():
        table.add_row(f"error of {float(share):.0%} of the rows at most", f"{error:.6g}")
    table.add_row("lost by rounding the inputs", f"{found.rounding_error:.6g}")
    if found.label_agreement is not None:
        table.add_row(agreement(bundle.origin), f"{found.label_agreement:.1%}")


def _show_refusals(console: Console, found: Evaluation) -> None:
    for row, refusal in list(found.refusals.items())[:_FIRST]:
        line = f"refused: row {row}, input '{refusal.input}': {refusal.reason}"
        console.print(escape(line), highlight=False, soft_wrap=True)
    more = len(found.refusals) - _FIRST
    if more > 0:
        console.print(f"and {more:,} more (--json lists them)", highlight=False)


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
