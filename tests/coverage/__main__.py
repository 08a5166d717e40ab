"""Lines and branches of the contracts that the contract tests reach: ``python -m tests.coverage``.

Prints a table and every place that was not reached; ``build/bench/coverage.json`` holds the same.
Exit code 1 if a place is missing that `EXPLAINED` does not list, or lists and is reached.
Further arguments go to pytest.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from oracle.chain import artifacts
from oracle.config import build_dir, project_root
from tests.coverage.instrument import Probe, instrument, is_measured
from tests.coverage.plugin import reached_file

SUITES = ("tests/contracts", "tests/model")

#: Source lines that no test can reach, by file and text, each with its reason.
EXPLAINED: dict[tuple[str, str], str] = {}


@dataclass(frozen=True)
class Coverage:
    """What was reached of one contract. A line counts once, a condition once an outcome."""

    lines: frozenset[int]
    missed_lines: frozenset[int]
    branches: int
    missed_branches: tuple[Probe, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "lines": len(self.lines),
            "lines_reached": len(self.lines) - len(self.missed_lines),
            "branches": self.branches,
            "branches_reached": self.branches - len(self.missed_branches),
            "missed": [str(line) for line in sorted(self.missed_lines)]
            + [f"{p.line} never {str(p.outcome).lower()}" for p in self.missed_branches],
        }


def measure(probes: Iterable[tuple[int, Probe]], reached: frozenset[int]) -> Coverage:
    """Coverage of one file. A line is reached if one of its statements is not missed."""
    lines: set[int] = set()
    missed: set[int] = set()
    branches = 0
    missed_branches = []
    for index, probe in probes:
        if probe.outcome is None:
            lines.add(probe.line)
            if index not in reached:
                missed.add(probe.line)
        else:
            branches += 1
            if index not in reached:
                missed_branches.append(probe)
    return Coverage(frozenset(lines), frozenset(missed), branches, tuple(missed_branches))


def main(arguments: list[str]) -> int:
    """Run the tests, print the table, write the file."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "tests.coverage.plugin"]
    tests = subprocess.run([*command, *(arguments or SUITES)], cwd=project_root(), check=False)
    reached = frozenset(map(int, reached_file().read_text().split()))

    by_file: dict[str, list[tuple[int, Probe]]] = defaultdict(list)
    for index, probe in enumerate(instrument(artifacts.sources()).probes):
        by_file[probe.file].append((index, probe))
    found = {unit: measure(by_file[unit], reached) for unit in sorted(by_file) if is_measured(unit)}

    target = build_dir() / "bench" / "coverage.json"
    target.write_text(json.dumps({u: c.as_json() for u, c in found.items()}, indent=2) + "\n")
    _print(found)
    return _verdict(found, tests.returncode)


def _print(found: dict[str, Coverage]) -> None:
    table = Table("contract", "lines", "branches")
    for unit, coverage in found.items():
        table.add_row(
            unit,
            f"{len(coverage.lines) - len(coverage.missed_lines)}/{len(coverage.lines)}",
            f"{coverage.branches - len(coverage.missed_branches)}/{coverage.branches}",
        )
    Console().print(table)


def _verdict(found: dict[str, Coverage], tests: int) -> int:
    unexplained = 0
    expected = set(EXPLAINED)
    for unit, coverage in found.items():
        source_lines = (project_root() / unit).read_text().splitlines()
        gaps = [(line, "not reached") for line in coverage.missed_lines]
        gaps += [(p.line, f"never {str(p.outcome).lower()}") for p in coverage.missed_branches]
        for line, what in sorted(gaps):
            key = (unit, source_lines[line - 1].strip())
            expected.discard(key)
            unexplained += key not in EXPLAINED
            print(f"{unit}:{line}: {what}: {key[1]}  [{EXPLAINED.get(key, 'unexplained')}]")
    for unit, source in expected:
        print(f"{unit}: explained, but reached or gone: {source}")
    if tests:
        print("Some tests failed on instrumented contracts, where gas differs; see above.")
    return int(bool(unexplained or expected))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
