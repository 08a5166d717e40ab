"""Typed calls: what is encoded can be decoded, and reverts read as the contract names them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.chain.codec import ContractAbi
from oracle.chain.contracts import OracleContract, RegistryContract, Status, code_hash
from oracle.circuits.srs import ceremony_pins
from oracle.errors import ContractMismatch, ModelUnsupported, TransactionReverted
from oracle.log import request_hex
from oracle.testing import CALLER, ORACLE, REGISTRY, FakeChain
from oracle.types import InputKind, ProofSystem, Request, SetupTrust, Trust
from tests.node.world import VERIFIER_CODE, batch, spec
from tests.store.makers import make_request

ABI = ContractAbi.of("InferenceOracle")
FIELD = st.integers(0, 2**254)


@settings(max_examples=50, deadline=None)
@given(
    data=st.binary(max_size=100),
    outputs=st.lists(FIELD, max_size=5),
    proof=st.binary(max_size=200),
    deadline=st.integers(0, 2**64 - 1),
    money=st.integers(0, 2**96 - 1),
)
def test_fulfill_calldata__any_request__says_what_was_put_in(
    data: bytes, outputs: list[int], proof: bytes, deadline: int, money: int
) -> None:
    request = make_request(
        input=data, callback_data=data, deadline=deadline, fee=money, gas_money=money
    )
    contract = OracleContract(FakeChain().rpc(), ORACLE)
    calldata = contract.fulfill_calldata(request, CALLER, outputs, proof)
    request_id, preimage, input_, callback_data, payee, got, got_proof = ABI.arguments(
        "fulfill", calldata
    )
    assert request_id == request.key.request_id
    terms = (deadline, money, money, request.gas_units, request.protocol_bps)
    assert preimage[5:] == (*terms, keccak(data), keccak(data))
    assert (input_, callback_data, list(got), got_proof) == (data, data, outputs, proof)
    assert payee == CALLER.lower()


def test_events__request_and_ends__come_in_chain_order() -> None:
    chain = FakeChain(clock=lambda: 50)
    first = chain.request(1, b"a", lifetime=10, gas_money=77)
    second = chain.request(1, b"b")
    chain.end(first, Status.REFUNDED, CALLER)
    events = OracleContract(chain.rpc(), ORACLE).events(0, chain.height)
    made, other, ended = events
    assert isinstance(made, Request)
    assert (made.key.request_id, made.input, made.deadline) == (first, b"a", 60)
    assert (made.account, made.gas_money, made.block_number) == (CALLER, 77, 1)
    assert isinstance(other, Request)
    assert other.key.request_id == second
    assert not isinstance(ended, Request)
    assert (ended.status, ended.beneficiary) == (Status.REFUNDED, CALLER)


def test_model__registered__comes_back_whole() -> None:
    chain = FakeChain()
    model_id = chain.register(spec(), verifier_code=VERIFIER_CODE, fee=5, receiver_bps=100)
    rpc = chain.rpc()
    model = RegistryContract(rpc, REGISTRY).model(model_id)
    assert model is not None
    assert (model.spec, model.fee, model.receiver_bps) == (spec(), 5, 100)
    assert code_hash(rpc, model.verifier) == keccak(VERIFIER_CODE)


def test_trust__any_circuit_home_made__is_one_partys() -> None:
    chain = FakeChain()
    registry = RegistryContract(chain.rpc(), REGISTRY)
    safe = spec(srs_hash=ceremony_pins()[11])
    mixed = replace(safe, batches=(batch(2, srs_hash=ceremony_pins()[12]), batch(4)))
    for expected, model in {Trust.UNIVERSAL_CEREMONY: safe, Trust.ONE_PARTY: mixed}.items():
        model_id = chain.register(model, verifier_code=VERIFIER_CODE)
        assert registry.trust(model_id) == SetupTrust(expected)
    with pytest.raises(TransactionReverted, match="UnknownModel"):
        registry.trust(3)


def test_model__of_another_kind__is_read_with_what_it_says() -> None:
    chain = FakeChain()
    changes = {"input_kind": InputKind.COMMITMENT, "system": ProofSystem.GROTH16}
    model_id = chain.register(spec(batches=(batch(2),)), verifier_code=VERIFIER_CODE, **changes)
    model = RegistryContract(chain.rpc(), REGISTRY).model(model_id)
    assert model is not None
    assert (model.input_kind, model.systems) == (InputKind.COMMITMENT, (ProofSystem.GROTH16,) * 2)


@pytest.mark.parametrize(
    ("changes", "what"), [({"input_kind": 2}, "input kind 2"), ({"system": 4}, "proof system 4")]
)
def test_model__of_a_kind_that_is_not_known__is_unsupported(
    changes: dict[str, Any], what: str
) -> None:
    chain = FakeChain()
    model_id = chain.register(spec(), verifier_code=VERIFIER_CODE, **changes)
    with pytest.raises(ModelUnsupported, match=what):
        RegistryContract(chain.rpc(), REGISTRY).model(model_id)


def test_model__unknown__is_none() -> None:
    assert RegistryContract(FakeChain().rpc(), REGISTRY).model(1) is None


def test_simulate__refused__names_the_contracts_error() -> None:
    chain = FakeChain()
    contract = OracleContract(chain.rpc(), ORACLE)
    calldata = contract.fulfill_calldata(make_request(), CALLER, [], b"")
    with pytest.raises(TransactionReverted) as caught:
        contract.simulate(calldata, CALLER, 10**6)
    assert caught.value.name == "NotOpen"
    assert f"NotOpen({request_hex(7)}, 0)" in caught.value.line()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "no reason given"),
        (b"\x01\x02\x03\x04", "unknown error 0x01020304"),
        (ABI.encode_error("Error", "out of luck"), "Error(out of luck)"),
        (ABI.encode_error("ProofRejected"), "ProofRejected()"),
        (ABI.encode_error("NotOpen", 7, 2)[:10], "NotOpen"),
    ],
)
def test_error__revert_data__reads_as_the_contract_names_it(data: bytes, text: str) -> None:
    assert ABI.error(data)[1] == text


def test_registry__no_contract_there__says_what_to_correct() -> None:
    with pytest.raises(ContractMismatch, match="no contract at"):
        OracleContract(FakeChain().rpc(), CALLER).registry()
