"""`make test` says where the time went: who worked, who waited, whose children worked for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oracle.config import project_root
from scripts import test_times

TESTS = """
import subprocess, sys, time
import pytest

WORK = "sum(range(6_000_000))"

def test_works():
    exec(WORK)

def test_waits():
    time.sleep(0.4)

@pytest.mark.xdist_group("a/b")
def test_has_a_child_work():
    subprocess.run([sys.executable, "-c", WORK], check=True)

@pytest.mark.parametrize("name", ["x@y"])
def test_fails(name):
    assert not name

@pytest.fixture
def broken():
    raise ValueError

def test_cannot_begin(broken): ...

@pytest.mark.skip
def test_is_skipped(): ...
"""

PLUGINS = ("-p", "no:ape_test", "-p", "scripts.test_times")


@pytest.fixture(scope="module", params=[[], ["-n", "2", "--dist", "loadgroup"]])
def rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("times")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_some.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    target = folder / "times.json"
    subprocess.run(
        [*(sys.executable, "-m", "pytest", "-q"), *PLUGINS, *request.param],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(project_root()), "PYTEST_TEST_TIMES": str(target)},
        check=False,
        capture_output=True,
        timeout=120,
    )
    return {
        name.removeprefix("tests/test_some.py::test_"): row
        for name, row in json.loads(target.read_text()).items()
    }


def test_outcomes__are_those_of_the_whole_test(rows: dict[str, Any]) -> None:
    assert {name: row["outcome"] for name, row in rows.items()} == {
        "works": "passed",
        "waits": "passed",
        "has_a_child_work": "passed",
        "fails[x@y]": "failed",
        "cannot_begin": "failed",
        "is_skipped": "skipped",
    }


def test_times__work_of_a_test_and_of_its_children_is_no_waiting(rows: dict[str, Any]) -> None:
    for name in ("works", "has_a_child_work"):
        assert rows[name]["cpu_seconds"] > rows["waits"]["cpu_seconds"]
    assert rows["waits"]["waiting_seconds"] > 0.3


def test_summary__counts_every_test_once_and_adds_up(rows: dict[str, Any]) -> None:
    named = {f"tests/test_some.py::test_{name}": row for name, row in rows.items()}
    named["tests/unit/test_other.py::test_one"] = rows["waits"]
    summary = test_times._summary(named)
    assert (summary["tests"], summary["passed"], summary["failed"], summary["skipped"]) == (
        *(7, 4, 2, 1),
    )
    assert {name: folder["tests"] for name, folder in summary["by_folder"].items()} == {
        "tests": 6,
        "tests/unit": 1,
    }
    assert summary["by_file"].keys() == {"tests/test_some.py", "tests/unit/test_other.py"}
    assert len(summary["slowest"]) == 7


def test_run__that_fails__is_not_hidden_by_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = iter([1])
    monkeypatch.setattr(test_times, "_run", lambda *_: next(codes))
    monkeypatch.setattr(test_times, "write", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["test_times"])
    with pytest.raises(SystemExit) as ended:
        test_times.main()
    assert ended.value.code == 1


def test_tree__process_that_is_gone__is_nothing(tmp_path: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert test_times._tree_seconds(done.pid) == 0
