"""Proofs in child processes: what comes back, and what happens when something goes wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oracle import tensor
from oracle.circuits.bundle import Bundle
from oracle.errors import (
    ConfigError,
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
from oracle.prover.base import Prover, resident_bytes
from oracle.prover.child import Child, Limits
from oracle.prover.local import LocalProver, prove_params
from oracle.prover.ray import RayProver
from oracle.types import CircuitFiles, Proof
from tests.circuits.makers import SEPAL_AND_PETAL, TAG, alive, job, outcome, wait_until_gone
from tests.patience import PATIENCE


@pytest.fixture(scope="module")
def on_ray(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayProver]:
    # One for all: to connect takes seconds.
    made = RayProver(tmp_path_factory.mktemp("ray"), address=ray_cluster, cpus=1)
    yield made
    made.close()


@pytest.fixture(params=["local", "ray"])
def prover(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Prover]:
    """What every prover must do, each does; the tests of one alone say `only_local`."""
    if request.param == "ray":
        shared = request.getfixturevalue("on_ray")
        yield shared
        for job_id in list(shared._running):
            shared.cancel(job_id)
        return
    made = LocalProver(tmp_path / "jobs")
    yield made
    made.close()


only_local = pytest.mark.parametrize("prover", ["local"], indirect=True)


def pid_of(prover: LocalProver) -> int:
    (child,) = prover._children.values()
    return child.pid


def failure(prover: Prover, within: float = PATIENCE) -> OracleError:
    result = outcome(prover, within).result
    assert isinstance(result, OracleError)
    return result


def damaged(circuit: CircuitFiles, field: str, folder: Path, keep: int) -> CircuitFiles:
    """The circuit with one file cut to its first ``keep`` bytes."""
    copy = folder / field
    copy.write_bytes(getattr(circuit, field).read_bytes()[:keep])
    return dataclasses.replace(circuit, **{field: copy})


def test_proof__good_job__instances_are_inputs_then_tag_then_outputs(
    prover: Prover, iris_bundle: Bundle
) -> None:
    good = job(iris_bundle)
    prover.submit(good)
    proof = outcome(prover).result
    assert isinstance(proof, Proof)
    assert proof.instances == (
        *map(tensor.to_field, good.inputs),
        *TAG,
        *map(tensor.to_field, proof.outputs),
    )
    logits = [tensor.dequantize(v, iris_bundle.spec.output.scale) for v in proof.outputs]
    assert logits.index(max(logits)) == 0, f"{SEPAL_AND_PETAL} is a setosa"
    assert proof.prove_seconds > 0
    assert 1 << 20 < proof.peak_memory_bytes < good.memory_bytes


@only_local
def test_poll__finished_job__reported_once_and_its_directory_removed(
    prover: LocalProver, iris_bundle: Bundle, tmp_path: Path
) -> None:
    assert prover.capacity() == 1
    prover.submit(job(iris_bundle, job_id="31337:0xabc/7"))
    assert prover.capacity() == 0
    assert outcome(prover).job_id == "31337:0xabc/7"
    assert prover.poll() == []
    assert prover.capacity() == 1
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["lock"]


def test_submit__no_free_slot_or_same_id__refused(prover: Prover, iris_bundle: Bundle) -> None:
    prover.submit(job(iris_bundle))
    with pytest.raises(ValueError, match="running already"):
        prover.submit(job(iris_bundle))
    with pytest.raises(ValueError, match="no free slot"):
        prover.submit(job(iris_bundle, job_id="other"))


@pytest.mark.parametrize(
    ("inputs", "tag"),
    [
        ((1, 2, 3), TAG),
        ((1, 2, 3, 4, 5), TAG),
        ((1, 2, 3, 4), TAG[:-1]),
        ((2**80, 0, 0, 0), TAG),
        ((-(2**300), 0, 0, 0), TAG),
        ((1, 2, 3, 4), (2**70, 0, 0, 0, 0)),
    ],
    ids=["too few", "too many", "short tag", "out of range", "over the field", "tag out of range"],
)
def test_proof__input_that_the_circuit_cannot_take__input_error(
    prover: Prover, iris_bundle: Bundle, inputs: tuple[int, ...], tag: tuple[int, ...]
) -> None:
    prover.submit(job(iris_bundle, inputs=inputs, tag=tag))
    error = failure(prover)
    assert isinstance(error, ProverInput)
    assert not error.transient
    assert "\n" not in error.line()


@only_local
def test_proof__deadline_passes__timeout_and_no_process_left(
    prover: LocalProver, iris_bundle: Bundle
) -> None:
    prover.submit(job(iris_bundle, timeout=0.1))
    pid = pid_of(prover)
    assert isinstance(failure(prover), ProverTimeout)
    wait_until_gone(pid)


@only_local
def test_proof__deadline_passes_while_nobody_polls__child_ends_itself(
    prover: LocalProver, iris_bundle: Bundle
) -> None:
    prover.submit(job(iris_bundle, timeout=0.2))
    wait_until_gone(pid_of(prover))
    assert isinstance(failure(prover), ProverTimeout)


@pytest.mark.parametrize("megabytes", [4, 100])
def test_proof__memory_cap_too_low__memory_error(
    prover: Prover, iris_bundle: Bundle, megabytes: int
) -> None:
    prover.submit(job(iris_bundle, memory_bytes=megabytes << 20))
    error = failure(prover)
    assert isinstance(error, ProverMemory)
    assert error.transient


@only_local
def test_proof__child_killed__crash_error_at_once(prover: LocalProver, iris_bundle: Bundle) -> None:
    prover.submit(job(iris_bundle))
    os.kill(pid_of(prover), signal.SIGKILL)
    error = failure(prover)
    assert isinstance(error, ProverCrashed)
    assert "SIGKILL" in error.message
    prover.submit(job(iris_bundle))
    assert isinstance(outcome(prover).result, Proof)


def test_proof__srs_file_changed__refused_before_proving(
    prover: Prover, iris_bundle: Bundle, tmp_path: Path
) -> None:
    prover.submit(job(iris_bundle, circuit=damaged(iris_bundle.circuit, "srs", tmp_path, 1000)))
    assert isinstance(failure(prover), SrsMismatch)


@pytest.mark.parametrize("field", ["proving_key", "verifying_key", "compiled", "settings"])
def test_proof__truncated_file__coded_error(
    prover: Prover, iris_bundle: Bundle, tmp_path: Path, field: str
) -> None:
    prover.submit(job(iris_bundle, circuit=damaged(iris_bundle.circuit, field, tmp_path, 500)))
    error = failure(prover)
    assert isinstance(error, ProverError)
    assert not isinstance(error, ProverInput), "the requester did nothing wrong"


def test_proof__wrong_verifying_key__proof_not_handed_out(
    prover: Prover, iris_bundle: Bundle, tmp_path: Path
) -> None:
    key = bytearray(iris_bundle.circuit.verifying_key.read_bytes())
    key[100] ^= 0xFF
    other = tmp_path / "vk.key"
    other.write_bytes(key)
    circuit = dataclasses.replace(iris_bundle.circuit, verifying_key=other)
    prover.submit(job(iris_bundle, circuit=circuit))
    assert isinstance(failure(prover), ProofInvalid)


@only_local
def test_cancel__running_job__process_and_directory_gone_and_no_outcome(
    prover: LocalProver, iris_bundle: Bundle, tmp_path: Path
) -> None:
    prover.submit(job(iris_bundle))
    pid = pid_of(prover)
    prover.cancel("job/1")
    assert not alive(pid)
    assert prover.capacity() == 1
    assert prover.poll() == []
    assert not list((tmp_path / "jobs").glob("job-*"))
    prover.cancel("never submitted")


def test_close__running_job__no_process_left(tmp_path: Path, iris_bundle: Bundle) -> None:
    prover = LocalProver(tmp_path)
    prover.submit(job(iris_bundle))
    pid = pid_of(prover)
    prover.close()
    prover.close()
    assert not alive(pid)


def test_environment__secrets_of_the_parent__not_in_the_child(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, iris_bundle: Bundle
) -> None:
    monkeypatch.setenv("ORACLE_PRIVATE_KEY", "hunter2")
    monkeypatch.setenv("ORACLE_RPC_URL", "https://user:hunter2@rpc.example")
    child = Child("prove", prove_params(job(iris_bundle)), tmp_path, Limits(60, 4 << 30, 1))
    try:
        environment = environment_of(child.pid)
        assert "hunter2" not in str(environment)
        assert environment.keys() <= {
            "PATH",
            "HOME",
            "LANG",
            "RAYON_NUM_THREADS",
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "RUST_BACKTRACE",
        }
    finally:
        child.kill()


def threads_of(prover: LocalProver) -> list[str]:
    return [environment_of(child.pid)["RAYON_NUM_THREADS"] for child in prover._children.values()]


def environment_of(pid: int) -> dict[str, str]:
    path, deadline = Path(f"/proc/{pid}/environ"), time.monotonic() + PATIENCE
    # Empty until the child has begun to run its program.
    while not (text := path.read_bytes().decode()):
        assert time.monotonic() < deadline, f"process {pid} did not begin"
    return dict(entry.split("=", 1) for entry in text.split("\0") if entry)


def test_threads__several_proofs__share_them(tmp_path: Path, iris_bundle: Bundle) -> None:
    prover = LocalProver(tmp_path, workers=5, threads=4)
    for index in range(5):
        prover.submit(job(iris_bundle, job_id=str(index)))
    try:
        assert threads_of(prover) == ["4", "2", "1", "1", "1"]
    finally:
        prover.close()


def test_threads__by_default__are_as_many_as_processors(
    tmp_path: Path, iris_bundle: Bundle
) -> None:
    prover = LocalProver(tmp_path)
    prover.submit(job(iris_bundle))
    try:
        assert threads_of(prover) == [str(len(os.sched_getaffinity(0)))]
    finally:
        prover.close()


#: Proves as a child does, and tells which processors each of ezkl's threads may use.
PLACED = """
import json, os, sys
from oracle.prover import worker
ours = worker._threads()
worker._prove(json.loads(sys.argv[1]))
print(json.dumps([sorted(os.sched_getaffinity(t)) for t in worker._threads() - ours]), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("more", [0, 1])
def test_threads__as_many_as_processors__have_one_each_and_others_have_all(
    tmp_path: Path, iris_bundle: Bundle, more: int
) -> None:
    processors = sorted(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", PLACED, json.dumps(prove_params(job(iris_bundle)))],
        cwd=tmp_path,
        env={**os.environ, "RAYON_NUM_THREADS": str(len(processors) + more)},
        capture_output=True,
        text=True,
        check=True,
    )
    placed = sorted(json.loads(done.stdout.splitlines()[-1]))
    if more:
        assert placed == [processors] * (len(processors) + more)
    else:
        assert placed == [[processor] for processor in processors]


def test_capacity__memory_taken_by_running_proofs__is_not_given_twice(
    tmp_path: Path, iris_bundle: Bundle
) -> None:
    cap = job(iris_bundle).memory_bytes
    one = resident_bytes(cap)
    prover = LocalProver(tmp_path, workers=5, memory_bytes=int(2.5 * one))
    try:
        assert prover.capacity(cap) == 2
        prover.submit(job(iris_bundle, job_id="first"))
        assert prover.capacity(cap) == 1
        assert prover.capacity(2 * cap) == 0
        prover.submit(job(iris_bundle, job_id="second"))
        assert prover.capacity(cap) == 0
        prover.cancel("first")
        assert prover.capacity(cap) == 1
    finally:
        prover.close()


def test_capacity__only_proof__may_take_more_than_there_is(
    tmp_path: Path, iris_bundle: Bundle
) -> None:
    prover = LocalProver(tmp_path, workers=2, memory_bytes=1)
    cap = job(iris_bundle).memory_bytes
    try:
        assert prover.capacity(cap) == 1
        prover.submit(job(iris_bundle))
        assert prover.capacity(cap) == 0
    finally:
        prover.close()


def test_resident_bytes__of_a_real_proof__are_not_underestimated_and_not_by_far_too_many(
    iris_bundle: Bundle, tmp_path: Path
) -> None:
    prover = LocalProver(tmp_path)
    good = job(iris_bundle)
    prover.submit(good)
    proof = outcome(prover).result
    prover.close()
    assert isinstance(proof, Proof)
    assert (
        proof.peak_memory_bytes <= resident_bytes(good.memory_bytes) < 4 * proof.peak_memory_bytes
    )


_PARENT = """
import dataclasses, pathlib, sys, time
from oracle.circuits.bundle import Bundle
from oracle.prover.local import LocalProver
from tests.circuits.makers import job
work, bundle, srs = map(pathlib.Path, sys.argv[1:])
prover = LocalProver(work)
prover.submit(job(Bundle.load(bundle, srs)))
(child,) = prover._children.values()
print(child.pid, flush=True)
time.sleep(60)
"""


def test_parent_killed__child_dies_too_and_the_next_prover_cleans_up(
    tmp_path: Path, iris_bundle: Bundle
) -> None:
    work = tmp_path / "jobs"
    arguments = [str(work), str(iris_bundle.path), str(iris_bundle.circuit.srs.parent)]
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    with pytest.raises(ConfigError, match="in use"):
        LocalProver(work)
    assert alive(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until_gone(pid)
    assert list(work.glob("job-*"))
    LocalProver(work).close()
    assert not list(work.glob("job-*"))


def test_prover__work_dir_that_cannot_be_used__is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "lock").mkdir(parents=True)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "job-leftover").write_text("not a folder")
    for unusable in ("file/jobs", "taken", "odd"):
        with pytest.raises(ConfigError, match="cannot be used") as caught:
            LocalProver(tmp_path / unusable)
        assert "Set work_dir" in caught.value.line()


@only_local
def test_work_dir_removed__while_proving__is_a_crash_and_the_next_proof_succeeds(
    prover: LocalProver, iris_bundle: Bundle, tmp_path: Path
) -> None:
    prover.submit(job(iris_bundle))
    shutil.rmtree(tmp_path / "jobs")
    assert isinstance(failure(prover), ProverCrashed)
    prover.submit(job(iris_bundle))
    assert isinstance(outcome(prover).result, Proof)
    # Made again, and locked again.
    with pytest.raises(ConfigError, match="in use"):
        LocalProver(tmp_path / "jobs")


@only_local
def test_work_dir_removed__then_cancelled__is_no_error(
    prover: LocalProver, iris_bundle: Bundle, tmp_path: Path
) -> None:
    prover.submit(job(iris_bundle))
    shutil.rmtree(tmp_path / "jobs")
    prover.cancel("job/1")
    assert prover.capacity() == 1


@only_local
def test_submit__folder_cannot_be_made_again__says_so_and_leaves_the_slot_free(
    prover: LocalProver, iris_bundle: Bundle, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "jobs")
    (tmp_path / "jobs").write_text("")
    for _ in range(2):
        with pytest.raises(ProverUnavailable, match="no proof can start"):
            prover.submit(job(iris_bundle))
    assert prover.capacity() == 1
    (tmp_path / "jobs").unlink()
    prover.submit(job(iris_bundle))
    assert isinstance(outcome(prover).result, Proof)


@only_local
def test_submit__other_node_took_the_removed_folder__is_not_shared(
    prover: LocalProver, iris_bundle: Bundle, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "jobs")
    other = LocalProver(tmp_path / "jobs")
    for _ in range(2):
        with pytest.raises(ProverUnavailable, match="in use by another node"):
            prover.submit(job(iris_bundle))
    other.close()
    prover.submit(job(iris_bundle))
    assert isinstance(outcome(prover).result, Proof)


@only_local
def test_submit__start_fails__leaves_no_folder(
    prover: LocalProver, iris_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python here"))
    with pytest.raises(ProverUnavailable):
        prover.submit(job(iris_bundle))
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["lock"]


_VERDICTS = """
import json, os, pathlib, sys
import ezkl
from oracle.prover import worker

case = json.loads(pathlib.Path(sys.argv[1]).read_text())
verdicts = {}

def accepted(proof, instances):
    found = {"proof": list(proof), "hex_proof": proof.hex(), "protocol": None, "split": None}
    found |= {"instances": [[(i % worker.R).to_bytes(32, "little").hex() for i in instances]]}
    found |= {"pretty_public_inputs": None, "timestamp": None, "version": ezkl.__version__}
    pathlib.Path("proof.json").write_text(json.dumps(found))
    answer = worker._answer(lambda p: worker._verify(pathlib.Path("proof.json"), p) or {}, case["params"])
    return "ok" if "ok" in answer else answer["error"]["code"]

proof, instances = bytes.fromhex(case["proof"]), [int(i) for i in case["instances"]]
verdicts["untouched"] = accepted(proof, instances)
for index in range(len(instances)):
    changed = [value + (index == at) for at, value in enumerate(instances)]
    verdicts[f"instance {index}"] = accepted(proof, changed)
for position in range(0, len(proof), 61):
    changed = bytearray(proof)
    changed[position] ^= 1
    verdicts[f"byte {position}"] = accepted(bytes(changed), instances)

pathlib.Path("hostile.json").write_text('{"input_data": [[1e300, 0, 0, 0], [0, 0, 0, 0, 0]]}')
panic = worker._answer(
    lambda p: ezkl.gen_witness("hostile.json", p["compiled"], "w.json", None, None), case["params"]
)
verdicts["panic"] = panic["error"]["code"]
verdicts["panic message"] = panic["error"]["message"]
print(json.dumps(verdicts), flush=True)
os._exit(0)
"""


@only_local
def test_verify__any_changed_byte_or_instance__rejected_locally_and_panics_are_coded(
    prover: LocalProver, iris_bundle: Bundle, tmp_path: Path
) -> None:
    good = job(iris_bundle)
    prover.submit(good)
    proof = outcome(prover).result
    assert isinstance(proof, Proof)
    case = tmp_path / "case.json"
    case.write_text(
        json.dumps(
            {
                "params": prove_params(good),
                "proof": proof.proof.hex(),
                "instances": list(map(str, proof.instances)),
            }
        )
    )
    # In a process of its own: a test run that has used ezkl could not fork safely any more.
    done = subprocess.run(
        [sys.executable, "-c", _VERDICTS, str(case)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verdicts = json.loads(done.stdout.splitlines()[-1])
    assert verdicts.pop("untouched") == "ok"
    assert verdicts.pop("panic") == ProverError.code
    assert "PanicException" in verdicts.pop("panic message")
    assert len(verdicts) > len(proof.instances) + 30
    assert set(verdicts.values()) == {ProofInvalid.code}, verdicts


#: Proves other numbers than it was asked to, as a circuit file or a library that is wrong might.
_ASTRAY = """
import json, os, sys
from oracle.prover import worker
params, changed = json.loads(sys.argv[1]), sys.argv[2]
write = worker._write_inputs

def astray(path, inputs, tag):
    given = {"inputs": list(inputs), "tag": list(tag)}
    given[changed][-1] += 1
    write(path, given["inputs"], given["tag"])

worker._write_inputs = astray
print(json.dumps(worker._answer(worker._prove, params)), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("changed", ["inputs", "tag"])
def test_proof__of_other_numbers_than_were_asked_for__not_handed_out(
    iris_bundle: Bundle, tmp_path: Path, changed: str
) -> None:
    good = json.dumps(prove_params(job(iris_bundle)))
    done = subprocess.run(
        [sys.executable, "-c", _ASTRAY, good, changed],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["error"]["code"] == ProofInvalid.code
    assert "another input or tag" in answer["error"]["message"]
