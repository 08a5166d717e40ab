"""The process between a node and a Ray cluster: ``python -m oracle.prover.ray_driver``.

It holds no key and no endpoint, and Ray's threads, signal handlers and sudden exits stay in it. It
ends when its standard input does, and Ray then ends the tasks that it started.

In, one JSON object a line:  {"submit": job}  {"cancel": id}
Out:                         {"slots": n}  {"done": id, "ok": answer}  {"done": id, "error": ...}
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import ray
from ray.exceptions import OutOfMemoryError, RayError

from oracle.errors import ProverCrashed, ProverMemory
from oracle.prover import ray_task
from oracle.prover.child import Limits

Json = dict[str, Any]
#: Seconds between two looks at the tasks, and at the cluster's machines.
_POLL = 0.02
_LOOK = 5.0


class Driver:
    """Jobs as Ray tasks.

    Args:
        answers: where the lines for the node go.
        needs: what each job takes: ``num_cpus`` and ``num_gpus``.
    """

    def __init__(self, answers: TextIO, needs: Mapping[str, float]) -> None:
        self._answers = answers
        self._needs = needs
        self._task = ray.remote(ray_task.prove)
        self._running: dict[Any, str] = {}
        self._shipped: dict[tuple[str, int, int], tuple[str, list[Any]]] = {}
        self._slots = -1

    def look_at_the_cluster(self) -> None:
        """Tell how many jobs the machines have room for, when that has changed."""
        slots = sum(self._fit(node["Resources"]) for node in ray.nodes() if node["Alive"])
        if slots != self._slots:
            self._slots = slots
            self._say({"slots": slots})

    def _fit(self, resources: Mapping[str, float]) -> int:
        wanted = {"CPU": self._needs["num_cpus"], "GPU": self._needs["num_gpus"]}
        return min(
            int(resources.get(name, 0) // amount) for name, amount in wanted.items() if amount
        )

    def submit(self, job: Json) -> None:
        """Start a task. Its memory is reserved on the machine that it is given to."""
        memory = job["resident_bytes"]
        if not any(
            node["Resources"].get("memory", 0) >= memory for node in ray.nodes() if node["Alive"]
        ):
            message = f"no machine of the Ray cluster has {memory >> 20} MiB for a proof"
            self._fail(job["id"], ProverMemory.code, message)
            return
        limits = Limits(**job["limits"])
        files = {name: self._ship(path) for name, path in job["files"].items()}
        # Tried again by the node alone: its ledger counts the attempts.
        task = self._task.options(max_retries=0, memory=memory, **self._needs)
        self._running[task.remote(job["params"], files, limits)] = job["id"]

    def cancel(self, job_id: str) -> None:
        """Kill a task and the subprocess with it."""
        for reference, running in list(self._running.items()):
            if running == job_id:
                del self._running[reference]
                ray.cancel(reference, force=True)

    def collect(self) -> None:
        """Report the tasks that ended."""
        if not self._running:
            return
        ended, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        for reference in ended:
            job_id = self._running.pop(reference)
            try:
                answer = ray.get(reference)
            except OutOfMemoryError as error:
                self._fail(job_id, ProverMemory.code, str(error))
            except RayError as error:
                self._fail(job_id, ProverCrashed.code, f"{type(error).__name__}: {error}")
            else:
                self._say({"done": job_id, **answer})

    def _ship(self, path: str) -> tuple[str, list[Any]]:
        """A file's SHA-256 and a reference to its bytes in the object store, put there once."""
        status = Path(path).stat()
        key = (path, status.st_mtime_ns, status.st_size)
        if key not in self._shipped:
            content = Path(path).read_bytes()
            self._shipped[key] = (hashlib.sha256(content).hexdigest(), [ray.put(content)])
        return self._shipped[key]

    def _fail(self, job_id: str, code: str, message: str) -> None:
        text = " ".join(message.split())[:500]
        self._say({"done": job_id, "error": {"code": code, "message": text}})

    def _say(self, line: Json) -> None:
        self._answers.write(json.dumps(line) + "\n")
        self._answers.flush()


def main(settings: Json) -> None:
    """Connect, then serve until the node closes the line."""
    # Ray and its threads print what they like: the node's line is kept apart from that.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    ray.init(
        address=settings["address"],
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        # Only this package's module is imported there; nothing of this machine is sent along.
        runtime_env=None,
    )
    driver = Driver(answers, settings["needs"])
    driver.look_at_the_cluster()
    commands: queue.Queue[Json | None] = queue.Queue()
    threading.Thread(target=_listen, args=(commands,), daemon=True).start()
    idle = 0.0
    while True:
        try:
            command = commands.get(timeout=_POLL)
        except queue.Empty:
            idle += _POLL
        else:
            if command is None:
                break
            if "submit" in command:
                driver.submit(command["submit"])
            else:
                driver.cancel(command["cancel"])
        driver.collect()
        if idle >= _LOOK:
            idle = 0.0
            driver.look_at_the_cluster()
    os._exit(0)


def _listen(commands: queue.Queue[Json | None]) -> None:
    for line in sys.stdin:
        commands.put(json.loads(line))
    commands.put(None)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
