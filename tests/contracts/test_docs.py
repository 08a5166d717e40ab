"""The contract developers' page and the NatSpec say what is so."""

from __future__ import annotations

import re
from typing import Any

import solcx
from eth_utils.abi import collapse_if_tuple

from oracle.chain import artifacts
from oracle.chain.toolchain import SOLC_CONTRACTS, toolchain
from oracle.config import project_root

PAGE = (project_root() / "docs" / "contract-developers.md").read_text()
CONSUMER, MOCKED = re.findall(r"```solidity\n(.*?)```", PAGE, re.DOTALL)


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


def test_contract_developers_page__its_consumer__is_as_short_as_it_says() -> None:
    body = CONSUMER[CONSUMER.index("contract Gardener") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 25


def test_contract_developers_page__its_consumer__is_the_templates() -> None:
    """Which test_kit.py compiles and tests, in a project of its own."""
    template = project_root() / "contracts" / "template" / "src" / "Gardener.sol"
    assert template.read_text() == CONSUMER


def test_contract_developers_page__its_mocked_model__is_the_templates() -> None:
    test = (project_root() / "contracts" / "template" / "test" / "Gardener.t.sol").read_text()
    shapes = re.findall(r"IModelRegistry\.Tensor\([^)]*\)", MOCKED)
    assert len(shapes) == 2
    assert all(shape in test for shape in shapes)


def test_contract_developers_page__the_mocks_calls__exist() -> None:
    mock = {entry.get("name") for entry in artifacts.contract("MockInferenceOracle").abi}
    (table,) = re.findall(r"^\| call \| what happens \|$(.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)
    named = set(re.findall(r"`(\w+)\(", table))
    assert len(named) == 7
    assert named <= mock


def test_natspec__every_function_event_and_error_of_an_interface__is_explained() -> None:
    doubles = ("/test/", "/mocks/")
    sources = {
        unit: text
        for unit, text in artifacts.sources().items()
        if not any(double in unit for double in doubles)
    }
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
