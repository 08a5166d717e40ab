"""What this machine has left: disk and memory."""

from __future__ import annotations

import shutil
from pathlib import Path


def free_disk(path: Path) -> int:
    """Bytes that the disk of a file or folder has left, also of one that is not made yet."""
    folder = path.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that a new process could use without swapping, within a container's limit.

    Args:
        root: where ``proc`` and ``sys`` are mounted.
    """
    lines = (root / "proc/meminfo").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    available = int(fields["MemAvailable"].split()[0]) << 10
    limit = _number(root / "sys/fs/cgroup/memory.max")
    used = _number(root / "sys/fs/cgroup/memory.current")
    if limit is None or used is None:
        return available
    return max(0, min(available, limit - used + _reclaimable(root)))


def _reclaimable(root: Path) -> int:
    """Cached file pages count as used and are given up when memory is needed (bytes)."""
    try:
        lines = (root / "sys/fs/cgroup/memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))


def _number(path: Path) -> int | None:
    """A control group's figure; None where there is no such group, or no limit (``max``)."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
