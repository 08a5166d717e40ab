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


def test_front_of__points__those_that_none_beats() -> None:
    assert [p.label for p in front_of(POINTS)] == ["quick <&>", "middle", "cheap"]


def test_pareto__points__one_mark_each_one_ring_and_the_front_named() -> None:
    drawn = ET.fromstring(pareto(POINTS))
    tag = "{http://www.w3.org/2000/svg}"
    circles = [c for c in drawn.iter(f"{tag}circle") if float(c.get("cx", 0)) < 620]
    rings = [c for c in circles if c.get("fill") == "none"]
    assert (len(circles) - len(rings), len(rings)) == (4, 1)
    texts = {text.text for text in drawn.iter(f"{tag}text")}
    assert {"cheap", "middle", "quick <&>", "seconds to prove", "gas to verify"} <= texts
    assert "beaten" not in texts


def test_pareto__one_point__inside_the_frame() -> None:
    drawn = ET.fromstring(pareto([Point(0.3, 344_198, "only", chosen=True)]))
    circle = next(drawn.iter("{http://www.w3.org/2000/svg}circle"))
    assert 80 < float(circle.get("cx", 0)) < 620
    assert 50 < float(circle.get("cy", 0)) < 440
