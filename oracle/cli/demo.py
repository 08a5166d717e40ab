"""``oracle demo``: the main job once, for people (a table) or scripts (one JSON object)."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from oracle import demo as main_job
from oracle.cli.options import examples
from oracle.cli.progress import report as on_stderr
from oracle.demo import IRIS_LABELS, DemoResult
from oracle.errors import UsageError

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command(epilog=examples("oracle demo", "oracle demo --json --keep demo-run"))
def demo(
    as_json: bool = typer.Option(
        False, "--json", help="Print one JSON object on stdout; progress goes to stderr."
    ),
    keep: Path | None = typer.Option(
        None, help="Keep logs, node configuration and database in this new folder."
    ),
) -> None:
    """Run the whole path once on a local devnet: model, circuit, node, request, proof, callback.

    Exits with 1 if the answer on chain is not the model's or an attack was not rejected.
    """
    report = on_stderr()
    if keep is not None:
        try:
            keep.mkdir(parents=True)
        except OSError as error:
            raise UsageError(
                f"{keep} cannot be made ({error.strerror})", remedy="Choose a new folder"
            ) from None
        result = main_job.run(report, keep.resolve())
    else:
        with tempfile.TemporaryDirectory(prefix="oracle-demo-") as folder:
            result = main_job.run(report, Path(folder))
    if as_json:
        typer.echo(json.dumps(asdict(result)))
    else:
        _show(Console(), result)
    if not result.ok:
        raise typer.Exit(1)


def _show(console: Console, result: DemoResult) -> None:
    answer = Table(title="\nThe answer", title_justify="left", title_style="bold")
    answer.add_column("class")
    answer.add_column("onnxruntime (float)", justify="right")
    answer.add_column("proved, in the caller (fixed point)", justify="right")
    for index, label in enumerate(IRIS_LABELS):
        chosen = "bold green" if index == result.label_onchain else ""
        answer.add_row(
            label,
            f"{result.prediction_reference[index]:.6f}",
            f"{result.output_onchain[index]:.6f}",
            style=chosen,
        )
    features = ", ".join(f"{value:g}" for value in result.input)
    console.print(f"\n[bold]Input[/]  {features} cm", highlight=False)
    console.print(answer)
    console.print(f"greatest difference {result.max_abs_error:.6f}", highlight=False)

    figures = Table(title="\nTime and gas", title_justify="left", title_style="bold")
    figures.add_column("step")
    figures.add_column("seconds", justify="right")
    figures.add_column("gas", justify="right")
    figures.add_row("request", "", f"{result.request_gas:,}")
    figures.add_row("witness, proof, local check", f"{result.prove_seconds:.2f}", "")
    figures.add_row("the node's own share", f"{result.node_overhead_seconds:.2f}", "")
    figures.add_row("request mined to answer stored", f"{result.latency_seconds:.2f}", "")
    figures.add_row("fulfilment, all in", "", f"{result.fulfil_gas:,}")
    figures.add_row("  of it the verifier", "", f"{result.verify_gas:,}")
    figures.add_row("  of it the caller's callback", "", f"{result.callback_gas:,}")
    console.print(figures)

    attempts = Table(title="\nAttempts to cheat", title_justify="left", title_style="bold")
    attempts.add_column("attempt")
    attempts.add_column("outcome")
    for name, rejected in result.tamper.items():
        outcome = "[green]rejected on chain[/]" if rejected else "[bold red]NOT REJECTED[/]"
        attempts.add_row(name.replace("_", " "), outcome)
    console.print(attempts)
    console.print(
        f"\n{result.model}: whole demo {result.total_seconds:.1f} s. The devnet's SRS is made here: "
        "fine for a demo, never for value.",
        style="dim",
        highlight=False,
        soft_wrap=True,
    )
