"""A process that has the prover's libraries loaded and forks a child for each verb.

A build runs some thirty verbs, most of them shorter than the start of an interpreter and its
imports. The process reads no model and no key, and has one thread, so that each child starts from
the same clean state as a fresh one would; what the child may do and how it ends is the same too
(see `worker`). Proofs do not come from here: see `Sandbox`.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

#: Seconds beyond its deadline after which a child that has not ended itself is killed.
_GRACE = 5.0


class Nursery:
    """One such process. It forks one child at a time, and ends with us."""

    def __init__(self) -> None:
        orders, self._orders = os.pipe()
        answers, theirs = os.pipe()
        # Not buffered: what was not asked for yet stays where it can be waited for.
        self._answers = os.fdopen(answers, "rb", buffering=0)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-m", "oracle.prover.worker"],
            stdin=orders,
            stdout=theirs,
            cwd="/",
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        os.close(orders)
        os.close(theirs)

    def run(self, job_dir: Path, environment: Mapping[str, str], timeout: float) -> int | None:
        """Have a child do the job in ``job_dir``, and wait until it and all it started are gone.

        Args:
            job_dir: holds ``job.json``; the child's working directory.
            environment: the child's, all of it.
            timeout: seconds after which the child is to have ended itself.

        Returns:
            Its exit code as `subprocess` has it: minus the signal's number if one ended it. None if
            this process is gone instead; then it is of no use any more.
        """
        deadline = time.monotonic() + timeout + _GRACE
        order = json.dumps({"job_dir": str(job_dir), "environment": dict(environment)})
        child = 0
        try:
            os.write(self._orders, order.encode() + b"\n")
            child = int(self._answers.readline())
            if not self._answers_until(deadline):
                os.killpg(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(int(self._answers.readline()))
        except (OSError, ValueError):
            # It was killed: there is no answer, or half of one.
            self._end(child)
            return None
        except BaseException:
            self._end(child)
            raise

    @property
    def is_usable(self) -> bool:
        """Whether it can take a job."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it."""
        self._end(0)

    def _answers_until(self, deadline: float) -> bool:
        poller = select.poll()
        poller.register(self._answers, select.POLLIN)
        return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def _end(self, child: int) -> None:
        # It reaps its child last of all, so until it is gone the number is the child's.
        if child and self.is_usable:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        # The pipe's end ends a child whose parent is gone already.
        os.close(self._orders)
        self._answers.close()
        self._process.kill()
        self._process.wait()


#: Those that do nothing at the moment; one for each thread that ran a verb at the same time.
_idle: list[Nursery] = []


def run(job_dir: Path, environment: Mapping[str, str], timeout: float) -> int | None:
    """`Nursery.run` by one that is idle, or a new one."""
    try:
        nursery = _idle.pop()
    except IndexError:
        nursery = Nursery()
    if not nursery.is_usable:
        nursery.close()
        nursery = Nursery()
    code = nursery.run(job_dir, environment, timeout)
    if code is not None:
        _idle.append(nursery)
    return code


def _close_all() -> None:
    while _idle:
        _idle.pop().close()


atexit.register(_close_all)
# They are the parent's.
os.register_at_fork(after_in_child=_idle.clear)
