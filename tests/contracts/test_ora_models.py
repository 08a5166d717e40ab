"""Models by chosen ids at the adapter, and what its owner can and cannot do."""

from __future__ import annotations

import re
from typing import Any

import pytest
from eth_utils import keccak

from oracle.config import project_root
from tests.contracts.evm import Contract, Reverted, selector, signature_hash
from tests.contracts.ora import DIFFUSION, HASHED, LLAMA, NAME, Ora, make_ora
from tests.contracts.world import ALICE, FEE, OWNER, RECEIVER, THIEF, ZERO, make_world

LEAST_GAS, LEAST_BYTE_GAS = 28_000, 12
ROOM = 16


@pytest.fixture
def ora() -> Ora:
    return make_ora()


#: From ORA's published interface, by name and arguments.
SELECTORS = {
    "requestCallback(uint256,bytes,address,uint64,bytes)": "5b953806",
    "requestCallback(uint256,bytes,address,uint64,bytes,uint8,uint8)": "8c2c1ed8",
    "requestBatchInference(uint256,uint256,bytes,address,uint64,bytes,uint8,uint8)": "409694fa",
    "estimateFee(uint256,uint256)": "00e1d8d0",
    "estimateFeeBatch(uint256,uint256,uint256)": "5170b6af",
    "isFinalized(uint256)": "33727c4d",
    "getModel(uint256)": "6d361694",
    "numberOfModels()": "e857f747",
    "modelIDs(uint256)": "349c4136",
    "gasPrice()": "fe173b97",
    "requests(uint256)": "81d12c58",
}
TOPICS = {
    "559924afbacb3c57c52632c869b00ba6f87a7da06ecd3820325ae923e38b0c61",
    "849aa5adc3bf6a75cb08afbf31d88d1528c274e5d84e3d4355d23d8e9ebd649b",
    "da53325387d61a6b685c31632cef66c5f3e88c3a0f1c2730ef68fb2d039d3e9d",
}


def test_face__selectors_and_topics__are_oras(ora: Ora) -> None:
    def hashes(kind: str) -> dict[str, Any]:
        entries = [e for e in ora.adapter.artifact.abi if e["type"] == kind]
        return {signature_hash(e).hex(): e for e in entries}

    assert set(SELECTORS.values()) <= {found[:8] for found in hashes("function")}
    assert set(TOPICS) <= set(hashes("event"))


def test_face__what_is_oras_servers_own__is_not_there(ora: Ora) -> None:
    entries = [e for e in ora.adapter.artifact.abi if e["type"] == "function"]
    names = {entry["name"] for entry in entries}
    assert not names & {"invokeCallback", "updateResult", "confirm", "getOutputHash", "opml"}
    # Of ORA's first interface, where the callback is any function.
    first = "requestCallback(uint256,bytes,address,bytes4,uint64)"
    assert keccak(text=first)[:4] not in map(selector, entries)


def test_page__every_test_it_names__exists() -> None:
    page = (project_root() / "docs" / "ora.md").read_text()
    files = (project_root() / "tests").rglob("test_*.py")
    existing = {
        name
        for file in files
        for name in re.findall(r"^(?:def )?(\w+)[( ]", file.read_text(), re.M)
    }
    named = set(re.findall(r"`(test_\w+|Test\w+)`", page))
    assert len(named) > 50
    assert named <= existing


#: What the oracle can say against a request.
PASSED_ON = {
    "CallbackDataTooLong",
    "InputLength",
    "InputRange",
    "InvalidBatchSize",
    "InvalidCallback",
    "ModelNotOpen",
    "NestedTokenPayment",
    "RequestsPaused",
    "TextRange",
    "TextSyntax",
    "TextTooLong",
    "TokenShortfall",
    "TooMuchGas",
    "Underpaid",
}


def test_abi__has_the_errors_that_the_oracle_refuses_with(ora: Ora) -> None:
    def errors(contract: Contract) -> dict[str, bytes]:
        entries = [e for e in contract.artifact.abi if e["type"] == "error"]
        return {e["name"]: selector(e) for e in entries}

    own, oracles = errors(ora.adapter), errors(ora.world.oracle)
    assert own.keys() & oracles.keys() >= PASSED_ON
    shared = own.keys() & oracles.keys()
    assert {name: own[name] for name in shared} == {name: oracles[name] for name in shared}


def test_set_model__chosen_id__is_the_oracles_model_under_that_id(ora: Ora) -> None:
    ids = [ora.adapter.read("modelIDs", i) for i in range(ora.adapter.read("numberOfModels"))]
    assert ids == [LLAMA, HASHED, DIFFUSION]
    assert ora.adapter.read("oracleModelOf", DIFFUSION) == ora.world.model_id
    assert ora.adapter.read("getModel", DIFFUSION) == ora.world.oracle.read(
        "getModel", ora.world.model_id
    )
    with pytest.raises(Reverted, match="IndexOutOfRange"):
        ora.adapter.read("modelIDs", 3)


def test_set_model__id_of_a_name__is_what_a_consumer_works_out(ora: Ora) -> None:
    assert ora.deploy("NewerPrompt").read("calcModelIdByName", NAME) == HASHED


def test_set_model__zero_and_the_greatest__are_ids_like_any_other(ora: Ora) -> None:
    for chosen in (0, 2**256 - 1):
        with pytest.raises(Reverted, match="UnknownModel"):
            ora.adapter.read("getModel", chosen)
        ora.adapter("setModel", chosen, ora.world.model_id, sender=OWNER)
        assert ora.adapter.read("getModel", chosen)[2:4] == (FEE, RECEIVER.lower())


def test_set_model__again__is_refused(ora: Ora) -> None:
    other = ora.world.register()
    with pytest.raises(Reverted, match="ModelAlreadySet"):
        ora.adapter("setModel", DIFFUSION, other, sender=OWNER)
    assert ora.adapter.read("oracleModelOf", DIFFUSION) == ora.world.model_id


def test_set_model__the_oracle_has_none__is_refused(ora: Ora) -> None:
    for unknown in (0, 99):
        with pytest.raises(Reverted, match="UnknownModel"):
            ora.adapter("setModel", 7, unknown, sender=OWNER)


def test_id_that_was_not_set__is_no_model_even_if_the_oracle_has_it(ora: Ora) -> None:
    """Or what a consumer asks would change when the id is set."""
    for call in (
        ("estimateFee", ora.world.model_id, 0),
        ("estimateFeeBatch", ora.world.model_id, 0, 1),
        ("getModel", ora.world.model_id),
        ("oracleModelOf", ora.world.model_id),
        ("requestCallback", ora.world.model_id, b"", ZERO, 0, b""),
    ):
        with pytest.raises(Reverted, match="UnknownModel"):
            ora.adapter(*call, sender=ALICE)


def test_owner__alone__sets_models_and_gas(ora: Ora) -> None:
    with pytest.raises(Reverted, match="OwnableUnauthorizedAccount"):
        ora.adapter("setModel", 7, 1, sender=THIEF)
    with pytest.raises(Reverted, match="OwnableUnauthorizedAccount"):
        ora.adapter("setDeliveryGas", LEAST_GAS, LEAST_BYTE_GAS, sender=THIEF)


def test_owner__renounced__leaves_all_as_it_is(ora: Ora) -> None:
    ora.adapter("renounceOwnership", sender=OWNER)
    with pytest.raises(Reverted, match="OwnableUnauthorizedAccount"):
        ora.adapter("setModel", 7, 1, sender=OWNER)
    assert ora.adapter.read("numberOfModels") == 3


def test_set_delivery_gas__within_bounds__is_what_new_requests_promise(ora: Ora) -> None:
    consumer = ora.scripted()
    before = ora.ticket(ora.ask(consumer)).callback_gas
    receipt = ora.adapter("setDeliveryGas", 2 * LEAST_GAS, 3 * LEAST_BYTE_GAS, sender=OWNER)
    assert receipt.event("DeliveryGasSet") == {"base": 2 * LEAST_GAS, "perByte": 36}
    output = 9  # Three numbers of three bytes.
    assert ora.ticket(ora.ask(consumer)).callback_gas - before == LEAST_GAS + 24 * output


@pytest.mark.parametrize(
    ("base", "per_byte"),
    [
        (LEAST_GAS - 1, LEAST_BYTE_GAS),
        (LEAST_GAS, LEAST_BYTE_GAS - 1),
        (ROOM * LEAST_GAS + 1, LEAST_BYTE_GAS),
        (LEAST_GAS, ROOM * LEAST_BYTE_GAS + 1),
    ],
)
def test_set_delivery_gas__outside__is_refused(ora: Ora, base: int, per_byte: int) -> None:
    with pytest.raises(Reverted, match="InvalidDeliveryGas"):
        ora.adapter("setDeliveryGas", base, per_byte, sender=OWNER)
    ora.adapter("setDeliveryGas", ROOM * LEAST_GAS, ROOM * LEAST_BYTE_GAS, sender=OWNER)


def test_estimate__is_the_oracles_for_what_is_promised(ora: Ora) -> None:
    """Where nothing is quoted for gas, pyrevm's base fee being zero, the fee is left."""
    assert ora.adapter.read("estimateFee", DIFFUSION, 100_000) == FEE
    assert ora.adapter.read("estimateFeeBatch", LLAMA, 100_000, 3) == 3 * FEE
    assert ora.adapter.read("gasPrice") == ora.world.oracle.read("lastBaseFee")


def test_constructor__anybody__may_be_the_owner_and_hands_over_in_two_steps() -> None:
    world = make_world()
    adapter = world.chain.deploy("OraAdapter", world.oracle.address, ALICE)
    adapter("transferOwnership", OWNER, sender=ALICE)
    assert adapter.read("owner") == ALICE.lower()
    adapter("acceptOwnership", sender=OWNER)
    adapter("setModel", 7, world.model_id, sender=OWNER)
