"""Norms whose deviations are enlarged: the same answers, and near nothing as exact as elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from oracle.circuits.guarantee import arithmetic_of
from oracle.circuits.norms import FINER, widen
from oracle.circuits.onnx import Model
from oracle.circuits.shapes import roomy
from tests.circuits.lowered import FLOAT, graph_of, loaded, rewritten

EPSILON = 1e-5
SAMPLES = np.random.default_rng(1).uniform(-1, 1, (8, 4))


def node(operator: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], name=output, **attributes)


def written_out(x: str, y: str, *, inverse: bool = False) -> list[onnx.NodeProto]:
    """A layer norm as older exporters write it."""
    last = (
        [node("Reciprocal", f"{y}-r", f"{y}-i"), node("Mul", f"{y}-i {y}-c", y)]
        if inverse
        else [node("Div", f"{y}-c {y}-r", y)]
    )
    return [
        node("ReduceMean", x, f"{y}-m", axes=[-1]),
        node("Sub", f"{x} {y}-m", f"{y}-c"),
        node("Mul", f"{y}-c {y}-c", f"{y}-s"),
        node("ReduceMean", f"{y}-s", f"{y}-v", axes=[-1]),
        node("Add", f"{y}-v epsilon", f"{y}-e"),
        node("Sqrt", f"{y}-e", f"{y}-r"),
        *last,
    ]


def block(rng: np.random.Generator) -> onnx.ModelProto:
    """Two tokens of four numbers: attention without a softmax, a norm, two layers, a norm."""

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.7, shape).astype(np.float32)

    nodes = [
        node("MatMul", "x keys", "k"),
        node("Sigmoid", "k", "shares"),
        node("MatMul", "x values", "v"),
        node("MatMul", "shares v", "a"),
        node("Add", "x a", "mixed"),
        node("LayerNormalization", "mixed scale bias", "one", axis=-1, epsilon=EPSILON),
        node("MatMul", "one inner", "h"),
        node("Relu", "h", "hr"),
        node("MatMul", "hr outer", "o"),
        node("Sub", "one o", "two"),
        node("LayerNormalization", "two scale bias", "y", axis=-1, epsilon=EPSILON),
    ]
    return graph_of(
        nodes,
        [("x", FLOAT, [1, 2, 4])],
        [("y", FLOAT, [1, 2, 4])],
        keys=weights(4, 2),
        values=weights(4, 4),
        inner=weights(4, 6),
        outer=weights(6, 4),
        scale=rng.uniform(0.5, 1.5, 4).astype(np.float32),
        bias=weights(4),
    )


def near_nothing(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    """Rows of all sizes, nearly equal numbers and zeros among them."""
    sizes = 2.0 ** rng.integers(-12, 2, (count, 1))
    rows = rng.uniform(-1, 1, (count, width)) * sizes
    rows[::5] += rng.uniform(-1, 1, (len(rows[::5]), 1))
    rows[::7] = rng.uniform(-1, 1, (len(rows[::7]), 1))
    rows[0] = 0
    return rows


@pytest.mark.parametrize("seed", range(20))
def test_widen__tokens_of_a_transformer__the_same_answers(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    model = loaded(block(rng), tmp_path, rng.uniform(-1, 1, (8, 8)))
    large = widen(model)
    assert large.widened
    rows = near_nothing(rng, 40, 8)
    # A norm of nearly equal numbers enlarges the last place of a float32, too.
    assert rewritten(large, rows) == pytest.approx(rewritten(model, rows), abs=2e-3)


@pytest.mark.parametrize("inverse", [False, True], ids=["a quotient", "a reciprocal"])
def test_widen__a_norm_written_out__numbers_near_nothing_keep_their_norm(
    tmp_path: Path, *, inverse: bool
) -> None:
    proto = graph_of(
        written_out("x", "y", inverse=inverse),
        [("x", FLOAT, [1, 4])],
        [("y", FLOAT, [1, 4])],
        epsilon=np.float32(EPSILON),
    )
    model = loaded(proto, tmp_path, SAMPLES)
    large = widen(model)
    rows = np.round(near_nothing(np.random.default_rng(3), 300, 4) * 256) / 256
    right = rewritten(model, rows)
    assert rewritten(large, rows) == pytest.approx(right, abs=1e-4)

    def worst(form: Model, param_scale: int) -> float:
        path = tmp_path / f"{param_scale}.onnx"
        path.write_bytes(form.data)
        run_args = roomy(1).run_args(8) | {"param_scale": param_scale}
        arithmetic = arithmetic_of(path, run_args)
        assert arithmetic is not None
        found = arithmetic.evaluate(np.round(rows * 256).astype(np.int64))
        proved = np.ldexp(found.outputs.astype(float), -arithmetic.output_scale)
        # A row without a proof is as bad as can be.
        off = np.where(found.overflow, np.inf, np.abs(proved - right).max(axis=1))
        return float(off.max())

    assert worst(large, 8 + FINER) < 0.01
    # Neither alone: an epsilon that is zero has no reciprocal, or squares are lost.
    assert worst(model, 8 + FINER) > 0.05
    assert worst(large, 8) > 0.02


def test_widen__weights_before_a_norm__are_enlarged_themselves(tmp_path: Path) -> None:
    model = loaded(block(np.random.default_rng(0)), tmp_path, np.zeros((8, 8)) + 0.5)
    before, after = (
        [each.op_type for each in onnx.load_model_from_string(form.data).graph.node]
        for form in (model, widen(model))
    )
    # What is left to be doubled is the input, beside the products of its weights.
    doublings = after.count("Add") - before.count("Add")
    assert 0 < doublings <= 8
    assert after.count("MatMul") == before.count("MatMul")


OTHERS: dict[str, Callable[[], tuple[list[onnx.NodeProto], str]]] = {
    "a root alone": lambda: (
        [node("Mul", "x x", "s"), node("Add", "s epsilon", "e"), node("Sqrt", "e", "y")],
        "y",
    ),
    "something else over the root": lambda: (
        [
            node("Mul", "x x", "s"),
            node("Add", "s epsilon", "e"),
            node("Sqrt", "e", "r"),
            node("Neg", "x", "n"),
            node("Div", "n r", "y"),
        ],
        "y",
    ),
    "a root with another use": lambda: (
        [*written_out("x", "d"), node("Add", "d d-r", "y")],
        "y",
    ),
    "a variance with another use": lambda: (
        [*written_out("x", "d"), node("Add", "d d-v", "y")],
        "y",
    ),
    "an epsilon that is large": lambda: (
        [
            node("Mul", "x x", "s"),
            node("Add", "s large", "e"),
            node("Sqrt", "e", "r"),
            node("Div", "x r", "y"),
        ],
        "y",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_widen__no_norm__left_as_it_is(name: str, tmp_path: Path) -> None:
    nodes, output = OTHERS[name]()
    proto = graph_of(
        nodes,
        [("x", FLOAT, [1, 4])],
        [(output, FLOAT, [1, 4])],
        epsilon=np.float32(EPSILON),
        large=np.float32(0.5),
    )
    model = loaded(proto, tmp_path, SAMPLES)
    assert widen(model) is model


def test_widen__deviations_with_another_use__stay_what_they_are(tmp_path: Path) -> None:
    nodes = [*written_out("x", "d"), node("Add", "d d-c", "y")]
    proto = graph_of(
        nodes, [("x", FLOAT, [1, 4])], [("y", FLOAT, [1, 4])], epsilon=np.float32(EPSILON)
    )
    model = loaded(proto, tmp_path, SAMPLES)
    large = widen(model)
    assert large.widened
    rows = near_nothing(np.random.default_rng(5), 40, 4)
    assert rewritten(large, rows) == pytest.approx(rewritten(model, rows), abs=1e-4)


def test_widen__two_norms_of_one_epsilon__each_has_its_own(tmp_path: Path) -> None:
    nodes = [*written_out("x", "one"), *written_out("one", "y")]
    proto = graph_of(
        nodes, [("x", FLOAT, [1, 4])], [("y", FLOAT, [1, 4])], epsilon=np.float32(EPSILON)
    )
    graph = onnx.load_model_from_string(widen(loaded(proto, tmp_path, SAMPLES)).data).graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    makers = {name: each for each in graph.node for name in each.output}
    sums = [makers[each.input[0]] for each in graph.node if each.op_type == "Sqrt"]
    names = [next(name for name in each.input if name in constants) for each in sums]
    assert len({constants[name].tobytes() for name in names}) == 2
    assert all(constants[name] > 100 * EPSILON for name in names)


def test_widen__not_wanted__left_as_it_is(tmp_path: Path) -> None:
    model = loaded(block(np.random.default_rng(0)), tmp_path, np.zeros((8, 8)) + 0.5)
    assert widen(model, wanted=False) is model
