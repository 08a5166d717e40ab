"""A node under every fault at once, in short; `make bench-faults` is the whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .world import opened, problems


def run(folder: Path, seed: int, requests: int, hangs: int = 0) -> dict[str, Any]:
    folder.mkdir()
    # Twice as many faults as in the whole run, so that a short one has its share of them.
    with opened(folder, seed, requests, rates=(0.16, 0.2, 0.3), hangs=hangs) as world:
        return world.run()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(tmp_path_factory.mktemp("faults") / "run", 8, 30, hangs=1)


def test_every_request__is_fulfilled_once_or_refunded_with_a_reason(
    report: dict[str, Any],
) -> None:
    assert problems(report) == []
    assert report["requests"] >= 30
    assert report["fulfilled"] > 20


def test_faults__did_happen(report: dict[str, Any]) -> None:
    happened = {kind for kind, count in report["faults"].items() if count}
    assert happened >= {
        *("rpc_error", "http_500", "http_429", "truncated_body", "closed_connection"),
        *("answer_lost", "stale_replica", "killed", "expired_key"),
    }
    assert any(kind.startswith(("reorg_", "prover_", "transaction_")) for kind in happened)


def test_run__same_seed__is_the_same(tmp_path: Path) -> None:
    first, second = (run(tmp_path / name, 3, 6) for name in ("first", "second"))
    for each in (first, second):
        del each["seconds"]
    assert first == second


def test_problems__names_what_must_not_be(report: dict[str, Any]) -> None:
    for name, value in (
        ("lost", 1),
        ("doubled", 1),
        ("crashes", ["submitter: KeyError"]),
        ("waiting_in_the_end", ["0x12 proved"]),
        ("misrecorded", ["0x12 is lost, not final"]),
        ("refunded_without_a_reason", ["0x12"]),
        ("refunded_though_answerable", ["0x12"]),
        ("money", {"node": 1}),
        ("fulfilled", report["fulfilled"] - 1),
    ):
        assert len(problems({**report, name: value})) == 1, name
