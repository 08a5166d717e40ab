"""The structured reference string (SRS): which file may be trusted for which circuit size.

Production files come from the Perpetual Powers of Tau ceremony and are recognised by the SHA-256
in ``srs_sha256.json``. A file that this machine makes is a single party's secret: whoever made
it can forge proofs. It serves a devnet and is marked ``unsafe`` wherever it goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from oracle.errors import SrsMismatch
from oracle.prover.child import Sandbox

_PINS = Path(__file__).with_name("srs_sha256.json")


@dataclass(frozen=True, slots=True)
class Srs:
    """One file, checked."""

    path: Path
    sha256: bytes
    #: True when its secret was known to whoever made it.
    unsafe: bool


@dataclass(frozen=True, slots=True)
class SrsSource:
    """A folder of SRS files: ``kzgK.srs`` from the ceremony, ``devnetK.srs`` made here."""

    folder: Path
    #: Make and use devnet files. Never for a circuit that guards value.
    unsafe: bool = False

    def get(self, logrows: int, sandbox: Sandbox) -> Srs:
        """The file for circuits of ``2**logrows`` rows.

        A devnet file is random, so it is made once and kept: keys depend on it.

        Raises:
            SrsMismatch: the ceremony's file is missing or not the one that is pinned.
        """
        return self._devnet(logrows, sandbox) if self.unsafe else self._ceremony(logrows)

    def _devnet(self, logrows: int, sandbox: Sandbox) -> Srs:
        path = self.folder / f"devnet{logrows}.srs"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}")
            sandbox.run("srs", {"path": str(partial.resolve()), "logrows": logrows})
            # Where another process was first, its file is as good.
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(partial)
            partial.unlink()
        return Srs(path, sha256_file(path), unsafe=True)

    def _ceremony(self, logrows: int) -> Srs:
        path = self.folder / f"kzg{logrows}.srs"
        expected = ceremony_pins().get(logrows)
        if expected is None:
            raise SrsMismatch(f"no ceremony file is known for 2**{logrows} rows")
        if not path.exists():
            raise SrsMismatch(
                f"{path} is missing",
                remedy=f"Fetch the Perpetual Powers of Tau file for k = {logrows}",
            )
        actual = sha256_file(path)
        if actual != expected:
            raise SrsMismatch(
                f"{path} has SHA-256 {actual.hex()}, pinned is {expected.hex()}",
                remedy="Delete the file and fetch it again",
            )
        return Srs(path, actual, unsafe=False)


def find(folder: Path, sha256: bytes, logrows: int) -> Path:
    """The file in ``folder`` with this hash.

    Raises:
        SrsMismatch: there is none.
    """
    for name in (f"kzg{logrows}.srs", f"devnet{logrows}.srs"):
        path = folder / name
        if path.exists() and sha256_file(path) == sha256:
            return path
    raise SrsMismatch(
        f"no SRS file with SHA-256 {sha256.hex()} in {folder}",
        remedy="Copy the file that the bundle was built with there, or build the bundle again",
    )


def ceremony_pins() -> dict[int, bytes]:
    """SHA-256 of the Perpetual Powers of Tau files (BN254, KZG) by logrows."""
    return {int(k): bytes.fromhex(v) for k, v in json.loads(_PINS.read_text()).items()}


def sha256_file(path: Path) -> bytes:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
