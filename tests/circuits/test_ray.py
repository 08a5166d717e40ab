"""Proofs on a cluster of two machines: what can go wrong there and cannot on one machine.

What both provers have in common is in `test_prover`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oracle.circuits.bundle import Bundle
from oracle.errors import (
    ConfigError,
    OracleError,
    ProverCrashed,
    ProverMemory,
    ProverTimeout,
    ProverUnavailable,
)
from oracle.prover import ray as on_node
from oracle.prover import ray_task
from oracle.prover.base import ProofOutcome
from oracle.prover.ray import RayProver
from oracle.types import Proof
from tests.circuits.makers import alive, job, wait_until_gone
from tests.circuits.makers import outcome as outcome_within
from tests.patience import PATIENCE


@pytest.fixture
def prover(ray_cluster: str, tmp_path: Path) -> Iterator[RayProver]:
    made = RayProver(tmp_path / "jobs", address=ray_cluster, workers=2, cpus=1)
    yield made
    made.close()


def processes(text: str) -> list[int]:
    """Processes whose command line has this text."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and text in (folder / "cmdline").read_bytes().decode():
                found.append(int(folder.name))
        except OSError:
            # It ended meanwhile.
            continue
    return found


def outcome(prover: RayProver) -> ProofOutcome:
    # A machine of the cluster starts a new process for what was killed, which takes its time.
    return outcome_within(prover)


def jobs_of(ray_folder: Path) -> str:
    """What stands in the command line of each proof on the cluster's machines."""
    return str(ray_folder / ray_task._JOBS.format(uid=os.getuid()))


def child_of_task(ray_folder: Path, within: float = PATIENCE) -> int:
    """The subprocess that makes a proof on one of the cluster's machines."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := [pid for pid in processes(jobs_of(ray_folder)) if alive(pid)]:
            return found[0]
        time.sleep(0.02)
    raise AssertionError("no proof was started")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def both(prover: RayProver, within: float = PATIENCE) -> list[ProofOutcome]:
    found: list[ProofOutcome] = []
    deadline = time.monotonic() + within
    while len(found) < 2:
        assert time.monotonic() < deadline, found
        found += prover.poll()
        time.sleep(0.01)
    return found


def failure(prover: RayProver) -> OracleError:
    result = outcome(prover).result
    assert isinstance(result, OracleError)
    return result


def test_two_jobs__run_at_once_and_take_every_slot(prover: RayProver, iris_bundle: Bundle) -> None:
    assert prover.capacity() == 2
    prover.submit(job(iris_bundle, job_id="first"))
    prover.submit(job(iris_bundle, job_id="second"))
    assert prover.capacity() == 0
    with pytest.raises(ValueError, match="no free slot"):
        prover.submit(job(iris_bundle, job_id="third"))
    outcomes = both(prover)
    assert {each.job_id for each in outcomes} == {"first", "second"}
    assert all(isinstance(each.result, Proof) for each in outcomes)
    assert prover.capacity() == 2


def test_capacity__is_no_more_than_the_clusters_processors(
    ray_cluster: str, tmp_path: Path
) -> None:
    prover = RayProver(tmp_path, address=ray_cluster, workers=50, cpus=1)
    assert prover.capacity() == 2
    prover.close()


def test_cancel__running_job__its_process_is_gone_and_the_slot_free(
    prover: RayProver, iris_bundle: Bundle, ray_folder: Path
) -> None:
    prover.submit(job(iris_bundle))
    pid = child_of_task(ray_folder)
    prover.cancel("job/1")
    prover.cancel("never submitted")
    wait_until_gone(pid)
    assert prover.capacity() == 2
    assert prover.poll() == []
    prover.submit(job(iris_bundle, job_id="next"))
    assert outcome(prover).job_id == "next"


def test_deadline_passes__timeout_and_no_process_left(
    prover: RayProver, iris_bundle: Bundle, ray_folder: Path
) -> None:
    prover.submit(job(iris_bundle, timeout=0.2))
    assert isinstance(failure(prover), ProverTimeout)
    assert not [pid for pid in processes(jobs_of(ray_folder)) if alive(pid)]


def test_job_that_the_cluster_does_not_run__times_out_all_the_same(
    prover: RayProver, iris_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_node, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(prover._driver, "tell", lambda _: None)
    prover.submit(job(iris_bundle, timeout=0.1))
    error = failure(prover)
    assert isinstance(error, ProverTimeout)
    assert "the Ray cluster did not run the proof" in error.message
    assert prover.capacity() == 2


def test_task_killed__crash_error_and_the_next_job_succeeds(
    prover: RayProver, iris_bundle: Bundle, ray_folder: Path
) -> None:
    prover.submit(job(iris_bundle))
    pid = child_of_task(ray_folder)
    os.kill(parent_of(pid), signal.SIGKILL)
    assert isinstance(failure(prover), ProverCrashed)
    wait_until_gone(pid)
    prover.submit(job(iris_bundle))
    assert isinstance(outcome(prover).result, Proof)


def test_driver_killed__crash_error_then_a_new_connection(
    prover: RayProver, iris_bundle: Bundle, ray_folder: Path
) -> None:
    prover.submit(job(iris_bundle))
    pid = child_of_task(ray_folder)
    prover._driver._process.kill()
    assert isinstance(failure(prover), ProverCrashed)
    wait_until_gone(pid)
    with pytest.raises(ProverUnavailable, match="no proof can start on the Ray cluster"):
        prover.submit(job(iris_bundle))
    prover._driver.wait_until_connected(30)
    prover.submit(job(iris_bundle))
    assert isinstance(outcome(prover).result, Proof)


def test_cluster_away__the_node_starts_and_says_so_at_each_proof(
    tmp_path: Path, iris_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_node, "_CONNECT_SECONDS", 0.5)
    prover = RayProver(tmp_path, address="127.0.0.1:1", workers=2)
    # The job is offered, so that the operator hears why nothing is proved.
    assert prover.capacity() == 2
    with pytest.raises(ProverUnavailable, match="still connecting") as caught:
        prover.submit(job(iris_bundle))
    assert "127.0.0.1:1" in caught.value.line()
    assert "ray_address" in caught.value.line()
    assert prover.poll() == []
    assert prover.capacity() == 2
    prover.close()


def test_proof_larger_than_any_machine__memory_error(
    prover: RayProver, iris_bundle: Bundle
) -> None:
    prover.submit(job(iris_bundle, memory_bytes=1 << 50))
    error = failure(prover)
    assert isinstance(error, ProverMemory)
    assert "no machine of the Ray cluster" in error.message


def test_environment__secrets_of_the_node__in_no_process_of_the_cluster(
    ray_cluster: str,
    ray_folder: Path,
    tmp_path: Path,
    iris_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORACLE_NODE__RPC_URLS", '["https://user:hunter2@rpc.example"]')
    monkeypatch.setenv("ORACLE_PRIVATE_KEY", "hunter2")
    prover = RayProver(tmp_path, address=ray_cluster, cpus=1)
    try:
        prover.submit(job(iris_bundle))
        child = child_of_task(ray_folder)
        chain = [
            child,
            parent_of(child),
            prover._driver._process.pid,
            *processes(f"--gcs-address={ray_cluster}"),
        ]
        for pid in chain:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            assert environment, pid
            assert b"hunter2" not in environment
            assert b"ORACLE_" not in environment
        driver = Path(f"/proc/{prover._driver._process.pid}/environ").read_bytes().decode()
        assert "RAY_usage_stats_enabled=0" in driver.split("\0")
        assert isinstance(outcome(prover).result, Proof)
    finally:
        prover.close()


def test_file__that_arrives_changed__is_refused_and_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    digest = hashlib.sha256(b"the proving key").hexdigest()
    monkeypatch.setattr(ray_task.ray, "get", lambda _: b"another proving key")
    with pytest.raises(ProverCrashed, match="came with SHA-256"):
        ray_task._fetch(digest, ["reference"])
    assert not list(tmp_path.rglob(digest))
    monkeypatch.setattr(ray_task.ray, "get", lambda _: b"the proving key")
    path = ray_task._fetch(digest, ["reference"])
    assert path.read_bytes() == b"the proving key"


def test_file__is_fetched_once_a_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fetched: list[Any] = []

    def get(reference: object) -> bytes:
        fetched.append(reference)
        return b"srs"

    monkeypatch.setattr(ray_task.ray, "get", get)
    digest = hashlib.sha256(b"srs").hexdigest()
    assert ray_task._fetch(digest, ["reference"]) == ray_task._fetch(digest, ["reference"])
    assert len(fetched) == 1


def test_folder_of_files__made_by_somebody_else__is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / ray_task._FILES.format(uid=os.getuid())).mkdir(mode=0o777)
    (tmp_path / ray_task._FILES.format(uid=os.getuid())).chmod(0o777)
    with pytest.raises(ProverCrashed, match="own folder"):
        ray_task._fetch("0" * 64, ["reference"])


def test_folders_of_killed_tasks__are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (f"{gone.pid}-left", f"{os.getpid()}-used"):
        (tmp_path / name).mkdir()
    ray_task._remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{os.getpid()}-used"]


def test_circuit__changed_bundle_file__is_shipped_anew(
    prover: RayProver, iris_bundle: Bundle, tmp_path: Path
) -> None:
    copy = tmp_path / "vk.key"
    copy.write_bytes(iris_bundle.circuit.verifying_key.read_bytes())
    circuit = dataclasses.replace(iris_bundle.circuit, verifying_key=copy)
    prover.submit(job(iris_bundle, circuit=circuit))
    assert isinstance(outcome(prover).result, Proof)
    copy.write_bytes(copy.read_bytes()[:500])
    prover.submit(job(iris_bundle, circuit=circuit))
    failure(prover)


def test_ray_not_installed__configuration_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="not installed") as caught:
        RayProver(tmp_path, address="auto")
    assert "pip install 'oracle[ray]'" in caught.value.line()
