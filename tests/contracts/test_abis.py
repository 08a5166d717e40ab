"""What the ABIs are to the tools that read them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from scripts.export_protocol import Compiled, compiled, hashed

#: Of ethers' own: a Result is an Array with these besides.
_OF_RESULT = frozenset({"getValue", "toArray", "toObject"})


@cache
def found() -> Compiled:
    return compiled(left_out=())


def contracts() -> Iterator[tuple[str, dict[str, Any]]]:
    for unit, declared in found().contracts.items():
        # The tests' own are nobody's to call.
        if unit.startswith("contracts/") and "/test/" not in unit:
            yield from declared.items()


@cache
def array_members() -> frozenset[str]:
    """What every Array of JavaScript has, by JavaScript's own word."""
    asked = "JSON.stringify(Object.getOwnPropertyNames(Array.prototype).concat("
    asked += "Object.getOwnPropertyNames(Object.prototype)))"
    answer = subprocess.run(["node", "-p", asked], capture_output=True, text=True, check=True)
    return frozenset(json.loads(answer.stdout)) | _OF_RESULT


def members(entries: list[dict[str, Any]]) -> Iterator[str]:
    """Names of arguments, results and the members of structs, however deep."""
    for entry in entries:
        yield entry.get("name", "")
        yield from members(entry.get("components", []))


def test_abi__names_no_member_as_arrays_do() -> None:
    """contract-developers D1: ethers gives what it decodes as an Array, on which `length` is the Array's own."""
    assert {"length", "values", "keys", "map", "at"} <= array_members()
    wrong = [
        f"{contract}.{entry.get('name')}: {name}"
        for contract, output in contracts()
        for entry in output["abi"]
        for name in members(entry.get("inputs", []) + entry.get("outputs", []))
        if name in array_members()
    ]
    assert wrong == []


def test_abi__tensor__begins_with_its_elements() -> None:
    """contract-developers D1: what the member is called that was `length`."""
    (get,) = [
        entry
        for name, output in contracts()
        if name == "ModelRegistry"
        for entry in output["abi"]
        if entry.get("name") == "getModel"
    ]
    fields = {field["name"]: field for field in get["outputs"][0]["components"]}
    for side in ("input", "output"):
        names = [component["name"] for component in fields[side]["components"]]
        assert names == ["elements", "width", "scale", "minimum", "maximum"]


class Reach:
    """Which errors a call can end with, by the compiler's syntax trees.

    A call through an interface reaches every function of the sources that implements it.
    """

    def __init__(self) -> None:
        self.nodes: dict[int, dict[str, Any]] = {}
        self.overriding: dict[int, list[dict[str, Any]]] = {}
        for unit, tree in found().trees.items():
            # Doubles are nobody's registry or checker.
            is_ours = "/test/" not in unit and "/mocks/" not in unit
            for node in below(tree):
                self.nodes[node.get("id", -1)] = node
                for base in node.get("baseFunctions", []) if is_ours else []:
                    self.overriding.setdefault(base, []).append(node)

    def errors_of(self, contract: str) -> dict[str, str]:
        """Names by selector."""
        (own,) = (
            node
            for node in self.nodes.values()
            if node.get("nodeType") == "ContractDefinition" and node["name"] == contract
        )
        todo = [
            function
            for base in own["linearizedBaseContracts"]
            for function in self.nodes[base]["nodes"]
            if function.get("visibility") in ("public", "external") and function.get("body")
        ]
        seen: set[int] = set()
        errors = {}
        while todo:
            function = todo.pop()
            if function["id"] in seen:
                continue
            seen.add(function["id"])
            for node in below(function):
                called = self.nodes.get(referenced(node) or -1, {})
                if called.get("nodeType") == "ErrorDefinition":
                    errors[f"0x{called['errorSelector']}"] = called["name"]
                elif called.get("nodeType") in ("FunctionDefinition", "ModifierDefinition"):
                    todo += [called, *self.overriding.get(called["id"], [])]
        return errors


def below(node: Any) -> Iterator[dict[str, Any]]:
    """Every node of a tree, itself included."""
    if isinstance(node, dict):
        if "nodeType" in node:
            yield node
        for child in node.values():
            yield from below(child)
    elif isinstance(node, list):
        for child in node:
            yield from below(child)


def referenced(node: dict[str, Any]) -> int | None:
    """What a call or a modifier names."""
    if node["nodeType"] == "ModifierInvocation":
        named = node["modifierName"]
    elif node["nodeType"] == "FunctionCall":
        named = node["expression"]
        while named["nodeType"] == "FunctionCallOptions":
            named = named["expression"]
    else:
        return None
    declaration: int | None = named.get("referencedDeclaration")
    return declaration


@pytest.fixture(scope="module")
def reach() -> Reach:
    return Reach()


@pytest.mark.parametrize(
    "contract",
    [
        *("InferenceOracle", "ModelRegistry", "InferenceLens", "InputRanges", "TextCoder"),
        "MockInferenceOracle",
    ],
)
def test_abi__has_every_error_that_a_call_can_raise(contract: str, reach: Reach) -> None:
    """contract-developers D11: what is thrown further down is decoded by name where the call was made."""
    (abi,) = (output["abi"] for name, output in contracts() if name == contract)
    known = {hashed(entry) for entry in abi if entry["type"] == "error"}
    raised = reach.errors_of(contract)
    assert {name for selector, name in raised.items() if selector not in known} == set()


def test_errors_of__goes_through_interfaces(reach: Reach) -> None:
    """The test above looks where it should: into the registry, the codecs, the checkers."""
    through = {"InvalidBatchSize", "UnknownModel", "InputRange", "TextRange", "TextSyntax"}
    assert through <= set(reach.errors_of("InferenceOracle").values())
    assert "EmptyRange" in reach.errors_of("ModelRegistry").values()
    assert "InvalidModel" not in reach.errors_of("InferenceOracle").values()
