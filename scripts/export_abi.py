"""Write the ABIs that the package reads: ``oracle/chain/abi/*.json``, compact and sorted.

The npm package carries the same in ``contracts/abi/``: as JSON, and as modules of either kind whose
types are the entries themselves, which tools for TypeScript read arguments and results from.

Run after changing an interface: ``python scripts/export_abi.py``. A test compares them with the
sources.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from oracle.chain.artifacts import contract
from oracle.config import project_root

CONTRACTS = ("InferenceLens", "InferenceOracle", "ModelRegistry")
#: Contracts that only the npm package has the ABIs of besides.
BESIDE = ("OraAdapter",)
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


def npm_files(name: str) -> dict[Path, str]:
    """The npm package's files of a contract's ABI, and what is in them."""
    text = abi_text(name)
    constant = f"{name[0].lower()}{name[1:]}Abi"
    path = project_root() / "contracts" / "abi" / f"{name}.json"
    types = f"export declare const {constant}: {_type(text)};\n"
    return {
        path: text,
        path.with_suffix(".mjs"): f"export const {constant} = {text.rstrip()};\n",
        path.with_suffix(".d.mts"): types,
        path.with_suffix(".cjs"): f'exports.{constant} = require("./{name}.json");\n',
        path.with_suffix(".d.cts"): types,
    }


def _type(text: str) -> str:
    """The type of a JSON text's value, one entry a line: what `as const` makes of it."""
    return "readonly [\n" + ",\n".join(map(_literal, json.loads(text))) + "\n]"


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        fields = (f"readonly {json.dumps(name)}: {_literal(each)}" for name, each in value.items())
        return "{" + "; ".join(fields) + "}"
    if isinstance(value, list):
        return "readonly [" + ", ".join(map(_literal, value)) + "]"
    return json.dumps(value)


def main() -> None:
    for name in CONTRACTS:
        abi_path(name).write_text(abi_text(name))
    for name in CONTRACTS + BESIDE:
        for path, text in npm_files(name).items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    for name in CARRIED:
        code_path(name).write_text(code_text(name))
    for name in KNOWN:
        deployed_path(name).write_text(deployed_text(name))


if __name__ == "__main__":
    main()
