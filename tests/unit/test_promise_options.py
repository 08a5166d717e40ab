"""What --promise, --margin and --range ask for."""

from __future__ import annotations

import pytest

from oracle.circuits.promise import Kind, Wanted
from oracle.circuits.row import Range
from oracle.cli.promised import wanted_of
from oracle.errors import UsageError


def test_wanted__ranges_of_all_and_of_one__read() -> None:
    assert wanted_of("ranges", 0.1, ["-1,2.5", "3=0,1e3"]) == Wanted(
        Kind.RANGES, 0.1, {None: Range(-1.0, 2.5), 3: Range(0.0, 1000.0)}
    )
    assert wanted_of("samples", 0.25, None) == Wanted(Kind.SAMPLES)


@pytest.mark.parametrize(
    "text", ["", "1", "a,b", "2,1", "x=0,1", "1,inf", "nan,2", "=0,1", "-inf,0", "1.5=0,1"]
)
def test_wanted__no_range__refused_with_the_form(text: str) -> None:
    with pytest.raises(UsageError, match="no range") as caught:
        wanted_of("ranges", 0.25, [text])
    assert "INDEX=LOW,HIGH" in caught.value.line()


def test_wanted__unknown_promise__refused_with_what_there_is() -> None:
    with pytest.raises(UsageError, match="unknown") as caught:
        wanted_of("everything", 0.25, None)
    assert "ranges or samples" in caught.value.line()
