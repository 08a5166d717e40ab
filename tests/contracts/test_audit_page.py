"""`docs/audit.md` says what is so: its tests exist, its storage layout is the compiler's."""

from __future__ import annotations

import re

import solcx

from oracle.chain.artifacts import sources
from oracle.chain.toolchain import SOLC_CONTRACTS, toolchain
from oracle.config import project_root

PAGE = (project_root() / "docs" / "audit.md").read_text()
#: What goes wrong in oracles, in the order of the page.
PITFALLS = (
    "reentrancy from the callback",
    "63/64 gas griefing",
    "return bomb",
    "reverting, code-less and self-destructing consumers",
    "copied proof with another payee",
    "replay for another request, another chain, another oracle",
    "delivered output differing from the proved one",
    "re-pointed calldata offsets into the verifier",
    "field elements >= r",
    "verifier address without code",
    "verifier that runs out of the capped gas",
    "stuck request",
    "underpaid and overpaid requests",
    "fee or verifier changed under an open request",
    "spoofed callback target",
    "gas price spikes between request and fulfilment",
    "ETH recipient that refuses",
    "two nodes racing",
    "unbounded input",
    "batch with one finished item",
    "request mined again after a reorg",
)


def test_audit_page__every_pitfall__has_its_tests() -> None:
    (section,) = re.findall(r"^## Pitfalls$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (.*) \| .* \| (.*) \|$", section, re.MULTILINE)[1:]
    assert tuple(pitfall for pitfall, _ in rows) == PITFALLS
    assert all(re.fullmatch(r"`test_\w+`(, `test_\w+`)*", tests) for _, tests in rows)


def test_audit_page__every_test_it_names__exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    files = (project_root() / "tests").rglob("test_*.py")
    existing = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    assert named
    assert named <= existing


def test_audit_page__storage_layout__is_the_compilers() -> None:
    written = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \| `([^`]+)` \|$", PAGE, re.MULTILINE)
    audited = {unit: text for unit, text in sources().items() if "/test/" not in unit}
    output = solcx.compile_standard(
        {
            "language": "Solidity",
            "sources": {unit: {"content": text} for unit, text in audited.items()},
            "settings": {"outputSelection": {"*": {"*": ["storageLayout"]}}},
        },
        solc_binary=toolchain().solc(SOLC_CONTRACTS),
        base_path=project_root(),
    )
    compiled = [
        (
            entry["slot"],
            str(entry["offset"]),
            entry["label"],
            layout["types"][entry["type"]]["label"],
        )
        for name in (
            "InferenceOracle",
            "ModelRegistry",
            "InferenceLens",
            "TextCoder",
            "InputRanges",
        )
        for layout in [output["contracts"][f"contracts/{name}.sol"][name]["storageLayout"]]
        for entry in layout["storage"]
    ]
    assert written == compiled
