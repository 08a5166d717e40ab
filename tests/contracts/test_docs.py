"""The consumer in the contract developers' page compiles as printed."""

from __future__ import annotations

import re

from oracle.chain import artifacts
from oracle.chain.toolchain import SOLC_CONTRACTS, compile_solidity
from oracle.config import project_root


def test_contract_developers_page__its_consumer_compiles_and_is_as_short_as_it_says() -> None:
    page = (project_root() / "docs" / "contract-developers.md").read_text()
    (source,) = re.findall(r"```solidity\n(.*?)```", page, re.DOTALL)
    library = {
        unit.replace("contracts/", "inference-oracle/", 1): text
        for unit, text in artifacts.sources().items()
        if unit.startswith(("contracts/interfaces/", "contracts/libraries/"))
        or unit == "contracts/InferenceConsumer.sol"
    }
    units = compile_solidity(
        {"Gardener.sol": source, **library},
        version=SOLC_CONTRACTS,
        runs=artifacts.OPTIMIZER_RUNS,
        evm_version=artifacts.EVM_VERSION,
        via_ir=artifacts.VIA_IR,
    )
    functions = {entry.get("name") for entry in units["Gardener.sol"]["Gardener"]["abi"]}
    assert {"ask", "aiOracleCallback", "isSetosa", "oracle"} <= functions
    body = source[source.index("contract Gardener") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 25
