"""The protocol reference is what the contracts say."""

from __future__ import annotations

import re

from oracle.chain.artifacts import contract
from scripts.export_protocol import CONTRACTS, hashed, page, page_path
from tests.docs.pages import ROOT


def section(name: str) -> str:
    return page_path().read_text().split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]


def test_page__is_what_the_sources_say() -> None:
    assert page_path().read_text() == page(), "run: make protocol-docs"


def test_page__has_every_function_event_and_error_with_its_hash() -> None:
    """Against the ABI of the deployed code."""
    found = 0
    for name in CONTRACTS:
        text = section(name)
        for entry in contract(name).abi:
            if "name" in entry:
                assert f"`{hashed(entry)}`" in text, (name, entry["name"])
                found += 1
    assert found > 150


def test_page__selectors__are_those_of_ora() -> None:
    """One that is known from elsewhere, so that both sides cannot be wrong alike."""
    (entry,) = re.findall(
        r"### requestBatchInference\n(.*?)\n###", section("InferenceOracle"), re.S
    )
    assert "Selector `0x409694fa`" in entry


def test_comparison__our_gas__is_that_of_the_developers_page() -> None:
    comparison = (ROOT / "docs" / "comparison.md").read_text()
    developers = (ROOT / "docs" / "contract-developers.md").read_text()
    (table,) = re.findall(r"^\| \| here \| ORA \|$(.*?)\n\n", comparison, re.M | re.S)
    figures = re.findall(r"\d+,\d{3}|\d[\d.]*[kM]", table)
    assert len(figures) >= 9
    assert all(figure in developers for figure in figures)
