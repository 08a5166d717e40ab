"""The operators' page says what the code says."""

from __future__ import annotations

import re

from oracle.config import NodeConfig
from oracle.errors import OracleError
from scripts.operators_page import PAGE, render


def test_page__tables__are_those_of_the_code() -> None:
    text = PAGE.read_text()
    assert render(text) == text, "run: make docs"


def test_page__every_field_is_in_its_table_with_words() -> None:
    table = PAGE.read_text().partition("<!-- fields -->")[2].partition("<!-- end")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == set(NodeConfig.model_fields)
    assert all(len(row.split("|")[3].split()) >= 3 for row in rows)


def test_page__codes_that_it_gives_advice_on__exist() -> None:
    text = PAGE.read_text()
    advice = text.partition("What to do about")[2].partition("## Alerts")[0]
    codes = {line.split("|")[1].strip(" `") for line in text.splitlines() if line.startswith("| `")}
    for code in re.findall(r"`([A-Z_]+)`", advice):
        assert code in codes | {"CRASH"}


def test_page__table_of_codes__notices_a_new_one() -> None:
    class Added(OracleError):
        """Something new."""

        code = "ADDED"

    Added.__module__ = OracleError.__module__
    try:
        assert "`ADDED`" in render(PAGE.read_text())
    finally:
        # Not one of the program's for the other tests.
        Added.__module__ = __name__
