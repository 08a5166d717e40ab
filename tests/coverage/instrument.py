"""Solidity sources with a probe before every statement and around every condition.

A probe is an empty static call to an address that stands for one place in the source. It works in
view functions and in assembly, needs no memory, and leaves a mark that outlives a revert: the
virtual machine keeps every account that it has looked up. See `tests.coverage.plugin`.

Probes cost gas and bytes, so instrumented contracts are for counting lines only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import solcx

from oracle.chain.toolchain import SOLC_CONTRACTS, toolchain
from oracle.config import project_root

#: Probe ``i`` calls the address ``PROBE_BASE + i``.
PROBE_BASE = 0xC0DEC0DE << 128
#: Where the probe functions live in the compiler's input.
PROBE_UNIT = "contracts/Probe.sol"

_PROBE_SOURCE = f"""
pragma solidity ^0.8.24;
function probe(uint256 id) view {{
    assembly ("memory-safe") {{ pop(staticcall(0, add({PROBE_BASE:#x}, id), 0, 0, 0, 0)) }}
}}
function probeBranch(uint256 id, bool taken) view returns (bool) {{
    assembly ("memory-safe") {{
        pop(staticcall(0, add({PROBE_BASE:#x}, add(id, taken)), 0, 0, 0, 0))
    }}
    return taken;
}}
"""

_Node = dict[str, Any]


@dataclass(frozen=True)
class Probe:
    """One place: a statement, or one outcome of a condition."""

    file: str
    line: int
    #: None for a statement; else the outcome of the condition.
    outcome: bool | None = None

    @property
    def address(self) -> str:
        """Place as people write it."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Instrumented:
    """Compilable sources by unit name, and what probe ``i`` stands for."""

    sources: dict[str, str]
    probes: tuple[Probe, ...]


def probe_address(index: int) -> str:
    """The account that probe ``index`` looks up, in lower-case hex."""
    return f"0x{PROBE_BASE + index:040x}"


def is_measured(unit: str) -> bool:
    """Whether a source counts: hand-written and deployed, not a test double."""
    return unit.startswith("contracts/") and "/test/" not in unit and "/mocks/" not in unit


def instrument(sources: dict[str, str]) -> Instrumented:
    """Put probes into every measured source.

    ``pure`` becomes ``view`` everywhere, for a probe reads the chain.
    """
    texts = {unit: text.replace(" pure", " view") for unit, text in sources.items()}
    trees = _parse(texts)
    probes: list[Probe] = []
    for unit, text in texts.items():
        if is_measured(unit):
            texts[unit] = _Instrumenter(unit, text.encode(), probes).run(trees[unit])
    return Instrumented({**texts, PROBE_UNIT: _PROBE_SOURCE}, tuple(probes))


def _parse(sources: dict[str, str]) -> dict[str, _Node]:
    output = solcx.compile_standard(
        {
            "language": "Solidity",
            "sources": {unit: {"content": text} for unit, text in sources.items()},
            "settings": {"stopAfter": "parsing", "outputSelection": {"*": {"": ["ast"]}}},
        },
        solc_binary=toolchain().solc(SOLC_CONTRACTS),
        base_path=project_root(),
    )
    return {unit: found["ast"] for unit, found in output["sources"].items()}


@dataclass
class _Instrumenter:
    unit: str
    text: bytes
    probes: list[Probe]
    # (offset, opens, order, text): at one offset, what closes comes before what opens; of several
    # that open, the outer is first, and of several that close, the inner.
    _inserts: list[tuple[int, bool, int, str]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)

    def run(self, tree: _Node) -> str:
        for node in _descendants(tree):
            kind = node["nodeType"]
            if kind == "PragmaDirective":
                names = "{probe, probeBranch}"
                self._close(_end(node), f' import {names} from "{PROBE_UNIT}";')
            elif kind in ("FunctionDefinition", "ModifierDefinition") and node.get("body"):
                self._close(_start(node["body"]) + 1, f" probe({self._probe(node)});")
                self._statement(node["body"])
            elif kind == "Conditional":
                self._condition(node["condition"])
            elif kind == "BinaryOperation" and node["operator"] in ("&&", "||"):
                for side in ("leftExpression", "rightExpression"):
                    self._condition(node[side])
            elif kind == "FunctionCall" and node["expression"].get("name") == "require":
                self._condition(node["arguments"][0])
        parts, at = [], 0
        for offset, *_, inserted in sorted(self._inserts):
            parts += [self.text[at:offset], inserted.encode()]
            at = offset
        return b"".join([*parts, self.text[at:]]).decode()

    def _statement(self, node: _Node) -> None:
        """Probe a statement and what is inside it; blocks have no probe of their own."""
        kind = node["nodeType"]
        if kind in ("Block", "UncheckedBlock"):
            for child in node["statements"]:
                self._statement(child)
            return
        if kind == "PlaceholderStatement":
            return
        self._open(_start(node), f"probe({self._probe(node)}); ")
        if kind == "IfStatement":
            self._condition(node["condition"])
            self._body(node["trueBody"])
            if node.get("falseBody"):
                self._body(node["falseBody"])
        elif kind in ("ForStatement", "WhileStatement", "DoWhileStatement"):
            self._body(node["body"])
        elif kind == "TryStatement":
            for clause in node["clauses"]:
                self._statement(clause["block"])
        elif kind == "InlineAssembly":
            self._yul(node["AST"])

    def _body(self, node: _Node) -> None:
        """A branch: braces are added where there are none, for the probe's sake."""
        if node["nodeType"] == "Block":
            self._statement(node)
            return
        self._open(_start(node), "{ ")
        self._statement(node)
        self._close(self._statement_end(node), " }")

    def _statement_end(self, node: _Node) -> int:
        kind = node["nodeType"]
        if kind == "IfStatement":
            return self._statement_end(node.get("falseBody") or node["trueBody"])
        if kind in ("ForStatement", "WhileStatement"):
            return self._statement_end(node["body"])
        if kind in ("Block", "UncheckedBlock", "TryStatement", "InlineAssembly"):
            return _end(node)
        return self.text.index(b";", _end(node) - 1) + 1

    def _condition(self, node: _Node) -> None:
        self._open(_start(node), f"probeBranch({self._branch(node)}, ")
        self._close(_end(node), ")")

    def _yul(self, block: _Node) -> None:
        """Probe a block of assembly at its start, for all its statements: a call in between would
        change what `returndatasize` says.
        """
        statements = [s for s in block["statements"] if s["nodeType"] != "YulFunctionDefinition"]
        start = "".join(_yul_probe(self._probe(statement)) for statement in statements)
        self._close(_start(block) + 1, " " + start)
        for node in block["statements"]:
            kind = node["nodeType"]
            if kind == "YulIf":
                # A switch has a place for the other outcome.
                branch = self._branch(node)
                self._open(_start(node), "switch ", skip=len("if"))
                self._open(_start(node["body"]), f"case 0 {{ {_yul_probe(branch)}}} default ")
                self._close(_start(node["body"]) + 1, " " + _yul_probe(branch + 1))
                self._yul(node["body"])
            elif kind == "YulSwitch":
                for case in node["cases"]:
                    self._yul(case["body"])
            elif kind in ("YulForLoop", "YulFunctionDefinition"):
                self._yul(node["body"])
            elif kind == "YulBlock":
                self._yul(node)

    def _probe(self, node: _Node) -> int:
        self.probes.append(Probe(self.unit, self._line(node)))
        return len(self.probes) - 1

    def _branch(self, node: _Node) -> int:
        line = self._line(node)
        self.probes += [Probe(self.unit, line, outcome) for outcome in (False, True)]
        return len(self.probes) - 2

    def _line(self, node: _Node) -> int:
        return 1 + self.text.count(b"\n", 0, _start(node))

    def _open(self, offset: int, text: str, *, skip: int = 0) -> None:
        if skip:
            self.text = self.text[:offset] + b" " * skip + self.text[offset + skip :]
        self._inserts.append((offset, True, next(self._order), text))

    def _close(self, offset: int, text: str) -> None:
        self._inserts.append((offset, False, -next(self._order), text))


def _descendants(node: Any) -> Iterator[_Node]:
    if isinstance(node, list):
        for item in node:
            yield from _descendants(item)
    elif isinstance(node, dict):
        if "nodeType" in node:
            yield node
        for value in node.values():
            yield from _descendants(value)


def _start(node: _Node) -> int:
    return int(node["src"].split(":")[0])


def _end(node: _Node) -> int:
    start, length, _ = map(int, node["src"].split(":"))
    return start + length


def _yul_probe(index: int) -> str:
    return f"pop(staticcall(0, {probe_address(index)}, 0, 0, 0, 0)) "
