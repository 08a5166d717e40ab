"""A bundle evaluated on one's own rows: the integers that are proved, and what they differ from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from oracle import tensor
from oracle.circuits.build import LIMITS, build_cached
from oracle.circuits.bundle import Bundle
from oracle.circuits.evaluate import Evaluation, evaluate
from oracle.circuits.reveal import Reveal
from oracle.circuits.row import TensorInfo
from oracle.circuits.srs import SrsSource
from oracle.cli.evaluate import agreement
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


def asked(tmp_path: Path, rows: np.ndarray, *more: object, labels: str = "") -> list[str]:
    """The command for rows, and for labels a line each."""
    np.save(tmp_path / "rows.npy", rows)
    if labels:
        (tmp_path / "labels.csv").write_text(labels)
        more = (*more, "--labels", tmp_path / "labels.csv")
    return ["--inputs", str(tmp_path / "rows.npy"), *map(str, more)]


def test_command__no_row_is_taken__nothing_measured_and_the_reason_of_each(
    iris_bundle: Bundle, iris_onnx: Path, tmp_path: Path
) -> None:
    """Publisher 15: "greatest error 0, over the bound 0", and not which row, nor why."""
    rows = np.full((8, 4), 1.0)
    rows[:, 2] = [-9e9, 9e9, np.nan, np.inf, -np.inf, 1e300, 1e9, -1e9]
    words = ["evaluate", str(iris_bundle.path), *asked(tmp_path, rows, "--model", iris_onnx)]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 2
    values = json.loads(result.stdout, parse_constant=pytest.fail)
    for key in ("max_abs_error", "over_bound", "rounding_error", "error_quantiles", "worst"):
        assert values[key] is None, key
    first, *others = values["refusals"]
    spec, (info,) = iris_bundle.spec.input, iris_bundle.origin.inputs
    assert (first["row"], first["element"], first["input"]) == (0, 2, info.name)
    assert first["value"] == -9e9
    assert (first["low"], first["high"]) == (
        tensor.dequantize(spec.minimum, spec.scale),
        tensor.dequantize(spec.maximum, spec.scale),
    )
    assert [each["row"] for each in others] == list(range(1, 8))
    assert others[1]["value"] is None
    assert "nan is not a finite number" in others[1]["reason"]
    text = CliRunner().invoke(app, words)
    assert text.exit_code == 2
    assert "greatest error" not in text.output
    assert "no row could be proved" in text.output
    assert f"refused: row 0, input '{info.name}': value 2 is -9000000000.0, outside" in text.output
    assert text.output.count("refused: row") == 5
    assert "and 3 more" in text.output


def test_command__json__says_of_which_bundle_and_how_many_labels_are_right(
    iris_bundle: Bundle, iris_samples: np.ndarray, tmp_path: Path
) -> None:
    """Publisher 16."""
    words = asked(tmp_path, iris_samples[:4], "--json", labels="0\n0\n0\n1\n")
    result = CliRunner().invoke(app, ["evaluate", str(iris_bundle.path), *words])
    assert result.exit_code == 0, result.exception
    values = json.loads(result.stdout)
    assert (values["name"], values["bundle_id"]) == (iris_bundle.name, iris_bundle.bundle_id)
    proved = [str(np.argmax(row)) for row in values["outputs"]]
    right = np.mean([a == b for a, b in zip(proved, "0001", strict=True)])
    assert values["label_accuracy"] == right
    assert values["labels_are_indices"] is False


def changed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, **origin: Any) -> None:
    """Have commands load the bundle with another origin."""
    other = dataclasses.replace(bundle, origin=dataclasses.replace(bundle.origin, **origin))
    monkeypatch.setattr(Bundle, "load", lambda *_: other)


def test_command__indices_of_named_classes__are_taken_for_them_and_that_is_said(
    iris_bundle: Bundle, iris_samples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publisher 13: integers against names were 0.0% right, under a diagonal table."""
    changed(iris_bundle, monkeypatch, labels=("setosa", "versicolor", "virginica"))
    proved = evaluate(iris_bundle, iris_samples[:4], SANDBOX).proved_labels
    words = asked(
        tmp_path, iris_samples[:4], labels="".join(f"{proved[row]}\n" for row in range(4))
    )
    result = CliRunner().invoke(app, ["evaluate", "there", *words])
    assert result.exit_code == 0, result.exception
    assert "100.0%" in result.output
    assert "taken for the indices" in result.output
    values = json.loads(CliRunner().invoke(app, ["evaluate", "there", *words, "--json"]).stdout)
    assert values["labels_are_indices"] is True
    assert all(cell["label"] == cell["proved"] for cell in values["confusion"])
    words = asked(tmp_path, iris_samples[:4], labels="species\n" + "rose\n" * 4)
    result = CliRunner().invoke(app, ["evaluate", "there", *words])
    assert isinstance(result.exception, UsageError)
    assert "rose; its classes are setosa, versicolor, virginica" in result.exception.message


def test_command__labels_for_answers_that_say_none__refused(
    iris_bundle: Bundle, iris_samples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publisher 14: they were ignored without a word."""
    changed(iris_bundle, monkeypatch, reveal="threshold:0.5")
    words = asked(tmp_path, iris_samples[:2], labels="0\n1\n")
    result = CliRunner().invoke(app, ["evaluate", "there", *words])
    assert isinstance(result.exception, UsageError)
    assert "reveals threshold:0.5 of 3 numbers, which says no label" in result.exception.message


def test_command__array_for_each_input__rows_of_both(
    iris_bundle: Bundle, iris_samples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publisher 17."""
    inputs = (TensorInfo("sepal", (1, 3), "float32"), TensorInfo("petal", (1, 1), "float32"))
    changed(iris_bundle, monkeypatch, inputs=inputs)
    rows = iris_samples[:3]
    np.savez(tmp_path / "rows.npz", petal=rows[:, 3], sepal=rows[:, :3])
    words = ["evaluate", "there", "--inputs", str(tmp_path / "rows.npz"), "--json"]
    values = json.loads(CliRunner().invoke(app, words).stdout)
    assert values["outputs"] == evaluate(iris_bundle, rows, SANDBOX).values()["outputs"]


def test_agreement__outputs_that_nobody_named__are_not_called_labels(iris_bundle: Bundle) -> None:
    """Publisher 26: a build and an evaluation call the same thing the same."""
    plain = dataclasses.replace(iris_bundle.origin, labels=(), reveal="full")
    assert agreement(plain) == "same output the greatest"
    for named in ({"labels": ("a", "b", "c")}, {"reveal": "top1"}):
        assert "label" in agreement(dataclasses.replace(plain, **named))
