"""The consumer against the mock oracle: ``ape test``."""

from __future__ import annotations

from typing import Any

import ape
import pytest

INPUT = (4, 3, 12, -7_578, 40_346)  # elements, bytes, fractional bits, least, greatest
OUTPUT = (3, 8, 36, -9_217_462_324_974_321_663, 9_217_462_324_974_321_663)
FLOWER = bytes.fromhex("00519a003800001666000333")  # oracle encode 5.1,3.5,1.4,0.2


@pytest.fixture
def oracle(project: Any, accounts: Any) -> Any:
    mock = accounts[0].deploy(project.TestOracle)
    mock.addModel(INPUT, OUTPUT, 10_000, sender=accounts[0])
    return mock


@pytest.fixture
def gardener(project: Any, accounts: Any, oracle: Any) -> Any:
    return accounts[0].deploy(project.Gardener, oracle)


def ask(oracle: Any, gardener: Any, account: Any) -> int:
    gardener.ask(FLOWER, value=price(oracle, gardener), sender=account)
    return int(oracle.lastRequestId())


def price(oracle: Any, gardener: Any) -> int:
    return int(oracle.estimateFee(gardener.MODEL(), gardener.CALLBACK_GAS()))


def test_answer__setosa__is_kept(oracle: Any, gardener: Any, accounts: Any) -> None:
    request_id = ask(oracle, gardener, accounts[1])
    assert not gardener.isSetosa(request_id)
    oracle.answer(request_id, [300_000, -1, -123_456], sender=accounts[2])
    assert gardener.isSetosa(request_id)


def test_ask__without_money__is_refused(oracle: Any, gardener: Any, accounts: Any) -> None:
    with ape.reverts(oracle.Underpaid):
        gardener.ask(FLOWER, sender=accounts[1])


def test_expire__money_comes_back_as_credit(oracle: Any, gardener: Any, accounts: Any) -> None:
    paid = price(oracle, gardener)
    request_id = ask(oracle, gardener, accounts[1])
    oracle.expire(request_id, sender=accounts[2])
    assert oracle.creditOf(ape.utils.ZERO_ADDRESS, accounts[1]) == paid


def test_callback__from_a_stranger__is_refused(gardener: Any, accounts: Any) -> None:
    with ape.reverts(gardener.NotOracle):
        gardener.aiOracleCallback(1, b"", b"", sender=accounts[3])
