"""Our integers of a circuit are those of ezkl's witness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto

from oracle.circuits import onnx as door
from oracle.circuits import trial
from oracle.circuits.arithmetic import Arithmetic
from oracle.circuits.fixed import Unplannable, planned
from oracle.circuits.loaded import Unmodelled
from oracle.circuits.onnx import Model, add_tag
from oracle.circuits.plan import Plan
from oracle.circuits.shapes import Shape
from oracle.tensor import quantize
from oracle.types import TagLayout
from scripts.models import zoo
from scripts.models.graph import Graph
from tests.circuits.lowered import SANDBOX
from tests.circuits.plans_at_random import plan_at_random

TAG = TagLayout()
SCALE = 7
TABLE = (-(1 << 20), 1 << 20)
Rows = npt.NDArray[np.int64]


def loaded(data: bytes, folder: Path) -> Model:
    path = folder / "model.onnx"
    path.write_bytes(data)
    return door.load(path, SANDBOX)


def asked(plan: Plan | None, **changes: Any) -> dict[str, Any]:
    """Run arguments of a roomy circuit."""
    scale, multiplier = (SCALE, 1) if plan is None else (plan.scale, plan.multiplier)
    run_args = Shape(18, 1, multiplier, 4, 1 << 14).run_args(scale, TABLE)
    return run_args | ({} if plan is None else plan.asked) | changes


def assert_same(model: Model, plan: Plan | None, rows: Rows, folder: Path, **changes: Any) -> int:
    """Ours and the witness's integers are equal; how many rows there is a witness of."""
    run_args = asked(plan, **changes)
    data = add_tag(planned(model, plan), TAG)
    path = (folder / "proved.onnx").resolve()
    path.write_bytes(data)
    graph = trial.Graph(path, TAG, SANDBOX, {} if plan is None else plan.asked)
    found = trial.settings(graph, [run_args])[0]
    assert found["settings"] is not None, found["reason"]
    witness = trial.run_integers(graph, found["settings"], rows.tolist())
    arithmetic = Arithmetic.of(data, run_args)
    ours = arithmetic.evaluate(rows)
    taken = [row for row, numbers in enumerate(witness.integers) if numbers is not None]
    assert (~ours.overflow).nonzero()[0].tolist() == taken
    assert ours.outputs[taken].tolist() == [witness.integers[row] for row in taken]
    assert arithmetic.output_scale == witness.scale
    if witness.complete:
        assert ours.lookups == witness.lookups
    return len(taken)


def rows_of(samples: npt.NDArray[Any], scale: int, seed: int) -> Rows:
    """Some of the samples, and rows that are anywhere within them and a little beyond."""
    rng = np.random.default_rng(seed)
    low, high = samples.min(axis=0), samples.max(axis=0)
    beyond = rng.uniform(low - 0.25 * (high - low), high + 0.25 * (high - low), (5, len(low)))
    rows = np.vstack([samples[:4].astype(np.float64), beyond])
    return np.array([[quantize(value, scale) for value in row] for row in rows.tolist()])


# --- models ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made() -> dict[str, zoo.ZooModel]:
    return {}


def of_zoo(name: str, made: dict[str, zoo.ZooModel]) -> zoo.ZooModel:
    if name not in made:
        made[name] = zoo.make(name)
    return made[name]


@pytest.mark.parametrize("name", list(zoo.MAKERS))
def test_evaluate__a_model_of_the_zoo__the_integers_of_the_witness(
    name: str, made: dict[str, zoo.ZooModel], tmp_path: Path
) -> None:
    model = of_zoo(name, made)
    rows = rows_of(model.samples, SCALE, 1)
    assert assert_same(loaded(model.onnx, tmp_path), None, rows, tmp_path) > 0


#: Has an operator that no plan knows.
UNPLANNED = "reduce_mean"


@pytest.mark.parametrize("name", [name for name in zoo.MAKERS if name != UNPLANNED])
def test_evaluate__a_model_under_a_plan__the_integers_of_the_witness(
    name: str, made: dict[str, zoo.ZooModel], tmp_path: Path
) -> None:
    model = of_zoo(name, made)
    subject = loaded(model.onnx, tmp_path)
    seed = 100 + list(zoo.MAKERS).index(name)
    plan = plan_at_random(subject, seed)
    rows = rows_of(model.samples, plan.scale, seed)
    assert assert_same(subject, plan, rows, tmp_path) > 0


def test_plan_at_random__an_operator_no_plan_knows__said(tmp_path: Path) -> None:
    with pytest.raises(Unplannable):
        plan_at_random(loaded(zoo.make(UNPLANNED).onnx, tmp_path), 1)


# --- operators ------------------------------------------------------------------------------------


def _sums(g: Graph, rng: np.random.Generator) -> str:
    less = g.add("Sub", rng.normal(0, 1, (1, 8)), g.add("Add", g.input, rng.normal(0, 1, 8)))
    return g.add("Neg", less)


def _equal_constants(g: Graph, rng: np.random.Generator) -> str:
    """A constant that is used twice keeps its own scale."""
    bias = rng.normal(0, 1, (1, 8))
    square = g.add("Mul", g.input, g.input)
    return g.add("Add", g.add("Mul", g.add("Add", square, bias), g.input), bias.copy())


def _constants_of_another_rank(g: Graph, rng: np.random.Generator) -> str:
    bias = rng.normal(0, 1, 8)
    return g.add("Mul", g.add("Add", g.input, bias), g.add("Sub", g.input, bias[np.newaxis]))


def _powers_of_two(g: Graph, rng: np.random.Generator) -> str:
    half = g.add("Mul", g.input, 0.5)
    # Of no scale's numbers but fine ones', and used as a number only once.
    tiny = 2.0**-9
    small = g.add("Add", g.add("Mul", g.add("Mul", half, g.input), tiny), tiny)
    four = g.add("Div", g.add("Add", small, g.add("Mul", half, g.input)), 0.25)
    return g.add("Add", g.add("Mul", four, rng.normal(0, 1, (1, 8))), g.add("Mul", 0.125, half))


def _neutral(g: Graph, rng: np.random.Generator) -> str:
    same = g.add("Mul", g.add("Add", g.input, np.zeros((1, 8))), np.ones((1, 8)))
    return g.add("Sub", g.add("Div", same, 1.0), np.zeros(8))


def _comparisons(g: Graph, rng: np.random.Generator) -> str:
    first = g.add("Slice", g.input, [0], [4], [1])
    second = g.add("Slice", g.input, [4], [8], [1])
    found = []
    for operator in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"):
        bit = g.add(operator, first, second)
        other = g.add(operator, first, rng.normal(0, 1, (1, 4)).round(1))
        found.append(g.add("Cast", g.add("Xor", bit, g.add("Not", other)), to=TensorProto.FLOAT))
        both = g.add("And", bit, g.add("Or", other, bit))
        found.append(g.add("Where", both, first, rng.normal(0, 1, (1, 4))))
    return g.add("Concat", *found, axis=1)


def _roundings(g: Graph, rng: np.random.Generator) -> str:
    scaled = g.add("Mul", g.input, 2.0)
    whole = g.add("Cast", g.add("Cast", scaled, to=TensorProto.INT64), to=TensorProto.FLOAT)
    parts = [g.add(operator, scaled) for operator in ("Floor", "Ceil", "Round")]
    return g.add("Concat", *parts, whole, axis=1)


def _moves(g: Graph, rng: np.random.Generator) -> str:
    cube = g.add("Reshape", g.input, [1, 2, 4])
    turned = g.add("Transpose", cube, perm=[0, 2, 1])
    padded = g.add("Pad", turned, [0, 1, 0, 0, 0, 1])
    wide = g.add("Mul", padded, rng.normal(0, 1, (1, 5, 1)))
    total = g.add("ReduceSum", wide, [2], keepdims=0)
    column = g.add("Unsqueeze", g.add("Gather", total, [4, 0, 2, 2], axis=1), [2])
    return g.add("Squeeze", g.add("Expand", column, [1, 4, 1]), [2])


def _slices_of_sums(g: Graph, rng: np.random.Generator) -> str:
    """Of a sum of which only single columns are needed, the constant is used for each."""
    bits = g.add("Cast", g.add("Less", g.input, rng.normal(0, 1, (1, 8))), to=TensorProto.FLOAT)
    apart = g.add("Sub", 0.3, g.add("Mul", g.add("Mul", g.input, g.input), bits))
    columns = [g.add("Gather", apart, [each], axis=1) for each in (0, 3, 5)]
    return g.add("Concat", *columns, axis=1)


def _curves(g: Graph, rng: np.random.Generator) -> str:
    x = g.add("Mul", g.input, 0.75)
    size = g.add("Add", g.add("Abs", x), 0.5)
    parts = [g.add(each, x) for each in ("Sigmoid", "Tanh", "Erf", "Exp", "Softplus", "HardSwish")]
    parts += [g.add("Pow", size, each) for each in (0.7, -1.3)]
    parts += [g.add(each, size) for each in ("Sqrt", "Reciprocal", "Log")]
    return g.add("Concat", *parts, g.add("Reciprocal", g.add("Sqrt", size)), axis=1)


def _convolutions(g: Graph, rng: np.random.Generator) -> str:
    image = g.add("Reshape", g.input, [1, 2, 4])
    wide = g.add("Concat", image, g.add("Neg", image), axis=1)
    picture = g.add("Reshape", wide, [1, 4, 2, 2])
    kernel = rng.normal(0, 1, (4, 2, 2, 2))
    grouped = g.add("Conv", picture, kernel, group=2, pads=[1, 0, 1, 1], strides=[1, 1])
    plain = g.add(
        "Conv", grouped, rng.normal(0, 1, (3, 4, 2, 1)), rng.normal(0, 1, 3), strides=[2, 1]
    )
    scaled = g.add("Mul", plain, rng.normal(0, 1, (1, 3, 1, 1)))
    shifted = g.add("Add", scaled, rng.normal(0, 1, (1, 3, 1, 1)))
    point = g.add("Conv", shifted, rng.normal(0, 1, (2, 3, 1, 1)), rng.normal(0, 1, 2))
    return g.add("Flatten", point)


def _products(g: Graph, rng: np.random.Generator) -> str:
    square = g.add("Reshape", g.input, [1, 2, 4])
    gram = g.add("MatMul", square, g.add("Transpose", square, perm=[0, 2, 1]))
    mixed = g.add("MatMul", rng.normal(0, 1, (3, 2)), gram)
    flat = g.add("Reshape", mixed, [1, 6])
    weights, bias = rng.normal(0, 1, (4, 6)), rng.normal(0, 1, 4)
    return g.add("Gemm", flat, weights, bias, transB=1, alpha=0.5, beta=0.3)


def _means(g: Graph, rng: np.random.Generator) -> str:
    square = g.add("Reshape", g.input, [1, 2, 4])
    mean = g.add("ReduceMean", g.add("Mul", square, square), axes=[2], keepdims=1)
    third = g.add("Mul", g.add("ReduceSum", g.add("Mul", square, 0.7), [1], keepdims=0), 1 / 3)
    return g.add("Concat", g.add("Squeeze", mean, [2]), third, axis=1)


OPERATORS = {
    "sums": (_sums, 8),
    "equal constants": (_equal_constants, 8),
    "constants of another rank": (_constants_of_another_rank, 8),
    "powers of two": (_powers_of_two, 8),
    "neutral": (_neutral, 8),
    "comparisons": (_comparisons, 40),
    "roundings": (_roundings, 32),
    "moves": (_moves, 4),
    "slices of sums": (_slices_of_sums, 3),
    "curves": (_curves, 96),
    "convolutions": (_convolutions, 4),
    "products": (_products, 4),
    "means": (_means, 6),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", OPERATORS)
def test_evaluate__operators_with_random_constants__the_integers_of_the_witness(
    name: str, seed: int, tmp_path: Path
) -> None:
    write, width = OPERATORS[name]
    rng = np.random.default_rng(seed)
    graph = Graph(8)
    result = write(graph, rng)
    data = graph.model(result, width)
    low, high = rng.uniform(-3, -1, 8), rng.uniform(1, 3, 8)
    samples = np.vstack([rng.uniform(low, high, (6, 8)), rng.integers(-2, 3, (3, 8)) / 2])
    rows = rows_of(samples, SCALE, seed)
    changes = {"scale_rebase_multiplier": 1 + seed}
    assert assert_same(loaded(data, tmp_path), None, rows, tmp_path, **changes) > 0


# --- rows that do not fit, and other witnesses ----------------------------------------------------


def _linear() -> bytes:
    graph = Graph(4)
    weights = np.random.default_rng(5).normal(0, 1, (4, 3))
    return graph.model(graph.add("Relu", graph.add("MatMul", graph.input, weights)), 3)


def test_evaluate__numbers_of_too_many_digits__those_rows_overflow(tmp_path: Path) -> None:
    most = (1 << 24) - 1
    rows = np.array([[1, 2, 3, 4], [most + 1, 0, 0, 0], [most, 0, 0, 0], [most] * 4, [-most] * 4])
    changes = {"decomp_base": 64, "decomp_legs": 4}
    taken = assert_same(loaded(_linear(), tmp_path), None, rows, tmp_path, **changes)
    assert taken == 3


def test_evaluate__an_argument_that_is_in_no_table__that_row_overflows(tmp_path: Path) -> None:
    graph = Graph(2)
    model = loaded(graph.model(graph.add("Sigmoid", graph.input), 2), tmp_path)
    rows = np.array([[3, -4], [500, 1], [511, -512], [0, -513]])
    assert assert_same(model, None, rows, tmp_path, lookup_range=[-512, 511]) == 3


def test_evaluate__numbers_of_62_bits_and_more__overflow_and_no_wrong_number() -> None:
    graph = Graph(2)
    square = graph.add("Mul", graph.input, graph.input)
    data = graph.model(graph.add("Mul", square, graph.input), 2)
    arithmetic = Arithmetic.of(data, asked(None))
    found = arithmetic.evaluate(np.array([[1 << 33, 1], [3 << SCALE, 2 << SCALE]]))
    assert found.overflow.tolist() == [True, False]
    assert found.outputs[1].tolist() == [27 << SCALE, 8 << SCALE]


def test_evaluate__greatest__the_largest_number_taken_apart() -> None:
    graph = Graph(2)
    data = graph.model(graph.add("Relu", graph.add("Mul", graph.input, graph.input)), 2)
    arithmetic = Arithmetic.of(data, asked(None))
    # Of the square, which is not taken apart, only what is left after the division.
    assert arithmetic.evaluate(np.array([[40 << SCALE, -1]])).greatest == 1600 << SCALE


def test_evaluate__a_generator__quotients_that_are_less_than_one_away() -> None:
    graph = Graph(1)
    data = graph.model(graph.add("Mul", graph.input, graph.input), 1)
    arithmetic = Arithmetic.of(data, asked(None))
    numbers = np.arange(200)[:, np.newaxis]
    witness = arithmetic.evaluate(numbers).outputs
    exact = numbers**2 / (1 << SCALE)
    seen = set()
    for seed in range(4):
        other = arithmetic.evaluate(numbers, np.random.default_rng(seed)).outputs
        assert (np.abs(other - exact) < 1).all()
        seen |= set((other - witness).ravel().tolist())
    assert seen == {-1, 0, 1}


@pytest.mark.parametrize("operator", ["Elu", "Selu", "Mod"])
def test_of__an_operator_that_is_not_known__said(operator: str) -> None:
    graph = Graph(1, 4, 4)
    data = graph.model(graph.add(operator, *[graph.input] * (1 + (operator == "Mod"))), 1, 4, 4)
    with pytest.raises(Unmodelled) as caught:
        Arithmetic.of(data, asked(None))
    assert caught.value.operator == operator


@pytest.mark.parametrize("operator", ["Reciprocal", "Sqrt", "Floor"])
def test_evaluate__scales_beyond_all_numbers__every_row_overflows(operator: str) -> None:
    graph = Graph(2)
    data = graph.model(graph.add(operator, graph.add("Mul", graph.input, graph.input)), 2)
    arithmetic = Arithmetic.of(data, Shape(20, 1, 8, 4, 1 << 15).run_args(40))
    found = arithmetic.evaluate(np.full((3, 2), 1 << 17))
    assert found.outputs.shape == (3, 2)
    assert found.overflow.all()
