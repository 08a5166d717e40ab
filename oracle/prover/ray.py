"""Proofs on a Ray cluster, by the same subprocess as on this machine.

The node never talks to Ray itself: a process of its own does (`ray_driver`), with an allow-listed
environment, so that no key and no endpoint is in any process of the cluster, and a cluster that
goes away takes nothing of the node along. What is lost with it, the ledger starts again.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, cast

from oracle.errors import ConfigError, OracleError, ProverCrashed, ProverTimeout, ProverUnavailable
from oracle.prover.base import ProofOutcome, resident_bytes
from oracle.prover.child import Limits, error_from
from oracle.prover.local import proof_from, prove_params
from oracle.types import Proof, ProofJob

Json = dict[str, Any]
_FILES = ("compiled", "settings", "proving_key", "verifying_key", "srs")
#: Seconds in which a driver finds the cluster, when the node starts.
_CONNECT_SECONDS = 15.0
#: Seconds that a job may wait for its files and its machine, on top of its own time.
_GRACE_SECONDS = 60.0
_PAUSE = 0.02
_CLOSE_SECONDS = 5.0
_LOG_TAIL_BYTES = 4096


class RayProver:
    """A `Prover` on the machines of a Ray cluster. Belongs to one thread.

    Args:
        work_dir: for the driver's log and home; created if missing.
        address: of the cluster, as `ray.init` takes it: ``host:port``, ``ray://host:port``, or
            ``auto`` for the one that this machine belongs to.
        workers: most proofs at the same time.
        cpus: processors that each takes, and its threads.
        gpus: graphics processors that each takes.

    Raises:
        ConfigError: Ray is not installed, or the folder cannot be used.
    """

    def __init__(
        self, work_dir: Path, *, address: str, workers: int = 1, cpus: int = 2, gpus: float = 0
    ) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError(
                'prover is "ray", and Ray is not installed', remedy="pip install 'oracle[ray]'"
            )
        self._work_dir = work_dir.absolute()
        self._address = address
        self._workers = workers
        self._cpus = cpus
        self._needs = {"num_cpus": cpus, "num_gpus": gpus}
        #: Deadlines of the jobs that run (monotonic seconds).
        self._running: dict[str, float] = {}
        self._ended: list[ProofOutcome] = []
        try:
            self._driver = self._start_driver()
        except OSError as error:
            raise ConfigError(
                f"{work_dir} cannot be used as a work folder ({error.strerror})",
                remedy="Set work_dir to a folder that this user may write",
            ) from None
        # A cluster that is down is no reason not to start: `submit` says so.
        self._driver.wait_until_connected(_CONNECT_SECONDS)

    def submit(self, job: ProofJob) -> None:
        """Start a job. See `Prover.submit`."""
        if job.job_id in self._running:
            raise ValueError(f"job {job.job_id} is running already")
        if len(self._running) >= self._workers:
            raise ValueError("no free slot")
        self._require_connection()
        params = prove_params(job)
        limits = Limits(job.timeout, job.memory_bytes, self._cpus)
        self._driver.tell(
            {
                "submit": {
                    "id": job.job_id,
                    "files": {name: params.pop(name) for name in _FILES},
                    "params": params,
                    "limits": asdict(limits),
                    "resident_bytes": resident_bytes(job.memory_bytes),
                }
            }
        )
        self._running[job.job_id] = time.monotonic() + job.timeout + _GRACE_SECONDS

    def poll(self) -> list[ProofOutcome]:
        """The jobs that ended since the last call. Also enforces their deadlines."""
        self._listen()
        for job_id, deadline in list(self._running.items()):
            if time.monotonic() >= deadline:
                self.cancel(job_id)
                late = ProverTimeout("the Ray cluster did not run the proof in its time")
                self._ended.append(ProofOutcome(job_id, late))
        ended, self._ended = self._ended, []
        return ended

    def cancel(self, job_id: str) -> None:
        """Stop a job. Unknown ids are ignored."""
        if self._running.pop(job_id, None) is not None and self._driver.alive:
            self._driver.tell({"cancel": job_id})
        self._ended = [outcome for outcome in self._ended if outcome.job_id != job_id]

    def capacity(self, memory_bytes: int = 0) -> int:  # noqa: ARG002 - Ray places by memory itself
        """Free slots: no more than the cluster's machines have processors for."""
        slots = self._driver.slots
        # While the cluster is away its size is not known: who submits then is told why.
        most = self._workers if slots is None else min(self._workers, slots)
        return max(0, most - len(self._running))

    def close(self) -> None:
        """Stop everything. Idempotent."""
        self._running.clear()
        self._driver.close()

    def _listen(self) -> None:
        # Asked before the last lines are read: what it said before it died counts.
        alive = self._driver.alive
        for line in self._driver.heard():
            job_id = line["done"]
            if self._running.pop(job_id, None) is None:
                continue
            result: Proof | OracleError
            result = proof_from(job_id, line["ok"]) if "ok" in line else error_from(line["error"])
            self._ended.append(ProofOutcome(job_id, result))
        if not alive:
            lost = ProverCrashed(f"the connection to the Ray cluster ended ({self._driver.why()})")
            self._ended += [ProofOutcome(job_id, lost) for job_id in self._running]
            self._running.clear()

    def _require_connection(self) -> None:
        """Start the next try when the last one failed.

        Raises:
            ProverUnavailable: there is no connection now.
        """
        self._listen()
        if self._driver.alive and self._driver.slots is not None:
            return
        why = "still connecting"
        if not self._driver.alive:
            why = self._driver.why()
            self._driver.close()
            try:
                self._driver = self._start_driver()
            except OSError as error:
                why = f"its driver cannot start: {error.strerror}"
        raise ProverUnavailable(
            f"no proof can start on the Ray cluster at {self._address} ({why})",
            remedy="Start the cluster, or correct ray_address",
        )

    def _start_driver(self) -> _Driver:
        self._work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _Driver(self._work_dir, {"address": self._address, "needs": self._needs})


class _Driver:
    """The process that talks to the cluster, and the line to it.

    Attributes:
        slots: jobs that the cluster has room for; None until it is connected.
    """

    def __init__(self, work_dir: Path, settings: Json) -> None:
        self.slots: int | None = None
        self._log = work_dir / "ray.log"
        self._lines: queue.Queue[Json] = queue.Queue()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "oracle.prover.ray_driver", json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=work_dir,
                env=_environment(work_dir),
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        # Its end is the end of its output: then every line of it is in the queue.
        return self._reader.is_alive()

    def wait_until_connected(self, seconds: float) -> None:
        """Return when it is, or cannot be, or after a time."""
        deadline = time.monotonic() + seconds
        while self.slots is None and self.alive and time.monotonic() < deadline:
            time.sleep(_PAUSE)

    def tell(self, command: Json) -> None:
        """Send a command.

        Raises:
            ProverUnavailable: it is gone.
        """
        try:
            stdin = cast("IO[bytes]", self._process.stdin)
            stdin.write(json.dumps(command).encode() + b"\n")
            stdin.flush()
        except OSError as error:
            raise ProverUnavailable("the connection to the Ray cluster ended") from error

    def heard(self) -> list[Json]:
        """The jobs that ended since the last call."""
        lines = []
        with contextlib.suppress(queue.Empty):
            while True:
                lines.append(self._lines.get_nowait())
        return lines

    def why(self) -> str:
        """The last that it said before its end."""
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        said = [line.strip() for line in lines if line.strip()]
        return said[-1][:300] if said else "its driver ended"

    def close(self) -> None:
        """End it; Ray then ends its tasks. Idempotent."""
        if self.slots is None:
            # It looks for the cluster, and would hear of its end only after that.
            self._process.kill()
        with contextlib.suppress(OSError):
            cast("IO[bytes]", self._process.stdin).close()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        cast("IO[bytes]", self._process.stdout).close()

    def _read(self) -> None:
        for text in cast("IO[bytes]", self._process.stdout):
            line = json.loads(text)
            if "slots" in line:
                self.slots = line["slots"]
            else:
                self._lines.put(line)


def _environment(home: Path) -> dict[str, str]:
    """An allow-list, as for a proof: nothing that this process knows reaches the cluster."""
    return {
        "PATH": os.defpath,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        # Nothing reports home.
        "RAY_usage_stats_enabled": "0",
    }
