from __future__ import annotations

import pytest

from oracle.chain.artifacts import contract
from oracle.errors import ToolchainError
from scripts.export_abi import CONTRACTS, abi_path, abi_text
from tests.contracts.evm import selector as selector_of


@pytest.mark.parametrize("name", CONTRACTS)
def test_committed_abi__equals_the_sources(name: str) -> None:
    assert abi_path(name).read_text() == abi_text(name), "run: make abi"


@pytest.mark.parametrize("name", ["InferenceOracle", "ModelRegistry"])
def test_contract__fits_the_code_size_limit(name: str) -> None:
    assert 0 < len(contract(name).deployed_bytecode) <= 24_576


def test_contract__unknown_name__says_so() -> None:
    with pytest.raises(ToolchainError, match="no contract named Nothing"):
        contract("Nothing")


#: ORA's selectors and event topics: a consumer compiled against them must keep working.
ORA = {
    "requestCallback": "5b953806",
    "estimateFee": "00e1d8d0",
    "isFinalized": "33727c4d",
}


@pytest.mark.parametrize(("function", "selector"), ORA.items())
def test_selectors__are_those_of_ora(function: str, selector: str) -> None:
    entries = [e for e in contract("InferenceOracle").abi if e.get("name") == function]
    assert [selector_of(entry).hex() for entry in entries] == [selector]


def test_callback_selector__is_that_of_ora() -> None:
    (entry,) = [e for e in contract("PlainCaller").abi if e.get("name") == "aiOracleCallback"]
    assert selector_of(entry).hex() == "b0347814"
