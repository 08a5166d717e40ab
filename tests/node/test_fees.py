"""Prices: never above the ceiling, always enough to replace."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle import fees
from oracle.chain.rpc import FeeHistory
from oracle.chain.signer import Fees
from oracle.policy import p95
from oracle.types import RegisteredModel, Request
from tests.store.makers import make_request

from .world import batch, spec

wei = st.integers(0, 10**15)


def model(receiver_bps: int = 0) -> RegisteredModel:
    zero = "0x" + "00" * 20
    return RegisteredModel(1, spec(), zero, 0, zero, receiver_bps, is_open=True)


@given(base=wei, tip=wei, highest=wei)
def test_first__covers_the_base_fee_within_the_ceiling(base: int, tip: int, highest: int) -> None:
    price = fees.first(base, tip, highest)
    if price is None:
        assert 2 * highest < 3 * base
    else:
        assert 2 * highest + 1 >= 3 * base
        assert fees.least(base) <= highest
        assert base <= price.max_fee <= highest
        assert price.priority_fee <= price.max_fee


@given(last=wei, last_tip=wei, base=wei, tip=wei, highest=wei)
def test_bump__raises_both_prices_by_an_eighth_within_the_ceiling(
    last: int, last_tip: int, base: int, tip: int, highest: int
) -> None:
    before = Fees(last, min(last, last_tip))
    price = fees.bump(before, base, tip, highest)
    if price is None:
        return
    assert price.max_fee <= highest
    assert 8 * price.max_fee >= 9 * before.max_fee
    assert 8 * price.priority_fee >= 9 * before.priority_fee
    assert price.priority_fee <= price.max_fee


@given(last=wei, highest=wei)
def test_bump__room_under_the_ceiling__is_used(last: int, highest: int) -> None:
    price = fees.bump(Fees(last, 0), 0, 0, highest)
    assert (price is None) == (last + last // 8 + 1 > highest)


@given(fee=st.integers(0, 2**96 - 1), bps=st.integers(0, 10_000), gas_money=wei)
def test_income__is_never_more_than_the_escrow(fee: int, bps: int, gas_money: int) -> None:
    request = make_request(fee=fee, gas_money=gas_money)
    earned = fees.income(request, model(bps))
    assert earned - fees.share(request, model(bps)) == gas_money
    assert gas_money <= earned <= fee + gas_money
    assert earned - gas_money == fee - fee * bps // 10_000
    assert fees.ceiling(request, model(bps)) * request.gas_units <= earned


@given(fee=st.integers(0, 2**96 - 1), bps=st.integers(0, 10_000), protocol_bps=st.integers(0, 1000))
def test_income__protocol_share__comes_off_before_the_publishers(
    fee: int, bps: int, protocol_bps: int
) -> None:
    request = make_request(fee=fee, gas_money=0, protocol_bps=protocol_bps)
    rest = fee - fee * protocol_bps // 10_000
    assert fees.income(request, model(bps)) == rest - rest * bps // 10_000


def test_income__fee_in_a_token__counts_for_nothing() -> None:
    priced_in_token = replace(model(), token="0x" + "11" * 20)
    assert fees.income(make_request(fee=10**18, gas_money=7), priced_in_token) == 7


def test_p95__is_the_nearest_rank() -> None:
    assert p95([], 7.0) == 7.0
    assert p95([3.0], 7.0) == 3.0
    assert p95([float(i) for i in range(1, 101)], 0) == 95.0
    assert p95([float(i) for i in range(1, 21)], 0) == 19.0


TERMS = fees.BatchTerms.of(spec(batches=(batch(8),)), 8)


def of_price(price: int, units: int, fee: int = 0) -> Request:
    return make_request(fee=fee, gas_money=price * units, gas_units=units)


@given(
    prices=st.lists(st.integers(0, 10**12), min_size=1, max_size=8),
    callbacks=st.integers(0, 10**6),
    fee=st.integers(0, 10**18),
    bps=st.integers(0, 10_000),
)
def test_batch_ceiling__is_the_highest_price_at_which_the_batch_does_not_lose(
    prices: list[int], callbacks: int, fee: int, bps: int
) -> None:
    requests = [of_price(price, TERMS.alone + i * callbacks, fee) for i, price in enumerate(prices)]
    used = [TERMS.units([request]) - TERMS.shared for request in requests]
    parts = [gas + TERMS.shared // len(requests) for gas in used]
    income = sum(fees.share(request, model(bps)) for request in requests)

    def gain(price: int) -> int:
        paid = sum(min(price, p) * gas for p, gas in zip(prices, parts, strict=True))
        return income + paid - price * sum(parts)

    ceiling = TERMS.ceiling(requests, model(bps))
    assert gain(ceiling) >= 0
    assert gain(ceiling + 1) < 0
    assert ceiling >= min(prices)


def test_batch_terms__more_requests_save_more_and_skipped_ones_less() -> None:
    saved = [TERMS.saved(count) for count in range(1, 9)]
    assert saved == sorted(saved)
    assert saved[0] < 0 < saved[1]
    half_skipped = fees.BatchTerms.of(spec(batches=(batch(8),)), 8, skipped=4)
    assert half_skipped.saved(4) < TERMS.saved(4)


def test_batch_terms__callbacks_beyond_one_transactions_gas__do_not_fit() -> None:
    requests = [of_price(1, TERMS.alone + 5_000_000) for _ in range(4)]
    assert TERMS.fits(requests[:2])
    assert not TERMS.fits(requests)
    assert fees.gas_limit(TERMS.sent_units(requests), b"") == fees.TRANSACTION_GAS


def test_batch_terms__inputs_beyond_one_transactions_bytes__do_not_fit() -> None:
    wide = replace(of_price(1, TERMS.alone), input=bytes(50_000))
    assert TERMS.fits([wide, wide])
    assert not TERMS.fits([wide, wide, wide])


@pytest.mark.parametrize(
    ("tips", "used", "usual"),
    [
        ((1, 2, 300), (0.5, 0.5, 0.5), 2),
        ((0, 5, 0, 7), (0.0, 0.4, 0.0, 0.6), 5),
        ((0, 0), (0.0, 0.0), None),
        ((), (0.5,), None),
    ],
)
def test_usual_tip__is_the_median_of_blocks_that_were_not_empty(
    tips: tuple[int, ...], used: tuple[float, ...], usual: int | None
) -> None:
    assert fees.usual_tip(FeeHistory((1,), tips, used)) == usual


@given(wei, wei, wei)
def test_ceiling__rises_by_the_subsidy(fee: int, gas_money: int, subsidy: int) -> None:
    request = make_request(1, fee=fee, gas_money=gas_money)
    plain = fees.income(request, model()) / request.gas_units
    raised = fees.ceiling(request, model(), subsidy)
    assert raised == pytest.approx(plain + subsidy / request.gas_units, abs=1)
