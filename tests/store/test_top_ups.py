"""Top-ups of a request's gas money follow the chain, reorgs included."""

from __future__ import annotations

from oracle.store.ledger import Store
from tests.store.makers import make_request


def gas_money(store: Store) -> int:
    row = store.request(7)
    assert row is not None
    return row.request.gas_money


def test_top_up__reorg__restores_what_the_kept_blocks_say(store: Store) -> None:
    store.start_cursor(4, 10)
    store.add_request(make_request(gas_money=100, block_number=5))
    for block, money in ((6, 150), (7, 200), (7, 300)):
        store.top_up(7, money, block)
    store.advance(7, [(5, b"h" * 32), (6, b"i" * 32), (7, b"j" * 32)])
    assert gas_money(store) == 300
    store.rewind(6)
    assert gas_money(store) == 150
    store.rewind(5)
    assert gas_money(store) == 100


def test_top_up__unknown_request__is_ignored(store: Store) -> None:
    store.top_up(9, 5, 1)
    assert store.request(9) is None
