"""Children of one process that has everything loaded: as alone, as limited and as mortal as fresh ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from oracle.errors import ProverCrashed, ProverError, ProverMemory, ProverTimeout
from oracle.prover import nursery
from oracle.prover.child import Limits
from oracle.prover.sandbox import Sandbox
from tests.circuits.makers import children_of, linear, saved, wait_until_gone
from tests.patience import PATIENCE

LIMITS = Limits(timeout=60, memory_bytes=8 << 30, threads=3)
#: Height of an SRS that takes a minute to make.
ENDLESS = 24


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Each test begins without one."""
    nursery._close_all()
    yield
    nursery._close_all()


def describe(path: Path) -> dict[str, Any]:
    return Sandbox(LIMITS).run("describe_model", {"model": str(path)})


def only_child(pid: int) -> int:
    deadline = time.monotonic() + PATIENCE
    while not (found := children_of(pid)):
        assert time.monotonic() < deadline, f"process {pid} started nothing"
        time.sleep(0.002)
    (child,) = found
    return child


def endless(folder: Path, limits: Limits = LIMITS) -> dict[str, Any]:
    """What does not end by itself in the time of a test."""
    return Sandbox(limits).run("srs", {"path": str(folder / "srs"), "logrows": ENDLESS})


class Running:
    """A verb that is being run by another thread: its processes, and how it ends."""

    def __init__(self, folder: Path, limits: Limits = LIMITS) -> None:
        nursery._close_all()
        before = set(children_of(os.getpid()))
        self._executor = ThreadPoolExecutor(1)
        self.future: Future[dict[str, Any]] = self._executor.submit(endless, folder, limits)
        deadline = time.monotonic() + PATIENCE
        while not (started := set(children_of(os.getpid())) - before):
            assert time.monotonic() < deadline, "no process was started"
            time.sleep(0.002)
        (self.nursery,) = started
        self.child = only_child(self.nursery)
        # The last thing that it does before it begins is to write to a log of its own.
        while Path(f"/proc/{self.child}/fd/2").readlink().name != "log":
            assert time.monotonic() < deadline, "the child does not begin"
            time.sleep(0.002)

    def error(self) -> BaseException | None:
        return self.future.exception(timeout=PATIENCE)


def test_run__several_verbs__one_process_starts_them_and_each_is_alone(tmp_path: Path) -> None:
    path = saved(linear(), tmp_path)
    before = set(children_of(os.getpid()))
    first = describe(path)
    (process,) = set(children_of(os.getpid())) - before
    assert describe(path) == first
    assert set(children_of(os.getpid())) - before == {process}
    assert children_of(process) == []


def test_run__verb_that_fails__says_why_and_the_next_one_is_answered(tmp_path: Path) -> None:
    path = saved(linear(), tmp_path)
    with pytest.raises(ProverError, match="No such file"):
        describe(tmp_path / "nothing.onnx")
    assert describe(path)["operators"] == {"MatMul": 1, "Relu": 1}


def test_child__environment_and_folder__are_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORACLE_PRIVATE_KEY", "hunter2")
    running = Running(tmp_path)
    try:
        for pid in (running.nursery, running.child):
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            assert b"hunter2" not in environment
            names = {entry.split(b"=")[0] for entry in environment.split(b"\0") if entry}
            assert names <= {b"PATH", b"LANG", b"OPENBLAS_NUM_THREADS"}
        folder = Path(f"/proc/{running.child}/cwd").readlink()
        assert folder.name.startswith("oracle-srs-")
        opened = {str(fd.readlink()) for fd in Path(f"/proc/{running.child}/fd").iterdir()}
        assert str(folder / "log") in opened
        assert not {name for name in opened if name.startswith("socket:")}
    finally:
        os.kill(running.child, signal.SIGKILL)
        assert isinstance(running.error(), ProverCrashed)
    assert not folder.exists()


def test_threads__are_as_many_as_the_limits_say(tmp_path: Path) -> None:
    for threads in (1, 3):
        running = Running(tmp_path, Limits(60, 8 << 30, threads))
        try:
            deadline = time.monotonic() + PATIENCE
            # Its own one, and the pool's.
            while len(list(Path(f"/proc/{running.child}/task").iterdir())) != 1 + threads:
                assert time.monotonic() < deadline, "another number of threads"
                time.sleep(0.01)
        finally:
            os.kill(running.child, signal.SIGKILL)
            running.error()


def test_deadline__passes__timeout_and_no_process_left(tmp_path: Path) -> None:
    running = Running(tmp_path, Limits(0.5, 8 << 30, 1))
    assert isinstance(running.error(), ProverTimeout)
    wait_until_gone(running.child)
    assert nursery._idle, "the one that forks is of use still"


def test_deadline__child_that_does_not_end_itself__is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nursery, "_GRACE", 0.2)
    running = Running(tmp_path, Limits(0.5, 8 << 30, 1))
    # A stopped process gets no alarm.
    os.kill(running.child, signal.SIGSTOP)
    assert isinstance(running.error(), ProverError)
    wait_until_gone(running.child)


def test_memory__more_than_the_cap__memory_error(tmp_path: Path) -> None:
    with pytest.raises(ProverMemory, match="more than 400 MiB"):
        endless(tmp_path, Limits(60, 400 << 20, 1))


def test_killed__what_forks__is_an_error_and_the_next_verb_has_a_new_one(tmp_path: Path) -> None:
    running = Running(tmp_path)
    os.kill(running.nursery, signal.SIGKILL)
    assert isinstance(running.error(), ProverCrashed)
    wait_until_gone(running.child)
    path = saved(linear(), tmp_path)
    describe(path)
    # Killed while it does nothing: the next verb does not notice.
    os.kill(nursery._idle[0]._process.pid, signal.SIGKILL)
    nursery._idle[0]._process.wait()
    describe(path)


def test_several_threads__run_at_once_and_get_their_own_answers(tmp_path: Path) -> None:
    for name in ("Relu", "Sigmoid", "Tanh"):
        (tmp_path / name).mkdir()
        saved(linear(name), tmp_path / name)
    answers: dict[str, set[str]] = {}

    def ask(name: str) -> None:
        model = tmp_path / name / "model.onnx"
        found = [describe(model)["operators"] for _ in range(5)]
        answers[name] = {key for each in found for key in each}

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("Relu", "Sigmoid", "Tanh")]
    for each in threads:
        each.start()
    for each in threads:
        each.join(PATIENCE)
    assert answers == {name: {"MatMul", name} for name in ("Relu", "Sigmoid", "Tanh")}


_PARENT = f"""
import sys
from oracle.prover.child import Limits
from oracle.prover.sandbox import Sandbox
print("ready", flush=True)
Sandbox(Limits(60, 8 << 30, 1)).run("srs", {{"path": sys.argv[1], "logrows": {ENDLESS}}})
"""


def test_parent__killed__child_and_what_forks_die_too(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path / "srs")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    process = only_child(parent.pid)
    child = only_child(process)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until_gone(child)
    wait_until_gone(process)


def test_parent__ends_well__leaves_no_process_behind(tmp_path: Path) -> None:
    path = saved(linear(), tmp_path)
    script = f"""
import os, pathlib
from oracle.prover.child import Limits
from oracle.prover.sandbox import Sandbox
Sandbox(Limits(60, 8 << 30, 1)).run("describe_model", {{"model": {str(path)!r}}})
print(pathlib.Path("/proc/self/task", str(os.getpid()), "children").read_text().split()[0])
"""
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert printed.stderr == ""
    wait_until_gone(int(printed.stdout))
