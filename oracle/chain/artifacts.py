"""The hand-written contracts, compiled. The one place that holds their compiler settings.

For tests, scripts and the devnet; the daemon reads the committed ABIs in ``abi/`` instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oracle.chain.toolchain import SOLC_CONTRACTS, compile_solidity
from oracle.config import project_root
from oracle.errors import ToolchainError

#: As many as the oracle's code has room for (24,576 bytes, EIP-170).
OPTIMIZER_RUNS = 700
#: Transient storage (the reentrancy guard) needs Cancun.
EVM_VERSION = "cancun"
VIA_IR = True

#: Starting points for consumers: they import this folder as the npm package that it is there.
_TEMPLATE = "contracts/template/"
#: Doubles for consumers' tests, compiled as their tools do by default: not through Yul.
_MOCKS = "contracts/mocks/"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract."""

    name: str
    abi: list[dict[str, Any]]
    #: Creation code without constructor arguments.
    bytecode: bytes
    deployed_bytecode: bytes


def sources() -> dict[str, str]:
    """Text of every contract by its path from the project's root, templates left out."""
    root = project_root()
    return {
        unit: path.read_text()
        for path in sorted((root / "contracts").rglob("*.sol"))
        if not (unit := str(path.relative_to(root))).startswith(_TEMPLATE)
    }


def contract(name: str) -> Artifact:
    """The artifact of a contract under ``contracts/``, by its Solidity name.

    Raises:
        ToolchainError: no contract has this name.
        SolidityRejected: the sources do not compile.
    """
    known = sources()
    if f"{_MOCKS}{name}.sol" in known:
        # What a mock can import; the rest would not compile without Yul.
        chosen = {unit: text for unit, text in known.items() if _is_light(unit, text)}
        runs, via_ir = 200, False
    else:
        chosen = {unit: text for unit, text in known.items() if not unit.startswith(_MOCKS)}
        runs, via_ir = OPTIMIZER_RUNS, VIA_IR
    units = compile_solidity(
        chosen, version=SOLC_CONTRACTS, runs=runs, evm_version=EVM_VERSION, via_ir=via_ir
    )
    for unit, found in units.items():
        if unit.startswith("contracts/") and name in found:
            output = found[name]
            return Artifact(
                name=name,
                abi=output["abi"],
                bytecode=bytes.fromhex(output["evm"]["bytecode"]["object"]),
                deployed_bytecode=bytes.fromhex(output["evm"]["deployedBytecode"]["object"]),
            )
    raise ToolchainError(
        f"there is no contract named {name}", remedy="See contracts/ for the names"
    )


def _is_light(unit: str, text: str) -> bool:
    return "/test/" not in unit and "@openzeppelin/" not in text
