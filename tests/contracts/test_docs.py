"""The contract developers' page and the NatSpec say what is so."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import solcx
from eth_utils.abi import collapse_if_tuple

from oracle.chain import artifacts
from oracle.chain.toolchain import SOLC_CONTRACTS, toolchain
from oracle.config import project_root

PAGE = (project_root() / "docs" / "contract-developers.md").read_text()
(CONSUMER,) = re.findall(r"```solidity\n(.*?)```", PAGE, re.DOTALL)


def compiled(sources: dict[str, str], output: list[str], **settings: Any) -> dict[str, Any]:
    """solc's answer for each unit and contract."""
    answer = solcx.compile_standard(
        {
            "language": "Solidity",
            "sources": {unit: {"content": text} for unit, text in sources.items()},
            "settings": {"outputSelection": {"*": {"*": output}}, **settings},
        },
        solc_binary=toolchain().solc(SOLC_CONTRACTS),
        base_path=project_root(),
    )
    return dict(answer["contracts"])


def set_up(tool: str) -> str:
    """What the page says about a tool."""
    (found,) = re.findall(rf"^\| {tool} \| (.*) \|$", PAGE, re.MULTILINE)
    return str(found)


def test_contract_developers_page__its_consumer__is_as_short_as_it_says() -> None:
    body = CONSUMER[CONSUMER.index("contract Gardener") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 25


@pytest.mark.parametrize("tool", ["Foundry", "Hardhat"])
def test_contract_developers_page__its_consumer__compiles_as_printed(tool: str) -> None:
    """Where the tool looks: below the remapped folder, or in the npm package of that name."""
    if tool == "Foundry":
        (folder,) = re.findall(r"this repository in `([^`]+)`", set_up(tool))
        remappings = json.loads(re.findall(r"`remappings = (\[.*\])`", set_up(tool))[0])
    else:
        folder = json.loads((project_root() / "package.json").read_text())["name"]
        remappings = []
    library = {f"{folder}/{unit}": text for unit, text in artifacts.sources().items()}
    wanted = ("/InferenceConsumer.sol", "/interfaces/", "/libraries/")
    sources = {unit: text for unit, text in library.items() if any(w in unit for w in wanted)}
    units = compiled({"Gardener.sol": CONSUMER, **sources}, ["abi"], remappings=remappings)
    functions = {entry.get("name") for entry in units["Gardener.sol"]["Gardener"]["abi"]}
    assert {"ask", "aiOracleCallback", "isSetosa", "oracle"} <= functions


def test_natspec__every_function_event_and_error_of_an_interface__is_explained() -> None:
    sources = {unit: text for unit, text in artifacts.sources().items() if "/test/" not in unit}
    units = compiled(sources, ["abi", "userdoc"])
    found = 0
    for unit in (u for u in units if u.startswith(("contracts/interfaces/", "contracts/libr"))):
        for name, output in units[unit].items():
            explained = {
                signature
                for kind in ("methods", "events", "errors")
                for signature in output["userdoc"].get(kind, {})
            }
            declared = {
                f"{entry['name']}({','.join(map(collapse_if_tuple, entry['inputs']))})"
                for entry in output["abi"]
            }
            assert declared <= explained, (name, declared - explained)
            found += len(declared)
    assert found > 100
