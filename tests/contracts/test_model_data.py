"""A model's data contract: where it is, what it holds, and who reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import rlp
from eth_abi import encode
from eth_utils import keccak, to_canonical_address, to_checksum_address
from pyrevm import AccountInfo

from oracle import tensor
from oracle.types import TagLayout
from tests.contracts.evm import CHAIN_ID, DEPLOYER, Chain, Contract, Reverted
from tests.contracts.test_batches import asks
from tests.contracts.world import (
    ALICE,
    FEE,
    FULFILLED,
    GAS_MONEY,
    INPUT,
    NODE,
    NUMBERS,
    OUTPUT,
    PUBLISHER,
    RECEIVER,
    RECEIVER_BPS,
    REFUNDED,
    RESULT,
    TAG,
    VERIFY_GAS,
    ZERO,
    World,
    packed,
    ticket,
)

CREATOR = to_checksum_address("0x" + "c7" * 20)
#: Where a nonce takes a byte more.
EDGES = (1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000, 0xFFFFFF, 0x1000000, 0xFFFFFFFF)
#: Rows of the circuits of a model that has as many as it can.
SIXTEEN = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 65535)


@pytest.fixture
def harness() -> Contract:
    return Chain().deploy("LibraryHarness")


def address(creator: str, nonce: int) -> str:
    """What CREATE makes of a nonce."""
    return "0x" + keccak(rlp.encode([to_canonical_address(creator), nonce]))[12:].hex()


def data_of(world: World, model_id: int) -> str:
    return to_checksum_address(address(world.registry.address, model_id))


def code(world: World, where: str) -> bytes:
    """With some zeros behind it, as the EVM reads it."""
    return bytes(world.chain.revm.basic(where).code)


def set_code(world: World, where: str, deployed: bytes) -> None:
    world.chain.revm.insert_account_info(where, AccountInfo(nonce=1, code=deployed))


def terms(world: World, sizes: Sequence[int], index: int, **changes: Any) -> tuple[Any, ...]:
    """`ProofTerms` of a circuit of a model with these sizes, fields replaced by name."""
    fields: dict[str, Any] = {
        "sizes": sum(size << 16 * i for i, size in enumerate(sizes)),
        "token": ZERO,
        "receiver": RECEIVER.lower(),
        "receiverBps": RECEIVER_BPS,
        "codec": 0,
        "tagLimbs": TAG.limbs,
        "tagBits": TAG.bits,
        "inputLength": INPUT.length,
        "inputWidth": INPUT.width,
        "inputScale": INPUT.scale,
        "outputLength": OUTPUT.length,
        "outputWidth": OUTPUT.width,
        "outputScale": OUTPUT.scale,
        "outputMinimum": OUTPUT.minimum,
        "outputMaximum": OUTPUT.maximum,
        "verifier": world.verifier.address.lower(),
        "codeHash": world.chain.code_hash(world.verifier.address),
        "verifyGas": VERIFY_GAS,
        "size": sizes[index],
    }
    assert not changes.keys() - fields.keys()
    return tuple((fields | changes).values())


# --- the contract ---


@pytest.mark.parametrize("nonce", EDGES)
def test_address__any_length_of_the_nonce__is_that_of_create(harness: Contract, nonce: int) -> None:
    for creator in (CREATOR, harness.address, "0x" + "00" * 19 + "01"):
        assert harness.read("dataAddress", creator, nonce) == address(creator, nonce)


@pytest.mark.parametrize(
    "nonce",
    # The last two would pass for the nonce 2**24 if their high bytes were cut off or mixed in.
    [0, 2**32, 2**64, 2**256 - 1, 2**40 + 2**24, (0x84 << 32) + 2**24],
)
def test_address__nonce_that_no_contract_is_made_with__is_nobodys(
    harness: Contract, nonce: int
) -> None:
    assert harness.read("dataAddress", CREATOR, nonce) == ZERO


def test_create__one_after_the_other__each_is_where_its_nonce_says(harness: Contract) -> None:
    for nonce in range(1, 131):
        assert harness("createData", b"").value == address(harness.address, nonce)


@pytest.mark.parametrize("length", [0, 1, 31, 32, 577, 24_575])
def test_create__data_of_any_length__are_the_code_behind_a_stop(
    harness: Contract, length: int
) -> None:
    data = bytes(i * 7 % 256 for i in range(length))
    where = harness("createData", data).value
    assert harness.chain.code_hash(where) == keccak(b"\0" + data)


def test_create__data_that_would_run__do_not(harness: Contract) -> None:
    """Here they would return a word of value 1."""
    data = bytes.fromhex("60015f5260205ff3")
    where = to_checksum_address(harness("createData", data).value)
    assert harness.chain.send(DEPLOYER, where, b"", 0, 100_000) == b""


def test_create__more_than_code_may_be__is_no_address(harness: Contract) -> None:
    assert harness("createData", bytes(24_576)).value == ZERO


# --- the verifier's call ---


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 64, 1_952])
@pytest.mark.parametrize("count", [0, 1, 12])
def test_verifier_call__any_proof_and_instances__is_the_standard_encoding(
    harness: Contract, length: int, count: int
) -> None:
    proof, values = b"\xab" * length, [2**256 - 1 - i for i in range(count)]
    call, used, clean = harness.read("verifierCall", proof, values)
    selector = keccak(text="verifyProof(bytes,uint256[])")[:4]
    assert call == selector + encode(["bytes", "uint256[]"], [proof, values])
    assert clean
    # Nothing that is allocated after it can lie in it.
    assert 32 + len(call) <= used < 64 + len(call)
    assert used % 32 == 0


# --- the registry ---


def test_register__model__creates_its_data_contract_where_its_id_says(world: World) -> None:
    for model_id in (1, world.register(), world.register(sizes=(1, 4))):
        created = world.chain.revm.basic(data_of(world, model_id))
        assert (created.nonce, bytes(created.code)[:1]) == (1, b"\0")
    assert world.chain.code_hash(data_of(world, 4)) == keccak(b"")


def test_register__data_contract_not_where_readers_look__is_refused(world: World) -> None:
    """As on a chain whose addresses follow from something else: no request could be answered."""
    known = world.chain.revm.basic(world.registry.address)
    moved = AccountInfo(nonce=known.nonce + 1, code=bytes(known.code))
    world.chain.revm.insert_account_info(world.registry.address, moved)
    with pytest.raises(Reverted, match="DataMisplaced") as caught:
        world.register()
    assert caught.value.values == (2, address(world.registry.address, 3))
    assert world.registry.read("count") == 1


def test_proof_terms__every_field_at_its_greatest__comes_back_as_registered(world: World) -> None:
    greatest = tensor.R // 2
    model_id = world.register(
        codec=0,
        tagLimbs=31,
        tagBits=8,
        input=(65535, 32, 255, -greatest, greatest),
        output=(65534, 31, 254, -(2**247), 2**247 - 1),
        token=world.verifier.address,
        receiverBps=10_000,
        verifyGas=10_000_000,
    )
    assert world.registry.read("proofTerms", model_id, 1) == terms(
        world,
        (1,),
        0,
        tagLimbs=31,
        tagBits=8,
        inputLength=65535,
        inputWidth=32,
        inputScale=255,
        outputLength=65534,
        outputWidth=31,
        outputScale=254,
        outputMinimum=-(2**247),
        outputMaximum=2**247 - 1,
        token=world.verifier.address.lower(),
        receiverBps=10_000,
        verifyGas=10_000_000,
    )


def test_proof_terms__sixteen_circuits__each_serves_the_rows_above_the_one_before(
    world: World,
) -> None:
    circuits = [
        world.circuit(
            size=size,
            verifier=world.chain.deploy("HungryVerifier", size).address,
            verifyGas=VERIFY_GAS + size,
        )
        for size in SIXTEEN
    ]
    model_id = world.register(verifiers=circuits)
    assert world.registry.read("getModel", model_id)[-1] == tuple(
        (circuit[0].lower(), *circuit[1:]) for circuit in circuits
    )
    below = 0
    for index, (verifier, code_hash, gas, size, *_) in enumerate(circuits):
        for rows in (below + 1, size):
            assert world.registry.read("proofTerms", model_id, rows) == terms(
                world,
                SIXTEEN,
                index,
                verifier=verifier.lower(),
                codeHash=code_hash,
                verifyGas=gas,
            )
            found, rows_of_circuit, token = world.registry.read("requestTerms", model_id, rows)
            assert (found & 0xFFFFFFFF, rows_of_circuit, token) == (gas, size, ZERO)
        below = size
    for rows in (0, 65536, 2**256 - 1):
        with pytest.raises(Reverted, match="InvalidBatchSize") as caught:
            world.registry.read("proofTerms", model_id, rows)
        assert caught.value.values == (rows, 65535)


@pytest.mark.parametrize("model_id", [0, 2, 3, 2**32, 2**32 + 1, 2**40 + 1, 2**256 - 1])
def test_unknown_model__has_no_terms(world: World, model_id: int) -> None:
    with pytest.raises(Reverted, match="UnknownModel") as caught:
        world.registry.read("proofTerms", model_id, 1)
    assert caught.value.values == (model_id,)
    assert world.registry.read("requestTerms", model_id, 1) == (0, 0, ZERO)
    assert world.registry.read("checkInput", model_id, packed()) == (0, 0)
    with pytest.raises(Reverted, match="UnknownModel"):
        world.oracle.read("tagOf", model_id, [1], NODE)


# --- the oracle ---


def test_oracle__open_request__ends_without_a_call_of_the_registry(world: World) -> None:
    """What a fulfilment, a refund and a tag need is in the data contract alone."""
    token = world.chain.deploy("TestToken").address
    model_id = world.register(sizes=(1, 4), token=token, fee=0)
    single, late = world.request(), world.request(data=packed((1, 2, 3, 4)))
    batch = asks(world, model_id, 2, value=GAS_MONEY)
    world.chain.erase_code(world.registry.address)
    limbs = tensor.tag(CHAIN_ID, world.oracle.address, [single.request_id], NODE, TAG)
    assert world.oracle.read("tagOf", world.model_id, [single.request_id], NODE) == limbs
    world.fulfil(single)
    assert world.status(single) == FULFILLED
    assert world.fulfil_batch(batch, size=4).value == 2
    world.chain.advance(7200)
    world.refund(late)
    assert world.status(late) == REFUNDED
    assert world.credit(ALICE) >= FEE + GAS_MONEY


def test_oracle__largest_of_sixteen_circuits__answers_a_request_of_its_rows(world: World) -> None:
    """Its terms are the last words of the data contract."""
    sizes = range(1, 17)
    model_id = world.register(sizes=sizes)
    rows = [(i, *NUMBERS[1:]) for i in range(16)]
    receipt = world.oracle(
        "requestBatchInference",
        *(16, model_id, packed([n for row in rows for n in row]), ZERO, 0, b"", 0, 0),
        sender=ALICE,
        value=16 * FEE + GAS_MONEY,
    )
    asked = ticket(receipt.events)
    outputs = RESULT * 16
    proof = world.statement([n for row in rows for n in row], [asked.request_id], NODE, outputs)
    world.fulfil(asked, outputs=outputs, proof=proof)
    assert world.status(asked) == FULFILLED


def test_fulfill__data_contract_cut_short__is_refused(world: World) -> None:
    """It cannot happen; but words that are not there would read as zero, the code hash's too."""
    asked = world.request()
    where = data_of(world, world.model_id)
    whole = code(world, where)
    # Of the first circuit, the last word of its terms, and all of the data.
    first = 1 + 32 * (23 + 4)
    for length in (first - 1, first - 32, 33, 1, 0):
        set_code(world, where, whole[:length])
        with pytest.raises(Reverted, match="UnknownModel"):
            world.fulfil(asked)
    set_code(world, where, whole[:first])
    world.fulfil(asked)


@pytest.mark.parametrize("layout", [(4, 24), (1, 248), (31, 8)])
def test_tag_of__any_layout__is_pythons(world: World, layout: tuple[int, int]) -> None:
    model_id = world.register(tagLimbs=layout[0], tagBits=layout[1])
    assert world.oracle.read("tagOf", model_id, [7, 8], NODE) == tensor.tag(
        CHAIN_ID, world.oracle.address, [7, 8], NODE, TagLayout(*layout)
    )


def test_batch__ghost_of_an_unknown_model__names_it(world: World) -> None:
    """Its preimage is the sender's invention."""
    ghost = replace(world.request(), model_id=77)
    with pytest.raises(Reverted, match="UnknownModel") as caught:
        world.fulfil_batch([ghost], size=1)
    assert caught.value.values == (77,)


def test_request__fee_in_a_token__is_told_from_the_data_contract(world: World) -> None:
    token = world.chain.deploy("TestToken").address
    model_id = world.register(token=token, sizes=(1, 4))
    for rows, size in ((1, 1), (3, 4)):
        found = world.registry.read("requestTerms", model_id, rows)
        assert found[1:] == (size, token.lower())
    assert world.registry.read("publisherOf", model_id) == PUBLISHER.lower()
