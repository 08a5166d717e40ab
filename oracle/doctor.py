"""What this machine has, and what it lacks: looks, changes nothing.

In a checkout for all of the project's work. An installed package runs nodes: there no compiler is
missing, and nothing can be made.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from oracle.chain.toolchain import SOLC_CONTRACTS, SOLC_VERIFIERS, toolchain
from oracle.config import build_dir, is_checkout, project_root
from oracle.errors import OracleError, ToolchainError
from oracle.machine import available_memory, total_memory

#: Bytes of memory below which nothing can be proved, and below which larger models cannot.
_LEAST_MEMORY, _GOOD_MEMORY = 1 << 30, 4 << 30
#: The same for the disk that holds the build directory: keys take hundreds of megabytes a model.
_LEAST_DISK, _GOOD_DISK = 1 << 30, 5 << 30
_GOOD_CORES = 2
_LEAST_NODE = 18
#: A contract to try a compiler on.
_SMALLEST = {
    "language": "Solidity",
    "sources": {"C.sol": {"content": "contract C {}"}},
    "settings": {"outputSelection": {"*": {"*": ["evm.bytecode.object"]}}},
}
#: Seconds for a tool to answer.
_PATIENCE = 30


class Health(StrEnum):
    """How serious a finding is."""

    OK = auto()
    #: It works, but not for everything.
    WARNING = auto()
    #: Something that the project needs is missing.
    MISSING = auto()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    health: Health
    #: What was found.
    detail: str
    #: What to do; empty when all is well.
    remedy: str = ""


def examine(progress: Callable[[str], None] = lambda _: None) -> list[Finding]:
    """Look at everything; never stops at the first problem."""
    found = []
    checks = _CHECKS if is_checkout() else {name: _CHECKS[name] for name in _OF_A_NODE}
    for subject, look in checks.items():
        progress(subject)
        try:
            health, detail, remedy = look()
        except (OracleError, OSError, subprocess.SubprocessError) as error:
            health, detail = Health.MISSING, str(error)
            remedy = getattr(error, "remedy", None) or _set_up()
        found.append(Finding(subject, health, detail, remedy))
    return found


_Look = tuple[Health, str, str]


def _set_up() -> str:
    return "Run: make setup" if is_checkout() else "Install the package again, with what it needs"


def _python() -> _Look:
    found = platform.python_version()
    if found.startswith("3.11."):
        return Health.OK, found, ""
    after = "then: make setup" if is_checkout() else "and the package into it"
    return Health.MISSING, f"{found}; 3.11 is needed", f"Install python3.11, {after}"


def _node() -> _Look:
    path = shutil.which("node")
    if path is None:
        return Health.MISSING, "not on PATH", f"Install Node.js {_LEAST_NODE} or newer"
    found = _output([path, "--version"])
    if int(found.removeprefix("v").partition(".")[0]) < _LEAST_NODE:
        return Health.MISSING, f"{found} is too old", f"Install Node.js {_LEAST_NODE} or newer"
    return Health.OK, found, ""


def _ezkl() -> _Look:
    try:
        return Health.OK, version("ezkl"), ""
    except PackageNotFoundError:
        return Health.MISSING, "not installed", _set_up()


def _solc(wanted: str) -> Callable[[], _Look]:
    def look() -> _Look:
        # Its version comes from the wrapper's shell: only a compilation shows that it works.
        wrapper = toolchain().solc(wanted)
        answer = _output([str(wrapper), "--standard-json"], json.dumps(_SMALLEST))
        if '"object"' not in answer:
            raise ToolchainError(f"does not compile: {answer[:80]}", remedy="Run: make setup")
        return Health.OK, "compiles", ""

    return look


def _anvil() -> _Look:
    return Health.OK, _output([str(toolchain().anvil), "--version"]).splitlines()[0], ""


def _memory() -> _Look:
    found, total = available_memory(), total_memory()
    detail = f"{_gib(found)} of {_gib(total)} available"
    if found < _LEAST_MEMORY:
        return Health.MISSING, detail, f"Have {_gib(_LEAST_MEMORY)} or more, even for small models"
    if found < _GOOD_MEMORY:
        return Health.WARNING, detail, "Enough for small models; a proof takes 2.5 x its key"
    return Health.OK, detail, ""


def _disk() -> _Look:
    if not is_checkout():
        found = shutil.disk_usage(Path.cwd()).free
        detail = f"{_gib(found)} free at {Path.cwd()}"
        return (Health.OK if found >= _LEAST_DISK else Health.WARNING), detail, ""
    folder = build_dir()
    place = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(place, os.W_OK):
        return Health.MISSING, f"{place} cannot be written", "Set ORACLE_BUILD_DIR to a folder"
    found = shutil.disk_usage(place).free
    detail = f"{_gib(found)} free at {place}"
    remedy = "Free some, or set ORACLE_BUILD_DIR to a folder on a larger disk"
    if found < _LEAST_DISK:
        return Health.MISSING, detail, remedy
    return (Health.WARNING, detail, remedy) if found < _GOOD_DISK else (Health.OK, detail, "")


def _cores() -> _Look:
    found = len(os.sched_getaffinity(0))
    if found < _GOOD_CORES:
        return Health.WARNING, str(found), "Proofs use every core; expect longer times"
    return Health.OK, str(found), ""


def _contracts() -> _Look:
    folder = project_root() / "contracts"
    if not folder.is_dir():
        return Health.MISSING, f"no {folder}", "Set ORACLE_ROOT to a checkout of the project"
    return Health.OK, str(folder), ""


#: In the order in which one depends on another.
_CHECKS: dict[str, Callable[[], _Look]] = {
    "python": _python,
    "node": _node,
    "contracts": _contracts,
    f"solc {SOLC_CONTRACTS}": _solc(SOLC_CONTRACTS),
    f"solc {SOLC_VERIFIERS}": _solc(SOLC_VERIFIERS),
    "anvil": _anvil,
    "ezkl": _ezkl,
    "memory": _memory,
    "disk": _disk,
    "cores": _cores,
}


#: What somebody needs who only runs a node.
_OF_A_NODE = ("python", "ezkl", "memory", "disk", "cores")


def _output(command: Sequence[str], text: str = "") -> str:
    """What a tool prints.

    Raises:
        OSError: it cannot be started.
        SubprocessError: it fails, or takes too long.
    """
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=_PATIENCE, check=True
    )
    return done.stdout.strip()


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
