"""The list of `make bench-truth` is usable and always the same, and its attack finds what is wrong."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from oracle.circuits.build import LIMITS
from oracle.circuits.reveal import Reveal
from oracle.config import project_root
from oracle.prover.sandbox import Sandbox
from scripts import bench_truth
from scripts.models import zoo
from scripts.models.graph import Graph
from scripts.truth import exported, listed, operators, tabular
from scripts.truth.case import Case, answers, halves
from scripts.truth.jumps import nearest
from scripts.truth.target import Promise, Target, search
from tests.sampling import sample

PRINT_HASHES = """
import hashlib
import sys
from scripts.truth import listed
for name in sys.argv[1:]:
    case = listed.make(name)
    rows = case.samples.tobytes() + case.fresh.tobytes()
    print("sha256", name, hashlib.sha256(case.onnx + rows).hexdigest())
"""
KINDS = 15
#: Models that another process makes in the short run.
DRAWN = 20


#: Some of the list is made by every process that runs a share of these tests.
made = functools.cache(listed.make)


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {name: made(name) for name in listed.MAKERS}


@pytest.fixture(params=list(listed.MAKERS))
def case(request: pytest.FixtureRequest) -> Case:
    return made(request.param)


def test_list__the_zoo_and_sixty_more__no_name_and_no_model_twice(cases: dict[str, Case]) -> None:
    parts = (zoo.MAKERS, tabular.RECIPES, operators.RECIPES, exported.RECIPES)
    assert len(listed.MAKERS) == sum(map(len, parts)) >= 104
    assert zoo.MAKERS.keys() <= listed.MAKERS.keys()
    assert [each.name for each in cases.values()] == list(listed.MAKERS)
    assert len({(each.onnx, each.reveal) for each in cases.values()}) == len(cases)


def test_list__kinds_of_estimators_and_policies(cases: dict[str, Case]) -> None:
    assert len({cases[name].kind for name in tabular.RECIPES}) >= KINDS
    kinds = {Reveal.parse(each.reveal).kind for each in cases.values()}
    assert kinds == {"full", "top1", "topk", "threshold", "round"}


def test_list__made_by_another_process__same_bytes(cases: dict[str, Case]) -> None:
    names = sample("truth list", list(cases), DRAWN)
    script = [sys.executable, "-W", "ignore", "-c", PRINT_HASHES, *names]
    printed = subprocess.run(
        script, check=True, capture_output=True, text=True, cwd=project_root(), timeout=280
    ).stdout
    # Training libraries print too.
    lines = [line for line in printed.splitlines() if line.startswith("sha256 ")]
    assert lines == [f"sha256 {name} {_digest(cases[name])}" for name in names]


def _digest(case: Case) -> str:
    rows = case.samples.tobytes() + case.fresh.tobytes()
    return hashlib.sha256(case.onnx + rows).hexdigest()


def test_case__valid__finite_answers_to_samples_and_fresh_rows(case: Case) -> None:
    onnx.checker.check_model(case.onnx, full_check=True)
    assert case.samples.dtype == case.fresh.dtype == np.float32
    assert len(case.samples) >= 16
    assert len(case.fresh) >= 16
    assert np.isfinite(answers(case.onnx, case.samples)).all()
    assert np.isfinite(answers(case.onnx, case.fresh)).all()
    assert 0 < case.max_error <= 0.05


@pytest.mark.parametrize(("spread", "bound"), [(1.0, 0.02), (0.1, 0.002), (2.5, 0.05), (90, 0.05)])
def test_bound__two_percent_of_the_spread_on_the_samples__at_most_a_twentieth(
    spread: float, bound: float
) -> None:
    graph = Graph(2)
    data = graph.model(graph.add("Relu", graph.input), 2)
    # Fresh rows have no say.
    samples, fresh = np.array([[0, -3], [spread, -1]]), np.array([[1e3, 0]])
    case = Case("a", "b", data, samples.astype(np.float32), fresh.astype(np.float32))
    assert case.max_error == pytest.approx(bound)


# --- the attack -----------------------------------------------------------------------------------


def rule(bound: float) -> bytes:
    """Bits of two numbers below a bound."""
    graph = Graph(2)
    below = graph.add("Less", graph.input, bound)
    return graph.model(graph.add("Cast", below, to=TensorProto.FLOAT), 2)


def rows_apart() -> np.ndarray:
    """None of them between the two bounds that are confused."""
    random = np.random.default_rng(0)
    signs = random.choice([-1, 1], (64, 2))
    return np.where(signs < 0, random.uniform(-2, 0, (64, 2)), random.uniform(1, 2, (64, 2)))


def promise_of(data: bytes, case: Case, folder: Path) -> Promise:
    path = folder / "model.onnx"
    path.write_bytes(data)
    return search(
        path,
        case.samples,
        max_error=case.max_error,
        reveal=Reveal.parse(case.reveal),
        sandbox=Sandbox(LIMITS),
        work=folder,
    )


@pytest.mark.parametrize(("proved", "is_right"), [(0.25, True), (0.5, False)])
def test_attack__circuit_of_another_bound_that_no_sample_shows__is_found(
    proved: float, is_right: bool, tmp_path: Path
) -> None:
    case = Case("rule", "step", rule(0.25), *halves(rows_apart()))
    promise = promise_of(rule(proved), case, tmp_path)
    source = tmp_path / "source.onnx"
    source.write_bytes(case.onnx)
    target = Target(case, promise, source, Sandbox(LIMITS))
    found = bench_truth.attacked(target, rows=200, seed=5)
    assert found["inputs_tried"] >= 200
    assert (found["over_bound"] == 0) is is_right
    assert found["unprovable"] == 0
    assert found == bench_truth.attacked(target, rows=200, seed=5)
    wrong = found["worst"]
    assert is_right or all(
        (value < proved) == bit for value, bit in zip(wrong["input"], wrong["proved"], strict=True)
    )


def test_outcome__refused__says_why() -> None:
    graph = Graph(2)
    data = graph.model(graph.add("Bernoulli", graph.input), 2)
    samples, fresh = halves(np.random.default_rng(0).uniform(0, 1, (32, 2)))
    found = bench_truth.outcome(Case("coin", "random", data, samples, fresh), 100, 1)
    assert found["reason"].startswith("MODEL_UNSUPPORTED")
    summary = bench_truth.report([found])
    assert (summary["models"], summary["refused"]) == (0, {"coin": found["reason"]})


def test_jumps__computed_numbers_alone_have_a_distance() -> None:
    graph = Graph(2)
    of_input = graph.add("Cast", graph.add("Less", graph.input, 0.25), to=TensorProto.FLOAT)
    whole = graph.add("Floor", graph.add("Mul", graph.input, 3.0))
    data = graph.model(graph.add("Add", of_input, whole), 2)
    rows = np.array([[0.25, 0.5], [1.0, -0.5]])
    # 0.75 is a quarter from one, 1.5 a half; 3.0 is a jump.
    assert nearest(data, "input", rows).tolist() == [0.25, 0.0]


def test_jumps__none__infinitely_far() -> None:
    graph = Graph(2)
    data = graph.model(graph.add("Relu", graph.input), 2)
    assert nearest(data, "input", np.zeros((1, 2))).tolist() == [np.inf]


def test_narrowed__less_than_a_feature_and_a_quarter(tmp_path: Path) -> None:
    case = Case("rule", "step", rule(0.25), *halves(rows_apart()))
    promise = promise_of(case.onnx, case, tmp_path)
    assert not bench_truth.is_narrowed(promise, case.samples)
    high = promise.high.copy()
    high[1] -= (promise.high[1] - promise.low[1]) // 4
    less = dataclasses.replace(promise, high=high)
    assert bench_truth.is_narrowed(less, case.samples)


def test_report__counts_and_names__and_is_json() -> None:
    built = {
        "name": "a",
        "max_error": 0.01,
        "certified_error": None,
        "narrowed": True,
        "inputs_tried": 10,
        "over_bound": 2,
        "within_margin": 1,
        "unprovable": 0,
    }
    fine = built | {"name": "b", "narrowed": False, "over_bound": 0, "certified_error": 0.02}
    refused = {"name": "c", "reason": "CIRCUIT_INACCURATE: why."}
    failed = {"name": "d", "failed": "PROVER_TIMEOUT: why."}
    summary = bench_truth.report([built, fine, refused, failed])
    assert summary["refused"] == {"c": "CIRCUIT_INACCURATE: why."}
    assert summary["failed"] == {"d": "PROVER_TIMEOUT: why."}
    assert summary["models"] == 2
    assert summary["narrowed"] == summary["broken"] == ["a"]
    assert (summary["inputs_tried"], summary["over_bound"], summary["within_margin"]) == (20, 2, 2)
    assert summary["certified"] == 0
    assert bench_truth.report([built])["certified"] is None
    json.dumps(summary, allow_nan=False)
