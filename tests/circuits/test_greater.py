"""What is known of the greatest of numbers, and what roundings leave of it."""

from __future__ import annotations

import numpy as np
import pytest

from oracle.circuits.greater import Tournaments
from oracle.circuits.loaded import Loaded, load
from scripts.models.graph import Graph


def _softmax(sizes: list[int]) -> Loaded:
    """Exponentials of what three numbers lack to the greatest of some of them, and their sum."""
    graph = Graph(3)
    first = graph.add("Gather", graph.input, [0], axis=1)
    for each in sizes[1:]:
        other = graph.add("Gather", graph.input, [each], axis=1)
        lead = graph.add("Relu", graph.add("Sub", other, first))
        first = graph.add("Add", first, lead)
    lacks = graph.add("Exp", graph.add("Sub", graph.input, first))
    return load(graph.model(graph.add("ReduceSum", lacks, [1]), 1))


def _followed(loaded: Loaded, rounded: str = "", unit: float = 0.0) -> Tournaments:
    """Tournaments of a graph of which every result of an operator is rounded."""
    found = Tournaments(loaded)
    for position in loaded.order:
        value = loaded.values[position]
        found.follow(position, value)
        if value.operator == rounded:
            found.round(position, unit)
    return found


def _last(loaded: Loaded, operator: str) -> int:
    return max(each for each in loaded.order if loaded.values[each].operator == operator)


def test_tournaments__of_all_numbers__none_is_above_and_one_exponential_is_one() -> None:
    loaded = _softmax([0, 1, 2])
    found = _followed(loaded)
    assert found.lacks(_last(loaded, "Sub")).tolist() == [[[0.0, 0.0, 0.0]]]
    assert found.holds_one(_last(loaded, "Exp"), (1,)).tolist() == [[[0.0]]]


def test_tournaments__of_some_numbers__nothing_of_the_others() -> None:
    loaded = _softmax([0, 2])
    found = _followed(loaded)
    assert found.lacks(_last(loaded, "Sub")).tolist() == [[[0.0, np.inf, 0.0]]]
    assert found.holds_one(_last(loaded, "Exp"), (1,)).tolist() == [[[np.inf]]]


@pytest.mark.parametrize("operator", ["Relu", "Add"])
def test_tournaments__a_rounding_in_each_round__so_much_slack(operator: str) -> None:
    loaded = _softmax([0, 1, 2])
    found = _followed(loaded, operator, 0.25)
    assert found.lacks(_last(loaded, "Sub")).tolist() == [[[0.5, 0.5, 0.5]]]
    assert found.holds_one(_last(loaded, "Exp"), (1,)).tolist() == [[[0.5]]]


def test_tournaments__a_rounded_difference__keeps_its_sign_and_its_zero() -> None:
    loaded = _softmax([0])
    found = _followed(loaded, "Sub", 0.25)
    assert found.lacks(_last(loaded, "Sub")).tolist() == [[[0.0, np.inf, np.inf]]]
