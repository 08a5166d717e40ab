"""What the benches report, on made-up results."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from oracle.circuits.cost import Objective
from scripts import bench_circuits, bench_onnx
from scripts.bench_plot import Bar, bars
from scripts.bench_report import Results, table


def compared(name: str, speedup: float, gas_ratio: float | None) -> dict[str, object]:
    return {
        "name": name,
        "larger_error": False,
        "prove_speedup": speedup,
        "gas_ratio": gas_ratio,
        "key_ratio": 0.5,
    }


def test_report__geometric_means_and_worst_cases() -> None:
    done = [compared("a", 10, 0.5), compared("b", 40, None), {"name": "c", "reason": "why"}]
    summary = bench_circuits.report(done, Objective.GAS)
    assert summary["prove_speedup_geomean"] == pytest.approx(20)
    assert summary["worst_prove_speedup"] == 10
    # A verifier that cannot be deployed has no gas.
    assert summary["gas_ratio_geomean"] == summary["worst_gas_ratio"] == 0.5
    assert (summary["total"], summary["compared"]) == (3, 2)
    json.dumps(summary, allow_nan=False)


def test_report__nothing_compared__no_figures_and_still_json() -> None:
    summary = bench_circuits.report([{"name": "c", "reason": "why"}], Objective.GAS)
    assert summary["prove_speedup_geomean"] is None
    assert summary["worst_gas_ratio"] is None
    json.dumps(summary, allow_nan=False)


def test_onnx_report__misses_have_reasons__share_of_known_operators() -> None:
    known = {"suite": "simple", "operators_known": True}
    done = [
        known | {"name": "a", "passed": True},
        known | {"name": "b", "passed": False, "code": "CIRCUIT", "message": "CIRCUIT: why."},
        known | {"name": "c", "passed": False, "operators_known": False, "message": "X: why."},
    ]
    summary = bench_onnx.report(done)
    assert (summary["total"], summary["passed"], summary["operators_known"]) == (3, 1, 2)
    assert summary["passed_share_of_known"] == 0.5
    assert [miss["message"] for miss in summary["misses"]] == ["CIRCUIT: why.", "X: why."]
    assert summary["suites"]["simple"] == {"total": 3, "passed": 1}


def test_cases__each_has_inputs_and_outputs() -> None:
    found = bench_onnx.cases()
    assert len(found) == 140
    assert all(case.tensors("input") and case.tensors("output") for case in found)


def test_samples__reference_first__signs_and_integers_kept() -> None:
    floats = np.array([[1.0, -2.0, 0.0]], dtype=np.float32)
    integers = np.array([3, 0], dtype=np.int64)
    rows = bench_onnx.samples([floats, integers])
    assert rows[0].tolist() == [1, -2, 0, 3, 0]
    assert (np.sign(rows) == np.sign(rows[0])).all()
    assert (rows[:, 3:] == rows[0, 3:]).all()
    assert len({row.tobytes() for row in rows}) == len(rows) == bench_onnx.SAMPLES
    assert np.abs(rows / np.where(rows[0] == 0, 1, rows[0]) - 1)[:, :2].max() <= bench_onnx.SPREAD


@pytest.mark.parametrize(
    ("reference", "allowed"), [([-50.0, 2], 0.5), ([0.01], 0.001), ([], 0.001)]
)
def test_tolerance__one_percent_of_full_scale(reference: list[float], allowed: float) -> None:
    assert bench_onnx.tolerance(np.array(reference)) == pytest.approx(allowed)


def test_results__kept_only_when_resumed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("scripts.bench_report.build_dir", lambda: tmp_path)
    Results.of("bench", resume=False).put("a", {"x": 1})
    assert Results.of("bench", resume=True).get("a") == {"x": 1}
    assert Results.of("bench", resume=False).get("a") is None


def test_bars__every_name_and_value__is_drawn() -> None:
    drawing = ET.fromstring(
        bars(
            ["a", "<b>"],
            [
                Bar("speed", [8.0, 2.0], "x", logarithmic=True),
                Bar("gas", [0.5, None], "", logarithmic=False),
            ],
        )
    )
    texts = {
        "".join(text.itertext()).strip()
        for text in drawing.iter("{http://www.w3.org/2000/svg}text")
    }
    assert {"a", "<b>", "speed", "gas", "8x", "2x", "0.5", "none"} <= texts


def test_table__columns_aligned() -> None:
    assert table(["name", "x"], [["a", "10"], ["long", "2"]]).splitlines() == [
        "name   x",
        "a     10",
        "long   2",
    ]
