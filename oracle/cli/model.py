"""``oracle model``: from an ONNX file to a bundle that can be registered."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from oracle.circuits.build import build as build_bundle
from oracle.circuits.bundle import Bundle
from oracle.circuits.srs import SrsSource
from oracle.cli.demo import ConsoleReport
from oracle.config import build_dir
from oracle.errors import UsageError

app = typer.Typer(help="Build circuits from ONNX models.", no_args_is_help=True)


@app.command()
def build(
    model: Path = typer.Argument(help="The ONNX file."),
    samples: Path = typer.Option(help="Typical inputs, a row each: .npy, or .csv without header."),
    out: Path = typer.Option(help="Folder to create for the bundle."),
    max_error: float = typer.Option(
        0.1, help="Greatest accepted absolute difference from the float model."
    ),
    name: str | None = typer.Option(None, help="The model's name; by default the file's."),
    srs: Path | None = typer.Option(
        None, help="Folder with the Perpetual Powers of Tau files (kzgK.srs)."
    ),
    unsafe_devnet_srs: bool = typer.Option(
        False, help="Make an SRS here. Whoever makes it can forge proofs: devnets only."
    ),
) -> None:
    """Search the cheapest circuit that is accurate enough, make its keys and its verifier.

    Example: oracle model build iris.onnx --samples iris.csv --out iris-bundle --unsafe-devnet-srs
    """
    if unsafe_devnet_srs == (srs is not None):
        raise UsageError(
            "choose where the SRS comes from",
            remedy="Give either --srs FOLDER or, for a devnet, --unsafe-devnet-srs",
        )
    source = SrsSource(srs or build_dir() / "srs", unsafe=unsafe_devnet_srs)
    console = Console(stderr=True)
    if unsafe_devnet_srs:
        console.print("[bold yellow]UNSAFE SRS:[/] this bundle's proofs can be forged; devnet only")
    rows = read_samples(samples)
    with ConsoleReport(console).step(f"Build {out}") as detail:
        bundle = build_bundle(
            model,
            rows,
            name=name or model.stem,
            max_error=max_error,
            out=out,
            srs=source,
            progress=detail,
        )
    _show(Console(), bundle)


def read_samples(path: Path) -> npt.NDArray[np.float64]:
    """Sample inputs, float [n, inputs].

    Raises:
        UsageError: the file is missing or holds something else.
    """
    try:
        if path.suffix == ".npy":
            rows = np.load(path, allow_pickle=False)
        else:
            with warnings.catch_warnings(action="error"):  # numpy only warns of an empty file
                rows = np.loadtxt(path, delimiter=",", ndmin=2)
        return np.asarray(rows, dtype=np.float64)
    except (OSError, ValueError, UserWarning) as error:
        raise UsageError(
            f"cannot read samples from {path} ({error})",
            remedy="Give numbers, a row for each input, as .npy or as .csv without a header",
        ) from None


def _show(console: Console, bundle: Bundle) -> None:
    measures = bundle.measures
    table = Table(show_header=False, title=f"\n{bundle.name}", title_justify="left")
    table.add_row("bundle", bundle.bundle_id)
    table.add_row("rows", f"2^{measures.logrows}")
    table.add_row("greatest error", f"{measures.max_abs_error:.6f}")
    table.add_row("proof", f"{measures.prove_seconds:.2f} s, {measures.proof_bytes:,} bytes")
    table.add_row("verification", f"{measures.verify_gas:,} gas")
    table.add_row("verifier", f"{measures.verifier_code_bytes:,} bytes")
    table.add_row("proving key", f"{measures.proving_key_bytes:,} bytes")
    table.add_row("SRS", "UNSAFE, devnet only" if measures.srs_unsafe else "Powers of Tau")
    console.print(table)
