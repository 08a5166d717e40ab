"""Samples of exhaustive sets: another one each day, the same for a seed, and no kind left out."""

from __future__ import annotations

import pytest

from tests import sampling

CASES = [(kind, number) for kind in "abcdefgh" for number in range(20)]
SEEDS = range(20261130, 20261150)


@pytest.fixture
def seeded(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv(sampling.WHOLE, raising=False)
    return monkeypatch


def test_sample__same_seed__same_cases_in_their_order(seeded: pytest.MonkeyPatch) -> None:
    for seed in SEEDS:
        seeded.setenv(sampling.SEED, str(seed))
        chosen = sampling.sample("set", CASES, 7)
        assert chosen == sampling.sample("set", CASES, 7)
        assert len(chosen) == 7
        assert chosen == sorted(chosen, key=CASES.index)


def test_sample__other_seeds_and_other_sets__other_cases(seeded: pytest.MonkeyPatch) -> None:
    found = set()
    for seed in SEEDS:
        seeded.setenv(sampling.SEED, str(seed))
        found |= {tuple(sampling.sample(name, CASES, 7)) for name in ("set", "another")}
    assert len(found) == 2 * len(SEEDS)


def test_sample__many_days__leave_no_case_out(seeded: pytest.MonkeyPatch) -> None:
    found = set()
    for seed in range(400):
        seeded.setenv(sampling.SEED, str(seed))
        found |= set(sampling.sample("set", CASES, 7))
    assert found == set(CASES)


def test_cover__any_seed__has_every_kind_and_is_small(seeded: pytest.MonkeyPatch) -> None:
    for seed in SEEDS:
        seeded.setenv(sampling.SEED, str(seed))
        chosen = sampling.cover("set", CASES, lambda case: {case[0], case[1] % 3})
        assert {kind for kind, _ in chosen} == set("abcdefgh")
        assert {number % 3 for _, number in chosen} == {0, 1, 2}
        assert len(chosen) <= 11


def test_whole__nothing_is_left_out(seeded: pytest.MonkeyPatch) -> None:
    seeded.setenv(sampling.WHOLE, "1")
    assert sampling.sample("set", CASES, 7) == CASES
    assert sampling.cover("set", CASES, lambda case: {case[0]}) == CASES
