"""Labels that answers say, and those that people give."""

from __future__ import annotations

import numpy as np
import pytest

from oracle.circuits.bundle import Origin
from oracle.circuits.classes import Classes, spoken
from oracle.circuits.row import TensorInfo
from oracle.errors import UsageError

IRIS = ("setosa", "versicolor", "virginica")


def origin(
    labels: tuple[str, ...] = (), *, reveal: str = "full", outputs: int = 3, dtype: str = "float32"
) -> Origin:
    return Origin(
        file_hash=bytes(32),
        inputs=(TensorInfo("x", (1, 4), "float32"),),
        outputs=(TensorInfo("y", (1, outputs), dtype),),
        labels=labels,
        dims={},
        objective="gas",
        reveal=reveal,
        max_error=0.1,
        flat=0,
        tabled=False,
        widened=False,
        plan=None,
    )


def classes(*given: object, **more: object) -> Classes:
    found = Classes.of(origin(*given, **more))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_matched__names_of_classes__are_themselves() -> None:
    assert classes(IRIS).matched(["virginica", "setosa"]) == (["virginica", "setosa"], False)


@pytest.mark.parametrize("labels", [["0", "2"], ["0.0", "2.0"], ["False", "2"]])
def test_matched__indices_of_named_classes__are_taken_for_them(labels: list[str]) -> None:
    """Publisher 13: integers against names were 0.0% right."""
    assert classes(IRIS).matched(labels) == (["setosa", "virginica"], True)


@pytest.mark.parametrize(
    ("known", "given", "words"),
    [
        (classes(IRIS), ["setosa", "rose", "rose"], "classes: rose; its classes are setosa, ver"),
        (classes(IRIS), ["0", "3"], "not the bundle's classes: 0, 3; its"),
        (classes(IRIS), ["0", "setosa"], "not the bundle's classes: 0; its"),
        (classes(), ["setosa"], "classes: setosa; its classes are 0, 1, 2"),
        (classes(), ["3"], "classes: 3; its classes are 0, 1, 2"),
        # An index says another class here.
        (classes(("1", "2", "3")), ["0", "1"], "classes: 0; its classes are 1, 2, 3"),
        (classes(dtype="int64", outputs=1), ["rose"], "its classes are whole numbers"),
        (classes(reveal="threshold:0.5", outputs=1), ["2"], "its classes are 0, 1"),
    ],
)
def test_matched__other_labels__are_named_beside_the_classes(
    known: Classes, given: list[str], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        known.matched(given)
    assert words in caught.value.message


def test_matched__classes_that_are_numbers__however_written() -> None:
    assert classes(("1", "2", "3")).matched(["1.0", "3"]) == (["1", "3"], False)
    assert classes().matched(["True", "0."]) == (["1", "0"], False)
    assert classes(dtype="int64", outputs=1).matched(["-7"]) == (["-7"], False)


@pytest.mark.parametrize(
    "given",
    [
        origin(reveal="threshold:0.5", outputs=2),
        origin(reveal="round:1"),
        origin(outputs=1),
    ],
)
def test_of__answers_that_say_no_label__none(given: Origin) -> None:
    """Publisher 14: --labels was ignored without a word."""
    assert Classes.of(given) is None
    assert spoken(given, np.ones((2, 3))) is None


def test_spoken__of_scores_the_greatest_else_the_number_itself() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
    assert spoken(origin(IRIS), scores) == ["versicolor", "setosa"]
    assert spoken(origin(), scores) == ["1", "0"]
    assert spoken(origin(IRIS, reveal="top1"), np.array([[2.0]])) == ["virginica"]
    assert spoken(origin(reveal="threshold:0.5", outputs=1), np.array([[1.0]])) == ["1"]
    assert spoken(origin(dtype="int64", outputs=1), np.array([[41.0]])) == ["41"]
