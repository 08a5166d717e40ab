"""Write the ABIs that the package reads: ``oracle/chain/abi/*.json``, compact and sorted.

Run after changing an interface: ``python scripts/export_abi.py``. A test compares them with the
sources.
"""

from __future__ import annotations

import json
from pathlib import Path

from oracle.chain.artifacts import contract
from oracle.config import project_root

CONTRACTS = ("InferenceLens", "InferenceOracle", "ModelRegistry")
#: Contracts that a call brings along, as `oracle.chain.lens` does.
CARRIED = ("InferenceLens",)
#: Contracts whose code is known by heart, as to `oracle.chain.input_ranges`.
KNOWN = ("InputRanges",)


def abi_path(name: str) -> Path:
    """Where the committed ABI of a contract lies."""
    return project_root() / "oracle" / "chain" / "abi" / f"{name}.json"


def abi_text(name: str) -> str:
    """The ABI of a contract as committed: one entry a line, keys and entries sorted."""
    entries = sorted(
        json.dumps(entry, sort_keys=True, separators=(",", ":")) for entry in contract(name).abi
    )
    return "[\n" + ",\n".join(entries) + "\n]\n"


def code_path(name: str) -> Path:
    """Where the committed creation code of a contract lies."""
    return abi_path(name).with_suffix(".code.json")


def code_text(name: str) -> str:
    """The creation code of a contract as committed: hex in a JSON string."""
    return json.dumps("0x" + contract(name).bytecode.hex()) + "\n"


def deployed_path(name: str) -> Path:
    """Where the committed deployed code of a contract lies."""
    return abi_path(name).with_suffix(".deployed.json")


def deployed_text(name: str) -> str:
    """The deployed code of a contract as committed: hex in a JSON string."""
    return json.dumps("0x" + contract(name).deployed_bytecode.hex()) + "\n"


def main() -> None:
    for name in CONTRACTS:
        abi_path(name).write_text(abi_text(name))
    for name in CARRIED:
        code_path(name).write_text(code_text(name))
    for name in KNOWN:
        deployed_path(name).write_text(deployed_text(name))


if __name__ == "__main__":
    main()
