"""What runs on a machine of a Ray cluster: the worker's subprocess, on files that came by hash.

Ray imports this module on every machine, so the same version of this package is installed there.
Files are kept in a folder of this user under the SHA-256 of their content, and are fetched from the
object store once a machine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from oracle.errors import OracleError, ProverCrashed
from oracle.prover.child import Limits, run_in

_FILES = "oracle-files-{uid}"
_JOBS = "oracle-jobs-{uid}"


def prove(
    params: Mapping[str, Any], files: Mapping[str, tuple[str, list[Any]]], limits: Limits
) -> dict[str, Any]:
    """Run the worker's ``prove``: ``{"ok": answer}`` or ``{"error": {"code", "message"}}``.

    Args:
        params: those of the verb, without its files.
        files: for each parameter that is a file its SHA-256 (hex) and a reference to its bytes.
        limits: of the subprocess.
    """
    try:
        return {"ok": _prove(params, files, limits)}
    except OracleError as error:
        return {"error": {"code": error.code, "message": error.message}}


def _prove(
    params: Mapping[str, Any], files: Mapping[str, tuple[str, list[Any]]], limits: Limits
) -> dict[str, Any]:
    paths = {name: str(_fetch(digest, holder)) for name, (digest, holder) in files.items()}
    jobs = _own_folder(_JOBS)
    _remove_leftovers(jobs)
    job_dir = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=jobs))
    return run_in(job_dir, "prove", {**params, **paths}, limits)


def _fetch(digest: str, holder: list[Any]) -> Path:
    """The file with a content, from this machine or else from the object store.

    Raises:
        ProverCrashed: what came is something else.
    """
    path = _own_folder(_FILES) / digest
    if path.exists():
        return path
    # In a list, so that Ray hands on the reference and not the content.
    content: bytes = ray.get(holder[0])
    actual = hashlib.sha256(content).hexdigest()
    if actual != digest:
        raise ProverCrashed(f"a circuit's file came with SHA-256 {actual}, not {digest}")
    # Whole or not at all: a worker may be killed at any time.
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as partial:
        partial.write(content)
    Path(partial.name).replace(path)
    return path


def _own_folder(name: str) -> Path:
    """A folder for temporary files that nobody else may write to.

    Raises:
        ProverCrashed: somebody else made it.
    """
    path = Path(tempfile.gettempdir()) / name.format(uid=os.getuid())
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid() or path.stat().st_mode & 0o077:
        raise ProverCrashed(f"{path} is not this user's own folder")
    return path


def _remove_leftovers(jobs: Path) -> None:
    """Delete the folders of workers that were killed."""
    for folder in jobs.iterdir():
        if not Path("/proc", folder.name.split("-")[0]).exists():
            shutil.rmtree(folder, ignore_errors=True)
