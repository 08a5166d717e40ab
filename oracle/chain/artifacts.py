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


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract."""

    name: str
    abi: list[dict[str, Any]]
    #: Creation code without constructor arguments.
    bytecode: bytes
    deployed_bytecode: bytes


def sources() -> dict[str, str]:
    """Text of every contract by its path from the project's root."""
    root = project_root()
    return {
        str(path.relative_to(root)): path.read_text()
        for path in sorted((root / "contracts").rglob("*.sol"))
    }


def contract(name: str) -> Artifact:
    """The artifact of a contract under ``contracts/``, by its Solidity name.

    Raises:
        ToolchainError: no contract has this name.
        SolidityRejected: the sources do not compile.
    """
    units = compile_solidity(
        sources(),
        version=SOLC_CONTRACTS,
        runs=OPTIMIZER_RUNS,
        evm_version=EVM_VERSION,
        via_ir=VIA_IR,
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
