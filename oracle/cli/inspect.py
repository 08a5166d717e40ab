"""``oracle model inspect``: what is in a file and what its proofs would cost."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oracle.chain.toolchain import toolchain
from oracle.circuits import bundle as files
from oracle.circuits import card
from oracle.circuits.build import LIMITS
from oracle.circuits.bundle import Measures, Origin, Stated
from oracle.circuits.inspect import Estimated, Inspection, Tensor
from oracle.circuits.inspect import inspect as inspect_model
from oracle.circuits.reveal import Reveal
from oracle.circuits.row import Range
from oracle.circuits.speed import speed
from oracle.cli.options import Batch, Dim, Json, Model, Output, RevealPolicy, dims_of, sizes_of
from oracle.config import build_dir
from oracle.errors import BundleInvalid
from oracle.prover.sandbox import Sandbox

#: Groups of ranges that are listed.
_SPANS = 6


def inspect(
    model: Model,
    batch: Batch = "1",
    reveal: RevealPolicy = "full",
    dim: Dim = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Show operators, sizes and an estimate of rows, time, memory and gas; builds nothing.

    Of a bundle's folder, what it promises. Exits with 2 if the model cannot be proved.
    """
    if model.is_dir():
        _show_bundle(model, as_json=as_json)
        return
    sandbox = Sandbox(LIMITS, toolchain().ezkl_home)
    with Console(stderr=True).status(f"Inspecting {escape(str(model))}"):
        found = inspect_model(
            model,
            sandbox,
            speed=speed(build_dir() / "speed", sandbox),
            batches=sizes_of(batch),
            reveal=Reveal.parse(reveal),
            dims=dims_of(dim),
            outputs=output or (),
        )
    if as_json:
        typer.echo(json.dumps(_values(found)))
    else:
        _show(Console(), model, found)
    if found.provable is None:
        raise typer.Exit(2)


def _show_bundle(folder: Path, *, as_json: bool) -> None:
    """What a manifest says, unchecked: `oracle model audit` checks it."""
    manifest = files.read_manifest(folder)
    try:
        stated, origin = files.stated_from(manifest), files.origin_from(manifest["origin"])
        name, bundle_id = str(manifest["name"]), str(manifest["bundle_id"])
        spec = files.spec_from(manifest["spec"])
        measures = [Measures(**each) for each in manifest["measures"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BundleInvalid(
            f"{folder / files.MANIFEST} lacks or garbles {error}", remedy="Build the bundle again"
        ) from None
    if as_json:
        values = {
            "name": name,
            "bundle_id": bundle_id,
            "origin": files.origin_json(origin),
            **files.stated_json(stated),
            "measures": manifest["measures"],
        }
        typer.echo(json.dumps(values))
        return
    console = Console()
    console.print(escape(f"{name}  {bundle_id}"), highlight=False, soft_wrap=True)
    show_promise(console, origin, stated)
    lines = [f"Published: {origin.reveal}"]
    lines += [f"Classes, by index: {', '.join(origin.labels)}"] if origin.labels else []
    for size, each in zip(files.sizes(spec), measures, strict=True):
        lines.append(
            f"Circuit for {size} {'row' if size == 1 else 'rows'}: 2^{each.logrows}, "
            f"{each.verify_gas:,} gas to verify, {each.prove_seconds:.2f} s to prove here"
        )
    for line in lines:
        console.print(escape(line), highlight=False, soft_wrap=True)


def show_promise(console: Console, origin: Origin, stated: Stated) -> None:
    """What is promised, and what a publisher should know of it."""
    lines = [each.replace("**", "") for each in card.promise(origin, stated) if each]
    for line in (*lines, f"Ranges: {_spans(stated.ranges)}"):
        console.print(escape(line), highlight=False, soft_wrap=True)


def _spans(ranges: Sequence[Range]) -> str:
    """Ranges by the positions of inputs, neighbours with the same one together."""
    groups = [
        (each, [position for position, _ in members])
        for each, members in itertools.groupby(enumerate(ranges), key=lambda pair: pair[1])
    ]
    if len(groups) == 1:
        return f"each input from {ranges[0].low:g} to {ranges[0].high:g}"
    parts = [
        f"{f'{at[0]} to {at[-1]}' if len(at) > 1 else at[0]}: {each.low:g} to {each.high:g}"
        for each, at in groups[:_SPANS]
    ]
    more = f"; {len(groups) - _SPANS} more" if len(groups) > _SPANS else ""
    return f"input {'; '.join(parts)}{more}"


def _values(found: Inspection) -> dict[str, Any]:
    values = dataclasses.asdict(found)
    return {**values, "sha256": found.sha256.hex(), "rewritten": found.rewritten}


def _show(console: Console, path: Path, found: Inspection) -> None:
    given = found.given
    facts = Table(show_header=False, title=escape(f"\n{path.name}"), title_justify="left")
    facts.add_row("file", f"{found.size_bytes:,} bytes, SHA-256 {found.sha256.hex()}")
    opsets = ", ".join(f"{domain} {version}" for domain, version in given.opsets.items())
    facts.add_row("opsets", escape(opsets + (f"; {given.producer}" if given.producer else "")))
    facts.add_row("operators", _counts(given.operators))
    facts.add_row("parameters", f"{given.parameters:,}")
    facts.add_row("inputs", _tensors(given.inputs))
    facts.add_row("outputs", _tensors(given.outputs))
    if found.provable:
        proved = found.provable
        if found.rewritten:
            facts.add_row("rewritten", escape(", ".join(found.rewritten)))
            facts.add_row("as proved", _counts(proved.graph.operators))
        facts.add_row("numbers in, out", f"{proved.input_length}, {proved.output_length}")
        facts.add_row("batches", "yes" if proved.takes_batches else "no, its first axis is fixed")
        if proved.labels:
            facts.add_row("classes", escape(", ".join(proved.labels)))
    console.print(facts)
    if found.refusal:
        console.print(f"[red]{escape(found.refusal)}[/]", soft_wrap=True)
    if found.provable:
        console.print(_estimates(found.provable.estimates))
        console.print(
            "A build measures. MiB of memory; numbers inside are taken to stay below 2^32."
        )


def _estimates(estimates: tuple[Estimated, ...]) -> Table:
    table = Table("rows", "for", title="\nEstimates for a proof", title_justify="left")
    for column in ("circuit", "seconds", "gas", "MiB", "key MB", "verifier B"):
        table.add_column(column, justify="right")
    for each in estimates:
        table.add_row(
            str(each.size),
            each.objective,
            f"2^{each.logrows}*{each.columns}",
            f"{each.cost.prove_seconds:.2f}",
            f"{each.cost.gas:,}",
            f"{each.cost.memory_bytes / 2**20:,.0f}",
            f"{each.cost.key_bytes / 1e6:,.1f}",
            f"{each.cost.verifier_bytes:,}",
        )
        if each.problem:
            table.add_row("", "", f"[red]{each.problem}[/]")
    return table


def _counts(operators: dict[str, int]) -> str:
    return escape(", ".join(f"{count} {name}" for name, count in operators.items()))


def _tensors(tensors: tuple[Tensor, ...]) -> str:
    return escape(
        "\n".join(
            f"{tensor.name}: {tensor.type} "
            f"[{', '.join('?' if size is None else str(size) for size in tensor.shape)}]"
            for tensor in tensors
        )
    )
