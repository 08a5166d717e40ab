"""Proofs on this machine, one subprocess each."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

from oracle.errors import ConfigError, OracleError, ProverUnavailable
from oracle.machine import total_memory
from oracle.prover.base import ProofOutcome, resident_bytes
from oracle.prover.child import Child, Limits
from oracle.types import Proof, ProofJob

#: Share of the machine's memory that proofs may take together, unless told.
_MEMORY_SHARE = 0.8


class LocalProver:
    """A `Prover` with ``workers`` slots. Belongs to one thread.

    Nothing it does must survive it: children end with this process, and a new LocalProver on the
    same directory removes what an old one left.
    """

    def __init__(
        self,
        work_dir: Path,
        *,
        workers: int = 1,
        threads: int | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        """Take over ``work_dir``.

        Args:
            work_dir: created if missing; anything in it may be deleted.
            workers: most proofs at the same time.
            threads: shared by the proofs that run; as many as processors by default.
            memory_bytes: for all proofs together; by default most of what this machine has.

        Raises:
            ConfigError: the directory cannot be made or used, or another process uses it.
        """
        # Not resolved: a folder that vanished is made again where the operator put it.
        self._work_dir = work_dir.absolute()
        self._workers = workers
        self._threads = threads or len(os.sched_getaffinity(0))
        self._memory_bytes = memory_bytes or int(_MEMORY_SHARE * total_memory())
        self._children: dict[str, Child] = {}
        #: What each running proof takes at its peak (bytes).
        self._taken: dict[str, int] = {}
        try:
            self._lock = _lock(self._work_dir)
            for leftover in self._work_dir.glob("job-*"):
                shutil.rmtree(leftover)
        except OSError as error:
            raise ConfigError(
                f"{work_dir} cannot be used as a work folder ({error.filename}: {error.strerror})",
                remedy="Set work_dir to a folder that this user may write",
            ) from None

    def submit(self, job: ProofJob) -> None:
        """Start a job. See `Prover.submit`."""
        if job.job_id in self._children:
            raise ValueError(f"job {job.job_id} is running already")
        if len(self._children) >= self._workers:
            raise ValueError("no free slot")
        try:
            self._children[job.job_id] = self._start(job)
            self._taken[job.job_id] = resident_bytes(job.memory_bytes)
        except OSError as error:
            raise ProverUnavailable(
                f"no proof can start in {self._work_dir} ({error.strerror})",
                remedy="Make room, or correct work_dir",
            ) from error
        except ConfigError as error:
            raise ProverUnavailable(error.message, remedy=error.remedy) from error

    def poll(self) -> list[ProofOutcome]:
        """The jobs that ended since the last call. Also enforces their deadlines."""
        outcomes = []
        for job_id, child in list(self._children.items()):
            result: Proof | OracleError
            try:
                answer = child.poll()
                if answer is None:
                    continue
                result = proof_from(job_id, answer)
            except OracleError as error:
                result = error
            self._forget(job_id)
            outcomes.append(ProofOutcome(job_id, result))
        return outcomes

    def cancel(self, job_id: str) -> None:
        """Stop a job. Unknown ids are ignored."""
        if job_id in self._children:
            self._forget(job_id)

    def capacity(self, memory_bytes: int = 0) -> int:
        """Free slots, as far as memory goes."""
        free = self._workers - len(self._children)
        left = self._memory_bytes - sum(self._taken.values())
        fitting = max(0, left) // resident_bytes(memory_bytes)
        return min(free, fitting if self._children else max(1, fitting))

    def close(self) -> None:
        """Stop everything and release the directory. Idempotent."""
        for job_id in list(self._children):
            self._forget(job_id)
        self._lock.close()

    def _start(self, job: ProofJob) -> Child:
        if not self._holds_lock():
            # Somebody removed the folder, and the lock that we held with it.
            self._lock.close()
            self._lock = _lock(self._work_dir)
        # Job ids are the node's business and need not be file names.
        job_dir = Path(tempfile.mkdtemp(prefix="job-", dir=self._work_dir))
        # An equal share: proofs with more threads than processors only wait for each other.
        threads = max(1, self._threads // (len(self._children) + 1))
        limits = Limits(job.timeout, job.memory_bytes, threads)
        try:
            return Child("prove", prove_params(job), job_dir, limits)
        except OSError:
            shutil.rmtree(job_dir, ignore_errors=True)
            raise

    def _holds_lock(self) -> bool:
        try:
            held, there = os.fstat(self._lock.fileno()), (self._work_dir / "lock").stat()
        except (OSError, ValueError):
            # No such file, or ours is closed since locking again failed.
            return False
        return os.path.samestat(held, there)

    def _forget(self, job_id: str) -> None:
        child = self._children.pop(job_id)
        del self._taken[job_id]
        child.kill()
        # A folder that somebody else removed, or that stays, costs no proof: the next start
        # removes what is left.
        shutil.rmtree(child.job_dir, ignore_errors=True)


def _lock(work_dir: Path) -> IO[str]:
    """Make the folder if need be, and keep other provers out while the result is open.

    Raises:
        ConfigError: another process uses it.
        OSError: this machine does not let us.
    """
    work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = (work_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ConfigError(
            f"{work_dir} is in use by another node", remedy="Give each node its own directory"
        ) from None
    except OSError:
        lock.close()
        raise
    return lock


def prove_params(job: ProofJob) -> dict[str, Any]:
    """The parameters of the worker's ``prove``."""
    circuit = job.circuit
    return {
        "compiled": str(circuit.compiled.resolve()),
        "settings": str(circuit.settings.resolve()),
        "proving_key": str(circuit.proving_key.resolve()),
        "verifying_key": str(circuit.verifying_key.resolve()),
        "srs": str(circuit.srs.resolve()),
        "srs_hash": circuit.srs_hash.hex(),
        "inputs": list(job.inputs),
        "tag": list(job.tag),
    }


def proof_from(job_id: str, answer: dict[str, Any]) -> Proof:
    """A `Proof` from the worker's answer to ``prove``."""
    return Proof(
        job_id=job_id,
        proof=bytes.fromhex(answer["proof"]),
        instances=tuple(map(int, answer["instances"])),
        outputs=tuple(map(int, answer["outputs"])),
        witness_seconds=answer["witness_seconds"],
        prove_seconds=answer["prove_seconds"],
        verify_seconds=answer["verify_seconds"],
        peak_memory_bytes=answer["peak_memory_bytes"],
    )
