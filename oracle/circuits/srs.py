"""The structured reference string (SRS): which file may be trusted for which circuit size.

Production files come from the Perpetual Powers of Tau ceremony and are recognised by the SHA-256
in ``srs_sha256.json``, at every use: so it does not matter who kept or served them. A file that
this machine makes is a single party's secret: whoever made it can forge proofs. It serves a devnet
and is marked ``unsafe`` wherever it goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import requests

from oracle.errors import SrsMismatch, SrsUnavailable, UsageError
from oracle.prover.sandbox import Sandbox

_PINS = Path(__file__).with_name("srs_sha256.json")
#: Seconds without a byte after which a download is given up, and bytes read at once.
_TIMEOUT = 60
_CHUNK = 1 << 20


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
    #: Where a missing ceremony file is downloaded from: ``<url>/kzgK.srs``.
    url: str | None = None

    def get(self, logrows: int, sandbox: Sandbox) -> Srs:
        """The file for circuits of ``2**logrows`` rows.

        A devnet file is random, so it is made once and kept: keys depend on it.

        Raises:
            SrsMismatch: the ceremony's file is missing or not the one that is pinned.
            SrsUnavailable: it could not be downloaded.
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
            if self.url is None:
                raise SrsMismatch(
                    f"{path} is missing",
                    remedy=f"Fetch the Perpetual Powers of Tau file for k = {logrows}, "
                    "or say where from with --srs-url",
                )
            _download(f"{self.url.rstrip('/')}/{path.name}", path, logrows, expected)
        _require(path, logrows, expected)
        return Srs(path, expected, unsafe=False)


def size_of(logrows: int) -> int:
    """Bytes of an SRS file: two group elements a row, and what the verifier needs."""
    return (128 << logrows) + 260


def is_pinned(sha256: bytes) -> bool:
    """Whether a file with this hash is the ceremony's. The only test of safety there is."""
    return sha256 in ceremony_pins().values()


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


def _require(path: Path, logrows: int, expected: bytes) -> None:
    """Refuse a file that is not the pinned one."""
    size = path.stat().st_size
    if size != size_of(logrows):
        found = f"{size} bytes, the ceremony's file has {size_of(logrows)}"
    elif (actual := sha256_file(path)) != expected:
        found = f"SHA-256 {actual.hex()}, pinned is {expected.hex()}"
    else:
        return
    raise SrsMismatch(f"{path} has {found}", remedy="Delete the file and fetch it again")


def _download(url: str, path: Path, logrows: int, expected: bytes) -> None:
    """Fetch a file under another name and give it its own once it is the pinned one."""
    if not url.startswith(("http://", "https://")):
        raise UsageError(
            f"{url} is not an HTTP address", remedy="Give --srs-url like https://host/folder"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with (
            requests.get(url, stream=True, timeout=_TIMEOUT) as response,
            partial.open("wb") as file,
        ):
            response.raise_for_status()
            missing = size_of(logrows)
            for chunk in response.iter_content(_CHUNK):
                missing -= len(chunk)
                if missing < 0:  # whatever it is, it need not fill the disk
                    break
                file.write(chunk)
        if missing:
            raise SrsMismatch(
                f"{url} does not have the {size_of(logrows)} bytes of the ceremony's file",
                remedy="Give the folder with the files kzgK.srs as --srs-url",
            )
        _require(partial, logrows, expected)
        partial.replace(path)
    except requests.RequestException as error:
        raise SrsUnavailable(
            f"{url} could not be downloaded ({type(error).__name__})",
            remedy=f"Check --srs-url, or put the file into {path.parent}",
        ) from None
    finally:
        partial.unlink(missing_ok=True)
