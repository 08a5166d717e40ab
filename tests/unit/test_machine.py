"""Disk and memory that are left, within the limits of a unit or a container (operators D11)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from oracle.machine import available_memory, free_disk, total_memory

GIB = 1 << 30
FREE = 30 * GIB
#: What version 1 says where there is no limit.
V1_NONE = "9223372036854771712"
UNIT = "system.slice/oracle-node.service"

Files = dict[str, str | int]


def machine(root: Path, cgroup: str | None, files: Files) -> Path:
    """A root with 30 GiB free, our line(s) of /proc/self/cgroup, and files below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"HugePages: 0\nMemAvailable:  {FREE >> 10} kB\n")
    if cgroup is not None:
        (root / "proc/self/cgroup").write_text(cgroup)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def v2(group: str, limit: str | int = "max", used: int = 0, **more: str | int) -> Files:
    """The files of a group of version 2."""
    folder = f"{group}/" if group else ""
    own = {"max": limit, "current": used, **more}
    return {f"{folder}memory.{name}": content for name, content in own.items()}


def v1(group: str, limit: str | int, used: int, cached: int = 0) -> Files:
    """The files of a group of version 1."""
    folder = f"memory/{group}/" if group else "memory/"
    return {
        f"{folder}memory.limit_in_bytes": limit,
        f"{folder}memory.usage_in_bytes": used,
        f"{folder}memory.stat": f"inactive_file 1\ntotal_inactive_file {cached}",
    }


CASES = {
    "no groups": (None, {}, FREE),
    "no limit": (f"0::/{UNIT}\n", v2(UNIT) | v2("system.slice"), FREE),
    "unit": (f"0::/{UNIT}\n", v2(UNIT, 4 * GIB, GIB), 3 * GIB),
    "unit with cached files": (
        f"0::/{UNIT}\n",
        v2(UNIT, 4 * GIB, 4 * GIB, stat=f"anon 7\ninactive_file {GIB}\nactive_file 9"),
        GIB,
    ),
    "unit over its limit": (f"0::/{UNIT}\n", v2(UNIT, 4 * GIB, 5 * GIB), 0),
    "unit without a limit in a slice with one": (
        f"0::/{UNIT}\n",
        v2(UNIT, "max", GIB) | v2("system.slice", 8 * GIB, 6 * GIB),
        2 * GIB,
    ),
    "slice is fuller than the unit": (
        f"0::/{UNIT}\n",
        v2(UNIT, 4 * GIB, GIB) | v2("system.slice", 8 * GIB, 7 * GIB),
        GIB,
    ),
    "unit is fuller than its slice": (
        f"0::/{UNIT}\n",
        v2(UNIT, 4 * GIB, 3 * GIB) | v2("system.slice", 64 * GIB, 7 * GIB),
        GIB,
    ),
    "user's scope, five deep": (
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/node.scope\n",
        v2("user.slice/user-1000.slice", 2 * GIB, GIB)
        | v2("user.slice/user-1000.slice/user@1000.service/app.slice/node.scope", 9 * GIB),
        GIB,
    ),
    "group below the unit's, without memory files": (
        f"0::/{UNIT}/payload\n",
        v2(UNIT, 4 * GIB, GIB),
        3 * GIB,
    ),
    "MemoryHigh below MemoryMax": (
        f"0::/{UNIT}\n",
        v2(UNIT, 8 * GIB, GIB, high=4 * GIB),
        3 * GIB,
    ),
    "MemoryHigh alone": (f"0::/{UNIT}\n", v2(UNIT, "max", GIB, high=4 * GIB), 3 * GIB),
    "MemoryMax below MemoryHigh": (
        f"0::/{UNIT}\n",
        v2(UNIT, 2 * GIB, GIB, high=4 * GIB),
        GIB,
    ),
    "limit above the machine": (f"0::/{UNIT}\n", v2(UNIT, 1 << 50, GIB), FREE),
    "limit of nothing": (f"0::/{UNIT}\n", v2(UNIT, 0, 0), 0),
    "use unknown": (f"0::/{UNIT}\n", {f"{UNIT}/memory.max": 4 * GIB}, FREE),
    "garbled": (f"0::/{UNIT}\n", v2(UNIT, "4G", GIB) | {f"{UNIT}/memory.high": "-1"}, FREE),
    "garbled lines": ("\n:\n0\n0:\nx:y:z:w\n", v2(UNIT, GIB, 0), FREE),
    "name with a colon": ("0::/a:b.slice/c\n", v2("a:b.slice/c", 4 * GIB, GIB), 3 * GIB),
    "container with a namespace": ("0::/\n", v2("", 5 * GIB, 2 * GIB), 3 * GIB),
    "container without one, which names the host's groups": (
        "0::/docker/0123abcd\n",
        v2("", 5 * GIB, 2 * GIB),
        3 * GIB,
    ),
    "moved out of its namespace": (
        "0::/../../other.slice\n",
        v2("", 5 * GIB, 2 * GIB) | v2("other.slice", 1, 1),
        3 * GIB,
    ),
    "container that hides /proc/self/cgroup": (None, v2("", 5 * GIB, 2 * GIB), 3 * GIB),
    "version 1, unit": (
        f"9:name=systemd:/{UNIT}\n4:cpu,memory:/{UNIT}\n0::/{UNIT}\n",
        v1(UNIT, 4 * GIB, GIB) | v1("", V1_NONE, 9 * GIB),
        3 * GIB,
    ),
    "version 1, no limit": (f"4:memory:/{UNIT}\n", v1(UNIT, V1_NONE, GIB), FREE),
    "version 1, groups below counted": (
        f"4:memory:/{UNIT}\n",
        v1(UNIT, 4 * GIB, 4 * GIB, cached=2 * GIB),
        2 * GIB,
    ),
    "version 1, another controller's group": (
        "4:memory:/here\n3:cpu:/there\n",
        v1("there", GIB, 0) | v1("here", 2 * GIB, 0),
        2 * GIB,
    ),
    "version 1, container": ("4:memory:/docker/0123abcd\n", v1("", 5 * GIB, GIB), 4 * GIB),
    "both versions, the limit in version 1": (
        f"4:memory:/{UNIT}\n0::/{UNIT}\n",
        v1(UNIT, 4 * GIB, GIB) | {f"unified/{UNIT}/cgroup.procs": "1"},
        3 * GIB,
    ),
    "both versions, memory in version 2": (
        f"1:name=systemd:/{UNIT}\n0::/{UNIT}\n",
        {f"unified/{name}": text for name, text in v2(UNIT, 4 * GIB, GIB).items()},
        3 * GIB,
    ),
}


@pytest.mark.parametrize(("cgroup", "files", "left"), CASES.values(), ids=CASES.keys())
def test_memory__limits_of_the_groups__the_least_room_on_the_way_up_counts(
    tmp_path: Path, cgroup: str | None, files: Files, left: int
) -> None:
    """Operators D11: the MemoryMax of a systemd unit, and all that looks alike."""
    assert available_memory(machine(tmp_path, cgroup, files)) == left


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        (v2(UNIT, "max"), None),
        (v2(UNIT, 1 << 60), None),
        (v2(UNIT, "nonsense"), None),
        (v2(UNIT, 1 << 20), 1 << 20),
        (v2(UNIT, 1 << 22) | v2("system.slice", 1 << 20), 1 << 20),
        (v2(UNIT, 1 << 22, high=1 << 20), 1 << 20),
        (v2("", 1 << 20), 1 << 20),
    ],
)
def test_total_memory__limit__counts_if_it_is_less(
    tmp_path: Path, files: Files, limit: int | None
) -> None:
    """Operators D11: the prover's budget is a share of this."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert total_memory(machine(tmp_path, f"0::/{UNIT}\n", files)) == (limit or whole)


def test_disk__folder_that_is_not_made_yet__is_its_disks(tmp_path: Path) -> None:
    total = shutil.disk_usage(tmp_path).total
    assert 0 < free_disk(tmp_path / "a" / "b") <= total


def test_this_machine__has_memory() -> None:
    assert 0 < available_memory() <= total_memory()
