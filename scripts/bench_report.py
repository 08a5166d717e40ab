"""What the benches share: results that survive a cut, and the machine they were measured on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oracle.circuits.build import versions
from oracle.config import build_dir

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Results:
    """One JSON file a case, so that a bench that was cut off resumes."""

    folder: Path

    @classmethod
    def of(cls, bench: str, *, resume: bool) -> Results:
        """Those of ``bench``; empty unless ``resume``."""
        folder = build_dir() / "bench" / bench
        folder.mkdir(parents=True, exist_ok=True)
        if not resume:
            for path in folder.glob("*.json"):
                path.unlink()
        return cls(folder)

    def get(self, name: str) -> Json | None:
        """What `put` stored, if anything."""
        path = self.folder / f"{name}.json"
        return dict(json.loads(path.read_text())) if path.exists() else None

    def put(self, name: str, result: Json) -> None:
        """Store, whole or not at all."""
        write(self.folder / f"{name}.json", result)


def write(path: Path, values: Json) -> None:
    """``values`` as a JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=2) + "\n")
    partial.replace(path)


def machine() -> Json:
    """Processor, cores, memory (bytes), and the versions of what was measured."""
    return {
        "hardware": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        },
        "versions": versions() | {"python": platform.python_version()},
    }


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Columns of text; the first to the left, the others to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
