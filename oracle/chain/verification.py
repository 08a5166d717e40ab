"""What block explorers need to show a contract's source: solc's standard JSON input, and the rest.

One contract's input holds exactly the sources that it is compiled from, those of npm packages
included, so it compiles anywhere to the bytecode that was deployed. Not imported by the daemon.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from oracle.chain.artifacts import EVM_VERSION, OPTIMIZER_RUNS, VIA_IR, sources
from oracle.chain.deployments import DeployedContract, write_whole
from oracle.chain.toolchain import SOLC_CONTRACTS, long_version, standard_input
from oracle.config import project_root
from oracle.errors import ToolchainError

_IMPORT = re.compile(r'^import\s[^;"]*"([^"]+)"\s*;', re.MULTILINE)


def verification_input(name: str) -> dict[str, Any]:
    """The standard JSON input of one contract, as an explorer takes it.

    Raises:
        ToolchainError: no contract has this name, or an npm package is missing.
    """
    return standard_input(
        _closure(f"contracts/{name}.sol"),
        runs=OPTIMIZER_RUNS,
        evm_version=EVM_VERSION,
        via_ir=VIA_IR,
    )


def write_verification(contract: DeployedContract, folder: Path) -> None:
    """Write ``<name>.input.json``, to be uploaded, and ``<name>.json``, to be typed in."""
    text = json.dumps(verification_input(contract.name), indent=1, sort_keys=True) + "\n"
    about = {
        "address": contract.address,
        "contract": f"contracts/{contract.name}.sol:{contract.name}",
        "compiler": f"v{long_version(SOLC_CONTRACTS)}",
        "constructor_arguments": contract.arguments,
        "transaction": contract.transaction,
        "input": f"{contract.name}.input.json",
        "input_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    write_whole(folder / f"{contract.name}.input.json", text)
    write_whole(folder / f"{contract.name}.json", json.dumps(about, indent=2) + "\n")


def _closure(unit: str) -> dict[str, str]:
    """A unit's text and that of all it imports, by source unit name."""
    known = sources()
    found: dict[str, str] = {}
    todo = [unit]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found[name] = known[name] if name in known else _packaged(name)
        todo.extend(
            _resolved(name, target) if target.startswith(".") else target
            for target in _IMPORT.findall(found[name])
        )
    return found


def _packaged(name: str) -> str:
    path = project_root() / "node_modules" / name
    if not path.is_file():
        raise ToolchainError(f"there is no source {name}", remedy="Run: make setup")
    return path.read_text()


def _resolved(importer: str, target: str) -> str:
    """A relative import as the compiler reads it: from the importer's folder."""
    parts = list(PurePosixPath(importer).parent.parts)
    for part in PurePosixPath(target).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
