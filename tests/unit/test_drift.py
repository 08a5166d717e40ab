"""How far the clock is off the chain's, told from a chain that stands still: operators D9."""

from __future__ import annotations

import pytest

from oracle.drift import LIMIT, Drift

NOW = 1_700_000_000


class Bench:
    """A clock that is off by some seconds, and looks at a chain."""

    def __init__(self, off: float = 0) -> None:
        self.time = float(NOW)
        self.off = off
        self.drift = Drift(lambda: self.time + self.off)
        self.number, self.timestamp = 100, NOW

    def pass_time(self, seconds: float, *, look_every: float = 2, block_every: float = 12) -> None:
        end = self.time + seconds
        while self.time < end:
            self.time += look_every
            while block_every and self.timestamp + block_every <= self.time:
                self.timestamp += int(block_every)
                self.number += 1
            self.drift.saw(self.number, self.timestamp)


@pytest.mark.parametrize("off", [7200, 100, -100, -7200])
def test_clock_is_off__blocks_come__says_by_how_much(off: int) -> None:
    bench = Bench(off)
    bench.pass_time(60)
    assert bench.drift.seconds == pytest.approx(off, abs=4)
    warning = bench.drift.warning()
    assert warning is not None
    assert ("ahead of" in warning) == (off > 0)


@pytest.mark.parametrize("off", [0, 30, -30])
def test_clock_is_right__blocks_come__says_nothing(off: int) -> None:
    bench = Bench(off)
    bench.pass_time(600)
    assert bench.drift.warning() is None


def test_first_look__block_is_old__may_be_a_chain_that_rests() -> None:
    bench = Bench()
    bench.drift.saw(5, NOW - 10**6)
    assert bench.drift.seconds == 0


def test_first_look__block_is_not_made_yet__the_clock_is_behind() -> None:
    bench = Bench()
    bench.drift.saw(5, NOW + 100)
    assert bench.drift.seconds == -100


def test_chain_stands_still__says_nothing_for_ever() -> None:
    bench = Bench()
    bench.pass_time(60)
    bench.pass_time(10**5, look_every=60, block_every=0)
    assert bench.drift.warning() is None


def test_looks_are_rare__a_block_between_them__is_not_taken_for_drift() -> None:
    bench = Bench()
    bench.pass_time(10**4, look_every=600, block_every=500)
    assert bench.drift.warning() is None


def test_clock_is_set_right__the_next_block_says_so() -> None:
    bench = Bench(7200)
    bench.pass_time(60)
    bench.off = 0
    bench.pass_time(30)
    assert bench.drift.warning() is None


def test_clock_jumps_ahead__found_at_the_second_block_after_it() -> None:
    """The first came since the last look, which by this clock was two hours ago."""
    bench = Bench()
    bench.pass_time(60)
    bench.off = 7200
    bench.pass_time(30)
    assert bench.drift.seconds == pytest.approx(7200, abs=4)


def test_another_endpoint_is_late__its_old_head_says_nothing() -> None:
    bench = Bench()
    bench.pass_time(60)
    bench.drift.saw(bench.number - 50, bench.timestamp - 600)
    assert abs(bench.drift.seconds) < LIMIT
    bench.pass_time(60)
    assert abs(bench.drift.seconds) < LIMIT
