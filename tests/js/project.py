"""Projects as users have them: the packed npm package beside libraries that `make setup` installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from oracle.chain.toolchain import toolchain
from oracle.config import build_dir, project_root

PACKAGE = "@verifiable-inference/contracts"
HERE = Path(__file__).parent


def libraries(name: str) -> Path:
    """The ``node_modules`` that the lock file of ``tests/js/NAME`` says."""
    found = build_dir() / "js" / name / "node_modules"
    assert found.is_dir(), f"{found} is missing. Run: make setup"
    return found


def packed(folder: Path) -> Path:
    """The package as npm would publish it, unpacked in a folder."""
    contracts = project_root() / "contracts"
    said = run(folder, "npm", "pack", "--json", "--ignore-scripts", str(contracts))
    described = json.loads(said)
    # One entry a package, in a list or by name: npm's versions differ.
    (entry,) = described if isinstance(described, list) else described.values()
    shutil.unpack_archive(folder / entry["filename"], folder)
    return folder / "package"


def project(folder: Path, package: Path, name: str) -> Path:
    """An empty project in which the package and the libraries of NAME are installed."""
    modules = folder / "node_modules"
    place = modules / PACKAGE
    place.parent.mkdir(parents=True)
    shutil.copytree(package, place)
    for path in libraries(name).iterdir():
        if path.name != ".package-lock.json":
            (modules / path.name).symlink_to(path)
    return folder


def run(folder: Path, *command: str, given: str = "", **environment: str) -> str:
    """What a command prints that ends well."""
    done = attempt(folder, *command, given=given, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def attempt(
    folder: Path, *command: str, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command in a project, with the toolchain on its path."""
    path = f"{toolchain().bin}:{os.environ['PATH']}"
    offline = {"FOUNDRY_OFFLINE": "true", "npm_config_offline": "true"}
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, **offline, **environment},
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def call(folder: Path, kind: str, calls: list[list[Any]]) -> list[Any]:
    """What functions of the package return for JSON arguments, or the error that they throw.

    Args:
        folder: a project.
        kind: ``import`` or ``require``.
        calls: each a function's name and its arguments; integers are given as {"n": "12"}, and
            come back as text.
    """
    script = (HERE / "call.mjs").read_text()
    (folder / "call.mjs").write_text(script)
    said = run(folder, "node", "call.mjs", kind, given=json.dumps(calls))
    # Its numbers are doubles, however few of their digits it prints.
    answered: list[Any] = json.loads(said, parse_int=float)
    return answered
