"""Built circuits say what the publisher's file says, for inputs that the build has not seen.

Each model means something by whole numbers or bits; rows come from the whole range that a contract
would take, with what lies on and beside whole numbers among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from oracle import tensor
from oracle.circuits.audit import audit
from oracle.circuits.build import LIMITS, build_cached
from oracle.circuits.bundle import Bundle
from oracle.circuits.evaluate import evaluate
from oracle.circuits.srs import SrsSource
from oracle.prover.sandbox import Sandbox
from tests.circuits.lowered import FLOAT, INT64, graph_of

RNG = np.random.default_rng(20261130)
SPREAD = RNG.normal(0, 1, (40, 4))
TABLE = RNG.normal(0, 1, (10, 3)).astype(np.float32)
Rows = np.ndarray


def through(*casts: int) -> onnx.ModelProto:
    """A chain of casts that ends in floats."""
    names = ["x", *(f"c{i}" for i in range(len(casts))), "y"]
    nodes = [
        helper.make_node("Cast", [before], [after], to=to)
        for before, after, to in zip(names, names[1:], [*casts, FLOAT], strict=False)
    ]
    return graph_of(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])


def whole_division() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=INT64),
        helper.make_node("Div", ["i", "three"], ["q"]),
        helper.make_node("Cast", ["q"], ["y"], to=FLOAT),
    ]
    shapes = ([("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])
    return graph_of(nodes, *shapes, three=np.array(3))


def tokens() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0),
        helper.make_node("ReduceSum", ["rows", "axes"], ["y"], keepdims=0),
    ]
    shapes = ([("ids", INT64, ["n", 4])], [("y", FLOAT, ["n", 3])])
    return graph_of(nodes, *shapes, table=TABLE, axes=np.array([1]))


def pixels() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=FLOAT),
        helper.make_node("Mul", ["f", "share"], ["s"]),
        helper.make_node("MatMul", ["s", "weights"], ["y"]),
    ]
    shapes = ([("x", TensorProto.UINT8, ["n", 4])], [("y", FLOAT, ["n", 3])])
    return graph_of(nodes, *shapes, share=np.float32(1 / 255), weights=TABLE[:4])


def counts() -> onnx.ModelProto:
    """Shares that grow exponentially with what was counted."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=FLOAT),
        helper.make_node("Softmax", ["f"], ["y"], axis=1),
    ]
    return graph_of(nodes, [("x", TensorProto.INT32, ["n", 4])], [("y", FLOAT, ["n", 4])])


def bits() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Not", ["x"], ["not"]),
        helper.make_node("Cast", ["not"], ["f"], to=FLOAT),
        helper.make_node("MatMul", ["f", "weights"], ["sums"]),
        helper.make_node("Sigmoid", ["sums"], ["y"]),
    ]
    shapes = ([("x", TensorProto.BOOL, ["n", 4])], [("y", FLOAT, ["n", 3])])
    return graph_of(nodes, *shapes, weights=TABLE[:4])


#: Model, samples, bound.
CASES: dict[str, tuple[Callable[[], onnx.ModelProto], Rows, float]] = {
    "truncation": (lambda: through(INT64), np.abs(SPREAD), 0.1),
    "truth": (lambda: through(TensorProto.BOOL), RNG.integers(0, 2, (40, 4)), 0.1),
    "whole division": (whole_division, RNG.integers(-9, 10, (40, 4)), 0.1),
    "tokens": (tokens, np.vstack([[0, 9, 4, 5], RNG.integers(0, 10, (39, 4))]), 0.1),
    "pixels": (pixels, np.vstack([[0, 255, 4, 5], RNG.integers(0, 256, (39, 4))]), 0.05),
    "counts": (counts, np.vstack([[0, 6, 4, 5], RNG.integers(0, 7, (39, 4))]), 0.05),
    "bits": (bits, RNG.integers(0, 2, (40, 4)), 0.05),
}
WHOLE_INPUTS = {"tokens": (0, 9), "pixels": (0, 255), "counts": (0, 6), "bits": (0, 1)}


@pytest.fixture(scope="module", params=list(CASES))
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, devnet_srs: SrsSource
) -> tuple[str, Path, Bundle]:
    make, samples, bound = CASES[request.param]
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(make().SerializeToString(deterministic=True))
    bundle = build_cached(
        path,
        samples.astype(np.float64),
        name=f"whole-{hashlib.sha256(request.param.encode()).hexdigest()[:8]}",
        max_error=bound,
        srs=devnet_srs,
    )
    return request.param, path, bundle


def rows_of(bundle: Bundle, seed: int, *, whole: bool) -> Rows:
    """Rows that the contract takes: at random, on whole numbers, and a step beside them."""
    spec, rng = bundle.spec.input, np.random.default_rng(seed)
    low, high = (tensor.dequantize(v, spec.scale) for v in (spec.minimum, spec.maximum))
    near = np.rint(rng.uniform(low, high, (60, spec.length)))
    if whole:
        return np.clip(near, np.ceil(low), np.floor(high))
    step = 2.0**-spec.scale
    beside = near + rng.choice([-step, 0.0, step], near.shape)
    return np.clip(np.vstack([rng.uniform(low, high, (60, spec.length)), beside]), low, high)


@pytest.mark.parametrize("seed", range(3))
def test_proved__rows_that_the_build_has_not_seen__what_the_file_says(
    case: tuple[str, Path, Bundle], seed: int
) -> None:
    name, path, bundle = case
    rows = rows_of(bundle, seed, whole=name in WHOLE_INPUTS)
    found = evaluate(bundle, rows, Sandbox(LIMITS), source=path)
    assert set(found.status) == {"ok"}
    assert found.over_bound == [], found.values()["worst"]


def test_audit__of_whole_numbers__makes_the_same_again(
    case: tuple[str, Path, Bundle], devnet_srs: SrsSource
) -> None:
    name, path, bundle = case
    if name in ("tokens", "bits"):
        assert audit(bundle.path, devnet_srs, LIMITS, source=path).differences == ()


def test_promise__of_whole_numbers__ends_where_they_do(case: tuple[str, Path, Bundle]) -> None:
    name, _, bundle = case
    if name in WHOLE_INPUTS:
        spec = bundle.spec.input
        ends = [tensor.dequantize(v, spec.scale) for v in (spec.minimum, spec.maximum)]
        assert tuple(ends) == WHOLE_INPUTS[name]
        # No request can say a half.
        assert spec.scale == 0
        beyond = np.array([[ends[1] + 1, *[0.0] * 3], [-1.0, *[0.0] * 3]])
        assert set(evaluate(bundle, beyond, Sandbox(LIMITS)).status) == {"refused"}
