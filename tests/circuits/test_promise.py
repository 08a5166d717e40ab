"""Which inputs are promised: beyond the samples, but not beyond types, poles and what is asked for."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from oracle.circuits.promise import Kind, Promise, Wanted, promises
from oracle.circuits.row import Range, TensorInfo
from oracle.errors import ModelUnsupported, UsageError

ANY = Range(-math.inf, math.inf)
Finite = npt.NDArray[np.bool_]


def always(rows: npt.NDArray[np.float64]) -> Finite:
    return np.ones(len(rows), dtype=np.bool_)


def listed(
    samples: list[list[float]],
    *dtypes: str,
    allowed: tuple[Range, ...] | None = None,
    wanted: Wanted | None = None,
    finite: object = always,
) -> list[Promise]:
    array = np.array(samples)
    kinds = dtypes or ("float32",) * array.shape[1]
    infos = [TensorInfo(f"x{i}", (1, 1), kind) for i, kind in enumerate(kinds)]
    limits = allowed or (ANY,) * array.shape[1]
    return list(promises(array, infos, limits, wanted or Wanted(), finite))  # type: ignore[arg-type]


def test_promises__alike_features__one_range_then_each_its_own_then_no_margin() -> None:
    found = listed([[0.0, 4.0], [1.0, 2.0]])
    assert [promise.ranges for promise in found] == [
        (Range(-1.0, 5.0), Range(-1.0, 5.0)),
        (Range(0.0, 4.0), Range(0.0, 4.0)),
        (Range(-0.25, 1.25), Range(1.5, 4.5)),
        (Range(0.0, 1.0), Range(2.0, 4.0)),
    ]
    assert [promise.is_uniform for promise in found] == [True, True, False, False]
    assert [bool(promise.narrowed) for promise in found] == [False, True, False, True]


def test_promises__features_of_very_different_size__each_its_own() -> None:
    found = listed([[0.1, 200.0, 0.2], [0.3, 900.0, 0.1], [0.2, 500.0, 0.4]])
    assert not any(promise.is_uniform for promise in found)


def test_promises__whole_numbers__no_margin() -> None:
    for kinds in (("int64", "int64"), ("uint8", "int32")):
        (first, *_) = listed([[0.0, 9.0], [3.0, 4.0]], *kinds)
        assert first.ranges == (Range(0.0, 9.0),) * 2
    (mixed, *_) = listed([[0.0, 8.0], [3.0, 4.0]], "int64", "float32")
    assert mixed.ranges == (Range(0.0, 3.0), Range(3.0, 9.0))


def test_promises__what_a_type_or_table_allows__nothing_beyond() -> None:
    (first, *_) = listed([[0.0], [8.0]], allowed=(Range(0.0, 9.0),))
    assert first.ranges == (Range(0.0, 9.0),)


def test_promises__a_pole_in_the_margin__clipped_before_it_and_said() -> None:
    def above_zero(rows: npt.NDArray[np.float64]) -> Finite:
        return np.asarray((rows > 0).all(axis=1))

    (first, *_) = listed([[0.5, 1.0], [3.5, 2.0]], finite=above_zero)
    # A quarter of the width 3 would reach to -0.25; half of that is above zero.
    assert first.ranges == (Range(0.125, 4.25),) * 2
    assert "not finite" in first.narrowed[0]


def test_promises__not_finite_among_the_samples__refused_with_the_input() -> None:
    def not_between(rows: npt.NDArray[np.float64]) -> Finite:
        return np.asarray((np.abs(rows) > 0.5).all(axis=1))

    with pytest.raises(ModelUnsupported, match="not finite for") as caught:
        listed([[-1.0], [1.0]], finite=not_between)
    assert "--promise samples" in caught.value.line()
    (found, *_) = listed([[-1.0], [1.0]], finite=not_between, wanted=Wanted(Kind.SAMPLES))
    assert found.kind is Kind.SAMPLES


def test_promises__ranges_that_are_asked_for__in_place_of_the_samples() -> None:
    wanted = Wanted(ranges={None: Range(-1.0, 9.0), 1: Range(0.0, 4.0)})
    (first, *_) = listed([[0.0, 4.0], [1.0, 2.0]], wanted=wanted)
    assert first.ranges == (Range(-1.0, 9.0), Range(0.0, 4.0))
    (narrow, *_) = listed([[0.0, 4.0], [1.0, 2.0]], wanted=Wanted(margin=0.0))
    assert narrow.ranges == (Range(0.0, 4.0),) * 2
    assert narrow.narrowed == ()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(ranges={1: Range(0.0, 3.0)}), "element 1 of the samples reach from 2 to 4"),
        (Wanted(ranges={None: Range(0.5, 9.0)}), "the samples reach from 0 to 4"),
        (Wanted(ranges={2: Range(0.0, 9.0)}), "no input element 2"),
        (Wanted(margin=-0.1), "no margin"),
        (Wanted(margin=math.nan), "no margin"),
    ],
)
def test_promises__what_leaves_samples_out_or_is_none__refused(wanted: Wanted, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        listed([[0.0, 4.0], [1.0, 2.0]], wanted=wanted)


@pytest.mark.parametrize("scale", range(12))
def test_integers__any_scale__every_sample_fits_and_nothing_that_is_not_allowed(scale: int) -> None:
    random = np.random.default_rng(scale)
    for _ in range(20):
        samples = random.normal(0, 3, (12, 3))
        allowed = (ANY, Range(-20.0, 20.0), ANY)
        (promise, *_) = listed(samples.tolist(), allowed=allowed, wanted=Wanted(margin=0.0))
        numbers = promise.on_grid(samples, scale)
        bounds = np.array(promise.integers(scale))
        assert np.all((numbers >= bounds[:, 0]) & (numbers <= bounds[:, 1]))
        # No sample was moved but to the next number of the grid.
        assert np.abs(np.ldexp(numbers.astype(float), -scale) - samples).max() <= 2.0**-scale / 2
    tight = Promise((Range(0.3, 1.7),), (Range(0.3, 1.7),))
    ((low, high),) = tight.integers(scale)
    assert low * 2.0**-scale >= 0.3
    assert high * 2.0**-scale <= 1.7
