"""A bundle evaluated on one's own rows: the integers that are proved, and what they differ from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from oracle import tensor
from oracle.circuits.build import LIMITS, build_cached
from oracle.circuits.bundle import Bundle
from oracle.circuits.evaluate import Evaluation, evaluate
from oracle.circuits.reveal import Reveal
from oracle.circuits.rows import read_labels, read_rows
from oracle.circuits.srs import SrsSource
from oracle.cli.model import app
from oracle.errors import TensorLength, UsageError
from oracle.prover.local import LocalProver
from oracle.prover.sandbox import Sandbox
from oracle.types import Proof
from tests.circuits.makers import job, outcome

SANDBOX = Sandbox(LIMITS)


@pytest.fixture(scope="module")
def grid(iris_bundle: Bundle, iris_samples: np.ndarray) -> np.ndarray:
    """Rows that a request carries exactly."""
    scale = iris_bundle.spec.input.scale
    return np.array([[tensor.quantize(v, scale) for v in row] for row in iris_samples.tolist()]) / (
        2.0**scale
    )


@pytest.fixture(scope="module")
def found(iris_bundle: Bundle, iris_onnx: Path, grid: np.ndarray) -> Evaluation:
    return evaluate(iris_bundle, grid, SANDBOX, source=iris_onnx)


@pytest.fixture(scope="module")
def winner(iris_onnx: Path, iris_samples: np.ndarray, devnet_srs: SrsSource) -> Bundle:
    return build_cached(
        iris_onnx,
        iris_samples,
        name="winner",
        max_error=0.1,
        srs=devnet_srs,
        reveal=Reveal.parse("top1"),
    )


def test_evaluate__outputs__are_what_a_proof_says(
    iris_bundle: Bundle, found: Evaluation, grid: np.ndarray, tmp_path: Path
) -> None:
    prover = LocalProver(tmp_path)
    try:
        for row in (0, 77):
            inputs = tensor.unpack(
                tensor.encode(grid[row], iris_bundle.spec.input), iris_bundle.spec.input
            )
            prover.submit(job(iris_bundle, inputs=inputs))
            proof = outcome(prover).result
            assert isinstance(proof, Proof)
            scale = iris_bundle.spec.output.scale
            assert found.outputs[row] == tuple(tensor.dequantize(v, scale) for v in proof.outputs)
    finally:
        prover.close()


def test_evaluate__every_sample__within_the_bound_and_of_one_label(
    found: Evaluation, grid: np.ndarray
) -> None:
    assert set(found.status) == {"ok"}
    assert found.errors is not None
    assert len(found.errors) == len(grid)
    assert 0 < max(found.errors.values()) <= found.max_error
    assert found.over_bound == []
    assert found.label_agreement == 1
    assert found.rounding_error == 0


def test_evaluate__floats_between_the_grids__error_is_of_what_a_request_carries(
    iris_bundle: Bundle, iris_onnx: Path, found: Evaluation, grid: np.ndarray
) -> None:
    nudged = grid + 0.3 / 2**iris_bundle.spec.input.scale
    beside = evaluate(iris_bundle, nudged, SANDBOX, source=iris_onnx)
    assert beside.outputs == found.outputs
    assert beside.errors == found.errors
    assert beside.rounding_error is not None
    assert beside.rounding_error > 0


def test_evaluate__rows_beyond_an_elements_own_range__are_refused(
    iris_bundle: Bundle, grid: np.ndarray
) -> None:
    shape = iris_bundle.spec.input
    row, last = (shape.minimum, shape.maximum), tensor.quantize(grid[0][3], shape.scale)
    spec = dataclasses.replace(iris_bundle.spec, input_ranges=(row, row, row, (last, last)))
    step = 2.0**-shape.scale
    rows = np.array([[*grid[0][:3], grid[0][3] + by] for by in (0, step, -step)])
    evaluation = evaluate(dataclasses.replace(iris_bundle, spec=spec), rows, SANDBOX)
    assert evaluation.status == ("ok", "refused", "refused")


def test_evaluate__rows_that_the_contract_refuses__said_row_by_row(
    iris_bundle: Bundle, iris_onnx: Path, grid: np.ndarray
) -> None:
    spec = iris_bundle.spec.input
    edge = [tensor.dequantize(value, spec.scale) for value in (spec.minimum, spec.maximum)]
    step = 2.0**-spec.scale
    rows = np.array(
        [
            grid[0],
            [edge[1] + step, *grid[0][1:]],
            [edge[0] - step, *grid[0][1:]],
            [float("nan"), *grid[0][1:]],
            [float("inf"), *grid[0][1:]],
            [*edge, *edge],
        ]
    )
    evaluation = evaluate(iris_bundle, rows, SANDBOX, source=iris_onnx)
    assert evaluation.status == ("ok", *["refused"] * 4, "ok")
    assert [row is None for row in evaluation.outputs] == [False, *[True] * 4, False]
    values = evaluation.values()
    assert (values["rows"], values["refused"], values["unprovable"]) == (6, 4, 0)
    assert values["outputs"][1] is None


def test_evaluate__row_that_no_circuit_takes__is_unprovable(
    iris_bundle: Bundle, iris_onnx: Path, grid: np.ndarray
) -> None:
    """As a contract with a wider range than the circuit's would take it."""
    wide = dataclasses.replace(iris_bundle.spec.input, width=8, maximum=2**60)
    bundle = dataclasses.replace(
        iris_bundle, spec=dataclasses.replace(iris_bundle.spec, input=wide)
    )
    rows = np.vstack([grid[0], [2.0**40] * 4])
    evaluation = evaluate(bundle, rows, SANDBOX, source=iris_onnx)
    assert evaluation.status == ("ok", "unprovable")


def test_evaluate__tighter_bound__rows_over_it_the_worst_first(
    iris_bundle: Bundle, iris_onnx: Path, grid: np.ndarray, found: Evaluation
) -> None:
    assert found.errors is not None
    bound = sorted(found.errors.values())[-4]
    origin = dataclasses.replace(iris_bundle.origin, max_error=bound)
    strict = evaluate(
        dataclasses.replace(iris_bundle, origin=origin), grid, SANDBOX, source=iris_onnx
    )
    assert len(strict.over_bound) == 3
    assert strict.values()["worst"][0]["row"] == strict.over_bound[0]
    assert strict.values()["max_abs_error"] == found.errors[strict.over_bound[0]]


def test_evaluate__without_the_publishers_file__states_no_error(
    iris_bundle: Bundle, grid: np.ndarray, found: Evaluation
) -> None:
    values = evaluate(iris_bundle, grid, SANDBOX).values()
    assert values["outputs"] == found.values()["outputs"]
    for key in ("max_abs_error", "over_bound", "label_agreement", "rounding_error"):
        assert values[key] is None, key


def test_evaluate__another_file__refused(iris_bundle: Bundle, grid: np.ndarray) -> None:
    # The rewritten graph is not the publisher's file either.
    with pytest.raises(UsageError, match="not the file that iris was built from"):
        evaluate(iris_bundle, grid, SANDBOX, source=iris_bundle.model)


def test_evaluate__index_alone_is_published__labels_are_the_models(
    winner: Bundle, iris_onnx: Path, iris_samples: np.ndarray
) -> None:
    evaluation = evaluate(winner, iris_samples, SANDBOX, source=iris_onnx)
    assert {row for row in evaluation.outputs if row} <= {(0.0,), (1.0,), (2.0,)}
    assert evaluation.label_agreement is not None
    assert evaluation.label_agreement > 0.95
    wrong = [row for row, error in (evaluation.errors or {}).items() if error > 0]
    assert len(wrong) / len(iris_samples) == pytest.approx(1 - evaluation.label_agreement)


@pytest.mark.parametrize("rows", [np.ones((2, 3)), np.ones(4)])
def test_evaluate__rows_of_another_length__said(iris_bundle: Bundle, rows: np.ndarray) -> None:
    with pytest.raises(TensorLength, match="the model takes rows of 4"):
        evaluate(iris_bundle, rows, SANDBOX)


def test_evaluate__no_rows__said(iris_bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="no rows"):
        evaluate(iris_bundle, np.ones((0, 4)), SANDBOX)


# --- the command ----------------------------------------------------------------------------------


def test_command__json__has_the_promised_keys_and_counts_who_was_taken_for_whom(
    iris_bundle: Bundle, iris_onnx: Path, iris_samples: np.ndarray, tmp_path: Path
) -> None:
    np.savez(tmp_path / "rows.npz", rows=np.vstack([iris_samples[:10], [[99.0] * 4]]))
    (tmp_path / "labels.csv").write_text("species\n" + "0\n" * 4 + "1\n" * 7)
    asked = ["evaluate", str(iris_bundle.path), "--inputs", str(tmp_path / "rows.npz"), "--json"]
    asked += ["--model", str(iris_onnx), "--labels", str(tmp_path / "labels.csv")]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.exception
    values = json.loads(result.stdout)
    assert values.keys() >= {
        *("rows", "refused", "unprovable", "max_abs_error", "over_bound", "label_agreement"),
        *("status", "outputs", "rounding_error", "worst", "confusion"),
    }
    assert (values["rows"], values["refused"], values["over_bound"]) == (11, 1, 0)
    assert sum(cell["rows"] for cell in values["confusion"]) == 10
    text = CliRunner().invoke(app, [each for each in asked if each != "--json"])
    assert "refused by the contract" in text.output


# --- rows in files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["1,2\n3,4.5\n", "a,b\n1,2\n3,4.5\n", "\ufeff1,2\r\n3,4.5\r\n\r\n", '"x 1","y"\n1,2\n3,4.5'],
    ids=["plain", "header", "windows", "quoted header"],
)
def test_read_rows__csv__with_or_without_header(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.csv").write_text(text, encoding="utf-8")
    assert read_rows(tmp_path / "rows.csv").tolist() == [[1, 2], [3, 4.5]]


def test_read_rows__tensors__are_flattened(tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4)
    np.save(tmp_path / "images.npy", images)
    np.savez(tmp_path / "images.npz", images)
    for name in ("images.npy", "images.npz"):
        assert read_rows(tmp_path / name).tolist() == images.reshape(2, 12).tolist()


def test_read_rows__what_holds_none__says_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.ones(2), b=np.ones(2))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "text.csv").write_text("a,b\nc,d\n")
    (tmp_path / "ragged.csv").write_text("1,2\n3\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    names = (
        "two.npz",
        "objects.npy",
        "text.csv",
        "ragged.csv",
        "empty.csv",
        "broken.npy",
        "no.npy",
    )
    for name in names:
        with pytest.raises(UsageError, match="cannot read rows") as caught:
            read_rows(tmp_path / name)
        assert "\n" not in caught.value.line(), name


def test_read_labels__of_any_kind__as_text(tmp_path: Path) -> None:
    np.save(tmp_path / "numbers.npy", np.array([0.0, 2.0]))
    np.save(tmp_path / "texts.npy", np.array(["ash", "elm"]))
    (tmp_path / "texts.csv").write_text("ash\nelm\n")
    (tmp_path / "numbers.csv").write_text("label\n0\n2\n")
    assert read_labels(tmp_path / "numbers.npy", 2) == ["0", "2"]
    assert read_labels(tmp_path / "numbers.csv", 2) == ["0", "2"]
    for name in ("texts.npy", "texts.csv"):
        assert read_labels(tmp_path / name, 2) == ["ash", "elm"]
    with pytest.raises(UsageError, match="2 labels for 3 rows"):
        read_labels(tmp_path / "texts.csv", 3)
