"""The picture of the candidates."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from oracle.circuits.plot import Point, front_of, pareto

POINTS = [
    Point(1.0, 300, "cheap", measured=True, chosen=True),
    Point(0.5, 400, "middle", measured=True),
    Point(0.6, 420, "beaten"),
    Point(0.1, 500, "quick <&>"),
]


def words(svg: str) -> set[str]:
    texts = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return {"".join(text.itertext()).strip() for text in texts}


def test_front_of__points__those_that_none_beats() -> None:
    assert [p.label for p in front_of(POINTS)] == ["quick <&>", "middle", "cheap"]


def test_pareto__points__the_front_and_the_kinds_are_named() -> None:
    found = words(pareto(POINTS))
    assert {"cheap", "middle", "quick <&>", "seconds to prove", "gas to verify"} <= found
    assert {"chosen", "measured", "estimated", "Pareto front"} <= found
    assert "beaten" not in found


def test_pareto__same_points__same_bytes() -> None:
    assert pareto(POINTS) == pareto(list(POINTS))


def test_pareto__one_point__is_drawn() -> None:
    found = words(pareto([Point(0.3, 344_198, "only", chosen=True)]))
    assert "only" in found
    assert "measured" not in found
