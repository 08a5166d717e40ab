"""A result is accepted only with a proof for that request, model, input, output and payee."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_utils import keccak

from oracle import tensor
from tests.contracts.evm import CHAIN_ID, Contract, Reverted
from tests.contracts.world import (
    ALICE,
    FEE,
    FULFILLED,
    NODE,
    NUMBERS,
    OPEN,
    OUTPUT,
    OWNER,
    RESULT,
    TAG,
    THIEF,
    World,
    packed,
)


def answering(world: World, answer: bytes) -> Contract:
    return world.chain.deploy("FixedAnswerVerifier", answer)


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def test_fulfill__honest_proof__delivers_the_proved_output(world: World) -> None:
    consumer = world.deploy("RecordingConsumer")
    ticket = world.ask(consumer, data=b"context")
    receipt = world.fulfil(ticket)
    assert consumer.read("output") == tensor.pack(RESULT, OUTPUT.width)
    assert consumer.read("requestId") == ticket.request_id
    assert consumer.read("callbackData") == b"context"
    assert consumer.read("caller") == world.oracle.address.lower()
    assert world.status(ticket) == FULFILLED
    assert world.oracle.read("isFinalized", ticket.request_id)
    result = receipt.event("AICallbackResult")
    assert result["account"] == consumer.address.lower()
    assert result["invoker"] == NODE.lower()
    assert result["output"] == tensor.pack(RESULT, OUTPUT.width)
    assert receipt.event("RequestFulfilled")["callbackSucceeded"]


def test_fulfill__proof_naming_another_payee__is_rejected(world: World) -> None:
    ticket = world.request()
    copied = world.proof(ticket, payee=NODE)
    with pytest.raises(Reverted, match="ProofRejected"):
        world.fulfil(ticket, payee=THIEF, proof=copied, sender=THIEF)


def test_fulfill__copied_proof__pays_its_maker(world: World) -> None:
    ticket = world.request()
    world.fulfil(ticket, payee=NODE, sender=THIEF)
    assert world.credit(THIEF) == 0
    assert world.credit(NODE) > 0


def test_fulfill__proof_for_another_request__is_rejected(world: World) -> None:
    first, second = world.request(), world.request()
    with pytest.raises(Reverted, match="ProofRejected"):
        world.fulfil(second, proof=world.proof(first))


def test_fulfill__proof_for_another_chain__is_rejected(world: World) -> None:
    ticket = world.request()
    with pytest.raises(Reverted, match="ProofRejected"):
        world.fulfil(ticket, proof=world.proof(ticket, chain_id=5))


def test_fulfill__proof_for_another_oracle__is_rejected(world: World) -> None:
    ticket = world.request()
    other = world.chain.deploy("InferenceOracle", world.registry.address, OWNER)
    with pytest.raises(Reverted, match="ProofRejected"):
        world.fulfil(ticket, proof=world.proof(ticket, oracle=other.address))


def test_fulfill__proof_for_another_input__is_rejected(world: World) -> None:
    ticket = world.request()
    other = [NUMBERS[0] + 1, *NUMBERS[1:]]
    with pytest.raises(Reverted, match="ProofRejected"):
        world.fulfil(ticket, proof=world.proof(ticket, inputs=other))


@pytest.mark.parametrize("index", range(OUTPUT.length))
def test_fulfill__output_differing_from_the_proved_one__is_rejected(
    world: World, index: int
) -> None:
    ticket = world.request()
    claimed = list(RESULT)
    claimed[index] += 1
    with pytest.raises(Reverted, match="ProofRejected"):
        world.fulfil(ticket, outputs=claimed, proof=world.proof(ticket))


def test_fulfill__other_input_bytes__are_rejected(world: World) -> None:
    ticket = world.request()
    arguments = list(world.fulfil_arguments(ticket))
    arguments[2] = packed([0, 0, 0, 0])
    with pytest.raises(Reverted, match="PreimageMismatch") as caught:
        world.oracle("fulfill", *arguments, sender=NODE)
    assert caught.value.values[0].startswith(b"input\0")


def test_fulfill__other_callback_data__is_rejected(world: World) -> None:
    ticket = world.request()
    arguments = list(world.fulfil_arguments(ticket))
    arguments[3] = b"other"
    with pytest.raises(Reverted, match="PreimageMismatch") as caught:
        world.oracle("fulfill", *arguments, sender=NODE)
    assert caught.value.values[0].startswith(b"callbackData\0")


@pytest.mark.parametrize("count", [0, OUTPUT.length - 1, OUTPUT.length + 1])
def test_fulfill__wrong_number_of_outputs__is_rejected(world: World, count: int) -> None:
    ticket = world.request()
    with pytest.raises(Reverted, match="OutputLength") as caught:
        world.fulfil(ticket, outputs=[1] * count)
    assert caught.value.values == (count, OUTPUT.length)


@pytest.mark.parametrize("element", [tensor.R, tensor.R + 1, 2**256 - 1])
def test_fulfill__field_element_not_below_the_modulus__is_rejected(
    world: World, element: int
) -> None:
    """Even a verifier that accepts anything cannot get a non-canonical output delivered."""
    accepting = answering(world, word(1))
    ticket = world.request(model_id=world.register(verifier=accepting.address))
    arguments = list(world.fulfil_arguments(ticket))
    arguments[5] = [element, 0, 0]
    with pytest.raises(Reverted, match="InvalidOutput"):
        world.oracle("fulfill", *arguments, sender=NODE)


@pytest.mark.parametrize("value", [OUTPUT.minimum - 1, OUTPUT.maximum + 1, tensor.R // 2])
def test_fulfill__output_out_of_range__is_rejected(world: World, value: int) -> None:
    ticket = world.request()
    with pytest.raises(Reverted, match="InvalidOutput"):
        world.fulfil(ticket, outputs=[0, value, 0])


def test_fulfill__outputs_at_the_edges__are_delivered(world: World) -> None:
    edges = (OUTPUT.minimum, OUTPUT.maximum, 0)
    receipt = world.fulfil(world.request(), outputs=edges)
    assert receipt.event("AICallbackResult")["output"] == tensor.pack(edges, OUTPUT.width)


def test_fulfill__twice__is_rejected(world: World) -> None:
    """Two nodes racing: the second learns that the request has ended."""
    ticket = world.request()
    world.fulfil(ticket)
    with pytest.raises(Reverted, match="NotOpen") as caught:
        world.fulfil(ticket, payee=THIEF)
    assert caught.value.values == (ticket.request_id, FULFILLED)


def test_fulfill__unknown_request__is_rejected(world: World) -> None:
    ticket = replace(world.request(), request_id=7)
    with pytest.raises(Reverted, match="NotOpen"):
        world.fulfil(ticket)


def test_fulfill__after_the_deadline__is_rejected(world: World) -> None:
    ticket = world.request(lifetime=60)
    world.chain.advance(61)
    with pytest.raises(Reverted, match="DeadlinePassed"):
        world.fulfil(ticket)


def test_fulfill__in_the_last_second__is_accepted(world: World) -> None:
    ticket = world.request(lifetime=60)
    world.chain.advance(60)
    world.fulfil(ticket)


@pytest.mark.parametrize(
    "answer",
    [b"", word(0), word(2), word(1)[:31], word(1) + word(0), word(2**255 + 1)],
    ids=["nothing", "false", "two", "short", "long", "dirty"],
)
def test_fulfill__verifier_answering_anything_but_true__is_rejected(
    world: World, answer: bytes
) -> None:
    stub = answering(world, answer)
    ticket = world.request(model_id=world.register(verifier=stub.address))
    with pytest.raises(Reverted, match="ProofRejected"):
        world.fulfil(ticket)


def test_fulfill__verifier_answering_true__is_accepted(world: World) -> None:
    """The control for the test above."""
    stub = answering(world, word(1))
    world.fulfil(world.request(model_id=world.register(verifier=stub.address)))


def test_fulfill__verifier_reverting_with_true__is_rejected(world: World) -> None:
    stub = world.chain.deploy("TrueRevertingVerifier")
    ticket = world.request(model_id=world.register(verifier=stub.address))
    with pytest.raises(Reverted, match="ProofRejected"):
        world.fulfil(ticket)


@pytest.mark.parametrize(("cap", "enough"), [(110_000, True), (90_000, False)])
def test_fulfill__verifier_out_of_its_gas__is_rejected(
    world: World, cap: int, enough: bool
) -> None:
    """The transaction has plenty of gas; the verifier gets its cap and no more."""
    hungry = world.chain.deploy("HungryVerifier", 100_000)
    ticket = world.request(model_id=world.register(verifier=hungry.address, verifyGas=cap))
    if enough:
        world.fulfil(ticket)
    else:
        with pytest.raises(Reverted, match="ProofRejected"):
            world.fulfil(ticket)
    assert world.status(ticket) == (FULFILLED if enough else OPEN)


def test_fulfill__too_little_gas_for_the_verifier__blames_the_sender(world: World) -> None:
    """63/64 griefing: a proof is never called wrong because the transaction was short of gas."""
    ticket = world.request()
    with pytest.raises(Reverted, match="NotEnoughGas") as caught:
        world.fulfil(ticket, gas=520_000)
    assert caught.value.values[1] == 500_000


@pytest.mark.parametrize("lost", ["code", "other code"])
def test_fulfill__verifier_with_changed_code__is_rejected_and_refundable(
    world: World, lost: str
) -> None:
    ticket = world.request(lifetime=60)
    if lost == "code":
        world.chain.erase_code(world.verifier.address)
    else:
        world.chain.replace_code(world.verifier.address, answering(world, word(1)).address)
    with pytest.raises(Reverted, match="VerifierChanged"):
        world.fulfil(ticket)
    world.chain.advance(61)
    world.refund(ticket)
    assert world.credit(ALICE) == FEE + ticket.gas_money


def repoint_proof(calldata: bytes, decoy: bytes) -> bytes:
    """The same call with `decoy` where the proof lies and the proof moved behind everything."""
    head = 4 + 32 * 17
    offset = int.from_bytes(calldata[head : head + 32], "big")
    start = 4 + offset
    length = int.from_bytes(calldata[start : start + 32], "big")
    blob = calldata[start : start + 32 + -(-length // 32) * 32]
    moved = word(len(calldata) - 4)
    body = bytearray(calldata + blob)
    body[head : head + 32] = moved
    body[start + 32 : start + 32 + length] = decoy
    return bytes(body)


def test_fulfill__repointed_calldata__cannot_choose_what_a_fixed_offset_verifier_reads(
    world: World,
) -> None:
    """Generated verifiers read the proof at a fixed position. The oracle encodes their calldata
    itself, so they see the proof that the ABI decodes to and no decoy."""
    stub = world.chain.deploy("FixedOffsetVerifier")
    ticket = world.request(model_id=world.register(verifier=stub.address))
    valid, invalid = keccak(b"valid"), keccak(b"invalid")
    honest = world.oracle.calldata("fulfill", *world.fulfil_arguments(ticket, proof=valid))
    forged = world.oracle.calldata("fulfill", *world.fulfil_arguments(ticket, proof=invalid))

    with pytest.raises(Reverted, match="ProofRejected"):
        send(world, repoint_proof(forged, decoy=valid))
    send(world, repoint_proof(honest, decoy=invalid))
    assert world.status(ticket) == FULFILLED


def send(world: World, calldata: bytes) -> bytes:
    return world.chain.send(NODE, world.oracle.address, calldata, 0, 16_000_000)


def test_tag_of__equals_the_python_twin(world: World) -> None:
    ticket = world.request()
    expected = tensor.tag(CHAIN_ID, world.oracle.address, [ticket.request_id], NODE, TAG)
    assert world.oracle.read("tagOf", world.model_id, [ticket.request_id], NODE) == expected
