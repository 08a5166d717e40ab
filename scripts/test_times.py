"""Run the tests and say where the time went: by folder, the slowest, waiting against working.

``python -m scripts.test_times`` runs all of them, Ape's part too, and writes ``build/bench/tests.json``.
For that it is a plugin of each pytest that it starts. A test has worked for the processor seconds of
its process and of all that this process started; the rest of its time it has waited. What a test
starts and leaves to itself, as a devnet in the background, is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from oracle.config import build_dir, project_root
from scripts.bench_report import machine, table, write

#: Where a pytest that is started here writes what it measured.
_TARGET = "PYTEST_TEST_TIMES"
_SLOWEST = 20
_TICK = os.sysconf("SC_CLK_TCK")
#: What pytest-xdist appends to the name of a test that belongs to a group.
_GROUP = re.compile(r"@[^@\]]*$")


# --- the plugin -----------------------------------------------------------------------------------


@dataclass
class _Time:
    """Of one test, its fixtures included as far as it was the first to ask for them."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    waiting_seconds: float = 0.0
    outcomes: set[str] = field(default_factory=set)


class _Meter:
    """Measures the phases of each test; where the run is reported, adds them up."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._times: dict[str, _Time] = {}
        self._started = 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        self._started = _tree_seconds(os.getpid())

    pytest_runtest_call = pytest_runtest_teardown = pytest_runtest_setup

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, Any]:
        report = yield
        # Workers of pytest-xdist send on what a report has.
        # Less than nothing when something ended that nobody waited for.
        report.cpu_seconds = max(0.0, _tree_seconds(os.getpid()) - self._started)
        return report

    def pytest_runtest_logreport(self, report: Any) -> None:
        taken = self._times.setdefault(_GROUP.sub("", report.nodeid), _Time())
        taken.wall_seconds += report.duration
        taken.cpu_seconds += report.cpu_seconds
        taken.waiting_seconds += max(0.0, report.duration - report.cpu_seconds)
        if report.when == "call" or report.outcome != "passed":
            taken.outcomes.add(report.outcome)

    def pytest_sessionfinish(self, session: Any) -> None:
        if hasattr(session.config, "workerinput"):
            return
        rows = {
            name: {
                "wall_seconds": taken.wall_seconds,
                "cpu_seconds": taken.cpu_seconds,
                "waiting_seconds": taken.waiting_seconds,
                "outcome": _outcome(taken.outcomes),
            }
            for name, taken in self._times.items()
        }
        self._target.write_text(json.dumps(rows))


def pytest_configure(config: Any) -> None:
    """Measure, if `main` asked for it."""
    if target := os.environ.get(_TARGET):
        config.pluginmanager.register(_Meter(Path(target)))


def _outcome(outcomes: set[str]) -> str:
    return next((each for each in ("failed", "skipped") if each in outcomes), "passed")


def _tree_seconds(pid: int) -> float:
    """Processor seconds of a process and its descendants, those that it has reaped included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        # It ended while it was looked at.
        return 0.0
    return sum(map(int, fields[11:15])) / _TICK + sum(map(_tree_seconds, children))


# --- the run --------------------------------------------------------------------------------------


def main() -> None:
    """Run the tests, write, print; the exit code is the first one that is not zero."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", default="auto", help="pytest processes at a time")
    parser.add_argument("arguments", nargs="*", help="of pytest, after --")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    parallel = ["-n", options.workers, "--dist", "loadgroup", "--no-loadscope-reorder"]
    started, before = time.monotonic(), _children_seconds()
    times: dict[str, Any] = {}
    code = 0
    for command in (
        ["pytest", "-q", *parallel, *options.arguments],
        ["ape", "compile", "--force"],
        ["pytest", "-q", "-p", "ape.pytest.plugin", "tests/contracts/ape"],
    ):
        code = code or _run(command, times)
    report = _summary(times) | {
        "wall_seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(_children_seconds() - before, 1),
        "load_before": load,
        **machine(),
    }
    target = build_dir() / "bench" / "tests.json"
    write(target, report)
    print(_text(report))
    print(f"written to {target}")
    sys.exit(code)


def _run(command: list[str], times: dict[str, Any]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "times.json"
        if command[0] == "pytest":
            command = [*command, "-p", "scripts.test_times"]
        done = subprocess.run(
            command, cwd=project_root(), env={**os.environ, _TARGET: str(target)}, check=False
        )
        if target.exists():
            times.update(json.loads(target.read_text()))
    return done.returncode


def _children_seconds() -> float:
    taken = os.times()
    return taken.children_user + taken.children_system


def _summary(times: dict[str, Any]) -> dict[str, Any]:
    outcomes = Counter(row["outcome"] for row in times.values())
    by_time = sorted(times.items(), key=lambda item: -item[1]["wall_seconds"])
    return {
        "tests": len(times),
        **{outcome: outcomes[outcome] for outcome in ("passed", "failed", "skipped")},
        "by_folder": _added(times, lambda path: str(path.parent)),
        "by_file": _added(times, str),
        "slowest": {name: _rounded(row) for name, row in by_time[:_SLOWEST]},
    }


def _added(times: dict[str, Any], place: Callable[[Path], str]) -> dict[str, Any]:
    """Sums over the tests of each place, the longest first."""
    sums: dict[str, dict[str, Any]] = {}
    for name, row in times.items():
        added = sums.setdefault(place(Path(name.split("::")[0])), {"tests": 0})
        added["tests"] += 1
        for key in ("wall_seconds", "cpu_seconds", "waiting_seconds"):
            added[key] = added.get(key, 0.0) + row[key]
    longest_first = sorted(sums.items(), key=lambda item: -item[1]["wall_seconds"])
    return {name: _rounded(added) for name, added in longest_first}


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(v, 1) if isinstance(v, float) else v for key, v in row.items()}


def _text(report: dict[str, Any]) -> str:
    times = ("wall_seconds", "cpu_seconds", "waiting_seconds")
    folders = table(
        ["folder", "tests", "seconds", "working", "waiting"],
        [
            [name, str(row["tests"]), *(str(row[key]) for key in times)]
            for name, row in report["by_folder"].items()
        ],
    )
    slowest = table(
        ["slowest tests", "seconds", "working", "waiting"],
        [[name, *(str(row[key]) for key in times)] for name, row in report["slowest"].items()],
    )
    return (
        f"\n{folders}\n\n{slowest}\n\n{report['passed']} of {report['tests']} tests passed in "
        f"{report['wall_seconds']:.0f} s, with {report['cpu_seconds']:.0f} s of processors"
    )


if __name__ == "__main__":
    main()
