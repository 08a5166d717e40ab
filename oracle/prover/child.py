"""One verb, one subprocess: ezkl can crash, hang, panic or eat all memory without taking us along.

A job directory holds ``job.json`` on the way in, ``result.json`` on the way out and ``log`` (the
child's stdout and stderr). The child is a session of its own, gets an allow-listed environment
without keys or endpoints, and ends with its parent: its standard input is a pipe whose closing,
which happens even when the parent is killed, sends the child a fatal signal (see `worker`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oracle.errors import (
    OracleError,
    ProofInvalid,
    ProverCrashed,
    ProverError,
    ProverInput,
    ProverMemory,
    ProverTimeout,
    ProverUnavailable,
    SrsMismatch,
)

_CODED: Mapping[str, type[OracleError]] = {
    error.code: error
    for error in (
        ProofInvalid,
        ProverCrashed,
        ProverError,
        ProverInput,
        ProverMemory,
        ProverTimeout,
        SrsMismatch,
    )
}
#: How Rust, Python, the loader and the kernel's thread limit report a failed allocation.
_MEMORY_SIGNS = (
    "memory allocation of",
    "cannot allocate memory",
    "memoryerror",
    "failed to map segment",
    "resource temporarily unavailable",
    "failed to spawn thread",
)
#: Error numbers of a disk without room, and their words, which Rust and Python both repeat.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_SIGNS = tuple(os.strerror(number).lower() for number in sorted(FULL))
_LOG_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child may use."""

    #: Seconds from start to kill.
    timeout: float
    #: Cap on the child's address space (bytes).
    memory_bytes: int
    #: Proving threads.
    threads: int


def write_job(job_dir: Path, verb: str, params: Mapping[str, Any], limits: Limits) -> None:
    """Write ``job.json``, which says what a child is to do; see `Child`."""
    job = {
        "verb": verb,
        "params": dict(params),
        "timeout": limits.timeout,
        "memory_bytes": limits.memory_bytes,
    }
    (job_dir / "job.json").write_text(json.dumps(job))


class Child:
    """A running subprocess. `poll` until it answers or raises, then it is gone."""

    def __init__(
        self,
        verb: str,
        params: Mapping[str, Any],
        job_dir: Path,
        limits: Limits,
        home: Path | None = None,
    ) -> None:
        """Start ``verb``.

        Args:
            verb: one of the worker's.
            params: JSON values; paths absolute.
            job_dir: an empty directory that belongs to this child.
            limits: enforced here and, in case we die, in the child.
            home: HOME of the child where ezkl finds its solc; by default the job directory.
        """
        self.job_dir = job_dir
        self._deadline = time.monotonic() + limits.timeout
        self._limits = limits
        write_job(job_dir, verb, params, limits)
        with (job_dir / "log").open("wb") as log:
            self._process = subprocess.Popen(
                # -I: neither PYTHON* variables nor the working directory decide what is imported.
                [sys.executable, "-I", "-m", "oracle.prover.worker", str(job_dir)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=job_dir,
                env=environment(home or job_dir, limits.threads),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, which is also its group's."""
        return self._process.pid

    def poll(self) -> dict[str, Any] | None:
        """The result, or None while the child runs.

        Raises:
            ProverError: it failed, died or ran past its deadline. SrsMismatch likewise.
        """
        if self._exited():
            self.kill()
            return result_of(self.job_dir, self._process.returncode, self._limits)
        if time.monotonic() >= self._deadline:
            self.kill()
            raise _timed_out(self._limits)
        return None

    def wait(self) -> dict[str, Any]:
        """`poll` until there is a result."""
        while (result := self.poll()) is None:
            self._wait_until_exit_or_deadline()
        return result

    def kill(self) -> None:
        """End the child and all it started. Idempotent."""
        if self._process.returncode is not None:
            return
        # The leader is not reaped yet, so its group id cannot belong to anyone else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _wait_until_exit_or_deadline(self) -> None:
        process = os.pidfd_open(self.pid)
        try:
            poller = select.poll()
            poller.register(process, select.POLLIN)
            # Rounded up, so that it is not looked at over and over in the last millisecond.
            poller.poll(max(0, math.ceil((self._deadline - time.monotonic()) * 1000)))
        finally:
            os.close(process)

    def _exited(self) -> bool:
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def result_of(job_dir: Path, code: int, limits: Limits) -> dict[str, Any]:
    """What a child that is gone has left in its directory.

    Args:
        job_dir: the directory.
        code: its exit code; minus the signal's number if one ended it.
        limits: those that it had.

    Raises:
        ProverError: it failed or died. SrsMismatch likewise.
    """
    try:
        answer = json.loads((job_dir / "result.json").read_text())
    except (OSError, ValueError):
        # None, or a damaged one: the disk was full, or somebody removed the folder.
        raise _death(job_dir, code, limits) from None
    if error := answer.get("error"):
        message = error["message"]
        if _is_memory(message):
            raise _out_of_memory(limits)
        if _is_full(message):
            raise _no_room()
        if error["code"] == ProverInput.code and (detail := _last_line(job_dir)):
            # ezkl raises a general error and prints which number did not fit.
            message = f"{message} ({detail})"
        raise error_from({"code": error["code"], "message": message})
    return dict(answer["ok"])


def _death(job_dir: Path, code: int, limits: Limits) -> ProverError:
    last = _last_line(job_dir)
    if code == -signal.SIGALRM:
        return _timed_out(limits)
    if _is_memory(_log_tail(job_dir)):
        return _out_of_memory(limits)
    if _is_full(last):
        return _no_room()
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
    return ProverCrashed(f"the prover process {how}" + (f": {last}" if last else ""))


def _timed_out(limits: Limits) -> ProverTimeout:
    return ProverTimeout(
        f"no proof within {limits.timeout:g} s",
        remedy="Allow more time or use fewer jobs at once",
    )


def _out_of_memory(limits: Limits) -> ProverMemory:
    return ProverMemory(
        f"the prover needed more than {limits.memory_bytes >> 20} MiB", remedy="Allow more memory"
    )


def _no_room() -> ProverUnavailable:
    # No fault of the job's: with room, it can be done.
    return ProverUnavailable(
        "no room is left on the disk that the prover writes to",
        remedy="Make room on the disks of the work folder and of temporary files",
    )


def _log_tail(job_dir: Path) -> str:
    try:
        with (job_dir / "log").open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")
    except OSError:
        # It only explains an error that is being reported: without it there is less to say.
        return ""


def _last_line(job_dir: Path) -> str:
    lines = [line.strip() for line in _log_tail(job_dir).splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def run_in(
    job_dir: Path, verb: str, params: Mapping[str, Any], limits: Limits, home: Path | None = None
) -> dict[str, Any]:
    """The verb's result; ``job_dir`` is removed. Arguments as `Child`, errors as `Child.poll`."""
    try:
        child = Child(verb, params, job_dir, limits, home)
        try:
            return child.wait()
        finally:
            child.kill()
    finally:
        shutil.rmtree(job_dir, ignore_errors=True)


def error_from(error: Mapping[str, str]) -> OracleError:
    """The error of the tree that a worker reported by ``code`` and ``message``."""
    return _CODED[error["code"]](error["message"])


def environment(home: Path, threads: int) -> dict[str, str]:
    """An allow-list: a secret in our own environment must not be readable in the child's."""
    return {
        "PATH": os.defpath,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "RAYON_NUM_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        "RUST_BACKTRACE": "0",
    }


def _is_full(text: str) -> bool:
    text = text.lower()
    return any(sign in text for sign in _FULL_SIGNS)


def _is_memory(text: str) -> bool:
    text = text.lower()
    return any(sign in text for sign in _MEMORY_SIGNS)
