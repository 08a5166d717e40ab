"""The search for a plan: it fits its room, keeps the bound, and what it finds is made again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from oracle.circuits import bundle as files
from oracle.circuits import plans, trial, tuner
from oracle.circuits.audit import audit
from oracle.circuits.build import LIMITS, build
from oracle.circuits.bundle import Bundle
from oracle.circuits.cost import Objective
from oracle.circuits.fixed import Source, Tensor, rewrite
from oracle.circuits.judge import Goal
from oracle.circuits.plan import Plan
from oracle.circuits.plans import Magnitude, Room
from oracle.circuits.shapes import least_logrows
from oracle.circuits.srs import SrsSource
from oracle.errors import ProverMemory
from tests.circuits.judged import judged
from tests.circuits.makers import saved

GOAL = Goal(0.05, Objective.BALANCED, speed=1.0, memory_bytes=4 << 30, seconds=600)
SAMPLES = np.random.default_rng(1).uniform(-1, 1, size=(16, 8))
THRESHOLDS = np.linspace(-0.7, 0.7, 8, dtype=np.float32)[np.newaxis]


def steps(batch: int | str = "batch") -> onnx.ModelProto:
    """Eight comparisons and what follows from them: ezkl's own take 23 rows each."""
    return _model(
        batch,
        [
            helper.make_node("Greater", ["input", "thresholds"], ["above"]),
            helper.make_node("Where", ["above", "input", "thresholds"], ["output"]),
        ],
    )


def wide(batch: int | str = "batch") -> onnx.ModelProto:
    """A network whose hidden numbers need rounding in a low circuit."""
    return _model(
        batch,
        [
            helper.make_node("MatMul", ["input", "weights"], ["hidden"]),
            helper.make_node("Mul", ["hidden", "hidden"], ["square"]),
            helper.make_node("Mul", ["square", "hidden"], ["output"]),
        ],
    )


def _model(batch: int | str, nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    weights = np.random.default_rng(5).normal(0, 0.5, (8, 8)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", 1, [batch, 8])],
        [helper.make_tensor_value_info("output", 1, [batch, 8])],
        [
            numpy_helper.from_array(THRESHOLDS, "thresholds"),
            numpy_helper.from_array(weights, "weights"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


# --- the search -----------------------------------------------------------------------------------


def test_search__comparisons__a_lower_circuit_within_the_bound(tmp_path: Path) -> None:
    asked, judge = judged(steps(), tmp_path, SAMPLES, GOAL)
    rival = tuner.tune(asked, judge).finalists[0].candidate
    found = plans.search(asked, judge, rival)
    best = found.best
    assert best is not None
    assert best.candidate.shape.logrows < rival.shape.logrows
    assert best.accuracy.max_abs_error <= GOAL.max_error
    plan = best.subject.model.plan
    assert plan is not None
    assert plan.looked_up == ("above",)
    assert least_logrows(best.settings) <= best.candidate.shape.logrows
    assert best.settings["run_args"]["param_scale"] == -plan.limit
    # What was considered is there to be shown, the finalist among it.
    assert best.candidate in found.candidates
    assert found.ended == ""


def test_search__nothing_beats_the_rival__none(tmp_path: Path) -> None:
    asked, judge = judged(steps(), tmp_path, SAMPLES, GOAL)
    rival = tuner.tune(asked, judge).finalists[0].candidate
    free = dataclasses.replace(rival.estimate, gas=1, prove_seconds=0.001)
    found = plans.search(asked, judge, dataclasses.replace(rival, estimate=free))
    assert (found.best, found.certain) == (None, None)


def test_search__a_bound_that_no_plan_keeps__none(tmp_path: Path) -> None:
    asked, judge = judged(steps(), tmp_path, SAMPLES, GOAL)
    rival = tuner.tune(asked, judge).finalists[0].candidate
    judge.goal = dataclasses.replace(GOAL, max_error=1e-9)
    assert plans.search(asked, judge, rival).best is None


def test_search__no_rival__a_plan_all_the_same(tmp_path: Path) -> None:
    """A weight that is nothing at every scale that inputs and weights could share."""
    found = plans.search(*judged(tiny_weight(), tmp_path, TALL, GOAL), None)
    assert found.best is not None
    assert found.best.accuracy.max_abs_error <= GOAL.max_error


def test_search__work_ends_early__said_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, judge = judged(steps(), tmp_path, SAMPLES, GOAL)
    rival = tuner.tune(asked, judge).finalists[0].candidate

    def out_of_memory(*_: object, **__: object) -> trial.Outcome:
        raise ProverMemory("the prover needed more than 1 MiB")

    monkeypatch.setattr(trial, "sketch", out_of_memory)
    found = plans.search(asked, judge, rival)
    assert found.best is None
    assert "ended early: the prover needed more" in found.ended


TALL = np.random.default_rng(4).normal((2e5, 0), (3e4, 1), (24, 2))


def tiny_weight() -> onnx.ModelProto:
    """One thirty thousandth, as a scaler has it of an income."""
    constants = {"mean": [2e5, 0.0], "inverse": [1 / 3e4, 1.0], "w": [[1.0], [1.0]]}
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["input", "mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "inverse"], ["scaled"]),
            helper.make_node("MatMul", ["scaled", "w"], ["output"]),
        ],
        "g",
        [helper.make_tensor_value_info("input", 1, ["batch", 2])],
        [helper.make_tensor_value_info("output", 1, ["batch", 1])],
        [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_search__no_number_below_zero_for_a_power__none_and_no_error(tmp_path: Path) -> None:
    made = _model(
        1,
        [
            helper.make_node("Pow", ["input", "exponent"], ["power"]),
            helper.make_node("MatMul", ["power", "weights"], ["output"]),
        ],
    )
    made.graph.initializer.append(numpy_helper.from_array(np.float32(0.3), "exponent"))
    asked, judge = judged(made, tmp_path, np.abs(SAMPLES), GOAL)
    assert asked.promise.narrowed
    plans.search(asked, judge, tuner.tune(asked, judge).finalists[0].candidate)


def test_search__more_hidden_numbers_than_a_few__takes_every_corner(tmp_path: Path) -> None:
    """A hidden number that no sample drives far; what is looked up has no slack but the table's."""
    rng = np.random.default_rng(9)
    weights = rng.normal(0, 0.2, (8, 40)).astype(np.float32)
    weights[:, 7] = np.where(np.arange(8) % 2 == 0, 1, -1)
    made = _model(
        "batch",
        [
            helper.make_node("MatMul", ["input", "inward"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["relu"]),
            helper.make_node("MatMul", ["relu", "outward"], ["output"]),
        ],
    )
    made.graph.initializer.extend(
        [
            numpy_helper.from_array(weights, "inward"),
            numpy_helper.from_array(rng.normal(0, 0.1, (40, 8)).astype(np.float32), "outward"),
        ]
    )
    asked, judge = judged(made, tmp_path, SAMPLES, dataclasses.replace(GOAL, max_error=0.5))
    # Whatever the rival costs, a circuit this low has to look the Relus up.
    rival = tuner.tune(asked, judge).finalists[0].candidate
    rival = dataclasses.replace(
        rival,
        shape=dataclasses.replace(rival.shape, logrows=10),
        estimate=dataclasses.replace(rival.estimate, gas=10**7, prove_seconds=100.0),
    )
    best = plans.search(asked, judge, rival).best
    assert best is not None
    plan, graph = best.subject.model.plan, best.subject.graph_for(best.tag)
    assert plan is not None
    assert "relu" in plan.looked_up
    promised = np.where(weights[:, 7] > 0, asked.promise.high, asked.promise.low)
    corners = np.stack([promised, asked.promise.low + asked.promise.high - promised])
    outcome = trial.run(graph, best.settings, corners)
    assert outcome.complete
    narrow = best.settings | {"run_args": best.settings["run_args"] | {"lookup_range": [-1, 1]}}
    assert not trial.run(graph, narrow, corners).complete


def test_search__room_without_a_table__none_is_brought_in(tmp_path: Path) -> None:
    searched = plans._Plans(*judged(steps(), tmp_path, SAMPLES, GOAL))

    def looked_up(logrows: int) -> tuple[str, ...]:
        room = Room(logrows, 2, 1)
        assert room.tag is not None
        return next(searched._finest(room, room.tag)).plan.looked_up

    # Eight comparisons of 20 rows do not fit beside inputs, outputs and tag; then they do.
    assert looked_up(9) == ("above",)
    assert looked_up(10) == ()


# --- what a plan decides --------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(-9.0, 0.0), (-3.0, 5.0), (2.0, 7.0)])
def test_chooser__a_curve_whose_arguments_pass_its_table__as_fine_as_it_holds(
    low: float, high: float
) -> None:
    room = Room(9, 3, 1)
    magnitudes = {
        "input": Magnitude(-4, 4, 8),
        "hidden": Magnitude(low, high, 8),
        "output": Magnitude(0, 200, 8),
    }
    made = _model(
        1,
        [
            helper.make_node("MatMul", ["input", "weights"], ["hidden"]),
            helper.make_node("Exp", ["hidden"], ["output"]),
        ],
    )
    plan = Plan(6, 6, (), 8, (), ())
    chooser = plans._Chooser(plan, 6, room, magnitudes, frozenset(), frozenset())
    rewrite(Source.read(made.SerializeToString()), chooser)
    ((name, position, bits),) = chooser.rounded
    assert (name, position) == ("output", 0)
    # A table holds zero too.
    whole = max(high, 0) - min(low, 0)
    assert whole * 2**bits <= room.entries < 1.1 * whole * 2 ** (bits + 1)


@settings(max_examples=60, deadline=None)
@given(
    scale=st.integers(2, 12),
    weight_scale=st.integers(1, 12),
    logrows=st.integers(9, 16),
    legs=st.integers(2, 3),
    sizes=st.tuples(*[st.floats(0.01, 1000)] * 4),
)
def test_chooser__any_scales_and_sizes__no_number_passes_the_bound(
    scale: int, weight_scale: int, logrows: int, legs: int, sizes: tuple[float, ...]
) -> None:
    room = Room(logrows, legs, 1)
    names = ("input", "hidden", "square", "output")
    magnitudes = {name: Magnitude(-size, size, 8) for name, size in zip(names, sizes, strict=True)}
    held: list[Tensor] = []

    class Watched(plans._Chooser):
        def holds(self, tensor: Tensor) -> None:
            super().holds(tensor)
            held.append(tensor)

    plan = Plan(scale, weight_scale, (), 8, (), ())
    chooser = Watched(plan, scale, room, magnitudes, frozenset(), frozenset())
    try:
        rewrite(Source.read(wide(1).SerializeToString()), chooser)
    except plans._TooLarge:
        return
    assert held
    for tensor in held:
        assert magnitudes[tensor.original].most * 2.0**tensor.true < room.rows**room.legs


# --- a bundle -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(steps(), tmp_path_factory.mktemp("steps"))


@pytest.fixture(scope="module")
def bundle(source: Path, devnet_srs: SrsSource) -> Bundle:
    return build(
        source,
        SAMPLES,
        name="steps",
        max_error=GOAL.max_error,
        out=source.parent / "bundle",
        srs=devnet_srs,
        batches=(1, 3),
        optimize=Objective.BALANCED,
    )


@pytest.mark.timeout(300)
def test_build__planned__proved_alone_and_in_batches_and_made_again(
    bundle: Bundle, source: Path, devnet_srs: SrsSource
) -> None:
    assert bundle.origin.plan is not None
    assert [circuit.size for circuit in bundle.circuits] == [1, 3]
    assert bundle.measures.max_abs_error <= GOAL.max_error
    assert audit(bundle.path, devnet_srs, LIMITS, source=source).differences == ()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("change", [{"looked_up": []}, {"multiplier": 2}, {"scale": 1}])
def test_audit__another_plan_in_the_manifest__found(
    bundle: Bundle, source: Path, devnet_srs: SrsSource, tmp_path: Path, change: dict[str, object]
) -> None:
    copy = Path(shutil.copytree(bundle.path, tmp_path / "copy"))
    manifest = json.loads((copy / files.MANIFEST).read_text())
    manifest["origin"]["plan"] |= change
    (copy / files.MANIFEST).write_text(json.dumps(manifest))
    found = audit(copy, devnet_srs, LIMITS, source=source).differences
    assert [check.subject for check in found] == [f"{files.MODEL} made again from it"]
