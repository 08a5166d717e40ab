"""The contract developers' page and the NatSpec say what is so."""

from __future__ import annotations

import re
from typing import Any

import pytest
import solcx
from eth_abi import encode as encode_abi
from eth_utils.abi import collapse_if_tuple

from oracle.chain import artifacts
from oracle.chain.toolchain import SOLC_CONTRACTS, toolchain
from oracle.circuits.bundle import Bundle
from oracle.config import project_root
from oracle.tensor import encode
from oracle.types import TensorSpec
from tests.contracts.evm import Reverted
from tests.contracts.world import make_world

PAGE = (project_root() / "docs" / "contract-developers.md").read_text()
CONSUMER, MOCKED, TRUSTING = re.findall(r"```solidity\n(.*?)```", PAGE, re.DOTALL)


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
    assert len(shapes_in(MOCKED)) == 2
    assert shapes_in(test) == shapes_in(MOCKED)


def test_contract_developers_page__its_requirement__holds_a_consumer_to_it() -> None:
    """On a chain where anything goes, one of a home-made SRS is not deployed."""
    source = """// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;
import {IInferenceOracle} from "contracts/interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "contracts/interfaces/IModelRegistry.sol";
contract Requiring {
    constructor(IInferenceOracle oracle, uint256 model) {
        %s
    }
}
"""
    built = compiled(
        {"Requiring.sol": source % TRUSTING}, ["evm.bytecode.object"], evmVersion="cancun"
    )
    code = bytes.fromhex(built["Requiring.sol"]["Requiring"]["evm"]["bytecode"]["object"])
    world = make_world(31337)
    for model_id, is_taken in (
        (world.model_id, True),
        (world.register(setupHash=bytes(32)), False),
    ):
        arguments = encode_abi(["address", "uint256"], [world.oracle.address, model_id])
        if is_taken:
            world.chain.create(code + arguments, "HashVerifier")
        else:
            with pytest.raises(Reverted):
                world.chain.create(code + arguments, "HashVerifier")


def shapes_in(text: str) -> list[TensorSpec]:
    """The shapes that a source spells out."""
    found = re.findall(r"IModelRegistry\.Tensor\(([^)]*)\)", text)
    return [TensorSpec(*map(int, fields.replace("_", "").split(","))) for fields in found]


def test_template__its_model_and_its_flower__are_the_demos(iris_bundle: Bundle) -> None:
    """contract-developers D14: what was tried on the mock is right on the devnet; if not, see: oracle model show 1."""
    spec = iris_bundle.spec
    folder = project_root() / "contracts" / "template"
    foundry = (folder / "test" / "Gardener.t.sol").read_text()
    assert shapes_in(foundry) == [spec.input, spec.output]
    ape = (folder / "tests" / "test_gardener.py").read_text()
    shapes = re.findall(r"^(?:INPUT|OUTPUT) = \(([-\d_, ]+)\)", ape, re.MULTILINE)
    assert [TensorSpec(*map(int, text.split(","))) for text in shapes] == [spec.input, spec.output]
    assert f"constant OUTPUT_WIDTH = {spec.output.width};" in CONSUMER
    flower = encode([5.1, 3.5, 1.4, 0.2], spec.input, spec.codec, spec.input_ranges).hex()
    assert f'hex"{flower}"' in foundry
    assert f'"{flower}"' in ape


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
