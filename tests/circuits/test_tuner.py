"""What the search finds: cheap enough, accurate enough, and never what does not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from oracle.circuits import shapes, tuner
from oracle.circuits.cost import BLINDING_ROWS, Objective
from oracle.circuits.judge import Goal
from oracle.circuits.tuner import Found
from oracle.errors import CircuitInaccurate, CircuitTooLarge, VerifierTooLarge
from oracle.types import TagLayout
from tests.circuits.judged import judged
from tests.circuits.makers import linear, single_node

SAMPLES = np.random.default_rng(1).uniform(-1, 1, size=(16, 2))
GOAL = Goal(
    max_error=0.05,
    objective=Objective.GAS,
    speed=1.0,
    memory_bytes=4 << 30,
    seconds=600,
)
ROWS_OF_ONE = {(1, False): (300, 500)}


def tuned(folder: Path, samples: np.ndarray = SAMPLES, act: str = "Relu", **goal) -> Found:
    return tuner.tune(*judged(linear(act), folder, samples, dataclasses.replace(GOAL, **goal)))


def test_tune__gas__one_column_and_the_least_height(tmp_path: Path) -> None:
    found = tuned(tmp_path)
    best = found.finalists[0]
    assert best.candidate.shape.columns == 1
    assert best.candidate.shape.logrows <= 10
    assert best.candidate.outcome == "finalist"
    assert best.settings["run_args"]["decomp_base"] <= (
        (1 << best.candidate.shape.logrows) - BLINDING_ROWS
    )
    least = min(c.estimate.gas for c in found.candidates)
    assert best.candidate.estimate.gas == least


def test_tune__latency__estimated_quicker_than_the_cheapest(tmp_path: Path) -> None:
    gas, latency = (
        tuned(tmp_path, objective=objective).finalists[0].candidate.estimate
        for objective in (Objective.GAS, Objective.LATENCY)
    )
    assert latency.prove_seconds < gas.prove_seconds
    assert latency.gas > gas.gas


def test_tune__finalists__each_better_than_the_others_in_something(tmp_path: Path) -> None:
    finalists = tuned(tmp_path, objective=Objective.BALANCED).finalists
    assert 1 <= len(finalists) <= tuner.FINALISTS
    estimates = [f.candidate.estimate for f in finalists]
    for one in estimates:
        for other in estimates:
            assert one is other or one.gas < other.gas or one.prove_seconds < other.prove_seconds


def test_tune__tighter_bound__finer_scale_and_smaller_error(tmp_path: Path) -> None:
    loose, tight = (tuned(tmp_path, max_error=bound).finalists[0] for bound in (0.2, 0.002))
    assert loose.run_args["input_scale"] < tight.run_args["input_scale"]
    assert tight.accuracy.max_abs_error <= 0.002 < loose.accuracy.max_abs_error <= 0.2


def test_tune__lookups__tables_hold_what_the_promised_range_asks(tmp_path: Path) -> None:
    best = tuned(tmp_path, act="Sigmoid").finalists[0]
    low, high = best.settings["run_args"]["lookup_range"]
    scale = best.settings["model_input_scales"][0]
    # Weights 0.5 and 1.5, inputs to 1 and a quarter beyond: the sum reaches about 3.
    assert low <= -2.5 * 2**scale
    assert high >= 2.5 * 2**scale
    room = (1 << best.candidate.shape.logrows) - BLINDING_ROWS
    assert high - low < tuner.MAX_SPREAD * room


def test_tune__held_back_sample_disagrees__named_with_both_values(tmp_path: Path) -> None:
    weights = np.array([[100_000.0]], dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["input", "weights"], ["product"]),
            helper.make_node("Relu", ["product"], ["output"]),
        ],
        "steep",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1])],
        initializer=[numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    # What the search sees is a multiple of every scale's unit; sample 5 is not.
    samples = np.zeros((16, 1))
    samples[0::2] = 1.0
    samples[5] = 0.3
    with pytest.raises(
        CircuitInaccurate, match=r"sample 5 is off by .*: expected \[30000\]"
    ) as caught:
        tuner.tune(*judged(model, tmp_path, samples, GOAL))
    assert "held back" in str(caught.value)
    assert "more samples" in caught.value.line()


@pytest.mark.parametrize(
    ("limit", "error", "words"),
    [
        ({"memory_bytes": 1 << 20}, CircuitTooLarge, "MiB of memory"),
        ({"seconds": 1e-3}, CircuitTooLarge, "would take"),
    ],
    ids=["memory", "time"],
)
def test_tune__limit_below_any_circuit__clear_error_before_any_key(
    tmp_path: Path, limit: dict[str, float], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        tuned(tmp_path, **limit)


def test_tune__verifier_that_fits_no_contract__says_what_would_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner, "MAX_CODE_BYTES", 5000)
    with pytest.raises(VerifierTooLarge, match="would have") as caught:
        tuned(tmp_path)
    for help_ in ("fewer inputs", "--optimize gas", "smaller batch"):
        assert help_ in caught.value.line().lower()


def test_tune__scores__share_of_labels_that_agree(tmp_path: Path) -> None:
    assert tuned(tmp_path).finalists[0].accuracy.label_agreement == 1.0


def test_tune__one_number__no_labels_to_agree(tmp_path: Path) -> None:
    model = single_node("Relu", shape=("batch", 1))
    found = tuner.tune(*judged(model, tmp_path, SAMPLES[:, :1], GOAL))
    assert found.finalists[0].accuracy.label_agreement is None


def test_tune__revealed_label__agreement_measured_on_the_label(tmp_path: Path) -> None:
    found = tuner.tune(*judged(linear(), tmp_path, SAMPLES, GOAL, "top1"))
    best = found.finalists[0]
    assert best.output.length == 1
    # Two of eight held-back samples may be that close to a tie.
    assert best.accuracy.label_agreement in {0.75, 0.875, 1.0}
    assert best.accuracy.max_abs_error <= GOAL.max_error


def test_tune__twice__same_settings(tmp_path: Path) -> None:
    one, other = (tuned(tmp_path, act="Tanh").finalists[0] for _ in range(2))
    assert one.settings == other.settings


def survey(**changes: int) -> shapes.Survey:
    settings = {
        "total_const_size": 10,
        "model_instance_shapes": [[1, 4], [1, 5], [1, 3]],
        "required_lookups": [],
        "required_range_checks": [[-1, 1], [0, 32767]],
        "num_shuffles": 0,
        "num_dynamic_lookups": 0,
        "einsum_params": {"total_einsum_col_size": 0},
        "run_args": {"decomp_base": 32768},
    }
    return shapes.Survey(ROWS_OF_ONE, dict.fromkeys(ROWS_OF_ONE, settings | changes))


def test_shapes__all__fit_their_height_and_the_tag() -> None:
    found = list(shapes.shapes(survey()))
    assert {shape.columns for shape in found} == set(shapes.COLUMNS)
    for shape in found:
        rows = 300 + 100 * (shape.legs - 2)
        rows += (shape.tag.limbs - 5) * (10 + 3 * (shape.legs - 2))
        assert rows / shape.columns + BLINDING_ROWS <= 1 << shape.logrows
        assert 1 << shape.tag.bits <= shape.bound <= 1 << shapes.MAX_BITS
        assert shape.tag.bits * shape.tag.limbs >= 120


def test_shapes__small_numbers__two_legs_and_a_tag_of_narrow_limbs() -> None:
    """With five wide limbs the tag alone would need three legs, and their rows more height."""
    tight = shapes.Survey({(1, False): (420, 620)}, survey().settings)
    one_column = [shape for shape in shapes.shapes(tight) if shape.columns == 1]
    best = min(one_column, key=lambda shape: shape.logrows)
    assert (best.logrows, best.legs, best.tag) == (9, 2, TagLayout(8, 15))
    assert min(s.logrows for s in one_column if s.tag == TagLayout()) == 10


def test_shapes__same_height_and_bound__the_tag_of_fewer_limbs() -> None:
    found = list(shapes.shapes(survey()))
    for shape in found:
        same = [
            other
            for other in found
            if (other.columns, other.logrows, other.bound)
            == (shape.columns, shape.logrows, shape.bound)
        ]
        assert len({other.tag for other in same}) == 1


def test_survey__one_more_limb__the_rows_that_are_counted(tmp_path: Path) -> None:
    tags = (TagLayout(5, 24), TagLayout(8, 15))
    tuned_subject, _ = judged(linear("Relu"), tmp_path, SAMPLES, GOAL)
    rows = [shapes.survey(tuned_subject.graph_for(tag), [1]).rows[1, False] for tag in tags]
    first = shapes.survey(tuned_subject.graph, [1])
    assert rows[0] == (first.rows_of((1, False), 2), first.rows_of((1, False), 4))
    assert rows[1] == tuple(first.rows_of((1, False), legs, tags[1]) for legs in (2, 4))


def test_shapes__greater_bound_asked_for__none_below_it() -> None:
    assert all(shape.bound >= 1 << 40 for shape in shapes.shapes(survey(), 1 << 40))


def test_shapes__many_constants__height_that_holds_them() -> None:
    assert min(s.logrows for s in shapes.shapes(survey(total_const_size=3000))) == 12


def test_structure__wide_table_of_digits__more_table_columns() -> None:
    narrow = shapes.Shape(9, 1, 1, 3, 504)
    wide = dataclasses.replace(narrow, base=1500)
    assert survey().structure(narrow).spread == 0
    assert survey().structure(wide).spread == 2
