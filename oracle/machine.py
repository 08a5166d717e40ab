"""What this machine has: disk and memory, within the limits of this process's control groups."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from oracle.cgroups import memory_left, memory_limit


def free_disk(path: Path) -> int:
    """Bytes that the disk of a file or folder has left, also of one that is not made yet."""
    folder = path.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that a new process could use without swapping, within a unit's or container's limit.

    Args:
        root: where ``proc`` and ``sys`` are mounted.
    """
    lines = (root / "proc/meminfo").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    available = int(fields["MemAvailable"].split()[0]) << 10
    left = memory_left(root)
    return available if left is None else min(available, left)


def total_memory(root: Path = Path("/")) -> int:
    """Memory of this machine, or the limit of our unit or container if that is less (bytes).

    Args:
        root: where ``proc`` and ``sys`` are mounted.
    """
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = memory_limit(root)
    return total if limit is None else min(total, limit)
