"""The child's entry point, ``python -m oracle.prover.worker JOB_DIR``; the only user of ezkl.

Reads ``job.json``, runs one verb, writes ``result.json``: ``{"ok": {...}}`` or
``{"error": {"code", "message"}}``. Every verb takes and returns JSON values. The process never
outlives its deadline or its parent, whatever a library does:

- SIGALRM at the deadline and SIGIO when the parent's pipe closes keep their default action, which
  ends the process even while Rust code holds the interpreter lock.
- Rust panics are BaseExceptions that cannot be pickled; they become coded results.
- ``os._exit`` skips the interpreter's shutdown, in which ezkl's async runtime crashes at times.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from oracle.errors import ProofInvalid, ProverError, ProverInput, ProverMemory, SrsMismatch
from oracle.tensor import R, from_field

JsonObject = dict[str, Any]

_HASH_CHUNK = 1 << 20


class _Failed(Exception):
    """A verb's failure under a stable code."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def main(job_dir: Path) -> None:
    """Run the job in ``job_dir`` and end the process."""
    job = json.loads((job_dir / "job.json").read_text())
    _die_with_parent()
    signal.setitimer(signal.ITIMER_REAL, job["timeout"])
    resource.setrlimit(resource.RLIMIT_AS, (job["memory_bytes"], job["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = _answer(_VERBS[job["verb"]], job["params"])
    partial = job_dir / "result.json.partial"
    partial.write_text(json.dumps(answer))
    partial.replace(job_dir / "result.json")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _die_with_parent() -> None:
    stdin = sys.stdin.fileno()
    fcntl.fcntl(stdin, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(stdin, fcntl.F_SETFL, fcntl.fcntl(stdin, fcntl.F_GETFL) | os.O_ASYNC)
    # The parent may have died before the signal was armed; then the pipe is closed already.
    pipe = select.poll()
    pipe.register(stdin, select.POLLHUP)
    if pipe.poll(0):
        os._exit(1)


def _answer(verb: Callable[[JsonObject], JsonObject], params: JsonObject) -> JsonObject:
    try:
        return {"ok": verb(params)}
    except _Failed as failure:
        return _error(failure.code, str(failure))
    except MemoryError:
        return _error(ProverMemory.code, "MemoryError")
    except BaseException as error:  # noqa: BLE001 - a Rust panic is no Exception
        return _error(ProverError.code, f"{type(error).__name__}: {error}")


def _error(code: str, message: str) -> JsonObject:
    return {"error": {"code": code, "message": " ".join(message.split())[:500]}}


# --- verbs ------------------------------------------------------------------------------------


def _check_model(params: JsonObject) -> JsonObject:
    """``{valid, reason}`` by ONNX's own checker, shape inference included."""
    import onnx

    try:
        onnx.checker.check_model(Path(params["model"]).read_bytes(), full_check=True)
    except Exception as error:  # noqa: BLE001 - hostile bytes raise many types
        return {"valid": False, "reason": str(error)}
    return {"valid": True, "reason": ""}


def _reference(params: JsonObject) -> JsonObject:
    """``{outputs}``: any float tensor by onnxruntime, one flat row for each of ``rows``."""
    import numpy as np
    import onnx
    import onnxruntime

    proto = onnx.load(params["model"])
    if params["output"] not in {value.name for value in proto.graph.output}:
        proto.graph.output.append(
            onnx.helper.make_tensor_value_info(params["output"], onnx.TensorProto.FLOAT, None)
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    shapes = {value.name: value.shape for value in session.get_inputs()}
    feeds = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    outputs = []
    for row in params["rows"]:
        feeds[params["input"]] = np.asarray(row, np.float32).reshape(shapes[params["input"]])
        outputs.append(session.run([params["output"]], feeds)[0].ravel().tolist())
    return {"outputs": outputs}


def _settings(params: JsonObject) -> JsonObject:
    """``{candidates}``: for each of ``run_args`` the settings, or None and the reason."""
    import ezkl

    path = Path("settings.json")
    found = []
    for run_args in params["run_args"]:
        try:
            ezkl.gen_settings(params["model"], str(path), _run_args(run_args))
        except BaseException as error:  # noqa: BLE001 - panics too
            found.append({"settings": None, "reason": str(error)})
        else:
            found.append({"settings": json.loads(path.read_text()), "reason": ""})
    return {"candidates": found}


def _trial(params: JsonObject) -> JsonObject:
    """Compile ``settings`` and run the circuit's arithmetic on ``rows`` of integers, unproved.

    ``{outputs, lookups}``: integer outputs, None for a row that the circuit cannot take, and the
    least and greatest value that was looked up.
    """
    import ezkl

    settings, compiled, witness = Path("settings.json"), Path("circuit"), Path("witness.json")
    settings.write_text(json.dumps(params["settings"]))
    ezkl.compile_circuit(params["model"], str(compiled), str(settings))
    outputs: list[list[int] | None] = []
    lookups = [0, 0]
    for row in params["rows"]:
        _write_inputs(Path("input.json"), row, params["tag"])
        try:
            ezkl.gen_witness("input.json", str(compiled), str(witness), None, None)
        except BaseException:  # noqa: BLE001 - panics too; why does not matter
            outputs.append(None)
            continue
        found = json.loads(witness.read_text())
        outputs.append([from_field(e) for e in _elements(found["outputs"])])
        lookups[0] = min(lookups[0], found["min_lookup_inputs"])
        lookups[1] = max(lookups[1], found["max_lookup_inputs"])
    return {"outputs": outputs, "lookups": lookups}


def _srs(params: JsonObject) -> JsonObject:
    import ezkl

    ezkl.gen_srs(params["path"], params["logrows"])
    return {}


def _setup(params: JsonObject) -> JsonObject:
    """Compile the circuit and make its keys."""
    import ezkl

    _check_srs(params)
    ezkl.compile_circuit(params["model"], params["compiled"], params["settings"])
    ezkl.setup(
        params["compiled"],
        params["verifying_key"],
        params["proving_key"],
        params["srs"],
        witness_path=None,
        disable_selector_compression=False,
    )
    return {}


def _evm_verifier(params: JsonObject) -> JsonObject:
    """Write the Solidity verifier. ezkl compiles it too, with the solc in HOME."""
    import asyncio

    import ezkl

    _check_srs(params)

    async def create() -> None:
        await ezkl.create_evm_verifier(
            params["verifying_key"],
            params["settings"],
            params["solidity"],
            "verifier.abi",
            params["srs"],
            reusable=False,
        )

    asyncio.run(create())
    return {}


def _prove(params: JsonObject) -> JsonObject:
    """Witness, proof, local verification; the proof is big-endian hex as the verifier takes it."""
    import ezkl

    _check_srs(params)
    input_file, witness, proof = Path("input.json"), Path("witness.json"), Path("proof.json")
    _write_inputs(input_file, params["inputs"], params["tag"])
    started = time.monotonic()
    try:
        ezkl.gen_witness(str(input_file), params["compiled"], str(witness), None, None)
    except BaseException as error:  # noqa: BLE001 - panics too
        # A circuit file that cannot be read is our fault, all else is the input's.
        code = ProverError.code if "ser/deser" in str(error) else ProverInput.code
        raise _Failed(code, f"no witness for this input: {error}") from None
    witnessed = time.monotonic()
    ezkl.prove(str(witness), params["compiled"], params["proving_key"], str(proof), params["srs"])
    proved = time.monotonic()
    _verify(proof, params)
    verified = time.monotonic()
    found = json.loads(proof.read_text())
    instances = list(_elements(found["instances"]))
    stated = [value % R for value in (*params["inputs"], *params["tag"])]
    if instances[: len(stated)] != stated:
        raise _Failed(ProofInvalid.code, "the proof is for another input or tag")
    return {
        "proof": bytes(found["proof"]).hex(),
        # As text: JSON readers other than Python's lose digits.
        "instances": [str(element) for element in instances],
        "outputs": [str(from_field(element)) for element in instances[len(stated) :]],
        "witness_seconds": witnessed - started,
        "prove_seconds": proved - witnessed,
        "verify_seconds": verified - proved,
        "peak_memory_bytes": _peak_memory(),
    }


def _verify(proof: Path, params: JsonObject) -> None:
    import ezkl

    try:
        accepted = ezkl.verify(
            str(proof),
            params["settings"],
            params["verifying_key"],
            params["srs"],
            reduced_srs=False,
        )
    except BaseException as error:  # noqa: BLE001 - ezkl raises or panics
        raise _Failed(ProofInvalid.code, f"the proof did not verify: {error}") from None
    if not accepted:
        raise _Failed(ProofInvalid.code, "the proof did not verify")


_VERBS: Mapping[str, Callable[[JsonObject], JsonObject]] = {
    "check_model": _check_model,
    "reference": _reference,
    "settings": _settings,
    "trial": _trial,
    "srs": _srs,
    "setup": _setup,
    "evm_verifier": _evm_verifier,
    "prove": _prove,
}


# --- details of ezkl's files --------------------------------------------------------------------


def _run_args(values: JsonObject) -> Any:
    import ezkl

    run_args = ezkl.PyRunArgs()
    for name, value in values.items():
        setattr(run_args, name, tuple(value) if isinstance(value, list) else value)
    return run_args


def _check_srs(params: JsonObject) -> None:
    """Refuse a changed SRS file; ezkl takes any."""
    digest = hashlib.sha256()
    with Path(params["srs"]).open("rb") as srs:
        while chunk := srs.read(_HASH_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != params["srs_hash"]:
        raise _Failed(
            SrsMismatch.code,
            f"{params['srs']} has SHA-256 {digest.hexdigest()}, expected {params['srs_hash']}",
        )


def _write_inputs(path: Path, inputs: Sequence[int], tag: Sequence[int]) -> None:
    """Integers go in as field elements: floats would be scaled and rounded again."""
    tensors = [[_little_endian(value) for value in tensor] for tensor in (inputs, tag)]
    path.write_text(json.dumps({"input_data": tensors}))


def _little_endian(value: int) -> str:
    return (value % R).to_bytes(32, "little").hex()


def _elements(tensors: Iterable[Iterable[str]]) -> Iterable[int]:
    """Field elements from little-endian hex, flattened."""
    for tensor in tensors:
        for element in tensor:
            yield int.from_bytes(bytes.fromhex(element), "little")


def _peak_memory() -> int:
    """Peak resident memory of this process (bytes); getrusage would count the parent's too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise _Failed(ProverError.code, "/proc/self/status has no VmHWM")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
