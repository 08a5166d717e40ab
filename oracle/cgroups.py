"""What the control groups of this process leave it of the machine's memory.

A systemd unit's limit (``MemoryMax=``) lies in the unit's own group and a slice's in the groups
above it: each on the way from ours up to the root holds. In a container the way may name groups of
the host that are not mounted; what is mounted at the root is then the container's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_MOUNT = "sys/fs/cgroup"


@dataclass(frozen=True, slots=True)
class _Version:
    """Where one version of control groups keeps what (files of a group's folder)."""

    #: Folders, below the root, where the tree may be mounted.
    mounts: tuple[str, ...]
    #: The least of these holds: beyond ``memory.high`` the kernel slows a group down until it has
    #: given memory back.
    limits: tuple[str, ...]
    used: str
    #: Prefix of the line of ``memory.stat`` that counts cached file pages, groups below included.
    cached: str


_V2 = _Version(
    mounts=(_MOUNT, f"{_MOUNT}/unified"),
    limits=("memory.max", "memory.high"),
    used="memory.current",
    cached="inactive_file ",
)
_V1 = _Version(
    mounts=(f"{_MOUNT}/memory",),
    limits=("memory.limit_in_bytes",),
    used="memory.usage_in_bytes",
    cached="total_inactive_file ",
)


def memory_limit(root: Path = Path("/")) -> int | None:
    """The least limit of any of the groups (bytes); None without one.

    Args:
        root: where ``proc`` and ``sys`` are mounted.
    """
    limits = [_limit(folder, version) for version, folder in _groups(root)]
    return min((limit for limit in limits if limit is not None), default=None)


def memory_left(root: Path = Path("/")) -> int | None:
    """Bytes that the groups leave; None where none has a limit.

    Args:
        root: where ``proc`` and ``sys`` are mounted.
    """
    left = []
    for version, folder in _groups(root):
        limit, used = _limit(folder, version), _number(folder / version.used)
        if limit is not None and used is not None:
            left.append(max(0, limit - used + _reclaimable(folder, version)))
    return min(left, default=None)


def _groups(root: Path) -> Iterator[tuple[_Version, Path]]:
    """The folders of our groups that may have a memory limit, from ours up to the root."""
    for version, way in _ways(root):
        for mount in version.mounts:
            for group in (way, *way.parents):
                yield version, root / mount / group


def _ways(root: Path) -> Iterator[tuple[_Version, PurePosixPath]]:
    """Our group in each hierarchy that can limit memory, relative to where it is mounted."""
    ways = {_V2: PurePosixPath(), _V1: PurePosixPath()}
    for line in _text(root / "proc/self/cgroup").splitlines():
        # hierarchy:controllers:/path; the path may have colons.
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        names = PurePosixPath(path).parts[1:]
        # Outside of our namespace, where nothing is to be seen.
        way = PurePosixPath() if ".." in names else PurePosixPath(*names)
        if number == "0" and not controllers:
            ways[_V2] = way
        elif "memory" in controllers.split(","):
            ways[_V1] = way
    yield from ways.items()


def _limit(folder: Path, version: _Version) -> int | None:
    found = [_number(folder / name) for name in version.limits]
    return min((limit for limit in found if limit is not None), default=None)


def _reclaimable(folder: Path, version: _Version) -> int:
    """Cached file pages count as used and are given up when memory is needed (bytes)."""
    lines = _text(folder / "memory.stat").splitlines()
    counts = [
        line.removeprefix(version.cached) for line in lines if line.startswith(version.cached)
    ]
    return sum(int(count) for count in counts if count.isdecimal())


def _number(path: Path) -> int | None:
    """A group's figure; None where there is no such group, or no limit (``max``)."""
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
