"""Options that several ``oracle model`` commands share, and what their texts mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from oracle.errors import UsageError

Model = Annotated[Path, typer.Argument(help="The ONNX file.")]
Batch = Annotated[
    str, typer.Option(help="Rows that one proof may cover: a circuit for each, as 1,8,32.")
]
RevealPolicy = Annotated[
    str, typer.Option(help="What is published: full, top1, topk:K, threshold:T or round:D.")
]
Dim = Annotated[
    list[str] | None,
    typer.Option(help="Size of a free dimension, as NAME=VALUE; may be repeated."),
]
Output = Annotated[
    list[str] | None,
    typer.Option(help="Which of the model's outputs to prove; may be repeated."),
]
SrsFolder = Annotated[
    Path | None,
    typer.Option(help="Folder of the Perpetual Powers of Tau files (kzgK.srs)."),
]
SrsUrl = Annotated[
    str | None,
    typer.Option(help="Where missing ones are downloaded from: the address before /kzgK.srs."),
]
Promised = Annotated[
    str,
    typer.Option(
        "--promise",
        help="What the bound is promised for: every input of the ranges, or samples, as measured.",
    ),
]
Margin = Annotated[
    float,
    typer.Option(help="How far the ranges reach beyond the samples, as a share of their range."),
]
Ranges = Annotated[
    list[str] | None,
    typer.Option(
        "--range",
        help="Range in place of the samples' and the margin: LOW,HIGH, or INDEX=LOW,HIGH for one "
        "input element; may be repeated.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, for scripts.")]


def examples(*commands: str, heading: str = "Examples") -> str:
    """The end of a help text: commands that work as they stand, but for ids and names."""
    # The backspace keeps lines as they are.
    return "\n".join(("\b", f"[bold]{heading}:[/]", *(f"  {command}" for command in commands)))


def sizes_of(batch: str) -> tuple[int, ...]:
    """The batch sizes of ``--batch``.

    Raises:
        UsageError: it is not a list of positive numbers.
    """
    sizes = tuple(int(size) for size in batch.split(",") if size.strip().isdecimal())
    if len(sizes) != len(batch.split(",")) or min(sizes) < 1:
        raise UsageError(
            f"--batch {batch} is not a list of sizes", remedy="Give numbers like 1,8,32"
        )
    return sizes


def dims_of(texts: Sequence[str] | None) -> dict[str, int]:
    """The dimensions of all ``--dim``.

    Raises:
        UsageError: one is not NAME=VALUE.
    """
    dims = {}
    for text in texts or ():
        name, _, value = text.rpartition("=")
        if not name or not value.isdecimal() or int(value) < 1:
            raise UsageError(f"--dim {text} sets no dimension", remedy="Write --dim NAME=VALUE")
        dims[name] = int(value)
    return dims
