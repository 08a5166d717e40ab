"""``oracle doctor``: what this machine has, what it lacks, and the remedy."""

from __future__ import annotations

import dataclasses
import json

import typer
from rich.console import Console
from rich.markup import escape

from oracle.cli.options import Json, examples
from oracle.cli.progress import waiting
from oracle.doctor import Finding, Health, examine
from oracle.errors import ToolchainError

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command(epilog=examples("oracle doctor", "oracle doctor --json"))
def doctor(as_json: Json = False) -> None:
    """Look at tools, memory, disk and cores, and say what to do about what is missing.

    Exits with 3 if something is missing that the project needs.
    """
    with waiting("Looking at") as detail:
        found = examine(detail)
    missing = [each for each in found if each.health is Health.MISSING]
    if as_json:
        typer.echo(
            json.dumps(
                {"ok": not missing, "findings": [dataclasses.asdict(each) for each in found]}
            )
        )
    else:
        _draw(Console(), found)
    if missing:
        names = ", ".join(each.subject for each in missing)
        raise ToolchainError(f"this machine lacks: {names}", remedy=missing[0].remedy)


_MARKS = {Health.OK: "[green]✓[/]", Health.WARNING: "[yellow]![/]", Health.MISSING: "[red]✗[/]"}


def _draw(console: Console, found: list[Finding]) -> None:
    width = max(len(each.subject) for each in found)
    for each in found:
        line = f"{_MARKS[each.health]} {escape(each.subject):<{width}}  {escape(each.detail)}"
        console.print(line, highlight=False, soft_wrap=True)
        if each.remedy:
            console.print(f"  {'':<{width}}  [bold]{escape(each.remedy)}[/]", soft_wrap=True)
