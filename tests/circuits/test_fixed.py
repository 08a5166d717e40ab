"""An arithmetic of our own: the same function in floats, and in a circuit what the plan says."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from oracle.circuits import trial
from oracle.circuits.bundle import origin_from, origin_json
from oracle.circuits.fixed import Unplannable, planned
from oracle.circuits.onnx import Model, add_tag
from oracle.circuits.plan import Plan
from oracle.circuits.reveal import Reveal, apply
from oracle.circuits.shapes import Shape
from oracle.types import TagLayout
from tests.circuits.lowered import FLOAT, SANDBOX, graph_of, loaded, rewritten

TAG = TagLayout()
ROWS = np.random.default_rng(3).uniform(-1, 1, (12, 4)).round(3)
PLAN = Plan(
    scale=7,
    weight_scale=8,
    weight_scales=(),
    multiplier=1,
    rounded=(),
    looked_up=(),
)
WEIGHTS = np.random.default_rng(4).normal(0, 0.7, (4, 4)).astype(np.float32)


def node(operator: str, inputs: str, output: str, **attributes: object) -> object:
    return helper.make_node(operator, inputs.split(), [output], name=output, **attributes)


def model(folder: Path, *nodes: object, width: int = 4, **constants: object) -> Model:
    """A model of four inputs whose last node's result, ``y``, is the output."""
    made = graph_of(
        list(nodes),
        [("x", FLOAT, ["batch", 4])],
        [("y", FLOAT, ["batch", width])],
        **{
            name: np.asarray(value, None if np.asarray(value).dtype == np.int64 else np.float32)
            for name, value in constants.items()
        },
    )
    return loaded(made, folder, ROWS)


def circuit(subject: Model, plan: Plan, folder: Path) -> trial.Outcome:
    """What the circuit of a plan computes of `ROWS`."""
    path = (folder / "planned.onnx").resolve()
    path.write_bytes(add_tag(planned(subject, plan), TAG))
    graph = trial.Graph(path, TAG, SANDBOX, plan.asked)
    return trial.sketch(graph, Shape(16, 1, plan.multiplier, 3, 1 << 14).run_args(plan.scale), ROWS)


def rows_of(subject: Model, plan: Plan, folder: Path) -> int:
    path = (folder / "counted.onnx").resolve()
    path.write_bytes(add_tag(planned(subject, plan), TAG))
    graph = trial.Graph(path, TAG, SANDBOX, plan.asked)
    asked = Shape(16, 1, plan.multiplier, 2, 1 << 14).run_args(plan.scale)
    return int(trial.settings(graph, [asked])[0]["settings"]["num_rows"])


MODELS = {
    "sums": [node("Add", "x b", "s"), node("Sub", "b s", "d"), node("Neg", "d", "y")],
    "a summand twice": [node("Add", "x b", "s"), node("Mul", "s w", "m"), node("Add", "m b", "y")],
    "product and sum": [node("MatMul", "x w", "m"), node("Add", "m b", "y")],
    "layers": [
        node("Gemm", "x w b", "one", transB=1, alpha=0.5),
        node("Relu", "one", "relu"),
        node("Gemm", "relu w b", "y", beta=0.25),
    ],
    "many layers": [
        node("Gemm", "x w b", "g1"), node("Relu", "g1", "r1"),
        node("Gemm", "r1 w b", "g2"), node("Relu", "g2", "r2"),
        node("Gemm", "r2 w b", "y"),
    ],
    "by powers of two": [node("Mul", "x quarter", "m"), node("Div", "m half", "y")],
    "by a constant": [node("Div", "x three", "y")],
    "squares": [node("Mul", "x x", "y")],
    "a square and its root's product": [node("Mul", "x x", "m"), node("Mul", "m x", "y")],
    "terms of different scales": [
        node("Mul", "x w0", "m"), node("Mul", "m x", "p"), node("Add", "p x", "y"),
    ],
    "absolutes": [node("Abs", "x", "a"), node("Mul", "a w0", "y")],
    "mean": [
        node("ReduceMean", "x", "mean", axes=[1], keepdims=1), node("Sub", "x mean", "y"),
    ],
    "moves": [
        node("Transpose", "x", "t", perm=[1, 0]), node("Reshape", "t row", "r"),
        node("Mul", "r w0", "m"), node("Concat", "m r", "c", axis=1),
        node("Gather", "c some", "y", axis=1),
    ],
    "a scaler and weights": [
        node("Sub", "x b", "s"), node("Div", "s three", "d"), node("Sub", "b d", "e"),
        node("Mul", "e w0", "m"), node("MatMul", "m w", "y"),
    ],
    "by a norm": [
        node("Mul", "x x", "m"), node("ReduceSum", "m axis", "t"), node("Sqrt", "t", "r"),
        node("Add", "r half", "a"), node("Div", "x a", "y"),
    ],
    "curves": [node("Mul", "x w0", "m"), node("Sigmoid", "m", "s"), node("Mul", "s x", "y")],
    "the greater of two": [
        node("Gather", "x other", "z", axis=1), node("Sub", "z x", "d"), node("Relu", "d", "r"),
        node("Add", "x r", "y"),
    ],
    "the greater of two, and of more": [
        node("Gather", "x other", "z", axis=1), node("Mul", "z w0", "m"), node("Sub", "m x", "d"),
        node("Relu", "d", "r"), node("Add", "r x", "g"), node("Mul", "r g", "p"),
        node("Add", "p z", "y"),
    ],
    "a lead added to another": [
        node("Gather", "x other", "z", axis=1), node("Sub", "z x", "d"), node("Relu", "d", "r"),
        node("Add", "z r", "y"),
    ],
    "choice": [node("Greater", "x b", "g"), node("Where", "g x b", "y")],
    "choice of two": [
        node("LessOrEqual", "x b", "g"), node("Mul", "x w0", "m"), node("Where", "g m x", "y"),
    ],
    "bits": [node("Less", "x b", "g"), node("Where", "g none all", "y")],
    "constants chosen": [
        node("Less", "x b", "g"), node("Where", "g places others", "p"),
        node("Greater", "x three", "h"), node("Where", "h others places", "q"),
        node("Add", "p q", "y"),
    ],
}  # fmt: skip


def made(name: str, folder: Path) -> Model:
    return model(
        folder,
        *MODELS[name],
        w=WEIGHTS,
        w0=WEIGHTS[:1],
        b=[[0.3, -0.2, 0.1, 0.3]],
        half=[0.5],
        quarter=[0.25],
        three=[3.0],
        row=np.array([1, -1]),
        axis=np.array([1]),
        some=np.array([0, 5, 2, 7]),
        other=np.array([2, 0, 3, 1]),
        none=[[0.0]],
        all=[[1.0]],
        places=[[2.0, 0.0, 7.0, 1.0]],
        others=[[3.0, 0.0, 5.0, 0.0]],
    )


@pytest.mark.parametrize("name", MODELS)
def test_planned__every_operator__the_same_floats(name: str, tmp_path: Path) -> None:
    subject = made(name, tmp_path)
    found = rewritten(planned(subject, PLAN), ROWS)
    assert found == pytest.approx(rewritten(subject, ROWS), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("multiplier", [1, 3])
def test_planned__every_operator__a_circuit_of_the_same_numbers(
    name: str, multiplier: int, tmp_path: Path
) -> None:
    subject = made(name, tmp_path)
    plan = dataclasses.replace(PLAN, multiplier=multiplier)
    found = circuit(subject, plan, tmp_path)
    assert found.complete
    assert np.abs(found.floats() - rewritten(subject, ROWS)).max() < 0.03


@pytest.mark.parametrize("policy", ["top1", "topk:2", "topk:4", "threshold:0.25"])
def test_planned__a_reveal_policy__the_same_answers(policy: str, tmp_path: Path) -> None:
    reveal = Reveal.parse(policy)
    scored = model(tmp_path, node("Gemm", "x w b", "y"), w=WEIGHTS, b=[[0.3, -0.2, 0.1, 0.3]])
    found = circuit(apply(scored, reveal), PLAN, tmp_path)
    assert found.complete
    assert found.scale == 0
    errors = reveal.error(rewritten(scored, ROWS), found.floats())
    assert errors.max() < 0.03
    assert len(np.unique(found.floats())) > 1


def test_planned__results__keep_their_names(tmp_path: Path) -> None:
    subject = made("layers", tmp_path)
    written = onnx.load_model_from_string(planned(subject, PLAN).data).graph
    names = {name for each in written.node for name in each.output}
    assert {"one", "y"} <= names


def test_planned__weights__have_their_own_scale(tmp_path: Path) -> None:
    subject = made("product and sum", tmp_path)
    errors = []
    for bits in (3, 12):
        # What a single product is given counts before what all are given.
        plan = dataclasses.replace(PLAN, weight_scale=1, weight_scales=(("m", bits),))
        outcome = circuit(subject, plan, tmp_path)
        assert outcome.scale == PLAN.scale + bits
        errors.append(np.abs(outcome.floats() - rewritten(subject, ROWS)).max())
    assert errors[1] < errors[0] / 4


def test_planned__layers_with_biases__scales_as_the_plan_has_them(tmp_path: Path) -> None:
    subject = made("many layers", tmp_path)
    found = circuit(subject, PLAN, tmp_path)
    # Each of the two Relus is computed twice as large.
    assert found.scale == PLAN.scale + 3 * PLAN.weight_scale + 2
    looked_up = dataclasses.replace(PLAN, scale=4, weight_scale=3, looked_up=("r1", "r2"))
    most = np.abs(rewritten(subject, ROWS)).max() + 1
    asked = circuit(subject, looked_up, tmp_path).lookups
    assert max(-asked[0], asked[1]) < 64 * most * 2 ** (4 + 2 * 3)


def test_planned__weights_and_a_summand_of_equal_bytes__both_right(tmp_path: Path) -> None:
    thirds = WEIGHTS[:1] / 3
    subject = model(tmp_path, node("Mul", "x w", "m"), node("Add", "m b", "y"), w=thirds, b=thirds)
    error = np.abs(circuit(subject, PLAN, tmp_path).floats() - rewritten(subject, ROWS)).max()
    assert error < 0.75 * 2.0**-PLAN.weight_scale


def test_planned__an_opset_without_hardswish__raised(tmp_path: Path) -> None:
    nodes = [node("Add", "x b", "s"), node("Relu", "s", "y")]
    made = graph_of(
        nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])], opset=13, b=WEIGHTS[:1]
    )
    subject = loaded(made, tmp_path, ROWS)
    found = rewritten(planned(subject, dataclasses.replace(PLAN, looked_up=("y",))), ROWS)
    assert found == pytest.approx(rewritten(subject, ROWS), abs=2.0**-PLAN.scale)


def test_planned__a_scaler_before_weights__one_product_and_one_sum(tmp_path: Path) -> None:
    subject = made("a scaler and weights", tmp_path)
    proto = onnx.load_model_from_string(planned(subject, PLAN).data)
    operators = [each.op_type for each in proto.graph.node]
    assert operators.count("MatMul") == operators.count("Add") == 1
    assert not {"Sub", "Div"} & set(operators)


# --- rounding -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rounded"),
    [("layers", ("relu", 0)), ("layers", ("y", 0)), ("squares", ("y", 0))],
    ids=["after a sum", "of a relu", "of an input"],
)
def test_planned__an_argument_rounded__coarser_and_not_otherwise(
    name: str, rounded: tuple[str, int], tmp_path: Path
) -> None:
    subject = made(name, tmp_path)
    plan = dataclasses.replace(PLAN, rounded=((*rounded, 4),))
    plain, found = circuit(subject, PLAN, tmp_path), circuit(subject, plan, tmp_path)
    assert found.scale < plain.scale
    assert found.floats() == pytest.approx(plain.floats(), abs=0.2)
    assert (found.floats() != plain.floats()).any()
    # 46 rows an element, and one to three to have it done here.
    more = rows_of(subject, plan, tmp_path) - rows_of(subject, PLAN, tmp_path)
    assert 4 * 46 < more < 4 * 49


# --- tables ---------------------------------------------------------------------------------------


def test_planned__a_relu_looked_up__exactly_the_relu(tmp_path: Path) -> None:
    subject = made("layers", tmp_path)
    looked_up = dataclasses.replace(PLAN, looked_up=("relu",))
    plain, found = circuit(subject, PLAN, tmp_path), circuit(subject, looked_up, tmp_path)
    assert found.floats() == pytest.approx(plain.floats(), abs=1e-6)
    assert found.lookups != (0, 0)
    saved = rows_of(subject, PLAN, tmp_path) - rows_of(subject, looked_up, tmp_path)
    assert saved == 4 * 11


def test_planned__the_greater_of_two__one_size_and_no_shift(tmp_path: Path) -> None:
    subject = made("the greater of two", tmp_path)
    proto = onnx.load_model_from_string(planned(subject, PLAN).data)
    operators = [each.op_type for each in proto.graph.node]
    assert (operators.count("Abs"), operators.count("Sub"), operators.count("Add")) == (1, 1, 2)
    found = circuit(subject, PLAN, tmp_path)
    assert found.scale == PLAN.scale + 1
    assert found.floats() == pytest.approx(rewritten(subject, ROWS), abs=2.0**-PLAN.scale)


@pytest.mark.parametrize("operator", ["Less", "LessOrEqual", "Greater", "GreaterOrEqual"])
@pytest.mark.parametrize("constant", [True, False], ids=["a constant", "a number"])
def test_planned__a_comparison_looked_up__right_on_both_sides_and_between(
    operator: str, constant: bool, tmp_path: Path
) -> None:
    unit = 1 / (1 << PLAN.scale)
    other = "b" if constant else "z"
    subject = model(
        tmp_path,
        node("Gather", "x some", "z", axis=1),
        node(operator, f"x {other}", "bit"),
        node("Cast", "bit", "y", to=FLOAT),
        b=[[0.25]],
        some=np.array([1, 0, 3, 2]),
    )
    near = [0.25, 0.25 + unit, 0.25 - unit, -0.25]
    rows = np.array([*itertools.permutations(near), [0.25] * 4])
    plan = dataclasses.replace(PLAN, looked_up=("bit",))
    path = (tmp_path / "planned.onnx").resolve()
    path.write_bytes(add_tag(planned(subject, plan), TAG))
    graph = trial.Graph(path, TAG, SANDBOX, plan.asked)
    found = trial.sketch(graph, Shape(14, 1, 1, 2, 1 << 13).run_args(plan.scale), rows)
    assert found.floats() == pytest.approx(rewritten(subject, rows))


# --- what has no plan -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nodes",
    [
        [node("ArgMax", "x", "a", axis=1), node("Cast", "a", "y", to=FLOAT)],
        [node("Div", "x x", "y")],
        [node("Sqrt", "x", "y")],
        [node("Cast", "x", "i", to=7), node("Cast", "i", "y", to=FLOAT)],
        [node("Add", "x beyond", "y")],
        [node("Mul", "x zeros", "y")],
        [node("Mul", "x huge", "y")],
        [node("Relu", "x", "r")],
    ],
    ids=["label", "divisor", "root", "whole numbers", "nan", "zeros", "steps", "a constant"],
)
def test_planned__an_operator_of_ezkls_own_scales__said(nodes: list, tmp_path: Path) -> None:
    constants = {
        "beyond": np.full((1, 4), np.nan),
        "zeros": np.zeros((1, 4)),
        "huge": np.full(1, 2.0**20),
        "y": np.ones((1, 4)),
    }
    if nodes[-1].output[0] == "y":
        del constants["y"]
    made = graph_of(
        nodes,
        [("x", FLOAT, ["batch", 4])],
        [("y", FLOAT, ["batch", None])],
        **{name: value.astype(np.float32) for name, value in constants.items()},
    )
    subject = Model(made.SerializeToString(), "x", "y", (1, 4), takes_batches=True)
    with pytest.raises(Unplannable):
        planned(subject, PLAN)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": float("inf")},
        {"scale": 0},
        {"scale": 10**6},
        {"scale": True},
        {"multiplier": 0},
        {"rounded": [["y", 0]]},
        {"rounded": [["y", 0, 10**6]]},
        {"weight_scales": [["y", 10**20]]},
        {"weight_scales": [["y"]]},
        {"looked_up": [1]},
        {"rounded": 3},
    ],
)
def test_plan__rubbish_in_a_manifest__refused(change: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Plan.parse(dataclasses.asdict(PLAN) | change)


def test_plan__as_a_manifest_holds_it__comes_back(iris_bundle: object) -> None:
    plan = dataclasses.replace(
        PLAN, rounded=(("y", 0, 5),), looked_up=("relu",), weight_scales=(("y", 9),)
    )
    origin = dataclasses.replace(iris_bundle.origin, plan=plan)  # type: ignore[attr-defined]
    assert origin_from(origin_json(origin)) == origin
