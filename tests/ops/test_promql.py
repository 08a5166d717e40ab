"""The evaluator of the tests is right about what Prometheus' documentation says."""

from __future__ import annotations

import math
from typing import Any

import pytest

from .promql import Prometheus, parse_scrape

SCRAPES = [
    (0, 'a{i="1",l="x"} 1\na{i="1",l="y"} 2\nb{i="1"} 5\nc_total{i="1"} 3\n'),
    (60, 'a{i="1",l="x"} 4\na{i="1",l="y"} 2\nb{i="1"} 3\nc_total{i="1"} 1\n'),
]


@pytest.fixture(scope="module")
def prometheus() -> Prometheus:
    found = Prometheus()
    for at, text in SCRAPES:
        found.add(at, parse_scrape(text))
    return found


def values(found: dict[Any, float]) -> list[float]:
    return sorted(found.values())


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a", [2, 4]),
        ('a{l="x"}', [4]),
        ('a{l=~"x|z"}', [4]),
        ('a{l!~"x|z"}', [2]),
        ('a{none=""}', [2, 4]),
        ("a > 2", [4]),
        ("2 < a", [4]),
        ("a * 2", [4, 8]),
        ("sum(a)", [6]),
        ("sum by (l) (a) > 3", [4]),
        ("max without (l) (a)", [4]),
        ("sum(a) < sum(b)", []),
        ("a > on (i) group_left () b", [4]),
        ("increase(a[5m])", [0, 3]),
        ("increase(a[30s])", []),
        ("increase(c_total[5m])", [1]),
        ("rate(a[1m40s])", [0, 0.03]),
        ("a > 3 and on (i) b == 3", [4]),
        ("a and on (i) b == 4", []),
        ("missing", []),
    ],
)
def test_expression__has_prometheus_value(
    prometheus: Prometheus, expression: str, expected: list[float]
) -> None:
    assert values(prometheus.ask(expression, 60)) == pytest.approx(expected)


def test_sample__older_than_five_minutes__is_gone(prometheus: Prometheus) -> None:
    assert prometheus.ask("a", 360) == {}


@pytest.mark.parametrize(("quantile", "value"), [(0.5, 1.0), (0.75, 2.0), (1.0, 2.0), (0.25, 0.5)])
def test_quantile__is_interpolated_in_its_bucket(quantile: float, value: float) -> None:
    found = Prometheus()
    found.add(0, parse_scrape('h_bucket{le="1"} 2\nh_bucket{le="2"} 3\nh_bucket{le="+Inf"} 4\n'))
    assert values(found.ask(f"histogram_quantile({quantile}, h_bucket)", 0)) == [value]


def test_quantile__of_nothing__is_no_number() -> None:
    found = Prometheus()
    found.add(0, parse_scrape('h_bucket{le="+Inf"} 0\n'))
    (value,) = found.ask("histogram_quantile(0.5, h_bucket)", 0).values()
    assert math.isnan(value)


def test_many_on_both_sides__is_an_error_as_in_prometheus(prometheus: Prometheus) -> None:
    with pytest.raises(AssertionError, match="many on the"):
        prometheus.ask("b > on (i) a", 60)
    with pytest.raises(AssertionError, match="many on the"):
        prometheus.ask("a > on (i) b", 60)
