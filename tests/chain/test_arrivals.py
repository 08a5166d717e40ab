"""When new blocks were told of, and for how long nobody need ask."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from oracle.chain.arrivals import Arrivals


class Heard:
    """Blocks told of at some seconds, numbered in their order."""

    def __init__(self, *seconds: float, least: float = 0) -> None:
        self.now = 0.0
        self.arrivals = Arrivals(least, lambda: self.now)
        self.rings = [self.at(second, number) for number, second in enumerate(seconds)]

    def at(self, second: float, number: int = 0) -> bool:
        self.now = second
        return self.arrivals.heard(number)

    def left(self, second: float) -> float:
        self.now = second
        return self.arrivals.seconds_left()


@pytest.mark.parametrize("seconds", [(), (0,), (0, 12)])
def test_too_few_blocks__nothing_is_relied_on(seconds: Sequence[float]) -> None:
    assert Heard(*seconds).left(12) == 0


def test_blocks_of_twelve_seconds__are_waited_for_three_block_times() -> None:
    heard = Heard(*range(0, 121, 12))
    assert heard.left(120) == 36
    assert heard.left(144) == 12
    assert heard.left(156) == 0
    assert heard.left(1000) == 0


def test_one_block_that_is_missing__changes_little() -> None:
    heard = Heard(*range(0, 121, 12), 144)
    assert 36 <= heard.left(144) <= 45
    assert heard.left(168) > 0


def test_silence_is_over__blocks_are_relied_on_again() -> None:
    heard = Heard(*range(0, 121, 12))
    assert heard.left(500) == 0
    heard.at(500)
    assert 0 < heard.left(500) <= 45


@pytest.mark.parametrize("seconds", [range(0, 10_000, 600), (0, 3600, 7200), (0, 0, 1e9)])
def test_blocks_far_apart__are_waited_for_no_longer_than_45_seconds(
    seconds: Sequence[float],
) -> None:
    """Whoever tells of blocks seldom must not make the node blind."""
    assert Heard(*seconds).left(seconds[-1]) <= 45


def test_flood__rings_no_more_than_every_other_second_and_slows_nothing() -> None:
    heard = Heard(*(number / 100 for number in range(1000)), least=2)
    assert sum(heard.rings) == 5
    assert heard.left(10) < 0.1


def test_connection__anew__what_was_heard_before_counts_no_more() -> None:
    heard = Heard(*range(0, 121, 12))
    assert heard.arrivals.told == 10
    assert heard.arrivals.began()
    assert (heard.arrivals.told, heard.left(120)) == (-1, 0)
