"""A certificate bounds what is proved, whatever the row in its box, and whatever the witness."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from oracle.circuits.arithmetic import Arithmetic
from oracle.circuits.certified import certificate
from oracle.circuits.fixed import planned
from oracle.circuits.loaded import Unmodelled
from oracle.circuits.onnx import Model, add_tag
from oracle.circuits.plan import Plan
from oracle.circuits.reveal import Reveal, apply
from oracle.types import TagLayout
from scripts.models import zoo
from scripts.models.graph import Graph
from tests.circuits.lowered import rewritten
from tests.circuits.plans_at_random import plan_at_random
from tests.circuits.test_arithmetic import asked, loaded

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
#: Rows of one round of the attack, and its rounds.
MANY, ROUNDS = 200, 5


@dataclasses.dataclass
class Case:
    """A circuit, its float model, and a box of whole numbers."""

    arithmetic: Arithmetic
    model: Model
    scale: int
    low: Rows
    high: Rows

    @property
    def bound(self) -> float:
        unit = 2.0**-self.scale
        return certificate(self.arithmetic, self.low * unit, self.high * unit).error

    def misses(self, rows: Rows, seed: int) -> Floats:
        """How far off each row is, by the worst of some witnesses; -1 where it overflows."""
        expected = rewritten(self.model, rows / 2.0**self.scale).reshape(len(rows), -1)
        worst = np.full(len(rows), -1.0)
        for rng in (None, np.random.default_rng(seed), np.random.default_rng(seed + 1)):
            found = self.arithmetic.evaluate(rows, rng)
            real = found.outputs / 2.0**self.arithmetic.output_scale
            off = np.abs(real - expected).max(axis=1)
            worst = np.maximum(worst, np.where(found.overflow, -1, off))
        return worst

    def greatest(self, seed: int) -> float:
        """The greatest miss that an attack finds: it climbs from random rows and corners."""
        rng = np.random.default_rng(seed)
        shape = (MANY, len(self.low))
        rows = rng.integers(self.low, self.high + 1, shape)
        rows[::2] = np.where(rng.random(shape) < 0.5, self.low, self.high)[::2]
        worst = self.misses(rows, seed)
        for step in range(ROUNDS):
            new = rng.integers(self.low, self.high + 1, shape)
            new = np.where(
                rng.random(shape) < 0.5, new, np.where(rng.random(shape) < 0.5, self.low, self.high)
            )
            near = np.clip(rows + rng.integers(-3, 4, shape), self.low, self.high)
            tried = np.where(
                rng.random(shape) < 0.3, new, np.where(rng.random(shape) < 0.5, near, rows)
            )
            found = self.misses(tried, seed + step)
            rows = np.where((found > worst)[:, np.newaxis], tried, rows)
            worst = np.maximum(found, worst)
        return float(worst.max())


def case(model: Model, plan: Plan | None, low: Floats, high: Floats, **changes: Any) -> Case:
    run_args = asked(plan, **changes)
    scale = run_args["input_scale"]
    arithmetic = Arithmetic.of(add_tag(planned(model, plan), TagLayout()), run_args)
    numbers = [np.rint(each * 2.0**scale).astype(np.int64) for each in (low, high)]
    return Case(arithmetic, model, scale, *numbers)


# --- random models --------------------------------------------------------------------------------


def _linear(graph: Graph, rng: np.random.Generator) -> str:
    mean, scale = rng.normal(0, 2, (1, 6)), rng.uniform(0.5, 2, (1, 6))
    scaled = graph.add("Div", graph.add("Sub", graph.input, mean), scale)
    return graph.add("Gemm", scaled, rng.normal(0, 1, (6, 3)), rng.normal(0, 1, 3))


def _network(activation: str) -> Callable[[Graph, np.random.Generator], str]:
    def write(graph: Graph, rng: np.random.Generator) -> str:
        value, width = graph.input, 6
        for size in (int(rng.integers(4, 10)), int(rng.integers(4, 10)), 3):
            if width != 6:
                value = graph.add(activation, value)
            weights = rng.normal(0, width**-0.5, (width, size))
            value = graph.add("Gemm", value, weights, rng.normal(0, 0.3, size))
            width = size if size != 6 else 7
            if size == 6:
                value = graph.add("Gather", value, [0, 1, 2, 3, 4, 5, 5], axis=1)
        return value

    return write


def _softmax(graph: Graph, rng: np.random.Generator) -> str:
    scores = graph.add("Gemm", graph.input, rng.normal(0, 0.5, (6, 3)), rng.normal(0, 1, 3))
    return graph.add("Softmax", scores, axis=1)


def _products(graph: Graph, rng: np.random.Generator) -> str:
    first = graph.add("MatMul", graph.input, rng.normal(0, 0.5, (6, 3)))
    second = graph.add("Tanh", graph.add("MatMul", graph.input, rng.normal(0, 0.5, (6, 3))))
    size = graph.add("Sqrt", graph.add("Add", graph.add("Mul", first, first), 0.5))
    shares = graph.add("Div", graph.add("Mul", first, second), size)
    return graph.add("MatMul", shares, rng.normal(0, 1, (3, 3)))


def _pieces(graph: Graph, rng: np.random.Generator) -> str:
    """Limits and leaky parts: bends, and no jumps."""
    sums = graph.add("MatMul", graph.input, rng.normal(0, 1, (6, 3)))
    limited = graph.add("Clip", sums, -1.5, 1.25)
    leaky = graph.add("LeakyRelu", graph.add("Sub", sums, limited), alpha=0.2)
    greater = graph.add("Max", graph.add("Abs", leaky), graph.add("Min", limited, sums))
    return graph.add("MatMul", greater, rng.normal(0, 1, (3, 3)))


MODELS = {
    "linear": (_linear, 10),
    "relu": (_network("Relu"), 40),
    "tanh": (_network("Tanh"), 40),
    "sigmoid": (_network("Sigmoid"), 40),
    "softmax": (_softmax, 60),
    "products": (_products, 100),
    "pieces": (_pieces, 40),
}


@pytest.mark.parametrize("name", MODELS)
def test_certificate__random_models_plans_and_boxes__no_row_or_witness_is_off_by_more(
    name: str, tmp_path: Path
) -> None:
    write, most = MODELS[name]
    ratios = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        graph = Graph(6)
        model = loaded(graph.model(write(graph, rng), 3), tmp_path)
        plan = plan_at_random(model, seed) if seed % 3 else None
        low = rng.uniform(-2, 0.5, 6)
        subject = case(model, plan, low, low + rng.uniform(0.1, 2, 6))
        bound, found = subject.bound, subject.greatest(seed)
        assert found <= bound, f"seed {seed}"
        if found > 0:
            ratios.append(bound / found)
    # It is no bound for ever, either.
    assert len(ratios) >= 8
    assert np.median(ratios) < most


@pytest.mark.parametrize("name", MODELS)
def test_certificate__at_every_tensor__each_number_within_its_own_bound(
    name: str, tmp_path: Path
) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        graph = Graph(6)
        model = loaded(graph.model(MODELS[name][0](graph, rng), 3), tmp_path)
        low = rng.uniform(-2, 0.5, 6)
        subject = case(model, None, low, low + rng.uniform(0.1, 2, 6))
        rows = rng.integers(subject.low, subject.high + 1, (100, 6))
        unit = 2.0**-subject.scale
        names = [each for each in subject.arithmetic.loaded.names if each not in _constants(model)]
        floats = _tensors(model, names, rows * unit)
        for tensor in names:
            bounds = certificate(
                subject.arithmetic, subject.low * unit, subject.high * unit, at=tensor
            ).errors
            for rng_ in (None, np.random.default_rng(seed)):
                proved = _numbers(subject.arithmetic, tensor, rows, rng_)
                assert (np.abs(proved - floats[tensor]).max(axis=0) <= bounds).all(), tensor


def _constants(model: Model) -> set[str]:
    return {each.name for each in onnx.load_model_from_string(model.data).graph.initializer}


def _tensors(model: Model, names: list[str], rows: Floats) -> dict[str, Floats]:
    """The float model's tensors, by name, [n, numbers]."""
    proto = onnx.load_model_from_string(model.data)
    kept = {value.name for value in (*proto.graph.output, *proto.graph.input)}
    for name in set(names) - kept:
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    asked_for = [name for name in names if name != model.input_name]
    found = [
        session.run(asked_for, {model.input_name: row[np.newaxis].astype(np.float32)})
        for row in rows
    ]
    tensors = zip(asked_for, zip(*found, strict=True), strict=True)
    return {name: np.array([v.ravel() for v in values], np.float64) for name, values in tensors} | {
        model.input_name: rows
    }


def _numbers(
    arithmetic: Arithmetic, tensor: str, rows: Rows, rng: np.random.Generator | None
) -> Floats:
    """A tensor of the circuit, [n, numbers]."""
    position = arithmetic.loaded.names[tensor]
    at = dataclasses.replace(arithmetic.loaded, outputs=(position,))
    found = dataclasses.replace(arithmetic, loaded=at, _last={}).evaluate(rows, rng)
    return found.outputs * 2.0 ** -arithmetic.scales[position]


#: Models without jumps whose every number has a bound.
BOUNDED = [
    "relu", "leaky_relu", "sigmoid", "tanh", "gelu", "clip", "exp", "sqrt", "division", "softmax",
    "reduce_mean", "max_pool", "average_pool", "conv", "batch_norm", "matmul", "mlp_iris",
    "mlp_wine", "mlp_diabetes", "autoencoder_digits", "cnn_digits", "gru", "linear_regression",
    "ridge", "logistic_regression", "softmax_regression", "svm_regressor", "forest_digits",
]  # fmt: skip


@pytest.mark.parametrize("name", BOUNDED)
def test_certificate__a_model_of_the_zoo__no_row_or_witness_is_off_by_more(
    name: str, tmp_path: Path
) -> None:
    made = zoo.make(name)
    subject = case(
        loaded(made.onnx, tmp_path), None, made.samples.min(axis=0), made.samples.max(axis=0)
    )
    assert subject.greatest(1) <= subject.bound


# --- what it says of single operators -------------------------------------------------------------


def of(write: Callable[[Graph], str], folder: Path, width: int = 2, **changes: Any) -> Case:
    """A circuit of two inputs between -1 and 1."""
    graph = Graph(2)
    data = graph.model(write(graph), width)
    return case(loaded(data, folder), None, np.full(2, -1.0), np.full(2, 1.0), **changes)


def test_certificate__a_rescaling__almost_a_unit_and_not_a_half(tmp_path: Path) -> None:
    subject = of(lambda g: g.add("Mul", g.input, g.input), tmp_path)
    unit = 2.0**-subject.scale
    assert subject.greatest(1) > 0.9 * unit
    assert 0.9 * unit < subject.bound < unit


def test_certificate__errors_that_cancel__none(tmp_path: Path) -> None:
    def write(graph: Graph) -> str:
        square = graph.add("Mul", graph.input, graph.input)
        return graph.add("Sub", graph.add("Neg", square), graph.add("Neg", square))

    subject = of(write, tmp_path)
    assert subject.bound < 1e-5


def test_certificate__a_weight_between_the_grids_numbers__what_it_lacks_times_the_input(
    tmp_path: Path,
) -> None:
    subject = of(
        lambda g: g.add("MatMul", g.input, np.array([[0.3, 0], [0, 0.25]])), tmp_path,
        scale_rebase_multiplier=2,
    )  # fmt: skip
    lacks = abs(round(0.3 * 2**subject.scale) / 2**subject.scale - 0.3)
    assert subject.bound == pytest.approx(lacks, rel=1e-3)


@pytest.mark.parametrize("operator", ["Abs", "Relu"])
def test_certificate__a_number_and_its_bend__each_weights_lack(
    operator: str, tmp_path: Path
) -> None:
    """What both weights lack cancels where the input is positive, and not where it is negative."""

    def write(graph: Graph) -> str:
        bent = graph.add(operator, graph.input)
        weighted = graph.add("MatMul", bent, np.eye(2) * 37.6 / 128)
        return graph.add("Add", weighted, graph.add("MatMul", graph.input, np.eye(2) * 38.4 / 128))

    subject = of(write, tmp_path, scale_rebase_multiplier=2)
    worst = (0.8 if operator == "Abs" else 0.4) / 128
    assert subject.greatest(1) == pytest.approx(worst, rel=1e-2)
    assert worst <= subject.bound < 0.81 / 128


def test_certificate__a_rounded_number_and_a_weight_rounded_up__its_proved_size_counts(
    tmp_path: Path,
) -> None:
    """1.26 is proved as 1.5, and so makes more of the rounding of what it multiplies."""
    graph = Graph(2)
    square = graph.add("Mul", graph.input, graph.input)
    weighted = graph.add("Mul", square, np.full((1, 2), 1.26))
    model = loaded(graph.model(weighted, 2), tmp_path)
    plan = Plan(7, 1, (), 1, ((weighted, 0, 7),), ())
    # Of this number's square only 4 of 128 parts are left over.
    point = np.full(2, 30 / 128)
    subject = case(model, plan, point, point)
    unit, lacks = 2.0**-7, 0.24 * float(point[0]) ** 2
    rounded_up = 124 / 128 * unit * 1.5 + lacks
    assert subject.greatest(1) == pytest.approx(rounded_up, rel=1e-3)
    assert rounded_up <= subject.bound < unit * 1.5 + lacks


def test_certificate__a_product_of_inexact_numbers__both_errors_count(tmp_path: Path) -> None:
    def write(graph: Graph) -> str:
        first = graph.add("MatMul", graph.input, np.eye(2) * 38.4 / 128)
        return graph.add("Mul", first, graph.add("MatMul", graph.input, np.eye(2) * 90.4 / 128))

    subject = of(write, tmp_path, scale_rebase_multiplier=4)
    worst = (38.4 * 90.4 - 38 * 90) / 128**2
    assert subject.greatest(1) == pytest.approx(worst, rel=1e-3)
    assert worst <= subject.bound < 1.1 * worst


@pytest.mark.parametrize("is_exhaustive", [True, False], ids=["one", "at most one"])
def test_certificate__bits_of_which_one_is_set__never_none(
    is_exhaustive: bool, tmp_path: Path
) -> None:
    """Only where one bit is always set has their sum a reciprocal."""

    def write(graph: Graph) -> str:
        bits = graph.add("Cast", graph.add("Less", graph.input, 0.25), to=TensorProto.FLOAT)
        one, other = (graph.add("Gather", bits, [column], axis=1) for column in (0, 1))
        both = graph.add("Mul", one, other)
        parts = [both, graph.add("Sub", one, both)]
        if is_exhaustive:
            parts.append(graph.add("Sub", 1.0, one))
        weights = np.array([[2.0], [3.0], [5.0]])[: len(parts)]
        chosen = graph.add("MatMul", graph.add("Concat", *parts, axis=1), weights)
        return graph.add("Reciprocal", chosen)

    subject = of(write, tmp_path, 1)
    if is_exhaustive:
        assert subject.greatest(1) <= subject.bound < 2.0**-subject.scale
    else:
        with pytest.raises(Unmodelled):
            _ = subject.bound


@pytest.mark.parametrize("operator", ["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"])
@pytest.mark.parametrize("is_left", [True, False])
@pytest.mark.parametrize("threshold", [37.0, 37.3, 37.5, 37.9, -37.5, 200.3])
def test_certificate__a_test_of_an_input__no_margin_where_every_bit_is_right(
    operator: str, is_left: bool, threshold: float, tmp_path: Path
) -> None:
    def write(graph: Graph) -> str:
        pair = (graph.input, threshold / 128)
        bit = graph.add(operator, *(pair if is_left else pair[::-1]))
        return graph.add("Where", bit, np.ones((1, 2)), np.zeros((1, 2)))

    subject = of(write, tmp_path)
    rows = np.repeat(np.arange(-128, 129), 2).reshape(-1, 2)
    all_right = subject.misses(rows, 1).max() == 0
    found = certificate(subject.arithmetic, np.full(2, -1.0), np.full(2, 1.0))
    assert (found.margin == 0) == all_right


def _tree(graph: Graph, first: float, second: float) -> str:
    """Two levels of tests of the inputs, with a number for each of three leaves."""
    bits = graph.add("Less", graph.input, np.array([[first, second]]))
    bits = graph.add("Cast", bits, to=TensorProto.FLOAT)
    true, other = (graph.add("Gather", bits, [column], axis=1) for column in (0, 1))
    both = graph.add("Mul", true, other)
    leaves = graph.add(
        "Concat", both, graph.add("Sub", true, both), graph.add("Sub", 1.0, true), axis=1
    )
    return graph.add("MatMul", leaves, np.array([[0.3, 5.0], [-1.7, 0.0], [10.1, 2.6]]))


def test_certificate__tests_that_part_the_grid_alike__the_leaves_error_and_no_margin(
    tmp_path: Path,
) -> None:
    """0.29 is nearer to the grid's number above it, and no number of the grid is between."""
    subject = of(lambda g: _tree(g, 0.25, 37.9 / 128), tmp_path)
    found = certificate(subject.arithmetic, np.full(2, -1.0), np.full(2, 1.0))
    weights = np.array([0.3, 5.0, -1.7, 10.1, 2.6])
    worst = np.abs(np.rint(weights * 128) / 128 - weights).max()
    assert found.margin == 0
    assert found.error == pytest.approx(worst, rel=1e-2)
    assert subject.greatest(1) == pytest.approx(worst, rel=1e-2)


def test_certificate__a_test_rounded_past_a_number__a_margin(tmp_path: Path) -> None:
    """37.3/128 is rounded down to 37/128, which is then not less than it."""
    subject = of(lambda g: _tree(g, 0.25, 37.3 / 128), tmp_path)
    found = certificate(subject.arithmetic, np.full(2, -1.0), np.full(2, 1.0))
    assert found.margin == pytest.approx(0.3 / 128, rel=1e-2)
    row = np.array([[0, 37]])
    assert subject.misses(row, 1)[0] > found.error
    # Where the box has no such number the bits are right.
    beside = certificate(subject.arithmetic, np.array([-1, 0.375]), np.full(2, 1.0))
    assert beside.margin == 0


def test_certificate__computed_numbers_compared__both_sides_errors_for_a_margin(
    tmp_path: Path,
) -> None:
    def write(graph: Graph) -> str:
        square = graph.add("Mul", graph.input, graph.input)
        return graph.add("Where", graph.add("Less", square, 0.5), graph.input, 3.0)

    subject = of(write, tmp_path)
    found = certificate(subject.arithmetic, np.full(2, -1.0), np.full(2, 1.0))
    assert 0.9 * 2.0**-subject.scale < found.margin < 2.0**-subject.scale


def test_certificate__at_a_tensor__the_bound_of_its_numbers(tmp_path: Path) -> None:
    graph = Graph(2)
    scores = graph.add("Mul", graph.input, graph.input)
    data = graph.model(graph.add("Cast", graph.add("Less", scores, 0.5), to=TensorProto.FLOAT), 2)
    subject = case(loaded(data, tmp_path), None, np.full(2, -1.0), np.full(2, 1.0))
    box = np.full(2, -1.0), np.full(2, 1.0)
    assert certificate(subject.arithmetic, *box).error == 0
    found = certificate(subject.arithmetic, *box, at=scores)
    assert 0.9 * 2.0**-subject.scale < found.error < 2.0**-subject.scale
    with pytest.raises(Unmodelled):
        certificate(subject.arithmetic, *box, at="no such tensor")


@pytest.mark.parametrize("policy", ["top1", "topk:2", "threshold:0.25"])
def test_certificate__at_the_scores_of_a_policy__bounds_what_is_published(
    policy: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(8)
    graph = Graph(4)
    weights = rng.normal(0, 0.5, (4, 3))
    model = loaded(graph.model(graph.add("MatMul", graph.input, weights), 3), tmp_path)
    reveal = Reveal.parse(policy)
    box = np.full(4, -1.0), np.full(4, 1.0)
    proved = case(apply(model, reveal), None, *box)
    found = certificate(proved.arithmetic, *box, at=model.output_name)
    assert found.is_final
    rows = rng.integers(proved.low, proved.high + 1, (3000, 4))
    published = proved.arithmetic.evaluate(rows, np.random.default_rng(1))
    numbers = published.outputs / 2.0**proved.arithmetic.output_scale
    misses = reveal.error(rewritten(model, rows / 2.0**proved.scale), numbers)
    assert 0 < misses.max() <= found.error


def test_certificate__a_table_behind_a_tensor__not_final(tmp_path: Path) -> None:
    graph = Graph(2)
    square = graph.add("Mul", graph.input, graph.input)
    data = graph.model(graph.add("Sigmoid", square), 2)
    subject = case(loaded(data, tmp_path), None, np.full(2, -1.0), np.full(2, 1.0))
    box = np.full(2, -1.0), np.full(2, 1.0)
    assert not certificate(subject.arithmetic, *box, at=square).is_final
    assert certificate(subject.arithmetic, *box).is_final


def test_certificate__a_pole_in_the_box__no_bound(tmp_path: Path) -> None:
    subject = of(lambda g: g.add("Reciprocal", g.input), tmp_path)
    with pytest.raises(Unmodelled):
        certificate(subject.arithmetic, np.full(2, -1.0), np.full(2, 1.0))
    found = certificate(subject.arithmetic, np.full(2, 0.5), np.full(2, 1.0))
    assert found.error == pytest.approx(2.0 ** -(subject.scale + 1), rel=1e-2)
