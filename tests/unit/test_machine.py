"""Disk and memory that are left, within a container's limit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from oracle.machine import available_memory, free_disk


def machine(root: Path, **groups: str) -> Path:
    (root / "proc").mkdir()
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal: 16 kB\nMemAvailable:  1000 kB\nHugePages: 0\n")
    for name, text in groups.items():
        (root / "sys/fs/cgroup" / f"memory.{name}").write_text(text)
    return root


def test_memory__no_limit__is_the_kernels_figure(tmp_path: Path) -> None:
    assert available_memory(machine(tmp_path)) == 1000 << 10


@pytest.mark.parametrize(
    ("limit", "used", "cached", "left"),
    [
        ("max", "5", 0, 1000 << 10),
        ("5000", "2000", 0, 3000),
        ("5000", "4000", 1500, 2500),
        ("5000", "6000", 0, 0),
        (str(1 << 40), "0", 0, 1000 << 10),
    ],
)
def test_memory__container__is_what_its_limit_leaves(
    tmp_path: Path, limit: str, used: str, cached: int, left: int
) -> None:
    stat = f"anon 7\ninactive_file {cached}\n"
    root = machine(tmp_path, max=limit + "\n", current=used + "\n", stat=stat)
    assert available_memory(root) == left


def test_disk__folder_that_is_not_made_yet__is_its_disks(tmp_path: Path) -> None:
    total = shutil.disk_usage(tmp_path).total
    assert 0 < free_disk(tmp_path / "a" / "b") <= total


def test_this_machine__has_memory() -> None:
    assert available_memory() > 0
