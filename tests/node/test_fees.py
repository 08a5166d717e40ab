"""Prices: never above the ceiling, always enough to replace."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oracle import fees
from oracle.chain.artifacts import contract
from oracle.chain.codec import ContractAbi
from oracle.chain.signer import Fees
from oracle.policy import p95
from oracle.types import RegisteredModel
from tests.store.makers import make_request

from .world import spec

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
    assert fees.ceiling(request, model(bps)) * fees.gas_units(request, model(bps)) <= earned


def test_gas_terms__are_the_contracts() -> None:
    """The quote's constants as the compiled contract has them."""
    from pyrevm import EVM, AccountInfo

    artifact = contract("InferenceOracle")
    address = "0x" + "0a" * 20
    evm = EVM()
    evm.insert_account_info(address, AccountInfo(code=artifact.deployed_bytecode))
    abi = ContractAbi(artifact.abi)
    for name in ("BASE_GAS", "ELEMENT_GAS", "CALLBACK_BYTE_GAS"):
        answer = evm.message_call("0x" + "0b" * 20, address, calldata=abi.call(name))
        assert abi.result(name, bytes(answer)) == getattr(fees, name)


def test_p95__is_the_nearest_rank() -> None:
    assert p95([], 7.0) == 7.0
    assert p95([3.0], 7.0) == 3.0
    assert p95([float(i) for i in range(1, 101)], 0) == 95.0
    assert p95([float(i) for i in range(1, 21)], 0) == 19.0
