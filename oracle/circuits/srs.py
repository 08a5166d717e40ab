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
import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError

from oracle.access import http_url
from oracle.chain.rpc import redacted
from oracle.config import build_dir, is_checkout
from oracle.errors import SrsMismatch, SrsUnavailable, UsageError
from oracle.private import make_folder
from oracle.prover.sandbox import Sandbox

_PINS = Path(__file__).with_name("srs_sha256.json")
#: Seconds without a byte after which a download is given up, and bytes read at once.
_TIMEOUT = 60
_CHUNK = 1 << 20
#: Bytes a second below which it is given up, too.
_LEAST_SPEED = 1 << 16


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
            make_folder(self.folder, "the SRS files")
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
            _download(self.url, path, logrows, expected)
        _require(path, logrows, expected)
        return Srs(path, expected, unsafe=False)


def default_folder(bundle: Path) -> Path:
    """Where a bundle's SRS is unless told: beside its folder, or in a checkout where builds go."""
    beside = bundle.absolute().parent / "srs"
    return build_dir() / "srs" if is_checkout() and not beside.is_dir() else beside


def provide(
    folder: Path, sha256: bytes, logrows: int, *, url: str | None = None, source: Path | None = None
) -> Path:
    """Have the file with this hash in ``folder``; one that is there is kept.

    Args:
        folder: made if it is missing.
        sha256: of the file.
        logrows: of the circuit that needs it.
        url: where a ceremony file is downloaded from, ``<url>/kzgK.srs``.
        source: a folder that has it; linked, or copied from another disk.

    Raises:
        SrsMismatch: it is not in ``source``, or not the ceremony's, or nobody says where it is.
        SrsUnavailable: it could not be downloaded.
    """
    kept = _found(folder, sha256, logrows)
    if kept is not None:
        return kept
    if source is not None:
        found = _found(source, sha256, logrows)
        if found is None:
            raise SrsMismatch(
                f"{source} has no SRS file for 2**{logrows} rows with SHA-256 {sha256.hex()}",
                remedy="Give the folder that has it with --srs-from",
            )
        return _linked(found, folder / found.name, sha256)
    if ceremony_pins().get(logrows) != sha256:
        raise SrsMismatch(
            f"no ceremony file has SHA-256 {sha256.hex()}: it was made for a devnet",
            remedy="Give the folder of the machine that built the bundle with --srs-from",
        )
    path = folder / f"kzg{logrows}.srs"
    if url is None:
        raise SrsMismatch(
            f"{path} is missing",
            remedy="Say where it is with --srs-from FOLDER, or where from with --srs-url URL",
        )
    _download(url, path, logrows, sha256)
    return path


def _linked(found: Path, path: Path, sha256: bytes) -> Path:
    make_folder(path.parent, "the SRS files")
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        try:
            partial.hardlink_to(found.resolve())
        except OSError:
            # Another disk, or one without links.
            shutil.copyfile(found, partial)
        if sha256_file(partial) != sha256:
            raise SrsMismatch(f"{found} changed while it was copied", remedy="Try again")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def size_of(logrows: int) -> int:
    """Bytes of an SRS file: two group elements a row, and what the verifier needs."""
    return (128 << logrows) + 260


def is_pinned(sha256: bytes) -> bool:
    """Whether a file with this hash is the ceremony's. The only test of safety there is."""
    return sha256 in ceremony_pins().values()


def find(folder: Path, sha256: bytes, logrows: int, bundle: Path | None = None) -> Path:
    """The file in ``folder`` with this hash, for the circuits of a bundle.

    Raises:
        SrsMismatch: there is none.
    """
    found = _found(folder, sha256, logrows)
    if found is None:
        bundle_words = "BUNDLE" if bundle is None else shlex.quote(str(bundle))
        raise SrsMismatch(
            f"{folder} has no SRS file for 2**{logrows} rows with SHA-256 {sha256.hex()}",
            remedy=f"Run: oracle node srs {bundle_words} --into {shlex.quote(str(folder))} "
            "--srs-url URL (or --srs-from FOLDER)",
        )
    return found


def _found(folder: Path, sha256: bytes, logrows: int) -> Path | None:
    paths = (folder / name for name in (f"kzg{logrows}.srs", f"devnet{logrows}.srs"))
    return next((path for path in paths if path.is_file() and sha256_file(path) == sha256), None)


def ceremony_pins() -> dict[int, bytes]:
    """SHA-256 of the Perpetual Powers of Tau files (BN254, KZG) by logrows."""
    return {int(k): bytes.fromhex(v) for k, v in json.loads(_PINS.read_text()).items()}


def sha256_file(path: Path) -> bytes:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _require(path: Path, logrows: int, expected: bytes) -> None:
    """Refuse a file that is not the pinned one."""
    found = _difference(path, logrows, expected)
    if found is not None:
        raise SrsMismatch(f"{path} has {found}", remedy="Delete the file and fetch it again")


def _difference(path: Path, logrows: int, expected: bytes) -> str | None:
    """What a file has that the pinned one has not; None if it is that one."""
    size = path.stat().st_size
    if size != size_of(logrows):
        return f"{size} bytes, the ceremony's file has {size_of(logrows)}"
    actual = sha256_file(path)
    return None if actual == expected else f"SHA-256 {actual.hex()}, pinned is {expected.hex()}"


def _in_folder(url: str, name: str) -> str:
    """The address of a file in the folder at ``url``: what is after the path, as a token, stays there.

    Raises:
        UsageError: it is no address.
    """
    try:
        parts = urlsplit(http_url(url))
    except ValueError:
        # Without it: it may hold a password.
        raise UsageError(
            "--srs-url is not an HTTP address", remedy="Give --srs-url like https://host/folder"
        ) from None
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}", fragment=""))


def _download(folder_url: str, path: Path, logrows: int, expected: bytes) -> None:
    """Fetch a file under another name and give it its own once it is the pinned one."""
    url = _in_folder(folder_url, path.name)
    shown = f"{redacted(url)}/.../{path.name}"
    make_folder(path.parent, "the SRS files")
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with (
            requests.get(url, stream=True, timeout=_TIMEOUT) as response,
            partial.open("wb") as file,
        ):
            response.raise_for_status()
            missing = size_of(logrows)
            deadline = time.monotonic() + _TIMEOUT + missing / _LEAST_SPEED
            # What has arrived, and not what will: a trickle would fill no larger piece for days.
            while chunk := response.raw.read1(_CHUNK, decode_content=True):
                missing -= len(chunk)
                if missing < 0:  # whatever it is, it need not fill the disk
                    break
                if time.monotonic() > deadline:
                    raise SrsUnavailable(
                        f"{shown} is too slow", remedy="Try again, or give another --srs-url"
                    )
                file.write(chunk)
        if missing:
            raise SrsMismatch(
                f"{shown} does not have the {size_of(logrows)} bytes of the ceremony's file",
                remedy="Give the folder with the files kzgK.srs as --srs-url",
            )
        found = _difference(partial, logrows, expected)
        if found is not None:
            raise SrsMismatch(
                f"{shown} has {found}", remedy="Give the address of another folder as --srs-url"
            )
        partial.replace(path)
    except (requests.RequestException, HTTPError) as error:
        # The status, which the text of the error has beside the whole address.
        status = error.response.status_code if isinstance(error, requests.HTTPError) else None
        why = type(error).__name__ if status is None else f"HTTP status {status}"
        raise SrsUnavailable(
            f"{shown} could not be downloaded ({why})",
            remedy=f"Check --srs-url, or put the file into {path.parent}",
        ) from None
    finally:
        partial.unlink(missing_ok=True)
