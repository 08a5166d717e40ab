"""A circuit's keys: what ezkl makes, byte for byte, of model, settings and SRS."""

from __future__ import annotations

from pathlib import Path

from oracle.circuits import bundle as files
from oracle.circuits.srs import Srs
from oracle.prover.sandbox import Sandbox
from oracle.types import CircuitFiles


def make(folder: Path, srs: Srs, sandbox: Sandbox) -> CircuitFiles:
    """Compile the circuit and make its keys.

    Args:
        folder: holds `bundle.MODEL` and `bundle.SETTINGS`; receives the circuit and both keys.
        srs: checked again by the child that reads it.
        sandbox: runs ezkl.

    Raises:
        ProverError: ezkl cannot. SrsMismatch: the file has changed.
    """
    circuit = CircuitFiles(
        compiled=folder / files.COMPILED,
        settings=folder / files.SETTINGS,
        proving_key=folder / files.PROVING_KEY,
        verifying_key=folder / files.VERIFYING_KEY,
        srs=srs.path,
        srs_hash=srs.sha256,
    )
    sandbox.run(
        "setup",
        {
            "model": str((folder / files.MODEL).resolve()),
            "settings": str(circuit.settings.resolve()),
            "compiled": str(circuit.compiled.resolve()),
            "verifying_key": str(circuit.verifying_key.resolve()),
            "proving_key": str(circuit.proving_key.resolve()),
            "srs": str(srs.path.resolve()),
            "srs_hash": srs.sha256.hex(),
        },
    )
    return circuit
