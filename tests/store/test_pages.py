"""Pages of requests: the same as a plain filter over all of them, and read off indexes."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from oracle.errors import UsageError
from oracle.ids import ranges_of
from oracle.store.ledger import Store
from oracle.store.pages import MATCHES, NEWEST, Spot, Turned, Wanted
from oracle.store.states import RequestState

from .makers import force_state, make_request

STATES = tuple(RequestState)
SEEDS = 20


@dataclass(frozen=True)
class Known:
    """A request as the test remembers it."""

    spot: Spot
    state: RequestState
    model_id: int

    @property
    def request_id(self) -> int:
        return int(self.spot[2], 16)


def add(store: Store, chance: random.Random, amount: int) -> list[Known]:
    """Random requests; some share a place in the chain, as after a reorg."""
    added = []
    with store.transaction():
        for _ in range(amount):
            # Ids are hashes; tests and other contracts have small ones.
            request_id = chance.getrandbits(chance.choice((256, 256, 252, 240, 12)))
            block, index = chance.randrange(12), chance.randrange(3)
            state, model = chance.choice(STATES), chance.choice((1, 2, 2**256 - 1))
            if store.request(request_id) is None:
                request = make_request(
                    request_id, block_number=block, log_index=index, model_id=model
                )
                store.add_request(request)
                force_state(store, request_id, state)
                added.append(Known((block, index, hex(request_id)), state, model))
    return added


def begins(known: Known, text: str) -> bool:
    """Whether an id is shown with these first digits, in some way."""
    digits = text.removeprefix("0x")
    padded, bare = f"{known.request_id:064x}", f"{known.request_id:x}"
    in_hex = padded.startswith(digits) or (not digits.startswith("0") and bare.startswith(digits))
    decimal = str(known.request_id)
    in_decimal = (
        digits == text
        and digits.isdecimal()
        and decimal.startswith(digits)
        # As short as what was typed, or as long as a hash.
        and (len(decimal) >= 70 or decimal == digits)
    )
    return in_hex or in_decimal


def drawn(chance: random.Random, all_known: list[Known]) -> tuple[Wanted, str]:
    """A random filter, and the text of its ids."""
    text = ""
    if chance.random() < 0.5:
        known = chance.choice(all_known)
        shown = chance.choice(
            (f"{known.request_id:#066x}", f"{known.request_id:064x}", str(known.request_id))
        )
        text = shown[: chance.randint(3, len(shown))].rstrip("x")
        if not text.removeprefix("0x").strip("0"):
            text = shown
    states = chance.sample(STATES, chance.choice((0, 0, 1, 2, 6)))
    wanted = Wanted(
        states=frozenset(states),
        model_id=chance.choice((None, None, 1, 2, 2**256 - 1, 9)),
        ids=ranges_of(text) if text else None,
    )
    return wanted, text


def plainly(all_known: list[Known], wanted: Wanted, text: str) -> list[Spot]:
    """What a filter in Python finds, newest first."""
    return sorted(
        (
            known.spot
            for known in all_known
            if (not wanted.states or known.state in wanted.states)
            and wanted.model_id in (None, known.model_id)
            and (not text or begins(known, text))
        ),
        reverse=True,
    )


def spots(page: Turned) -> list[Spot]:
    return [(*seen.place, hex(seen.request_id)) for seen in page.sightings]


def test_pages__random_stores_and_filters__are_what_a_plain_filter_finds(store: Store) -> None:
    all_known: list[Known] = []
    sizes = set()
    for seed in range(SEEDS):
        chance = random.Random(seed)
        all_known += add(store, chance, 15)
        for _ in range(3):
            wanted, text = drawn(chance, all_known)
            limit = chance.choice((1, 2, 7, 50))
            expected = plainly(all_known, wanted, text)
            sizes.add(min(len(expected), 2))
            at, found = NEWEST, []
            while True:
                page = store.pages.turn(wanted, at, limit)
                assert page.ahead == min(len(found), limit) if at != NEWEST else page.ahead == 0
                begin = len(found) - limit
                assert page.newer == (expected[begin] if at != NEWEST and begin >= 0 else None)
                found += spots(page)
                assert len(page.sightings) <= limit
                if page.older is None:
                    break
                at = page.older
            assert found == expected, (seed, wanted, text)
    assert sizes == {0, 1, 2}, "filters find nothing, one and several"


def test_page__new_requests_arrive__stays_the_same(store: Store) -> None:
    chance = random.Random(5)
    known = add(store, chance, 30)
    first = store.pages.turn(Wanted(), NEWEST, 10)
    assert first.older is not None
    second = store.pages.turn(Wanted(), first.older, 10)
    store.add_request(make_request(99_999, block_number=500))
    assert spots(store.pages.turn(Wanted(), first.older, 10)) == spots(second)
    held = store.pages.turn(Wanted(), spots(first)[0], 10)
    assert (spots(held), held.ahead, held.newer) == (spots(first), 1, None)
    assert len(known) == 30


def test_page__too_many_ids_begin_so__asks_for_more_digits(store: Store) -> None:
    with store.transaction():
        for number in range(MATCHES + 1):
            store.add_request(make_request((0xAB << 248) + number, block_number=number))
    with pytest.raises(UsageError, match="more than 1000 ids") as caught:
        store.pages.turn(Wanted(ids=ranges_of("0xab")), NEWEST, 25)
    assert "more digits" in caught.value.line()
    found = store.pages.turn(Wanted(ids=ranges_of("0xab" + "0" * 61)), NEWEST, 25)
    assert [seen.request_id & 0xFF for seen in found.sightings] == list(range(15, -1, -1))


@pytest.mark.parametrize(
    "text", ["0", "0x", "0x000", "g", "-1", "1.5", "0xx", "f" * 65, "9" * 79, "٣"]
)
def test_ids__that_none_can_begin_so__are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        ranges_of(text)


def test_ids__that_begin_so_in_decimal__are_none_that_cannot_be() -> None:
    ranges = ranges_of("9" * 70)
    assert ranges
    assert all(int(each.high, 16) < 2**256 for each in ranges)
    with pytest.raises(UsageError):
        ranges_of("9" * 78)
