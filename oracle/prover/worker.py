"""The child's entry point, ``python -m oracle.prover.worker JOB_DIR``; the only user of ezkl.

Without a directory it forks a child for each order on standard input (see `nursery`). A child reads ``job.json``, runs one verb, writes ``result.json``: ``{"ok": {...}}`` or
``{"error": {"code", "message"}}``. Every verb takes and returns JSON values. The process never
outlives its deadline or its parent, whatever a library does:

- SIGALRM at the deadline and SIGIO when the parent's pipe closes keep their default action, which
  ends the process even while Rust code holds the interpreter lock.
- Rust panics are BaseExceptions that cannot be pickled; they become coded results.
- ``os._exit`` skips the interpreter's shutdown, in which ezkl's async runtime crashes at times.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import json
import math
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from oracle.errors import ProofInvalid, ProverError, ProverInput, ProverMemory, SrsMismatch
from oracle.prover import preparation
from oracle.tensor import R, from_field, quantize

JsonObject = dict[str, Any]

_HASH_CHUNK = 1 << 20
#: What most verbs need. Not onnxruntime, which starts a thread when it is imported: a process with
#: threads cannot fork safely.
_PRELOADED = ("numpy", "onnx", "ezkl")


class _Failed(Exception):
    """A verb's failure under a stable code."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def main(job_dir: Path) -> NoReturn:
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


def serve() -> None:
    """Fork a child for each line on standard input, one at a time.

    A line is ``{"job_dir", "environment"}``. The answers are two lines: the child's process id, and
    once it and its group are gone, its exit status as the kernel gave it.
    """
    for library in _PRELOADED:
        importlib.import_module(library)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(Path(order["job_dir"]), order["environment"])
        print(child, flush=True)
        # Not reaped before its group is killed, so that its number is nobody else's.
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


def _become(job_dir: Path, environment: Mapping[str, str]) -> NoReturn:
    """The child of `serve`: from here on as one that was started for this job."""
    try:
        os.setsid()
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(job_dir)
        log = os.open(job_dir / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        main(job_dir)
    finally:
        # Whatever happened, the parent's loop is not the child's.
        os._exit(1)


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


def _describe_model(params: JsonObject) -> JsonObject:
    """What is in a model file: ``{operators, parameters, inputs, outputs, opsets, producer}``.

    Operators are counted by name; dimensions are numbers, names, or None where they are free.
    """
    import math

    import onnx

    proto = onnx.load_model_from_string(Path(params["model"]).read_bytes())
    nodes = [*proto.graph.node, *(node for each in proto.functions for node in each.node)]
    attributes = [each for node in nodes for each in node.attribute]
    tensors = [*proto.graph.initializer, *(each.t for each in attributes)]
    weights = {tensor.name for tensor in proto.graph.initializer}
    counts: dict[str, int] = {}
    for node in nodes:
        core = node.domain in {"", "ai.onnx"}
        name = _printable(node.op_type if core else f"{node.domain}.{node.op_type}")
        counts[name] = counts.get(name, 0) + 1
    return {
        "operators": counts,
        "parameters": sum(math.prod(tensor.dims) for tensor in tensors if tensor.data_type)
        # Classical models keep their numbers in attributes.
        + sum(len(each.floats) for each in attributes),
        "inputs": [_described(v) for v in proto.graph.input if v.name not in weights],
        "outputs": [_described(value) for value in proto.graph.output],
        "opsets": {_printable(o.domain or "ai.onnx"): o.version for o in proto.opset_import},
        "producer": _printable(f"{proto.producer_name} {proto.producer_version}".strip()),
    }


def _described(value: Any) -> JsonObject:
    import onnx

    if not value.type.HasField("tensor_type"):
        kind = str(value.type.WhichOneof("value")).removesuffix("_type")
        return {"name": _printable(value.name), "type": kind, "shape": []}
    tensor = value.type.tensor_type
    return {
        "name": _printable(value.name),
        "type": onnx.TensorProto.DataType.Name(tensor.elem_type).lower(),
        "shape": [
            dim.dim_value
            if dim.WhichOneof("value") == "dim_value"
            else _printable(dim.dim_param) or None
            for dim in tensor.shape.dim
        ],
    }


def _printable(text: str) -> str:
    """A name out of a file, fit for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:100])


def _run_original(params: JsonObject) -> JsonObject:
    """``{outputs}``: the answers of a model as it was given, one flat row for each of ``rows``.

    Rows are cut into ``inputs`` (name, shape, numpy type). Text becomes its position in
    ``labels``. onnxruntime runs the model; ONNX's own reference does what it has no kernel for.
    """
    import numpy as np
    import onnxruntime
    from onnx.reference import ReferenceEvaluator

    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        # Beyond it operators are fused, and those of quantized weights round their inputs too.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        runner: Any = onnxruntime.InferenceSession(_widened(params["model"]), options)
    except Exception:  # noqa: BLE001 - it has no base class for its errors
        runner = ReferenceEvaluator(params["model"])
    outputs = []
    for row in params["rows"]:
        feeds, start = {}, 0
        for name, shape, dtype in params["inputs"]:
            end = start + int(np.prod(shape))
            feeds[name] = np.asarray(row[start:end]).reshape(shape).astype(dtype)
            start = end
        found = runner.run(params["outputs"], feeds)
        outputs.append([number for value in found for number in _numbers(value, params["labels"])])
    return {"outputs": outputs}


def _widened(path: str) -> str | bytes:
    """A model file, or what is computed instead of one of bfloat16."""
    import onnx

    if not preparation.has_bfloat16(onnx.load(path, load_external_data=False)):
        return path
    proto = onnx.load(path)
    preparation.widen(proto)
    return proto.SerializeToString()


def _numbers(value: Any, labels: Sequence[str]) -> list[float]:
    """A tensor, a row's dictionary of scores, or a list of either, flat."""
    import numpy as np

    if isinstance(value, list):
        parts = [list(part.values()) if isinstance(part, dict) else part for part in value]
        return [float(number) for part in parts for number in np.ravel(part)]
    flat = np.asarray(value).ravel()
    if flat.dtype.kind in "OUS":
        return [float(labels.index(str(text))) for text in flat]
    return [float(number) for number in flat]


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
    feeds = _zeros(session)
    outputs = []
    for row in params["rows"]:
        feeds[params["input"]] = _as_fed(np.asarray(row), feeds[params["input"]])
        outputs.append(session.run([params["output"]], feeds)[0].ravel().tolist())
    return {"outputs": outputs}


def _zeros(session: Any) -> dict[str, Any]:
    """An array of zeros for each input, of its shape and type."""
    import numpy as np

    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
    return {v.name: np.zeros(v.shape, dtype=kinds[v.type]) for v in session.get_inputs()}


def _as_fed(row: Any, like: Any) -> Any:
    """Real numbers as a circuit takes them for an input of this shape and type."""
    import numpy as np

    if like.dtype != np.float32:
        row = np.trunc(row + np.copysign(0.5, row))
    return row.reshape(like.shape).astype(like.dtype)


def _every_tensor(params: JsonObject) -> tuple[list[str], int, Callable[[Any], Any]]:
    """Names of the ``model``'s float tensors, length of a row, and what computes the tensors.

    Its argument is a row of the input that ``input`` names; other inputs are zero.
    """
    import onnx
    import onnxruntime

    proto = onnx.shape_inference.infer_shapes(onnx.load(params["model"]))
    floats = {
        value.name
        for value in proto.graph.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    known = {value.name for value in proto.graph.output}
    names = [*known, *(n for node in proto.graph.node for n in node.output if n in floats - known)]
    for name in names[len(known) :]:
        info = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        proto.graph.output.append(info)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    feeds = _zeros(session)

    def values(row: Any) -> Any:
        feeds[params["input"]] = _as_fed(row, feeds[params["input"]])
        return session.run(names, feeds)

    return names, feeds[params["input"]].size, values


def _distances(params: JsonObject) -> JsonObject:
    """``{distances}``: for each of ``rows`` how far it is from the next of ``jumps``.

    A jump is a comparison's operator and its two tensors, or an operator that rounds and its tensor.
    None stands for a row that is at a distance from nothing.
    """
    import numpy as np
    import onnx
    import onnxruntime

    proto = onnx.load(params["model"])
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in proto.graph.initializer}
    inputs = [value.name for value in proto.graph.input]
    asked = {name for _, *names in params["jumps"] for name in names}
    # One that always is there, so that the graph has an output.
    names = sorted({*(asked - set(constants) - set(inputs)), proto.graph.output[0].name})
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    ((given, like),) = _zeros(session).items()
    found: list[float | None] = []
    for row in params["rows"]:
        feeds = {given: _as_fed(np.asarray(row), like)}
        known = constants | feeds
        known |= dict(zip(names, session.run(names, feeds), strict=True))
        least = math.inf
        for operator, *arguments in params["jumps"]:
            first, *others = (np.asarray(known[name], np.float64) for name in arguments)
            if others:
                gaps = np.abs(first - others[0])
            elif operator == "Sign":
                gaps = np.abs(first)
            else:
                moved = first + 0.5 if operator == "Round" else first
                gaps = np.abs(moved - np.rint(moved))
            least = min(least, float(np.min(gaps, initial=math.inf)))
        found.append(least if math.isfinite(least) else None)
    return {"distances": found}


def _magnitudes(params: JsonObject) -> JsonObject:
    """``{tensors}``: by name, least and greatest value over ``rows``, and how many it has."""
    import numpy as np

    names, _, tensors = _every_tensor(params)
    rows = np.asarray(params["rows"])
    found = {params["input"]: [float(rows.min()), float(rows.max()), rows.shape[1]]}
    for row in rows:
        for name, value in zip(names, tensors(row), strict=True):
            low, high, size = found.get(name, [math.inf, -math.inf, value.size])
            if size:
                known = np.where(np.isnan(value), math.inf, value)
                found[name] = [min(low, float(known.min())), max(high, float(known.max())), size]
    return {"tensors": found}


def _extremes(params: JsonObject) -> JsonObject:
    """``{rows}``: at most ``count`` inputs of elements ``low`` and ``high`` that drive the graph.

    The effect of each element alone says which corner drives a number furthest up or down: exactly
    where the number is linear in the input, as in a first layer, and a good guess elsewhere. Of the
    corners so found, each tensor keeps the two where its values are greatest and least.
    """
    import numpy as np

    names, length, tensors = _every_tensor(params)

    def values(row: Any) -> list[Any]:
        return [np.nan_to_num(each).ravel() for each in tensors(row)]

    low, high = (np.broadcast_to(params[name], length) for name in ("low", "high"))
    centre = (low + high) / 2
    at_centre = values(centre)
    # So many numbers of each tensor, spread evenly.
    picked = [np.unique(np.linspace(0, each.size - 1, 64).astype(int)) for each in at_centre]
    effects = [np.zeros((index.size, length)) for index in picked]
    for element in range(length):
        row = centre.copy()
        row[element] = high[element]
        for effect, index, now, before in zip(effects, picked, values(row), at_centre, strict=True):
            effect[:, element] = now[index] - before[index]
    signs = np.unique(np.sign(np.vstack(effects)) >= 0, axis=0)
    corners = np.where(np.vstack([signs, ~signs]), high, low)
    found = [values(corner) for corner in corners]
    best = []
    for tensor in range(len(names)):
        best.append(int(np.argmax([each[tensor].max() for each in found])))
        best.append(int(np.argmin([each[tensor].min() for each in found])))
    kept = list(dict.fromkeys(best))
    # Of many, those of tensors all over the graph.
    step = -(-len(kept) // params["count"])
    return {"rows": corners[kept[::step]].tolist()}


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
    """Run a circuit's arithmetic on ``rows`` of integers, or on ``reals``, unproved.

    The circuit is that of ``settings``, or what ezkl makes of ``run_args``; reals are rounded to the
    scale of its input, which is zero for whole numbers whatever is asked for. ``{outputs, lookups,
    output_scale}``: integer outputs, None for a row that the circuit cannot take, and the least and
    greatest value that was looked up. With ``all_or_none`` the first row that it cannot take ends
    the run.
    """
    import ezkl

    settings, compiled, witness = Path("settings.json"), Path("circuit"), Path("witness.json")
    if "run_args" in params:
        ezkl.gen_settings(params["model"], str(settings), _run_args(params["run_args"]))
    else:
        settings.write_text(json.dumps(params["settings"]))
    ezkl.compile_circuit(params["model"], str(compiled), str(settings))
    pinned = json.loads(settings.read_text())
    least, most = pinned["run_args"]["lookup_range"]
    scale = pinned["model_input_scales"][0]
    if "rows" in params:
        rows = params["rows"]
    else:
        rows = [[quantize(value, scale) for value in row] for row in params["reals"]]
    outputs: list[list[int] | None] = [None] * len(rows)
    lookups = [0, 0]
    # The last rows ask most of a circuit.
    for index, row in reversed(list(enumerate(rows))):
        _write_inputs(Path("input.json"), row, params["tag"])
        try:
            ezkl.gen_witness("input.json", str(compiled), str(witness), None, None)
        except BaseException:  # noqa: BLE001 - panics too; why does not matter
            if params["all_or_none"]:
                break
            continue
        found = json.loads(witness.read_text())
        asked = (found["min_lookup_inputs"], found["max_lookup_inputs"])
        if not (least <= asked[0] and asked[1] <= most):
            # A witness there is, a proof there would be none.
            if params["all_or_none"]:
                break
            continue
        outputs[index] = [from_field(e) for e in _elements(found["outputs"])]
        lookups[0] = min(lookups[0], asked[0])
        lookups[1] = max(lookups[1], asked[1])
    scale = pinned["model_output_scales"][0]
    return {"outputs": outputs, "lookups": lookups, "output_scale": scale}


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
    """Write the Solidity verifier. ezkl asks the solc in HOME for its interface too."""
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
    ours = _threads()
    try:
        ezkl.gen_witness(str(input_file), params["compiled"], str(witness), None, None)
    except BaseException as error:  # noqa: BLE001 - panics too
        # A circuit file that cannot be read is our fault, all else is the input's.
        code = ProverError.code if "ser/deser" in str(error) else ProverInput.code
        raise _Failed(code, f"no witness for this input: {error}") from None
    _spread(_threads() - ours)
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


def _threads() -> set[int]:
    """Ids of this process's threads, as the kernel knows them."""
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


def _spread(threads: Iterable[int]) -> None:
    """Give each of ``threads`` a processor of its own, if they are as many as the processors.

    The kernel may start two on one processor and take ten milliseconds to part them, a seventh of
    a short proof. Fewer threads are left to it: several proofs share the machine then.
    """
    processors, workers = sorted(os.sched_getaffinity(0)), sorted(threads)
    if len(workers) != len(processors):
        return
    for thread, processor in zip(workers, processors, strict=True):
        # A matter of speed alone: where it is forbidden the proof takes its time.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(thread, {processor})


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
    "describe_model": _describe_model,
    "external_data": preparation.external_data,
    "prepare_model": preparation.prepare_model,
    "infer_shapes": preparation.infer_shapes,
    "run_original": _run_original,
    "reference": _reference,
    "extremes": _extremes,
    "distances": _distances,
    "magnitudes": _magnitudes,
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
    if sys.argv[1:]:
        main(Path(sys.argv[1]))
    else:
        serve()
