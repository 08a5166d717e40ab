"""Whole numbers: casts, divisions and remainders are ONNX's, on both sides of zero and on halves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from oracle.errors import ModelUnsupported
from tests.circuits.lowered import FLOAT, INT64, assert_same, circuit_error, graph_of, loaded

BOOL = TensorProto.BOOL
SLOW = settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
#: Negatives, halves, zero, whole numbers and what lies next to them on the circuit's grid.
GRID = np.array(
    [
        [-3.0, -2.5, -1.5, -1.0],
        [-0.6, -0.5, -1 / 512, 0.0],
        [1 / 512, 0.5, 0.75, 1.0],
        [1.5, 2.0, 2.5, 511 / 512],
        [-511 / 512, -1 - 1 / 512, 1 + 1 / 512, 3.0],
    ]
)
WHOLE = np.array([[-9.0, -8, -7, -6], [-4, -3, -2, -1], [0, 1, 2, 3], [4, 7, 8, 9]])


def cast_and_back(to: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["x"], ["c"], to=to),
        helper.make_node("Cast", ["c"], ["y"], to=FLOAT),
    ]
    return graph_of(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])


def whole(operator: str, divisor: Any, **attributes: Any) -> onnx.ModelProto:
    """An operator of integers with a constant, around which casts stand."""
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=INT64),
        helper.make_node(operator, ["i", "d"], ["q"], **attributes),
        helper.make_node("Cast", ["q"], ["y"], to=FLOAT),
    ]
    shapes = ([("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])
    return graph_of(nodes, *shapes, d=np.asarray(divisor, dtype=np.int64))


@pytest.mark.parametrize("to", [INT64, TensorProto.INT32, TensorProto.INT8])
def test_cast__to_integers__takes_off_the_fraction(tmp_path: Path, to: int) -> None:
    model = assert_same(cast_and_back(to), tmp_path, GRID)
    assert circuit_error(model, GRID, tmp_path) == 0


def test_cast__to_bool__is_whether_it_is_not_zero(tmp_path: Path) -> None:
    model = assert_same(cast_and_back(BOOL), tmp_path, GRID)
    assert circuit_error(model, GRID, tmp_path) == 0


def test_cast__integers_to_bool__is_whether_they_are_not_zero(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["b"], to=BOOL),
        helper.make_node("Not", ["b"], ["n"]),
        helper.make_node("Cast", ["n"], ["y"], to=FLOAT),
    ]
    model = graph_of(nodes, [("x", INT64, ["n", 4])], [("y", FLOAT, ["n", 4])])
    same = assert_same(model, tmp_path, WHOLE)
    assert circuit_error(same, WHOLE, tmp_path) == 0


@pytest.mark.parametrize("divisor", [3, -3, 7, [1, 2, -5, 10]])
def test_division__of_integers__truncates(tmp_path: Path, divisor: Any) -> None:
    model = assert_same(whole("Div", divisor), tmp_path, WHOLE)
    assert circuit_error(model, WHOLE, tmp_path) == 0


@pytest.mark.parametrize("fmod", [0, 1])
@pytest.mark.parametrize("divisor", [3, -3, 7, [1, 2, -5, 10]])
def test_remainder__of_integers__has_the_sign_that_onnx_says(
    tmp_path: Path, divisor: Any, fmod: int
) -> None:
    model = assert_same(whole("Mod", divisor, fmod=fmod), tmp_path, WHOLE)
    assert circuit_error(model, WHOLE, tmp_path) == 0


def test_remainder__of_floats__has_the_dividends_sign(tmp_path: Path) -> None:
    node = helper.make_node("Mod", ["x", "d"], ["y"], fmod=1)
    shapes = ([("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])
    model = graph_of([node], *shapes, d=np.array([2.0], dtype=np.float32))
    rows = GRID + 0.25
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.01


@SLOW
@given(
    numbers=st.lists(st.integers(-60, 60), min_size=4, max_size=4),
    divisor=st.integers(-12, 12).filter(bool),
    operator=st.sampled_from([("Div", {}), ("Mod", {"fmod": 0}), ("Mod", {"fmod": 1})]),
)
def test_whole_numbers__any_divisor__as_onnxruntime_divides(
    tmp_path: Path, numbers: list[int], divisor: int, operator: tuple[str, dict[str, int]]
) -> None:
    name, attributes = operator
    rows = np.array([numbers], dtype=np.float64)
    model = assert_same(whole(name, divisor, **attributes), tmp_path, rows)
    assert circuit_error(model, rows, tmp_path) == 0


@SLOW
@given(
    numbers=st.lists(st.integers(-2048, 2048), min_size=4, max_size=4),
    to=st.sampled_from([INT64, BOOL]),
)
def test_cast__any_number_on_the_grid__as_onnxruntime_casts(
    tmp_path: Path, numbers: list[int], to: int
) -> None:
    rows = np.array([numbers]) / 512
    model = assert_same(cast_and_back(to), tmp_path, rows)
    assert circuit_error(model, rows, tmp_path) == 0


@pytest.mark.parametrize("operator", ["Div", "Mod"])
def test_division__by_zero_or_by_an_input__refused_by_name(tmp_path: Path, operator: str) -> None:
    with pytest.raises(ModelUnsupported, match=rf"operator {operator} .* divides by zero"):
        loaded(whole(operator, [1, 0, 2, 3]), tmp_path, WHOLE)
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=INT64),
        helper.make_node(operator, ["i", "i"], ["q"]),
        helper.make_node("Cast", ["q"], ["y"], to=FLOAT),
    ]
    model = graph_of(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])
    with pytest.raises(ModelUnsupported, match=rf"operator {operator} .*input decides"):
        loaded(model, tmp_path, WHOLE + 20)
