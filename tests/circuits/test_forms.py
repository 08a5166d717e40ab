"""Forms of a model: limited curves, roots from tables, and which of them a search takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from oracle.circuits import forms
from oracle.circuits.audit import audit
from oracle.circuits.build import LIMITS, build
from oracle.circuits.cost import Objective
from oracle.circuits.curves import flatten, has_curves
from oracle.circuits.judge import Candidate, Goal, Judge, Subject, Tuned
from oracle.circuits.norms import FINER, widen
from oracle.circuits.onnx import Model
from oracle.circuits.plans import Planned
from oracle.circuits.reveal import Reveal, apply
from oracle.circuits.roots import tabulate
from oracle.circuits.srs import SrsSource
from oracle.circuits.tuner import Found
from oracle.errors import CircuitInaccurate, RangeTooWide
from tests.circuits.lowered import circuit_error
from tests.circuits.makers import linear, saved

LEVEL = 2.0**-8
GOAL = Goal(max_error=0.05, objective=Objective.GAS, speed=1, memory_bytes=4 << 30, seconds=600)


def model_of(*nodes: tuple[str, list[str]], width: int = 2, **constants: float) -> Model:
    """A model of a chain of nodes (operator, inputs); each node's output is named after it."""
    counts: dict[str, int] = {}
    made = []
    for operator, inputs in nodes:
        counts[operator] = counts.get(operator, 0) + 1
        name = operator.lower() + ("" if counts[operator] == 1 else str(counts[operator]))
        made.append(helper.make_node(operator, inputs, [name], name=name))
    output = made[-1].output[0]
    axes = numpy_helper.from_array(np.array([1]), "axes")
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, width])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, width])],
        [axes, *(numpy_helper.from_array(np.float32(v), name) for name, v in constants.items())],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Model(proto.SerializeToString(), "input", output, (1, width), takes_batches=False)


def run(model: Model, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.data)
    feeds = ({"input": row[np.newaxis].astype(np.float32)} for row in rows)
    return np.concatenate([session.run([model.output_name], feed)[0] for feed in feeds])


def graph_of(model: Model) -> onnx.GraphProto:
    return onnx.load_model_from_string(model.data).graph


def operators(model: Model) -> list[str]:
    return [node.op_type for node in graph_of(model).node]


# --- curves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("curve", ["Sigmoid", "Tanh", "Erf", "Exp"])
def test_flatten__a_curve__within_the_level_and_its_arguments_bounded(curve: str) -> None:
    model = model_of((curve, ["input"]))
    flat = flatten(model, LEVEL)
    rows = np.linspace(-30, 3 if curve == "Exp" else 30, 200).reshape(-1, 2)
    assert np.abs(run(flat, rows) - run(model, rows)).max() <= LEVEL
    tails = run(flat, np.array([[-30.0, -12.0]]))[0]
    assert tails[0] == tails[1]
    assert flat.flat == LEVEL


def test_flatten__where_a_curve_rises__not_touched() -> None:
    model = model_of(("Tanh", ["input"]))
    rows = np.linspace(-2.5, 2.5, 100).reshape(-1, 2)
    assert run(flatten(model, LEVEL), rows) == pytest.approx(run(model, rows), abs=1e-6)


def test_flatten__scores_that_a_policy_leaves_out__stay() -> None:
    revealed = apply(model_of(("Sigmoid", ["input"])), Reveal.parse("top1"))
    assert not has_curves(revealed)
    assert operators(flatten(revealed, LEVEL)) == operators(revealed)


# --- roots ----------------------------------------------------------------------------------------


ROOTS = {
    "square root": model_of(("Mul", ["input", "input"]), ("Sqrt", ["mul"])),
    "one over a root": model_of(
        ("Mul", ["input", "input"]),
        ("Add", ["mul", "one"]),
        ("Sqrt", ["add"]),
        ("Reciprocal", ["sqrt"]),
        one=1.0,
    ),
    "by what is above zero": model_of(
        ("Abs", ["input"]), ("Add", ["abs", "one"]), ("Div", ["input", "add"]), one=1.0
    ),
    "by a sum of exponentials": model_of(
        ("Exp", ["input"]), ("ReduceSum", ["exp", "axes"]), ("Div", ["exp", "reducesum"])
    ),
    "by a root": model_of(
        ("Abs", ["input"]),
        ("Add", ["abs", "one"]),
        ("Sqrt", ["add"]),
        ("Div", ["input", "sqrt"]),
        one=1.0,
    ),
}


@pytest.mark.parametrize("name", ROOTS)
def test_tabulate__roots_and_reciprocals__the_same_numbers(name: str, tmp_path: Path) -> None:
    model = ROOTS[name]
    found = tabulate(model)
    assert found.tabled
    assert not {"Sqrt", "Reciprocal", "Div"} & set(operators(found))
    rows = np.random.default_rng(0).uniform(-1, 2, (16, 2)).round(3)
    assert run(found, rows) == pytest.approx(run(model, rows), rel=1e-5, abs=1e-6)
    assert circuit_error(found, rows, tmp_path) < 0.05


@pytest.mark.parametrize(
    "model",
    [
        model_of(("Sqrt", ["input"])),
        model_of(("Reciprocal", ["input"])),
        model_of(("Abs", ["input"]), ("Div", ["input", "abs"])),
        model_of(("Sub", ["input", "one"]), ("Div", ["input", "sub"]), one=1.0),
        model_of(("Div", ["input", "two"]), two=2.0),
    ],
    ids=["any root", "any reciprocal", "perhaps by zero", "any divisor", "by a constant"],
)
def test_tabulate__sign_not_known_or_nothing_to_gain__left_as_it_is(model: Model) -> None:
    assert not tabulate(model).tabled
    assert tabulate(model) is model


# --- the choice -----------------------------------------------------------------------------------


class Search:
    """A tuner that knows the outcome for each form."""

    def __init__(self, outcomes: Callable[[Model], float | Exception]) -> None:
        self.outcomes = outcomes
        self.forms: list[Model] = []
        self.planned: list[Model] = []
        self.rivals: list[float | None] = []
        #: What a search for plans comes to: the gas of the best, and of one that is certain.
        self.plans: tuple[float | None, float | None] = (None, None)
        self.ended = ""

    def judge(self, model: Model) -> tuple[Subject, Judge]:
        return Subject(model, None, Reveal(), None), Certain()  # type: ignore[arg-type, return-value]

    def tune(self, subject: Subject, *_: object) -> Found:
        self.forms.append(subject.model)
        outcome = self.outcomes(subject.model)
        if isinstance(outcome, Exception):
            raise outcome
        return Found((tuned(subject.model, outcome),), ())

    def plan(self, subject: Subject, _: Judge, rival: Candidate | None, *__: object) -> Planned:
        self.planned.append(subject.model)
        self.rivals.append(None if rival is None else rival.estimate.gas)
        best, certain = (
            None if gas is None else tuned(subject.model, gas, certain=gas == self.plans[1])
            for gas in self.plans
        )
        return Planned(best, certain, (), self.ended)


class Certain:
    """Knows which circuits are certain."""

    def is_certain(self, tuned: Tuned) -> bool:
        return bool(tuned.settings["certain"])


def tuned(model: Model, gas: float, *, certain: bool = False) -> Tuned:
    """A circuit whose lookup table is nearly as high as it is."""
    shape = type("Shape", (), {"logrows": 9})
    estimate = type("Estimate", (), {"gas": gas, "prove_seconds": 1.0})
    candidate = type("Candidate", (), {"shape": shape, "estimate": estimate})
    settings = {"run_args": {"lookup_range": [-200, 200]}, "certain": certain}
    subject = type("Subject", (), {"model": model})
    found = {"candidate": candidate, "settings": settings, "subject": subject}
    return type("Tuned", (), found)  # type: ignore[return-value]


def searched(model: Model, search: Search) -> Found:
    return forms.search(
        model, GOAL, search.judge, lambda _: None, tune=search.tune, plan=search.plan
    )


def chosen(model: Model, search: Search) -> Model:
    return searched(model, search).finalists[0].subject.model


def test_search__tables_decide__the_better_of_plain_and_flat() -> None:
    model = model_of(("Tanh", ["input"]))
    assert chosen(model, Search(lambda form: 1.0 if form.flat else 2.0)).flat
    search = Search(lambda form: 2.0 if form.flat else 1.0)
    assert chosen(model, search) is model
    assert len(search.forms) == 2


def test_search__roots__looked_up_where_that_is_better() -> None:
    model = ROOTS["square root"]
    assert chosen(model, Search(lambda form: 1.0 if form.tabled else 2.0)).tabled
    assert chosen(model, Search(lambda form: 2.0 if form.tabled else 1.0)) is model


def test_search__another_form_fails__the_first_stays() -> None:
    model = ROOTS["square root"]
    search = Search(lambda form: CircuitInaccurate() if form.tabled else 1.0)
    assert chosen(model, search) is model


def test_search__every_form_that_came_to_a_circuit__is_planned_too() -> None:
    model = ROOTS["square root"]
    search = Search(lambda _: 1.0)
    chosen(model, search)
    assert [form.tabled for form in search.planned] == [False, True]
    failing = Search(lambda form: CircuitInaccurate() if form.tabled else 1.0)
    chosen(model, failing)
    assert failing.planned == [model]


def test_search__no_form_came_to_a_circuit__all_are_planned() -> None:
    model = ROOTS["square root"]
    search = Search(lambda _: RangeTooWide())
    search.plans = (0.5, None)
    assert searched(model, search).finalists[0].candidate.estimate.gas == 0.5
    assert search.planned[0] is model
    assert search.rivals == [None, 0.5]


NORM = model_of(
    ("Mul", ["input", "input"]),
    ("ReduceSum", ["mul", "axes"]),
    ("Add", ["reducesum", "small"]),
    ("Sqrt", ["add"]),
    ("Div", ["input", "sqrt"]),
    small=1e-5,
)


def test_search__nothing_else_fits__norms_are_widened() -> None:
    search = Search(lambda form: 1.0 if form.widened else RangeTooWide())
    assert chosen(NORM, search).widened
    assert [form.widened for form in search.forms] == [False, False, True]


def test_search__something_fits__norms_are_left_as_they_are() -> None:
    search = Search(lambda _: 1.0)
    chosen(NORM, search)
    assert not any(form.widened for form in search.forms)


def test_search__a_widened_norm_and_a_curve__limited_too() -> None:
    nodes = [(each.op_type, list(each.input)) for each in graph_of(NORM).node]
    model = model_of(*nodes, ("Tanh", ["div"]), small=1e-5)
    search = Search(lambda form: 1.0 if form.widened and form.flat else RangeTooWide())
    assert chosen(model, search).flat


def test_search__a_plan_that_is_better__taken() -> None:
    model = model_of(("Relu", ["input"]))
    search = Search(lambda _: 1.0)
    search.plans = (0.5, None)
    assert searched(model, search).finalists[0].candidate.estimate.gas == 0.5


@pytest.mark.parametrize(("certain", "taken"), [(0.6, 0.6), (0.64, 0.64), (0.66, 0.5)])
def test_search__a_certain_one_that_costs_little_more__taken(certain: float, taken: float) -> None:
    search = Search(lambda _: 1.0)
    search.plans = (0.5, certain)
    found = searched(model_of(("Relu", ["input"])), search)
    assert found.finalists[0].candidate.estimate.gas == taken


def test_search__plans_end_early__noted() -> None:
    search = Search(lambda _: 1.0)
    search.ended = "the search for plans ended early: out of memory"
    assert searched(model_of(("Relu", ["input"])), search).notes == (search.ended,)


def test_search__first_form_fails_otherwise__its_error() -> None:
    with pytest.raises(CircuitInaccurate):
        chosen(linear_model(), Search(lambda _: CircuitInaccurate()))


def linear_model() -> Model:
    return Model(linear().SerializeToString(), "input", "output", (1, 2), takes_batches=True)


@pytest.mark.timeout(300)
def test_build__curve_far_beyond_where_it_rises__a_small_table_and_an_audit_makes_it_again(
    tmp_path: Path, devnet_srs: SrsSource
) -> None:
    path = saved(linear("Sigmoid"), tmp_path)
    samples = np.random.default_rng(0).uniform(-60, 60, (32, 2))
    bundle = build(
        path, samples, name="far", max_error=0.05, out=tmp_path / "bundle", srs=devnet_srs
    )
    assert bundle.origin.flat
    assert bundle.measures.max_abs_error <= 0.05
    assert bundle.measures.logrows <= 10
    assert audit(bundle.path, devnet_srs, LIMITS, source=path).differences == ()


@pytest.mark.timeout(300)
def test_build__a_widened_norm__keeps_its_promise_and_an_audit_makes_it_again(
    tmp_path: Path, devnet_srs: SrsSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = forms.search

    def widened(model: Model, *rest: Any) -> Found:
        # As if no other form had a circuit.
        return plain(widen(model), *rest)

    monkeypatch.setattr("oracle.circuits.search.forms.search", widened)
    path = saved(onnx.load_model_from_string(NORM.data), tmp_path)
    samples = np.random.default_rng(0).uniform(-1, 1, (32, 2))
    bundle = build(
        path, samples, name="norm", max_error=0.05, out=tmp_path / "bundle", srs=devnet_srs
    )
    assert bundle.origin.widened
    assert bundle.stated.errors.measured <= 0.05
    settings = json.loads((bundle.path / "settings.json").read_text())["run_args"]
    assert settings["param_scale"] == settings["input_scale"] + FINER
    assert audit(bundle.path, devnet_srs, LIMITS, source=path).differences == ()
