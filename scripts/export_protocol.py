"""Write the protocol reference, ``docs/protocol.md``, from the contracts' NatSpec.

Run after changing an interface: ``make protocol-docs``. A test compares the page with the sources.
Names, selectors and topics are the compiler's; the order is that of the sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import solcx
from eth_utils.abi import collapse_if_tuple
from eth_utils.crypto import keccak

from oracle.chain import artifacts
from oracle.chain.toolchain import SOLC_CONTRACTS, toolchain
from oracle.config import project_root

#: What is called from outside, in the page's order, by the unit that has it.
CONTRACTS = {
    "InferenceOracle": "contracts/InferenceOracle.sol",
    "ModelRegistry": "contracts/ModelRegistry.sol",
    "InferenceLens": "contracts/InferenceLens.sol",
    "OraAdapter": "contracts/OraAdapter.sol",
    "TextCoder": "contracts/TextCoder.sol",
    "InputRanges": "contracts/InputRanges.sol",
    "InferenceConsumer": "contracts/InferenceConsumer.sol",
    "IAIOracleErrorReceiver": "contracts/interfaces/IAIOracle.sol",
    "IVerifier": "contracts/interfaces/IVerifier.sol",
}
#: Structs and enums that the functions take and give.
TYPES = (
    "contracts/interfaces/IInferenceOracle.sol",
    "contracts/interfaces/IModelRegistry.sol",
    "contracts/interfaces/IInferenceLens.sol",
    "contracts/interfaces/IOraAdapter.sol",
)
_CODE_WIDTH = 80
#: Doubles and examples are not the protocol.
_LEFT_OUT = ("/test/", "/mocks/", "/examples/")
_HEAD = """<!-- Written by scripts/export_protocol.py. Change the NatSpec in contracts/, then run: make protocol-docs -->

# Protocol reference

Every function, event and error that the contracts have for the outside, as the NatSpec of
`contracts/` states them. A selector is the first four bytes of calldata or of an error's data; a
topic is the first topic of an event's log. Addresses are in `deployments/`, one file a chain.
"""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the compiler says about the sources."""

    #: Unit -> contract -> {abi, userdoc, devdoc}.
    contracts: dict[str, dict[str, dict[str, Any]]]
    #: Unit -> syntax tree.
    trees: dict[str, Any]
    texts: dict[str, str]

    def nodes(self, unit: str) -> Iterator[dict[str, Any]]:
        """Everything that is declared in a unit, in its order."""
        for declared in self.trees[unit]["nodes"]:
            yield from declared.get("nodes", ())

    def text(self, unit: str, node: dict[str, Any]) -> str:
        """The source text of a node."""
        start, length, _ = map(int, node["src"].split(":"))
        return self.texts[unit].encode()[start : start + length].decode()


def page_path() -> Path:
    """Where the committed page lies."""
    return project_root() / "docs" / "protocol.md"


def page() -> str:
    """The page as the sources have it."""
    found = compiled()
    constants = _constants(found)
    parts = [_HEAD, *(_contract(found, name, constants) for name in CONTRACTS)]
    parts.append("## Types\n")
    parts += [_type(found, unit, node) for unit in TYPES for node in found.nodes(unit)]
    return "\n".join(filter(None, parts))


def compiled(left_out: Sequence[str] = _LEFT_OUT) -> Compiled:
    """Interfaces, documentation and syntax trees; no code is made.

    Args:
        left_out: parts of the names of units that are not wanted.

    Raises:
        solcx.exceptions.SolcError: the sources do not compile.
    """
    texts = {
        unit: text
        for unit, text in artifacts.sources().items()
        if not any(part in unit for part in left_out)
    }
    answer = solcx.compile_standard(
        {
            "language": "Solidity",
            "sources": {unit: {"content": text} for unit, text in texts.items()},
            "settings": {
                "evmVersion": artifacts.EVM_VERSION,
                "outputSelection": {"*": {"*": ["abi", "userdoc", "devdoc"], "": ["ast"]}},
            },
        },
        solc_binary=toolchain().solc(SOLC_CONTRACTS),
        base_path=project_root(),
    )
    trees = {unit: source["ast"] for unit, source in answer["sources"].items()}
    return Compiled(contracts=answer["contracts"], trees=trees, texts=texts)


def signature(entry: dict[str, Any]) -> str:
    """The canonical signature of an ABI entry, which selectors and topics hash."""
    return f"{entry['name']}({','.join(map(collapse_if_tuple, entry['inputs']))})"


def hashed(entry: dict[str, Any]) -> str:
    """Topic of an event, selector of anything else, in hex."""
    digest = keccak(text=signature(entry))
    return "0x" + (digest if entry["type"] == "event" else digest[:4]).hex()


def _order(found: Compiled, name: str) -> dict[str, int]:
    """Place in the sources by selector or topic: interfaces first, as the contract inherits them."""
    declared = {
        node["id"]: node
        for tree in found.trees.values()
        for node in tree["nodes"]
        if node["nodeType"] == "ContractDefinition"
    }
    (own,) = (node for node in declared.values() if node["name"] == name)
    keys = ("functionSelector", "eventSelector", "errorSelector")
    selectors = [
        f"0x{node[key]}"
        for base in reversed(own["linearizedBaseContracts"])
        for node in declared[base]["nodes"]
        for key in keys
        if key in node
    ]
    return {selector: place for place, selector in reversed([*enumerate(selectors)])}


def _constants(found: Compiled) -> dict[str, str]:
    """Value as written, by selector, of public constants."""
    return {
        f"0x{node['functionSelector']}": found.text(unit, node["value"])
        for unit in found.texts
        for node in found.nodes(unit)
        if node.get("constant") and "functionSelector" in node
    }


def _contract(found: Compiled, name: str, constants: dict[str, str]) -> str:
    order = _order(found, name)
    output = found.contracts[CONTRACTS[name]][name]
    docs = _docs(output)
    named = [entry for entry in output["abi"] if "name" in entry]
    entries = sorted(named, key=lambda entry: order.get(hashed(entry), len(order)))
    parts = [f"## {name}\n", *_introduction(found, name)]
    functions = [entry for entry in entries if entry["type"] == "function"]
    calls = [entry for entry in functions if hashed(entry) not in constants]
    parts += _entries(calls, docs, level=3)
    values = [
        (
            f"`{entry['name']}()`",
            f"`{hashed(entry)}`",
            f"`{constants[hashed(entry)]}`",
            _line(docs[signature(entry)]),
        )
        for entry in functions
        if hashed(entry) in constants
    ]
    parts.append(_table(f"### Constants of {name}", ("constant", "selector", "value", ""), values))
    events = [entry for entry in entries if entry["type"] == "event"]
    if events:
        parts.append(f"### Events of {name}\n")
        parts += _entries(events, docs, level=4)
    errors = [
        (
            f"`{entry['name']}{_parameters(entry['inputs'])}`",
            f"`{hashed(entry)}`",
            _line(docs[signature(entry)]),
        )
        for entry in entries
        if entry["type"] == "error"
    ]
    parts.append(_table(f"### Errors of {name}", ("error", "selector", "meaning"), errors))
    return "\n".join(filter(None, parts))


def _docs(output: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """NatSpec by signature."""
    result: dict[str, dict[str, Any]] = {
        signature(entry): {} for entry in output["abi"] if "name" in entry
    }
    for kind in ("userdoc", "devdoc"):
        doc = output[kind]
        for name, known in doc.get("stateVariables", {}).items():
            for getter in [each for each in result if each.startswith(f"{name}(")]:
                result[getter] |= known
        for section in ("methods", "events", "errors"):
            for entry_signature, known in doc.get(section, {}).items():
                if entry_signature in result:
                    # An error may be declared in several places; they are the same.
                    result[entry_signature] |= known[0] if isinstance(known, list) else known
    return result


def _introduction(found: Compiled, name: str) -> Iterator[str]:
    """What the contract says of itself, its interface first."""
    for declared in (f"I{name}", name):
        for unit in found.contracts.values():
            if declared in unit:
                yield from _paragraphs(unit[declared]["userdoc"])
                yield from _paragraphs(unit[declared]["devdoc"])


def _entries(
    entries: list[dict[str, Any]], docs: dict[str, dict[str, Any]], *, level: int
) -> Iterator[str]:
    """Functions or events; those of one name share a heading."""
    before = None
    for entry in entries:
        if entry["name"] != before:
            yield f"{'#' * level} {entry['name']}\n"
        before = entry["name"]
        yield from _entry(entry, docs[signature(entry)])


def _entry(entry: dict[str, Any], doc: dict[str, Any]) -> Iterator[str]:
    kind = "Topic" if entry["type"] == "event" else "Selector"
    yield f"```solidity\n{_declaration(entry)}\n```\n"
    yield f"{kind} `{hashed(entry)}`\n"
    yield from _paragraphs(doc)
    parameters, returns = doc.get("params", {}), doc.get("returns", {})
    named = [each["name"] for each in entry["inputs"]]
    described = [f"- `{name}`: {_clean(parameters[name])}" for name in named if name in parameters]
    for place, each in enumerate(entry.get("outputs", ())):
        name = each["name"] or f"_{place}"
        if name in returns:
            shown = f"returns `{name}`" if each["name"] else "returns"
            described.append(f"- {shown}: {_clean(returns[name])}")
    if described:
        yield "\n".join(described) + "\n"


def _declaration(entry: dict[str, Any]) -> str:
    parts = [f"{entry['type']} {entry['name']}", _parameters(entry["inputs"])]
    if entry["type"] == "function":
        known = entry["stateMutability"]
        parts.append("" if known == "nonpayable" else f" {known}")
        if entry["outputs"]:
            parts += [" returns ", _parameters(entry["outputs"])]
    declaration = "".join(parts)
    if len(declaration) <= _CODE_WIDTH:
        return declaration
    # One parameter a line; the results as well if there are several.
    broken = [parts[1], *(part for part in parts if "," in part)]
    return "".join(_broken(part) if part in broken else part for part in parts)


def _broken(parameters: str) -> str:
    return "(\n    " + parameters[1:-1].replace(", ", ",\n    ") + "\n)"


def _parameters(parameters: list[dict[str, Any]]) -> str:
    """As declared, in parentheses."""
    words = (
        (_type_name(each), "indexed" * bool(each.get("indexed")), each["name"])
        for each in parameters
    )
    return f"({', '.join(' '.join(filter(None, each)) for each in words)})"


def _type_name(parameter: dict[str, Any]) -> str:
    """As a Solidity source names it: ``Request`` for ``struct IInferenceOracle.Request``."""
    full: str = parameter.get("internalType", parameter["type"])
    return re.sub(r"^(struct|enum|contract) (\w+\.)?", "", full)


def _type(found: Compiled, unit: str, node: dict[str, Any]) -> str:
    """A struct or enum; nothing for other declarations."""
    if node["nodeType"] not in {"StructDefinition", "EnumDefinition"}:
        return ""
    text = re.sub(r"^    ", "", found.text(unit, node), flags=re.MULTILINE)
    tags = re.split(r"^\s*@", node["documentation"]["text"], flags=re.MULTILINE)
    lines = [f"### {node['name']}\n", "```solidity", text, "```\n"]
    fields = []
    for tag in filter(None, tags):
        kind, _, rest = tag.partition(" ")
        if kind == "param":
            name, _, meaning = rest.partition(" ")
            fields.append(f"- `{name}`: {_clean(meaning)}")
        else:
            lines.append(_clean(rest) + "\n")
    if fields:
        lines.append("\n".join(fields) + "\n")
    return "\n".join(lines)


def _paragraphs(doc: dict[str, Any]) -> Iterator[str]:
    return (f"{_clean(doc[key])}\n" for key in ("notice", "details") if key in doc)


def _line(doc: dict[str, Any]) -> str:
    return _clean(" ".join(doc[key] for key in ("notice", "details") if key in doc))


def _table(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = [f"{title}\n", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _clean(text: str) -> str:
    """One line, with what Markdown would take for HTML escaped outside of code."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(p if p.startswith("`") else p.replace("<", "&lt;") for p in pieces)


def main() -> None:
    page_path().write_text(page())


if __name__ == "__main__":
    main()
