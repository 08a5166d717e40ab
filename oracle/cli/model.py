"""``oracle model``: from an ONNX file to a bundle that can be registered."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from oracle.circuits import bundle as files
from oracle.circuits.build import build as build_bundle
from oracle.circuits.build import inputs_of
from oracle.circuits.bundle import Bundle
from oracle.circuits.cost import Objective
from oracle.circuits.manifest import read_json
from oracle.circuits.promise import MARGIN
from oracle.circuits.reveal import Reveal
from oracle.circuits.rows import read_rows
from oracle.circuits.srs import SrsSource
from oracle.cli import retire
from oracle.cli.audit import audit
from oracle.cli.evaluate import agreement, evaluate
from oracle.cli.inspect import inspect, show_promise
from oracle.cli.options import (
    Batch,
    Dim,
    Json,
    Margin,
    Model,
    Output,
    Promised,
    Ranges,
    RevealPolicy,
    SrsFolder,
    SrsUrl,
    dims_of,
    examples,
    sizes_of,
)
from oracle.cli.promised import wanted_of
from oracle.cli.register import register
from oracle.cli.registered import show
from oracle.config import build_dir
from oracle.errors import BundleInvalid, UsageError
from oracle.types import Codec

app = typer.Typer(
    help="Build circuits from ONNX models, look at them, check them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.command(
    "inspect",
    epilog=examples(
        "oracle model inspect scripts/models/iris.onnx",
        "oracle model inspect scripts/models/iris.onnx --batch 1,32 --json",
    ),
)(inspect)
app.command(
    "audit",
    epilog=examples(
        "oracle model audit iris-bundle",
        "oracle model audit iris-bundle --model scripts/models/iris.onnx --model-id 1",
    ),
)(audit)
app.command(
    "evaluate",
    epilog=examples(
        "oracle model evaluate iris-bundle --inputs scripts/models/iris_samples.npy "
        "--model scripts/models/iris.onnx",
        "oracle model evaluate iris-bundle --inputs rows.csv --labels labels.csv --json",
    ),
)(evaluate)
app.command(
    "register",
    epilog=examples(
        "oracle model register iris-bundle --key-file build/devnet/caller.key",
        "oracle model register iris-bundle --rpc https://rpc.example --chain-id 11155111 "
        "--keystore publisher.json --password-file publisher.password --fee 1000000000",
    ),
)(register)
app.command(
    "show",
    epilog=examples("oracle model show 1", "oracle model show 1 --rpc https://rpc.example --json"),
)(show)


app.command("close", epilog=retire.CLOSE)(retire.close)
app.command("succeed", epilog=retire.SUCCEED)(retire.succeed)


@app.command(
    epilog=examples(
        "oracle model build scripts/models/iris.onnx --samples scripts/models/iris_samples.npy "
        "--out iris-bundle --unsafe-devnet-srs",
    )
)
def build(
    model: Model,
    samples: Annotated[Path, typer.Option(help="Typical inputs, a row each: .npy, .npz or .csv.")],
    out: Annotated[Path, typer.Option(help="Folder to create for the bundle.")],
    max_error: Annotated[
        float, typer.Option(help="Greatest accepted absolute difference from the float model.")
    ] = 0.1,
    name: Annotated[
        str | None, typer.Option(help="The model's name; by default the file's.")
    ] = None,
    optimize: Annotated[
        Objective, typer.Option(help="What to make small: verification gas, proving time, both.")
    ] = Objective.GAS,
    batch: Batch = "1",
    reveal: RevealPolicy = "full",
    promise: Promised = "ranges",
    margin: Margin = MARGIN,
    range_: Ranges = None,
    dim: Dim = None,
    output: Output = None,
    codec: Annotated[
        str, typer.Option(help="How requests carry numbers: packed, or text as ORA's prompts.")
    ] = "packed",
    srs: SrsFolder = None,
    srs_url: SrsUrl = None,
    unsafe_devnet_srs: Annotated[
        bool,
        typer.Option(
            "--unsafe-devnet-srs",
            help="Make an SRS here. Whoever makes it can forge proofs: devnets only.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Search the best circuit that is accurate enough, make its keys and its verifier."""
    if unsafe_devnet_srs == (srs is not None or srs_url is not None):
        raise UsageError(
            "choose where the SRS comes from",
            remedy="Give --srs FOLDER, --srs-url URL or both; for a devnet --unsafe-devnet-srs",
        )
    source = SrsSource(srs or build_dir() / "srs", unsafe=unsafe_devnet_srs, url=srs_url)
    console = Console(stderr=True)
    if unsafe_devnet_srs:
        console.print("[bold yellow]UNSAFE SRS:[/] this bundle's proofs can be forged; devnet only")
    dims = dims_of(dim)
    rows = read_rows(
        samples, "samples", lambda: inputs_of(model, dims=dims, outputs=tuple(output or ()))
    )
    with _bar(console, f"Build {out}") as (detail, advance):
        bundle = build_bundle(
            model,
            rows,
            name=name or model.stem,
            max_error=max_error,
            out=out,
            srs=source,
            batches=sizes_of(batch),
            codec=_codec(codec),
            optimize=optimize,
            reveal=Reveal.parse(reveal),
            wanted=wanted_of(promise, margin, range_),
            dims=dims,
            outputs=tuple(output or ()),
            progress=detail,
            advance=advance,
        )
    if as_json:
        typer.echo(json.dumps(_summary(bundle)))
    else:
        _show_candidates(Console(), bundle)
        _show(Console(), bundle)


@app.command("list", epilog=examples("oracle model list", "oracle model list bundles --json"))
def list_bundles(
    folder: Annotated[Path, typer.Argument(help="Where to look.")] = Path(),
    as_json: Json = False,
) -> None:
    """The bundles in a folder, by their manifests; `oracle model audit` checks one."""
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is no folder", remedy="Name the folder that holds the bundles' folders"
        )
    found = []
    own = (folder / files.MANIFEST,) if (folder / files.MANIFEST).is_file() else ()
    for manifest in (*own, *sorted(folder.glob(f"*/{files.MANIFEST}"))):
        try:
            found.append(_entry(manifest.parent))
        except (BundleInvalid, LookupError, TypeError, ValueError) as error:
            found.append({"path": str(manifest.parent), "error": str(error)})
    if as_json:
        typer.echo(json.dumps(found))
        return
    if not found:
        typer.echo(f"no bundles in {folder}")
        return
    table = Table("bundle", "name", "batches", "rows", "gas", "seconds", "SRS")
    for entry in found:
        if "error" in entry:
            table.add_row(escape(entry["path"]), f"[red]{escape(entry['error'])}[/]")
            continue
        table.add_row(
            escape(entry["path"]),
            escape(entry["name"]),
            ", ".join(map(str, entry["batches"])),
            f"2^{entry['logrows']}",
            f"{entry['verify_gas']:,}",
            f"{entry['prove_seconds']:.2f}",
            "[yellow]unsafe[/]" if entry["srs_unsafe"] else "ceremony",
        )
    Console().print(table)


@contextmanager
def _bar(
    console: Console, title: str
) -> Iterator[tuple[Callable[[str], None], Callable[[float], None]]]:
    """A progress bar; what to call with the current step, and with the share that is done."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=1.0)
        yield (
            lambda step: bar.update(task, description=f"{title}: {step}"),
            lambda share: bar.update(task, completed=share),
        )


def _codec(name: str) -> Codec:
    try:
        return Codec[name.upper()]
    except KeyError:
        raise UsageError(f"--codec {name} is unknown", remedy="Use packed or text") from None


def _entry(path: Path) -> dict[str, Any]:
    """What a manifest says, unchecked."""
    manifest = files.read_manifest(path)
    spec = files.spec_from(manifest["spec"])
    single = manifest["measures"][0]
    return {
        "path": str(path),
        "name": manifest["name"],
        "bundle_id": manifest["bundle_id"],
        "batches": list(files.sizes(spec)),
        "logrows": single["logrows"],
        "verify_gas": single["verify_gas"],
        "prove_seconds": single["prove_seconds"],
        # Not the manifest's own word for it.
        "srs_unsafe": files.srs_unsafe(spec),
    }


def _summary(bundle: Bundle) -> dict[str, Any]:
    return {
        "path": str(bundle.path),
        "name": bundle.name,
        "bundle_id": bundle.bundle_id,
        "spec": files.spec_json(bundle.spec),
        "measures": {
            str(circuit.size): dataclasses.asdict(circuit.measures) for circuit in bundle.circuits
        },
        "origin": files.origin_json(bundle.origin),
        **files.stated_json(bundle.stated),
        "candidates": _candidates(bundle),
        "versions": bundle.versions,
    }


def _candidates(bundle: Bundle) -> list[dict[str, Any]]:
    return list(read_json(bundle.path / files.CANDIDATES)["candidates"])


def _show_candidates(console: Console, bundle: Bundle) -> None:
    """What was built, and of the others those that are best in something."""
    listed = _candidates(bundle)
    costs = [(each["estimate"]["gas"], each["estimate"]["prove_seconds"]) for each in listed]
    kept = []
    for index, (each, (gas, seconds)) in enumerate(zip(listed, costs, strict=True)):
        beaten = any(g <= gas and s <= seconds and (g, s) != (gas, seconds) for g, s in costs)
        if each["measured"] or not (beaten or (gas, seconds) in costs[:index]):
            kept.append(each)
    table = Table(title=f"\nCandidates, {len(listed)} in all", title_justify="left")
    for column in ("circuit", "scale"):
        table.add_column(column)
    for column in ("gas", "measured", "seconds", "measured"):
        table.add_column(column, justify="right")
    table.add_column("outcome")
    for each in kept:
        shape, estimate, measured = each["shape"], each["estimate"], each["measured"]
        table.add_row(
            f"2^{shape['logrows']}*{shape['columns']}",
            "" if each["scale"] is None else str(each["scale"]),
            f"{estimate['gas']:,}",
            f"{measured['gas']:,}" if measured else "",
            f"{estimate['prove_seconds']:.2f}",
            f"{measured['prove_seconds']:.2f}" if measured else "",
            escape(each["outcome"]),
            style="bold green" if each["outcome"] == "chosen" else "",
        )
    console.print(table)


def _show(console: Console, bundle: Bundle) -> None:
    console.print(escape(f"\n{bundle.name}  {bundle.bundle_id}"), highlight=False, soft_wrap=True)
    table = Table()
    table.add_column("rows of one proof")
    for circuit in bundle.circuits:
        table.add_column(str(circuit.size), justify="right")
    each = [circuit.measures for circuit in bundle.circuits]
    sizes = [circuit.size for circuit in bundle.circuits]
    rows = {
        "circuit, rows and columns": [f"2^{m.logrows}*{m.columns}" for m in each],
        "error on held-back samples, rounded": [f"{m.max_abs_error:.6f}" for m in each],
        "seconds to prove": [f"{m.prove_seconds:.2f}" for m in each],
        "memory to prove, MiB": [f"{m.prove_memory_bytes / 2**20:,.0f}" for m in each],
        "gas to verify": [f"{m.verify_gas:,}" for m in each],
        "  a row": [f"{m.verify_gas / size:,.0f}" for m, size in zip(each, sizes, strict=True)],
        "verifier, bytes": [f"{m.verifier_code_bytes:,}" for m in each],
        "proof, bytes": [f"{m.proof_bytes:,}" for m in each],
        "proving key, bytes": [f"{m.proving_key_bytes:,}" for m in each],
    }
    for title, cells in rows.items():
        table.add_row(title, *cells)
    console.print(table)
    unsafe = any(m.srs_unsafe for m in each)
    console.print(f"SRS: {'[yellow]UNSAFE, devnet only[/]' if unsafe else 'Powers of Tau'}")
    show_promise(console, bundle.origin, bundle.stated)
    agreed = bundle.measures.label_agreement
    if agreed is not None:
        console.print(f"{agreement(bundle.origin)}: {agreed:.1%} of held-back samples")
    if bundle.spec.input_ranges:
        console.print(
            f"each of {len(bundle.spec.input_ranges)} inputs has a range of its own, beyond which a "
            f"request is refused (spec.input_ranges: {files.MANIFEST})",
            highlight=False,
            soft_wrap=True,
        )
    if bundle.origin.flat:
        console.print(
            f"curves are constant where they are flat to within {bundle.origin.flat:.2g}",
            highlight=False,
            soft_wrap=True,
        )
    if bundle.origin.tabled:
        console.print("square roots and reciprocals are looked up", highlight=False)
    if bundle.origin.widened:
        console.print("norms enlarge what they divide", highlight=False)
    said = f"reveals: {bundle.origin.reveal}; plot: {bundle.path / files.PLOT}"
    console.print(escape(said), highlight=False, soft_wrap=True)
