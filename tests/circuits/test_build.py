"""From model to bundle: repeatable, cheap, accurate, sealed."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from oracle import tensor
from oracle.circuits import build as builder
from oracle.circuits import bundle as files
from oracle.circuits.build import build, build_cached, reference
from oracle.circuits.bundle import Bundle
from oracle.circuits.srs import SrsSource
from oracle.errors import (
    BundleInvalid,
    CircuitInaccurate,
    ModelUnsupported,
    SrsMismatch,
    SrsUnsafe,
    TensorLength,
    UsageError,
)
from oracle.prover.local import LocalProver
from oracle.types import Proof
from tests.circuits.makers import job, linear, outcome, saved, single_node

SAMPLES = np.random.default_rng(1).uniform(-1, 1, size=(16, 2))


@pytest.fixture
def copied(iris_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(iris_bundle.path, tmp_path / "bundle"))


def test_build__twice_in_two_folders__same_identity(
    iris_bundle: Bundle,
    iris_onnx: Path,
    iris_samples: np.ndarray,
    devnet_srs: SrsSource,
    tmp_path: Path,
) -> None:
    steps: list[str] = []
    other = build(
        iris_onnx,
        iris_samples,
        name="iris",
        max_error=0.1,
        out=tmp_path / "elsewhere" / "bundle",
        srs=devnet_srs,
        progress=steps.append,
    )
    assert other.spec.vk_hash == iris_bundle.spec.vk_hash
    assert other.spec.verifier_code_hash == iris_bundle.spec.verifier_code_hash
    assert other.spec.settings_hash == iris_bundle.spec.settings_hash
    assert other.bundle_id == iris_bundle.bundle_id
    assert other.verifier_bytecode == iris_bundle.verifier_bytecode
    assert len(steps) >= 5
    assert [path.name for path in other.path.parent.iterdir()] == ["bundle"]


def test_bundle__demo_model__within_its_budget(iris_bundle: Bundle) -> None:
    measures, run_args = iris_bundle.measures, json.loads(iris_bundle.circuit.settings.read_text())
    assert measures.logrows <= 12
    assert run_args["run_args"]["num_inner_cols"] == 1
    assert measures.verify_gas < 416_000
    assert measures.verify_gas < iris_bundle.spec.verify_gas < 1.2 * measures.verify_gas
    assert measures.max_abs_error <= 0.1
    assert measures.label_agreement is not None
    assert measures.label_agreement >= 0.9
    assert measures.verifier_code_bytes <= 24_576
    assert measures.srs_unsafe


def test_bundle__every_sample_and_corner_of_the_range__proves_within_the_error_bound(
    iris_bundle: Bundle, iris_samples: np.ndarray, tmp_path: Path
) -> None:
    spec = iris_bundle.spec
    low, high = (
        tensor.dequantize(v, spec.input.scale) for v in (spec.input.minimum, spec.input.maximum)
    )
    rows = np.vstack([iris_samples[:2], [[low] * 4, [high] * 4, [low, high, low, high]]])
    expected = reference(iris_bundle, rows)
    prover = LocalProver(tmp_path)
    try:
        for row, floats in zip(rows.tolist(), expected, strict=True):
            inputs = tensor.unpack(tensor.encode(row, spec.input), spec.input)
            prover.submit(job(iris_bundle, inputs=inputs))
            proof = outcome(prover).result
            assert isinstance(proof, Proof), proof
            tensor.check(proof.outputs, spec.output)
            proved = [tensor.dequantize(v, spec.output.scale) for v in proof.outputs]
            # Beyond the samples errors grow with the values; the bound holds for typical inputs.
            assert proved == pytest.approx(floats.tolist(), abs=0.1, rel=0.02)
    finally:
        prover.close()


def test_spec__survives_its_json(iris_bundle: Bundle) -> None:
    row = (iris_bundle.spec.input.minimum, iris_bundle.spec.input.maximum)
    ranged = dataclasses.replace(iris_bundle.spec, input_ranges=(row, (0, 1), (0, 0), row))
    for spec in (iris_bundle.spec, ranged):
        text = json.dumps(files.spec_json(spec))
        assert files.spec_from(json.loads(text)) == spec


@pytest.mark.parametrize("change", [[(0, 0)] * 3, [(0, 0)] * 5, [(1, 0)] * 4, [(0, 1 << 40)] * 4])
def test_spec__ranges_that_are_not_of_its_input__is_none(
    iris_bundle: Bundle, change: list[tuple[int, int]]
) -> None:
    with pytest.raises(ValueError, match="input_ranges"):
        files.spec_from({**files.spec_json(iris_bundle.spec), "input_ranges": change})


def test_spec_id__any_field_changed__differs(iris_bundle: Bundle) -> None:
    spec = iris_bundle.spec
    for change in (
        {"vk_hash": bytes(32)},
        {"verify_gas": spec.verify_gas + 1},
        {"input": dataclasses.replace(spec.input, maximum=1)},
        {"input_ranges": ((0, 1),) * spec.input.length},
    ):
        assert files.spec_id(dataclasses.replace(spec, **change)) != iris_bundle.bundle_id


@pytest.mark.parametrize("file", [*files.FILES, files.CANDIDATES, files.PLOT])
def test_load__changed_file__named(copied: Path, devnet_srs: SrsSource, file: str) -> None:
    content = bytearray((copied / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / file).write_bytes(content)
    with pytest.raises(BundleInvalid, match=file):
        Bundle.load(copied, devnet_srs.folder)


def test_load__missing_file__named(copied: Path, devnet_srs: SrsSource) -> None:
    (copied / files.PROVING_KEY).unlink()
    with pytest.raises(BundleInvalid, match=files.PROVING_KEY):
        Bundle.load(copied, devnet_srs.folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["spec"].update(verify_gas=1),
        lambda m: m["spec"].update(vk_hash="00" * 32),
        lambda m: m["spec"].pop("input"),
        lambda m: m["spec"].update(input_ranges=[[0, 1]]),
        lambda m: m.update(format=0),
        lambda m: m["measures"].pop(),
        lambda m: m.update(files=[]),
        lambda m: m["origin"].pop("reveal"),
    ],
    ids=[
        "gas",
        "vk",
        "no input",
        "ranges",
        "format",
        "no measures",
        "no files",
        "no reveal policy",
    ],
)
def test_load__manifest_altered__invalid(copied: Path, devnet_srs: SrsSource, change) -> None:
    manifest = json.loads((copied / files.MANIFEST).read_text())
    change(manifest)
    (copied / files.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleInvalid):
        Bundle.load(copied, devnet_srs.folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff"])
def test_load__manifest_not_json__invalid(copied: Path, text: str) -> None:
    (copied / files.MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleInvalid):
        Bundle.load(copied)


def test_load__no_bundle__says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="No such file"):
        Bundle.load(tmp_path)


def test_load__srs_elsewhere__mismatch(iris_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(SrsMismatch):
        Bundle.load(iris_bundle.path, tmp_path)


def test_require_safe__home_made_srs__only_on_a_local_chain(iris_bundle: Bundle) -> None:
    iris_bundle.require_safe(31337)
    with pytest.raises(SrsUnsafe, match=r"forge proofs on chain 1$"):
        iris_bundle.require_safe(1)


def test_build__error_bound_out_of_reach__inaccurate_and_nothing_left(
    tmp_path: Path, devnet_srs: SrsSource
) -> None:
    out = tmp_path / "out" / "bundle"
    with pytest.raises(CircuitInaccurate) as caught:
        build(
            saved(linear(), tmp_path), SAMPLES, name="m", max_error=1e-12, out=out, srs=devnet_srs
        )
    assert re.search(
        r"in the best, sample \d+ is off by .+: expected \[.+\], proved \[", str(caught.value)
    )
    assert not list(out.parent.iterdir())


def test_build__operator_that_ezkl_lacks__named_with_its_node(
    tmp_path: Path, devnet_srs: SrsSource
) -> None:
    model = single_node("Bernoulli")
    samples = np.ones((8, 4))
    with pytest.raises(ModelUnsupported, match=r"operator Bernoulli \(node 'the_node'\)"):
        build(
            saved(model, tmp_path),
            samples,
            name="m",
            max_error=1,
            out=tmp_path / "b",
            srs=devnet_srs,
        )


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan"), float("inf")])
def test_build__error_bound_that_bounds_nothing__usage_error(
    tmp_path: Path, devnet_srs: SrsSource, bound: float
) -> None:
    with pytest.raises(UsageError, match="error bound"):
        build(
            saved(linear(), tmp_path),
            SAMPLES,
            name="m",
            max_error=bound,
            out=tmp_path / "b",
            srs=devnet_srs,
        )


def test_build__model_that_answers_nan__unsupported_and_nothing_left(
    tmp_path: Path, devnet_srs: SrsSource
) -> None:
    out = tmp_path / "out" / "bundle"
    with pytest.raises(ModelUnsupported, match="not a finite number"):
        build(
            saved(linear("Log"), tmp_path), SAMPLES, name="m", max_error=1, out=out, srs=devnet_srs
        )
    assert not list(out.parent.iterdir())


def test_build__folder_that_cannot_be_made__usage_error(
    tmp_path: Path, devnet_srs: SrsSource
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made"):
        build(
            saved(linear(), tmp_path),
            SAMPLES,
            name="m",
            max_error=1,
            out=tmp_path / "file" / "b" / "c",
            srs=devnet_srs,
        )


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        (np.ones((16, 3)), TensorLength),
        (np.ones(16), TensorLength),
        (np.ones((3, 2)), UsageError),
        (np.full((16, 2), np.nan), UsageError),
    ],
    ids=["wrong length", "no rows", "too few", "not finite"],
)
def test_build__unusable_samples__usage_error(
    tmp_path: Path, devnet_srs: SrsSource, samples: np.ndarray, error: type[UsageError]
) -> None:
    with pytest.raises(error):
        build(
            saved(linear(), tmp_path),
            samples,
            name="m",
            max_error=1,
            out=tmp_path / "b",
            srs=devnet_srs,
        )


def test_build__folder_exists__untouched(iris_bundle: Bundle, devnet_srs: SrsSource) -> None:
    before = (iris_bundle.path / files.MANIFEST).read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        build(
            iris_bundle.model, SAMPLES, name="m", max_error=1, out=iris_bundle.path, srs=devnet_srs
        )
    assert (iris_bundle.path / files.MANIFEST).read_bytes() == before


def test_build_cached__built_once_then_loaded_and_rebuilt_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devnet_srs: SrsSource
) -> None:
    monkeypatch.setattr(builder, "build_dir", lambda: tmp_path / "build")
    path = saved(linear(), tmp_path)

    def cached(max_error: float = 0.1) -> tuple[Bundle, list[str]]:
        steps: list[str] = []
        made = build_cached(
            path, SAMPLES, name="small", max_error=max_error, srs=devnet_srs, progress=steps.append
        )
        return made, steps

    first, steps = cached()
    assert steps
    assert first.measures.logrows <= 10
    assert cached() == (first, [])
    (first.path / files.VERIFYING_KEY).write_bytes(b"damaged")
    again, steps = cached()
    assert steps
    assert again.bundle_id == first.bundle_id


def test_build__two_folders_and_thread_counts__same_hashes(
    tmp_path: Path, devnet_srs: SrsSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(linear("Sigmoid"), tmp_path)
    made = []
    for threads in (1, 3):
        # Each measures its own speed, and is free to come to another one.
        monkeypatch.setattr(builder, "build_dir", lambda n=threads: tmp_path / f"machine{n}")
        made.append(
            build(
                path,
                SAMPLES,
                name="m",
                max_error=0.1,
                out=tmp_path / f"{threads} threads" / "bundle",
                srs=devnet_srs,
                batches=(1, 3),
                limits=dataclasses.replace(builder.LIMITS, threads=threads),
            )
        )
    one, three = made
    assert one.bundle_id == three.bundle_id
    same = [f for f in files.files_of(one.spec) if f.endswith((".onnx", ".json", ".key", ".sol"))]
    for file in set(same) - {files.CANDIDATES}:
        assert (one.path / file).read_bytes() == (three.path / file).read_bytes(), file


def test_manifest__says_what_was_asked_for_and_what_the_file_had(iris_bundle: Bundle) -> None:
    origin = iris_bundle.origin
    assert origin.objective == "gas"
    assert origin.reveal == "full"
    assert origin.max_error == 0.1
    assert [(t.name, t.shape, t.dtype) for t in origin.inputs] == [("input", (1, 4), "float32")]
    assert [(t.name, t.shape) for t in origin.outputs] == [("logits", (1, 3))]
    manifest = json.loads((iris_bundle.path / files.MANIFEST).read_text())
    assert set(manifest["files"]) == set(files.files_of(iris_bundle.spec))
    assert set(manifest["versions"]) >= {"ezkl", "onnxruntime", "solc", "oracle"}


def test_candidates__table_in_the_bundle__estimates_beside_what_was_measured(
    iris_bundle: Bundle,
) -> None:
    table = json.loads((iris_bundle.path / files.CANDIDATES).read_text())
    assert table["objective"] == "gas"
    (chosen,) = [entry for entry in table["candidates"] if entry["outcome"] == "chosen"]
    measured, estimate = chosen["measured"], chosen["estimate"]
    assert measured["gas"] == iris_bundle.measures.verify_gas
    assert estimate["gas"] == pytest.approx(measured["gas"], rel=0.05)
    assert estimate["proof_bytes"] == pytest.approx(measured["proof_bytes"], rel=0.1)
    assert estimate["key_bytes"] == pytest.approx(measured["key_bytes"], rel=0.2)
    assert estimate["memory_bytes"] == pytest.approx(measured["memory_bytes"], rel=0.3)
    assert {entry["shape"]["columns"] for entry in table["candidates"]} >= {1, 2, 3}
    assert "<svg" in (iris_bundle.path / files.PLOT).read_text()
