"""What a refusal advises helps: it is done here, and the model is taken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime.datasets
import pytest
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, PowerTransformer

from oracle.circuits import onnx as door
from oracle.circuits.build import build
from oracle.circuits.judge import shown
from oracle.circuits.reveal import Reveal, apply
from oracle.circuits.srs import SrsSource
from oracle.cli.options import dims_of
from oracle.errors import ModelUnsupported, UsageError
from tests.circuits.lowered import (
    FLOAT,
    INT64,
    SANDBOX,
    Floats,
    assert_same,
    circuit_error,
    graph_of,
    loaded,
    rewritten,
)
from tests.circuits.makers import saved

RNG = np.random.default_rng(13)
ROWS = RNG.integers(-512, 512, (8, 4)) / 512
WEIGHTS = RNG.normal(0, 0.4, (4, 3)).astype(np.float32)
#: Positive measurements, and two things to say of each.
SIZES = (np.abs(RNG.normal(2, 0.6, (60, 3))) + 0.4).astype(np.float32)
TWO_LABELS = np.c_[SIZES.sum(axis=1) > 6, SIZES[:, 0] > 2].astype(np.int64)


def refusal(model: onnx.ModelProto, folder: Path, rows: Floats, **options: Any) -> str:
    with pytest.raises(ModelUnsupported) as caught:
        loaded(model, folder, rows, **options)
    assert "\n" not in caught.value.line()
    return caught.value.line()


def product(weights: Any, shape: Any = "n") -> onnx.ModelProto:
    return graph_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", FLOAT, [shape, 4])],
        [("y", FLOAT, [shape, 3])],
        w=np.asarray(weights, dtype=np.float32),
    )


# --- dimensions -----------------------------------------------------------------------------------


def test_free_dimension__of_an_output__the_option_that_is_named_sets_it(tmp_path: Path) -> None:
    """Shape inference loses it behind a Reshape to what another input's numbers say."""
    nodes = [
        helper.make_node("Cast", ["sizes"], ["shape"], to=INT64),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    shapes = [("x", FLOAT, [1, 4]), ("sizes", FLOAT, [2])]
    model = graph_of(nodes, shapes, [("y", FLOAT, [1, "unk__11"])])
    line = refusal(model, tmp_path, np.c_[ROWS, np.tile([1.0, 4.0], (8, 1))])
    (option,) = re.findall(r"--dim (\S+)=SIZE", line)
    found = door.load(saved(model, tmp_path), SANDBOX, dims=dims_of([f"{option}=4"]))
    assert [tensor.shape for tensor in found.outputs] == [(1, 4)]


def test_batch__that_an_exporter_wrote_in__a_free_one_is_taken(tmp_path: Path) -> None:
    line = refusal(product(WEIGHTS, 2), tmp_path, ROWS)
    assert "takes 2 rows at once" in line
    assert "dynamic_shapes" in line
    assert_same(product(WEIGHTS, "batch"), tmp_path, ROWS)


def test_first_dimension__that_is_no_batch__is_none(tmp_path: Path) -> None:
    assert loaded(product(WEIGHTS, 2), tmp_path, np.c_[ROWS, ROWS]).input_length == 8


def test_batch__of_scikit_learns_operators__another_export_is_taken(tmp_path: Path) -> None:
    """onnxruntime ships one such file; its coefficients are for more features than its input has."""
    path = Path(onnxruntime.datasets.__file__).parent / "logreg_iris.onnx"
    with pytest.raises(ModelUnsupported) as caught:
        door.load(path, SANDBOX)
    assert "takes 3 rows at once" in caught.value.line()
    types = re.search(r"initial_types=(\[.*?\)\])", caught.value.line())
    assert types is not None
    given = eval(types[1], {"FloatTensorType": FloatTensorType})
    estimator = LogisticRegression().fit(SIZES[:, :2], TWO_LABELS[:, 0])
    exported = to_onnx(estimator, initial_types=given)
    rows = SIZES[:8, :2].astype(np.float64)
    found = rewritten(loaded(exported, tmp_path, rows), rows)
    np.testing.assert_allclose(found, estimator.predict_proba(SIZES[:8, :2]), atol=1e-4)


def test_coefficients__for_other_features__said(tmp_path: Path) -> None:
    model = onnx.load(Path(onnxruntime.datasets.__file__).parent / "logreg_iris.onnx")
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    assert "coefficients for 4 features, its input has 2" in refusal(model, tmp_path, ROWS[:, :2])


# --- outputs --------------------------------------------------------------------------------------


def test_positions__of_the_greatest__their_values_are_proved_and_so_is_topk(tmp_path: Path) -> None:
    node = helper.make_node("TopK", ["x", "k"], ["v", "i"], "the_node", axis=1)
    outputs = [("v", FLOAT, ["n", 2]), ("i", INT64, ["n", 2])]
    model = graph_of([node], [("x", FLOAT, ["n", 4])], outputs, k=np.array([2]))
    line = refusal(model, tmp_path, ROWS)
    assert "operator TopK (node 'the_node') gives the positions" in line
    (name,) = re.findall(r"--output (\w+)", line)
    values = assert_same(model, tmp_path, ROWS, outputs=[name])
    assert circuit_error(values, ROWS, tmp_path) < 0.01
    (policy,) = re.findall(r"--reveal (\S+?),", line)
    scores = graph_of(
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", FLOAT, ["n", 4])],
        [("y", FLOAT, ["n", 4])],
    )
    ranked = apply(loaded(scores, tmp_path, ROWS), Reveal.parse(policy))
    np.testing.assert_array_equal(rewritten(ranked, ROWS), np.argsort(-ROWS, axis=1)[:, :2])


def test_sequence__of_several_labels_scores__side_by_side(tmp_path: Path) -> None:
    estimator = MultiOutputClassifier(LogisticRegression()).fit(SIZES, TWO_LABELS)
    rows = SIZES[:8].astype(np.float64)
    model = loaded(to_onnx(estimator, SIZES[:1]), tmp_path, rows)
    expected = np.concatenate(estimator.predict_proba(SIZES[:8]), axis=1)
    np.testing.assert_allclose(rewritten(model, rows), expected, atol=1e-4)
    assert model.labels == ()


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan, 1e30])
def test_constant__that_no_circuit_holds__is_named(tmp_path: Path, number: float) -> None:
    weights = WEIGHTS.copy()
    weights[1, 2] = number
    assert f"the constant 'w' holds {np.float32(number):g}" in refusal(
        product(weights), tmp_path, ROWS
    )


def masked(number: float) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Add", ["x", "mask"], ["a"]),
        helper.make_node("Softmax", ["a"], ["y"], axis=1),
    ]
    mask = np.array([0, 0, number, 0], dtype=np.float32)
    return graph_of(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], mask=mask)


def test_mask__of_infinity__a_number_in_its_place_builds(
    tmp_path: Path, devnet_srs: SrsSource
) -> None:
    line = refusal(masked(-np.inf), tmp_path, ROWS)
    (number,) = re.findall(r"in a mask by (-\d+)", line)
    rows = np.r_[ROWS, ROWS / 2]
    bundle = build(
        saved(masked(float(number)), tmp_path),
        rows,
        name="masked",
        max_error=0.05,
        out=tmp_path / "bundle",
        srs=devnet_srs,
    )
    assert bundle.measures.max_abs_error <= 0.05


def narrow(kind: int) -> onnx.ModelProto:
    weights = numpy_helper.from_array(WEIGHTS.astype(ml_dtypes.bfloat16), "w")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Cast", ["m"], ["y"], to=kind),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.BFLOAT16, ["n", 4])],
        [helper.make_tensor_value_info("y", kind, ["n", 3])],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("kind", [FLOAT, TensorProto.BFLOAT16], ids=["to float32", "throughout"])
def test_bfloat16__holds_real_numbers(tmp_path: Path, kind: int) -> None:
    model = loaded(narrow(kind), tmp_path, ROWS)
    expected = ROWS @ WEIGHTS.astype(ml_dtypes.bfloat16).astype(np.float64)
    np.testing.assert_allclose(rewritten(model, ROWS), expected, atol=1e-5)
    assert circuit_error(model, ROWS, tmp_path) < 0.01


QUANTIZED = {
    "QuantizeLinear": [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"], "the_node"),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ],
    "DynamicQuantizeLinear": [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "the_node"),
        helper.make_node("MatMulInteger", ["q", "whole", "z"], ["m"]),
        helper.make_node("Cast", ["m"], ["c"], to=FLOAT),
        helper.make_node("Mul", ["c", "s"], ["y"]),
    ],
}


@pytest.mark.parametrize("operator", QUANTIZED)
def test_quantised__activations__the_float_model_is_taken(tmp_path: Path, operator: str) -> None:
    constants = {
        "step": np.float32(0.05),
        "zero": np.int8(0),
        "w": WEIGHTS,
        "whole": np.rint(WEIGHTS * 100).astype(np.int8),
    }
    used = {name for node in QUANTIZED[operator] for name in node.input}
    model = graph_of(
        QUANTIZED[operator],
        [("x", FLOAT, ["n", 4])],
        [("y", FLOAT, ["n", 3])],
        **{name: value for name, value in constants.items() if name in used},
    )
    line = refusal(model, tmp_path, ROWS)
    assert f"operator {operator} (node 'the_node') quantises" in line
    assert "Publish the float model" in line
    assert_same(product(WEIGHTS), tmp_path, ROWS)


def test_normalisation__in_training_mode__evaluated_it_is_taken(tmp_path: Path) -> None:
    def model(training: int) -> onnx.ModelProto:
        names = ["y", "mean_now", "variance_now"] if training else ["y"]
        node = helper.make_node(
            "BatchNormalization",
            ["x", "scale", "bias", "mean", "variance"],
            names,
            "the_node",
            training_mode=training,
        )
        constants = dict.fromkeys(("scale", "variance"), np.full(4, 0.5, np.float32))
        constants |= dict.fromkeys(("bias", "mean"), np.full(4, 0.25, np.float32))
        shapes = ([("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])
        return graph_of([node], *shapes, **constants)

    line = refusal(model(1), tmp_path, ROWS)
    assert "BatchNormalization (node 'the_node') normalises by the batch" in line
    assert "model.eval()" in line
    assert circuit_error(assert_same(model(0), tmp_path, ROWS), ROWS, tmp_path) < 0.01


# --- scikit-learn ---------------------------------------------------------------------------------


def test_powers__that_an_imputer_mends__the_other_method_is_taken(tmp_path: Path) -> None:
    rows = SIZES[:8].astype(np.float64)

    def exported(**options: Any) -> onnx.ModelProto:
        estimator = make_pipeline(PowerTransformer(**options), LogisticRegression())
        estimator.fit(SIZES, TWO_LABELS[:, 0])
        return to_onnx(estimator, SIZES[:1], options={"zipmap": False})

    line = refusal(exported(), tmp_path, rows)
    (method,) = re.findall(r"method='([\w-]+)'", line)
    model = loaded(exported(method=method), tmp_path, rows)
    assert circuit_error(model, rows, tmp_path) < 0.05


#: Of as many rows each, by the first measurement.
THREE_CLASSES = np.digitize(SIZES[:, 0], np.quantile(SIZES[:, 0], (1 / 3, 2 / 3)))
ZERO = np.vstack([SIZES[:7], np.zeros(3)]).astype(np.float64)


def exported(*steps: Any) -> onnx.ModelProto:
    pipeline = make_pipeline(*steps).fit(SIZES, THREE_CLASSES)
    return to_onnx(pipeline, SIZES[:1], options={"zipmap": False} if len(steps) > 1 else None)


@pytest.mark.parametrize(
    ("model", "rows", "what"),
    [
        pytest.param(
            exported(MinMaxScaler(), LogisticRegression()),
            SIZES[:8].astype(np.float64) * 1e12,
            "",
            id="large",
        ),
        pytest.param(
            exported(SimpleImputer(), LogisticRegression()),
            SIZES[:8].astype(np.float64) * 1e12,
            "",
            id="large_and_an_imputer",
        ),
        pytest.param(exported(Normalizer()), ZERO, "divides by zero (operator Div)", id="zeros"),
    ],
)
def test_no_number__that_the_file_hides_without_an_imputer__the_sample_is_blamed(
    tmp_path: Path, model: onnx.ModelProto, rows: Floats, what: str
) -> None:
    line = refusal(model, tmp_path, rows)
    assert "imputer" not in line
    sample = int(re.search(r"for sample (\d+), whose greatest number is ", line)[1])
    assert f"{np.abs(rows[sample]).max():.3g} in size" in line
    assert what in line
    assert "Leave such rows out" in line
    loaded(model, tmp_path, SIZES[:8].astype(np.float64))


def test_distances__by_a_loop__the_option_that_is_named_is_taken(tmp_path: Path) -> None:
    estimator = GaussianProcessRegressor(kernel=RBF(1.0, "fixed"), alpha=0.1)
    estimator.fit(SIZES[:20], SIZES[:20].sum(axis=1))
    rows = SIZES[20:28].astype(np.float64)
    line = refusal(to_onnx(estimator, SIZES[:1]), tmp_path, rows)
    (options,) = re.findall(r"options=(\{.*?\}\})", line)
    given = eval(options, {"id": id, "model": estimator})
    model = loaded(to_onnx(estimator, SIZES[:1], options=given), tmp_path, rows)
    np.testing.assert_allclose(
        rewritten(model, rows).ravel(), estimator.predict(SIZES[20:28]), atol=1e-3
    )
    assert circuit_error(model, rows, tmp_path) < 0.05


@pytest.mark.parametrize("optim", [None, "cdist"])
def test_neighbours__in_either_form__refused_by_name(tmp_path: Path, optim: str | None) -> None:
    estimator = KNeighborsClassifier(3).fit(SIZES, TWO_LABELS[:, 0])
    options: dict[str, Any] = {"zipmap": False} | ({"optim": optim} if optim else {})
    exported = to_onnx(estimator, SIZES[:1], options={id(estimator): options})
    line = refusal(exported, tmp_path, SIZES[:8].astype(np.float64))
    assert "operator Scan" in line or "operator TopK" in line


# --- samples --------------------------------------------------------------------------------------


def test_samples__one_that_is_no_number__is_named(tmp_path: Path, devnet_srs: SrsSource) -> None:
    rows = ROWS.copy()
    rows[5, 1] = np.nan
    with pytest.raises(UsageError, match="sample 5 holds what is no finite number"):
        build(
            saved(product(WEIGHTS), tmp_path),
            rows,
            name="holes",
            max_error=0.1,
            out=tmp_path / "bundle",
            srs=devnet_srs,
        )


def test_row__of_many_numbers__is_shown_in_part() -> None:
    assert shown(np.arange(3.0)) == "[0, 1, 2]"
    assert shown(np.zeros(784)) == "[0, 0, 0, 0, 0, 0, 0, 0] and 776 more"
