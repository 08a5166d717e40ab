"""Probes are where statements and conditions are, and tell what ran, reverts included."""

from __future__ import annotations

import contextlib

from pyrevm import EVM, AccountInfo

from oracle.chain.toolchain import SOLC_CONTRACTS, compile_solidity
from tests.coverage.instrument import Probe, instrument, probe_address

UNIT = "contracts/Sample.sol"
SOURCE = """pragma solidity ^0.8.24;
contract Sample {
    fallback() external {
        uint256 given = msg.data.length;
        if (given == 1 || given == 2) revert();
        for (uint256 i = 0; i < given; ++i) given += i % 2 == 0 ? 0 : 1;
        assembly {
            if gt(given, 3) { given := 0 }
        }
    }
}
"""
CALLER, SAMPLE = "0x" + "aa" * 20, "0x" + "bb" * 20


def run(calldata: bytes) -> set[Probe]:
    """What one call reaches."""
    instrumented = instrument({UNIT: SOURCE})
    units = compile_solidity(
        instrumented.sources, version=SOLC_CONTRACTS, runs=1, evm_version="cancun", via_ir=True
    )
    code = bytes.fromhex(units[UNIT]["Sample"]["evm"]["deployedBytecode"]["object"])
    machine = EVM(spec_id="CANCUN")
    machine.insert_account_info(SAMPLE, AccountInfo(code=code))
    with contextlib.suppress(RuntimeError):  # How pyrevm tells of a revert.
        machine.message_call(CALLER, SAMPLE, calldata=calldata)
    seen = {address.lower() for address in machine.db_accounts}
    return {p for i, p in enumerate(instrumented.probes) if probe_address(i) in seen}


def test_probes__nothing_given__reach_the_straight_path() -> None:
    straight = {Probe(UNIT, line) for line in (3, 4, 5, 6, 7, 8)}
    assert run(b"") == straight | {Probe(UNIT, 5, outcome=False), Probe(UNIT, 8, outcome=False)}


def test_probes__revert__is_seen_all_the_same() -> None:
    reached = run(b"1")
    assert Probe(UNIT, 5, outcome=True) in reached
    assert Probe(UNIT, 6) not in reached


def test_probes__long_data__reach_the_other_outcomes() -> None:
    reached = run(b"12345")
    assert {Probe(UNIT, 6, outcome=o) for o in (True, False)} <= reached
    assert Probe(UNIT, 8, outcome=True) in reached
    assert Probe(UNIT, 8, outcome=False) not in reached
