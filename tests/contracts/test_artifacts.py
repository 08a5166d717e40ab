from __future__ import annotations

import pytest

from oracle.chain.artifacts import contract
from oracle.errors import ToolchainError
from scripts.export_abi import (
    BESIDE,
    CARRIED,
    CONTRACTS,
    KNOWN,
    abi_path,
    abi_text,
    code_path,
    code_text,
    deployed_path,
    deployed_text,
    npm_files,
)
from tests.contracts.evm import selector as selector_of


@pytest.mark.parametrize("name", CONTRACTS)
def test_committed_abi__equals_the_sources(name: str) -> None:
    assert abi_path(name).read_text() == abi_text(name), "run: make abi"


@pytest.mark.parametrize("name", CONTRACTS + BESIDE)
def test_npm_packages_abi__equals_the_sources(name: str) -> None:
    for path, text in npm_files(name).items():
        assert path.read_text() == text, "run: make abi"


@pytest.mark.parametrize("name", CARRIED)
def test_committed_code__equals_the_sources(name: str) -> None:
    assert code_path(name).read_text() == code_text(name), "run: make abi"


@pytest.mark.parametrize("name", KNOWN)
def test_committed_deployed_code__equals_the_sources(name: str) -> None:
    assert deployed_path(name).read_text() == deployed_text(name), "run: make abi"


@pytest.mark.parametrize("name", [*CONTRACTS, *BESIDE])
def test_contract__fits_the_code_size_limit(name: str) -> None:
    assert 0 < len(contract(name).deployed_bytecode) <= 24_576


def test_contract__unknown_name__says_so() -> None:
    with pytest.raises(ToolchainError, match="no contract named Nothing"):
        contract("Nothing")


#: ORA's selectors and event topics: a consumer compiled against them must keep working.
ORA = {
    "requestCallback": ["5b953806", "8c2c1ed8"],
    "requestBatchInference": ["409694fa"],
    "estimateFee": ["00e1d8d0"],
    "estimateFeeBatch": ["5170b6af"],
    "isFinalized": ["33727c4d"],
    "getModel": ["6d361694"],
    "numberOfModels": ["e857f747"],
    "modelIDs": ["349c4136"],
}


@pytest.mark.parametrize(("function", "selectors"), ORA.items())
def test_selectors__are_those_of_ora(function: str, selectors: list[str]) -> None:
    entries = [e for e in contract("InferenceOracle").abi if e.get("name") == function]
    assert sorted(selector_of(entry).hex() for entry in entries) == selectors


@pytest.mark.parametrize(
    ("function", "selector"),
    [("aiOracleCallback", "b0347814"), ("aiOracleCallbackError", "8e6fd006")],
)
def test_callback_selectors__are_those_of_ora(function: str, selector: str) -> None:
    (entry,) = [e for e in contract("IAIOracleErrorReceiver").abi if e.get("name") == function]
    assert selector_of(entry).hex() == selector
