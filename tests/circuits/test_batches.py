"""Several rows under one proof: the same arithmetic, one tag, and nothing that can be changed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from oracle import tensor
from oracle.circuits import build as builder
from oracle.circuits import bundle as files
from oracle.circuits import verifier
from oracle.circuits.build import build
from oracle.circuits.bundle import Bundle, SizedCircuit
from oracle.circuits.srs import SrsSource, ceremony_pins
from oracle.circuits.verifier import Verifier, compile_verifier
from oracle.errors import BundleInvalid, CircuitError, ModelUnsupported, SrsUnsafe, UsageError
from oracle.prover.base import memory_cap
from oracle.prover.local import LocalProver
from oracle.types import Codec, Proof, ProofJob
from tests.circuits.makers import TAG, linear, outcome, saved, single_node

SAMPLES = np.random.default_rng(1).uniform(-1, 1, size=(16, 2))
ROWS = ((0.5, -0.25), (-1.0, 1.0), (0.75, 0.125))


def built(
    model: onnx.ModelProto,
    folder: Path,
    srs: SrsSource,
    *batches: int,
    codec: Codec = Codec.PACKED,
) -> Bundle:
    return build(
        saved(model, folder),
        SAMPLES,
        name="small",
        max_error=0.1,
        out=folder / "bundle",
        srs=srs,
        batches=batches,
        codec=codec,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, devnet_srs: SrsSource) -> Bundle:
    """Two numbers in, two out, for one row and for four."""
    return built(linear(), tmp_path_factory.mktemp("batches"), devnet_srs, 4)


@pytest.fixture(scope="module")
def four(bundle: Bundle) -> SizedCircuit:
    return bundle.fitting(4)


@pytest.fixture(scope="module")
def prover(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalProver]:
    local = LocalProver(tmp_path_factory.mktemp("jobs"))
    yield local
    local.close()


def quantized(bundle: Bundle, rows: tuple[tuple[float, ...], ...]) -> list[tuple[int, ...]]:
    scale = bundle.spec.input.scale
    return [tuple(tensor.quantize(value, scale) for value in row) for row in rows]


def proved(prover: LocalProver, sized: SizedCircuit, rows: list[tuple[int, ...]]) -> Proof:
    circuit = sized.circuit
    inputs = tensor.pad(rows, sized.size)
    prover.submit(ProofJob("batch", circuit, inputs, TAG, 60, memory_cap(circuit)))
    proof = outcome(prover).result
    assert isinstance(proof, Proof), proof
    return proof


@pytest.fixture(scope="module")
def proof(prover: LocalProver, bundle: Bundle, four: SizedCircuit) -> Proof:
    """Three rows in the circuit for four."""
    return proved(prover, four, quantized(bundle, ROWS))


@pytest.fixture(scope="module")
def contract(bundle: Bundle) -> Verifier:
    return compile_verifier((bundle.path / "batch4" / files.SOLIDITY).read_text())


def test_proof__instances_are_rows_then_one_tag_then_outputs(bundle: Bundle, proof: Proof) -> None:
    rows = quantized(bundle, ROWS)
    assert proof.instances == (
        *(tensor.to_field(value) for row in (*rows, rows[0]) for value in row),
        *TAG,
        *map(tensor.to_field, proof.outputs),
    )
    assert len(proof.outputs) == 4 * bundle.spec.output.length


def test_proof__each_row_gets_what_it_gets_alone_and_padding_repeats_row_zero(
    bundle: Bundle, proof: Proof, prover: LocalProver
) -> None:
    length = bundle.spec.output.length
    outputs = [proof.outputs[i : i + length] for i in range(0, len(proof.outputs), length)]
    for row, output in zip(quantized(bundle, ROWS), outputs, strict=False):
        assert proved(prover, bundle.fitting(1), [row]).outputs == output
    assert outputs[3] == outputs[0]
    assert outputs[1] != outputs[0]


def test_verifier__any_rows_input_or_output_or_the_tag_changed__rejects(
    contract: Verifier, proof: Proof, four: SizedCircuit
) -> None:
    good = list(proof.instances)
    assert verifier.measure_gas(contract, proof.proof, good) == four.measures.verify_gas
    for index in range(len(good)):
        changed = [*good[:index], (good[index] + 1) % tensor.R, *good[index + 1 :]]
        with pytest.raises(CircuitError, match="rejects the proof"):
            verifier.measure_gas(contract, proof.proof, changed)


def test_verifier__rows_swapped_or_missing__rejects(contract: Verifier, proof: Proof) -> None:
    first, second, *rest = [proof.instances[i : i + 2] for i in range(0, 8, 2)]
    swapped = [*second, *first, *(v for row in rest for v in row), *proof.instances[8:]]
    for instances in (swapped, proof.instances[2:], proof.instances[:-2]):
        with pytest.raises(CircuitError, match="rejects the proof"):
            verifier.measure_gas(contract, proof.proof, instances)


def test_build__with_and_without_batches__one_row_is_the_same_and_twice_gives_one_identity(
    bundle: Bundle, tmp_path: Path, devnet_srs: SrsSource
) -> None:
    again = built(linear(), tmp_path, devnet_srs, 4, 1, 4)
    assert again.spec == bundle.spec
    assert again.bundle_id == bundle.bundle_id
    assert [c.verifier_bytecode for c in again.circuits] == [
        c.verifier_bytecode for c in bundle.circuits
    ]
    shutil.rmtree(again.path)
    single = built(linear(), tmp_path, devnet_srs)
    assert single.spec == dataclasses.replace(bundle.spec, batches=())
    assert single.bundle_id != bundle.bundle_id


def test_bundle__batch_circuit__bounds_no_tighter_than_one_rows(
    bundle: Bundle, four: SizedCircuit
) -> None:
    settings = [json.loads(c.circuit.settings.read_text()) for c in bundle.circuits]
    one, batch = (s["run_args"]["decomp_base"] ** s["run_args"]["decomp_legs"] for s in settings)
    assert batch >= one > bundle.spec.output.maximum
    assert settings[0]["model_output_scales"] == settings[1]["model_output_scales"]
    assert four.measures.logrows <= 11
    assert four.circuit.srs_hash == bundle.spec.batches[0].srs_hash


def test_build__lookups_and_text__batch_of_the_same_tables(
    tmp_path: Path, devnet_srs: SrsSource
) -> None:
    made = built(linear("Sigmoid"), tmp_path, devnet_srs, 3, codec=Codec.TEXT)
    assert [circuit.size for circuit in made.circuits] == [1, 3]
    assert made.spec.batches[0].verify_gas > made.circuits[1].measures.verify_gas
    assert made.measures.logrows <= 10
    assert made.spec.codec is Codec.TEXT
    ranges = [
        json.loads(c.circuit.settings.read_text())["run_args"]["lookup_range"]
        for c in made.circuits
    ]
    assert ranges[0] == ranges[1]


def test_build__text_with_more_fractional_bits_than_it_carries__refused(
    tmp_path: Path, devnet_srs: SrsSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "MAX_TEXT_SCALE", 3)
    with pytest.raises(CircuitError, match="text carries at most 3"):
        built(linear(), tmp_path, devnet_srs, codec=Codec.TEXT)


def test_bundle__demo_model_for_32__within_its_budget(iris_batch_bundle: Bundle) -> None:
    measures = iris_batch_bundle.fitting(32).measures
    assert measures.verify_gas / 32 <= 25_000
    assert measures.verifier_code_bytes <= 24_576
    assert measures.logrows <= 16
    assert iris_batch_bundle.measures.logrows <= 11


def test_fitting__smallest_that_holds_the_rows(bundle: Bundle) -> None:
    assert [bundle.fitting(rows).size for rows in (1, 2, 4)] == [1, 4, 4]
    with pytest.raises(UsageError, match="5 rows are too many for small") as caught:
        bundle.fitting(5)
    assert "at most 4" in caught.value.line()


def test_build__model_with_a_fixed_batch__refused(tmp_path: Path, devnet_srs: SrsSource) -> None:
    with pytest.raises(ModelUnsupported, match="takes one row, not 2"):
        built(single_node("Relu", shape=(1, 2)), tmp_path, devnet_srs, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def mixing(output: str) -> onnx.ModelProto:
    """A model that adds the sum of all rows to each, or gives just that sum."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["input", "axes"], ["sum"], keepdims=1),
            helper.make_node("Add", ["input", "sum"], ["mixed"]),
        ],
        "mixing",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 2])],
        initializer=[numpy_helper.from_array(np.array([0], dtype=np.int64), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("output", ["mixed", "sum"])
def test_build__rows_that_influence_each_other__refused(
    tmp_path: Path, devnet_srs: SrsSource, output: str
) -> None:
    with pytest.raises(CircuitError, match="2 rows at once do not get the outputs"):
        built(mixing(output), tmp_path, devnet_srs, 2)


def test_build__more_sizes_than_the_registry_keeps__usage_error(
    tmp_path: Path, devnet_srs: SrsSource
) -> None:
    with pytest.raises(UsageError, match="17 batch sizes are too many"):
        built(linear(), tmp_path, devnet_srs, *range(2, 18))


@pytest.mark.parametrize("size", [0, -1, 2**16])
def test_build__no_batch_size__usage_error(
    tmp_path: Path, devnet_srs: SrsSource, size: int
) -> None:
    with pytest.raises(UsageError, match=f"{size} is not a batch size"):
        built(linear(), tmp_path, devnet_srs, size)


def test_require_safe__ceremonys_srs__anywhere_if_every_size_uses_it(bundle: Bundle) -> None:
    one, four = (
        dataclasses.replace(c, circuit=dataclasses.replace(c.circuit, srs_hash=ceremony_pins()[11]))
        for c in bundle.circuits
    )
    dataclasses.replace(bundle, circuits=(one, four)).require_safe(1)
    for circuits in ((one, bundle.circuits[1]), (bundle.circuits[0], four)):
        with pytest.raises(SrsUnsafe):
            dataclasses.replace(bundle, circuits=circuits).require_safe(1)


def test_spec_id__any_field_of_a_batch_verifier_changed__differs(bundle: Bundle) -> None:
    (batch,) = bundle.spec.batches
    assert files.spec_from(json.loads(json.dumps(files.spec_json(bundle.spec)))) == bundle.spec
    for change in (
        {"size": 5},
        {"settings_hash": bytes(32)},
        {"vk_hash": bytes(32)},
        {"srs_hash": bytes(32)},
        {"verifier_code_hash": bytes(32)},
        {"verify_gas": 1},
    ):
        spec = dataclasses.replace(bundle.spec, batches=(dataclasses.replace(batch, **change),))
        assert files.spec_id(spec) != bundle.bundle_id


@pytest.fixture
def copied(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.path, tmp_path / "copy"))


@pytest.mark.parametrize("file", files.FILES)
def test_load__changed_file_of_a_batch__named(
    copied: Path, devnet_srs: SrsSource, file: str
) -> None:
    with (copied / "batch4" / file).open("ab") as changed:
        changed.write(b" ")
    with pytest.raises(BundleInvalid, match=f"batch4/{file}"):
        Bundle.load(copied, devnet_srs.folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["spec"]["batches"][0].update(size=5),
        lambda m: m["spec"].update(batches=[]),
        lambda m: m["measures"].pop(),
        lambda m: m["spec"]["batches"][0].update(srs_hash="00" * 32),
        lambda m: m["files"].pop("batch4/vk.key"),
    ],
    ids=["size", "no batch", "one measure", "other SRS", "file not listed"],
)
def test_load__altered_manifest__invalid(copied: Path, devnet_srs: SrsSource, change) -> None:
    manifest = json.loads((copied / files.MANIFEST).read_text())
    change(manifest)
    (copied / files.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleInvalid):
        Bundle.load(copied, devnet_srs.folder)


def test_load__manifest_with_sizes_out_of_order__invalid(
    copied: Path, devnet_srs: SrsSource
) -> None:
    manifest = json.loads((copied / files.MANIFEST).read_text())
    manifest["spec"]["batches"] *= 2
    manifest["bundle_id"] = files.spec_id(files.spec_from(manifest["spec"]))
    manifest["measures"].append(manifest["measures"][1])
    (copied / files.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleInvalid, match="not ascending"):
        Bundle.load(copied, devnet_srs.folder)
