"""Consumers written for ORA get their proved answers through the adapter, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from eth_abi import encode
from eth_utils import keccak

from oracle import tensor
from tests.contracts.evm import Contract, Reverted
from tests.contracts.ora import (
    ANSWER,
    ANSWERED,
    DIFFUSION,
    HASHED,
    LLAMA,
    NAME,
    OPEN,
    PACKED_ANSWER,
    PROMPT,
    UNKNOWN,
    VALUE,
    Ora,
    make_ora,
)
from tests.contracts.world import (
    ALICE,
    BOB,
    FEE,
    GAS_MONEY,
    NODE,
    OWNER,
    RESULT,
    THIEF,
    ZERO,
    packed,
)
from tests.contracts.world import (
    ticket as world_ticket,
)

WIDEST = tensor.R // 2


@pytest.fixture
def ora() -> Iterator[Ora]:
    made = make_ora()
    yield made
    assert made.world.chain.balance(made.address) == 0


# --- consumers, one kind after the other ---


def test_older_prompt__numbers_in_words_place__gets_its_answer(ora: Ora) -> None:
    """The older interface, and a model id that is in the consumer's code."""
    prompt = ora.deploy("OlderPrompt")
    assert prompt.read("estimateFee", LLAMA) == FEE
    receipt = prompt("calculateAIResult", LLAMA, PROMPT.decode(), sender=ALICE, value=VALUE)
    asked = ora.ticket(receipt)
    assert receipt.event("PromptRequest")["requestId"] == asked.request_id
    assert not prompt.read("isFinalized", asked.request_id)
    ora.answer(asked)
    assert prompt.read("prompts", LLAMA, PROMPT.decode()) == ANSWER.decode()
    assert prompt.read("isFinalized", asked.request_id)


def test_newer_prompt__id_made_of_a_name__gets_its_answer_and_its_callback_data(ora: Ora) -> None:
    """The newer interface."""
    prompt = ora.deploy("NewerPrompt")
    receipt = prompt("ask", NAME, 1, PROMPT, b"context", 0, sender=ALICE, value=VALUE)
    assert receipt.event("PromptRequest")["modelId"] == HASHED
    ora.answer(ora.ticket(receipt))
    assert (prompt.read("output"), prompt.read("context")) == (ANSWER, b"context")


def test_newer_prompt__batch__gets_all_rows_in_one_answer(ora: Ora) -> None:
    prompt = ora.deploy("NewerPrompt")
    rows = b"[[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]]"
    assert prompt.read("estimateFee", NAME, 3) == 3 * FEE
    receipt = prompt("ask", NAME, 3, rows, b"", 0, sender=ALICE, value=3 * FEE + GAS_MONEY)
    assert ora.asked(receipt)["batchSize"] == 3
    asked = ora.ticket(receipt)
    numbers, outputs = (256, 512, 768, 1024) * 4, RESULT * 4
    proof = ora.world.statement(numbers, [asked.request_id], NODE, outputs)
    ora.answer(asked, outputs=outputs, proof=proof)
    assert prompt.read("output") == b",".join([ANSWER] * 3)


@pytest.mark.parametrize("output_da", [1, 2])
def test_newer_prompt__output_elsewhere_than_in_calldata__is_refused(
    ora: Ora, output_da: int
) -> None:
    prompt = ora.deploy("NewerPrompt")
    for rows in (1, 3):
        with pytest.raises(Reverted, match="UnsupportedDataAvailability"):
            prompt("ask", NAME, rows, PROMPT, b"", output_da, sender=ALICE, value=VALUE)


@pytest.mark.parametrize("input_da", [1, 2])
def test_request__input_elsewhere_than_in_calldata__is_refused(ora: Ora, input_da: int) -> None:
    single = (DIFFUSION, packed(), ZERO, 0, b"", input_da, 0)
    with pytest.raises(Reverted, match="UnsupportedDataAvailability"):
        ora.adapter("requestCallback", *single, sender=ALICE, value=VALUE)
    with pytest.raises(Reverted, match="UnsupportedDataAvailability"):
        ora.adapter("requestBatchInference", 1, *single, sender=ALICE, value=VALUE)


def test_hard_wired__five_million_gas__is_more_than_can_be_promised(ora: Ora) -> None:
    """The id alone is served (the older prompt's); the oracle promises five million in all."""
    hard = ora.world.chain.deploy("HardWired")
    with pytest.raises(Reverted, match="InvalidCallback") as caught:
        hard("ask", ora.address, PROMPT, sender=ALICE, value=VALUE)
    assert caught.value.values[1] > 5_000_000


def test_most_gas__that_can_be_promised__is_what_the_page_says(ora: Ora) -> None:
    consumer = ora.scripted()
    asked = ora.ticket(ora.ask(consumer, gas=4_890_000, value=FEE + 10**8))
    ora.answer(asked)
    assert consumer.read("answers") == 1
    assert asked.callback_gas <= 5_000_000


def test_account__that_wants_no_callback__has_its_answer_in_the_events(ora: Ora) -> None:
    receipt = ora.adapter(
        "requestCallback", DIFFUSION, packed(), ZERO, 0, b"", sender=ALICE, value=VALUE
    )
    asked = ora.ticket(receipt)
    done = ora.answer(asked)
    assert ora.result(done)["output"] == PACKED_ANSWER
    assert ora.adapter.read("isFinalized", asked.request_id)


# --- events and views ---


def test_request__older_call__announces_seven_fields(ora: Ora) -> None:
    consumer = ora.scripted()
    receipt = ora.ask(consumer, context=b"context", gas=123_456)
    asked = ora.ticket(receipt)
    assert ora.asked(receipt) == {
        "account": consumer.address.lower(),
        "requestId": asked.request_id,
        "modelId": DIFFUSION,
        "input": packed(),
        "callbackContract": consumer.address.lower(),
        "gasLimit": 123_456,
        "callbackData": b"context",
    }


def test_request__newer_call__announces_ten_fields(ora: Ora) -> None:
    prompt = ora.deploy("NewerPrompt")
    receipt = prompt("ask", NAME, 1, PROMPT, b"context", 0, sender=ALICE, value=VALUE)
    assert ora.asked(receipt) == {
        "account": prompt.address.lower(),
        "requestId": ora.ticket(receipt).request_id,
        "modelId": HASHED,
        "input": PROMPT,
        "callbackContract": prompt.address.lower(),
        "gasLimit": 500_000,
        "callbackData": b"context",
        "inputDA": 0,
        "outputDA": 0,
        "batchSize": 1,
    }


def test_answer__announces_result_and_finality(ora: Ora) -> None:
    consumer = ora.scripted()
    asked = ora.ticket(ora.ask(consumer))
    done = ora.answer(asked)
    invoker = ora.world.oracle.address.lower()
    assert ora.result(done) == {
        "account": consumer.address.lower(),
        "requestId": asked.request_id,
        "invoker": invoker,
        "output": PACKED_ANSWER,
    }
    assert done.event("Confirm") == {
        "user": invoker,
        "requestId": asked.request_id,
        "responseHash": keccak(PACKED_ANSWER),
    }


def test_requests__are_kept_as_ora_keeps_them(ora: Ora) -> None:
    prompt, long = ora.deploy("NewerPrompt"), b"context " * 20
    asked = ora.ticket(prompt("ask", NAME, 1, PROMPT, long, 0, sender=ALICE, value=VALUE))
    kept = (prompt.address.lower(), asked.request_id, HASHED, PROMPT)
    kept += (prompt.address.lower(), 500_000, long)
    assert ora.adapter.read("requests", asked.request_id) == kept
    ora.answer(asked)
    assert ora.adapter.read("requests", asked.request_id) == kept
    nothing = (ZERO, 0, 0, b"", ZERO, 0, b"")
    assert ora.adapter.read("requests", asked.request_id + 1) == nothing


def test_is_finalized__refunded_or_unknown__is_false(ora: Ora) -> None:
    asked = ora.ticket(ora.ask(ora.scripted()))
    ora.world.chain.advance(86_401)
    ora.world.refund(asked)
    assert not ora.adapter.read("isFinalized", asked.request_id)
    assert not ora.adapter.read("isFinalized", 7)
    assert (ora.state(asked.request_id), ora.state(7)) == (OPEN, UNKNOWN)


def test_is_finalized__request_of_somebody_else_at_the_oracle__is_false(ora: Ora) -> None:
    asked = ora.world.request()
    ora.world.fulfil(asked)
    assert not ora.adapter.read("isFinalized", asked.request_id)


# --- gas ---


def test_callback__gas__is_exactly_what_the_oracle_itself_would_give(ora: Ora) -> None:
    direct, adapted = ora.world.deploy("RecordingConsumer"), ora.deploy("RecordingConsumer")
    ora.world.fulfil(ora.world.ask(direct, gas=234_567))
    receipt = adapted("ask", DIFFUSION, packed(), 234_567, b"", sender=ALICE, value=VALUE)
    ora.answer(ora.ticket(receipt))
    assert adapted.read("gasAtEntry") == direct.read("gasAtEntry")
    assert adapted.read("output") == PACKED_ANSWER


def test_callback__too_little_gas__reverts_instead_of_failing_the_callback(ora: Ora) -> None:
    """63/64 griefing, twice over: with every gas limit the consumer gets exactly its gas, or
    nothing happens."""
    consumer = ora.scripted()
    entries, refused = set(), 0
    for gas in range(1_250_000, 950_000, -9_973):
        asked = ora.ticket(ora.ask(consumer, gas=900_000))
        before = consumer.read("answers")
        with suppress(Reverted):
            done = ora.answer(asked, gas=gas)
            assert done.event("RequestFulfilled")["callbackSucceeded"]
            entries.add(consumer.read("gasAtEntry"))
        if consumer.read("answers") == before:
            assert ora.state(asked.request_id) == OPEN
            assert ora.world.status(asked) == 1
            refused += 1
    assert refused > 5
    assert len(entries) == 1


def test_delivery__unknown_or_delivered_before__is_refused() -> None:
    world = make_ora().world
    stub = world.chain.deploy("StubOracle", world.registry.address)
    adapter = world.chain.deploy("OraAdapter", stub.address, OWNER)
    adapter("setModel", 5, world.model_id, sender=OWNER)
    consumer = world.chain.deploy("ScriptedConsumer")
    request = (adapter.address, 5, packed(), 200_000, b"")
    request_id = consumer("ask", *request, sender=ALICE).value
    data = bytes(20) + (1_000_000).to_bytes(8, "big")

    def delivered(which: int) -> bool:
        call = (adapter.address, 1_000_000, which, b"", data)
        return bool(stub("deliver", *call).value)

    assert not delivered(request_id + 1)
    assert delivered(request_id)
    assert not delivered(request_id)
    assert consumer.read("answers") == 1


@pytest.mark.parametrize("codec", [0, 1])
def test_delivery_gas__longest_numbers__are_covered(ora: Ora, codec: int) -> None:
    """As long as numbers get in either codec, a hundred of them, and long callback data."""
    limit = WIDEST
    model = ora.world.register(codec=codec, output=(100, 32, 0, -limit, limit))
    ora.adapter("setModel", 77, model, sender=OWNER)
    receiver, secretary = (ora.world.chain.deploy(name) for name in ("CostlyReceiver", "Secretary"))
    receiver("accept", ora.address, secretary.address)
    request = (ora.address, 77, PROMPT if codec else packed(), receiver.address, b"\1" * 8_000)
    asked = ora.ticket(secretary("ask", *request, sender=ALICE, value=FEE + 10**9))
    done = ora.answer(asked, outputs=[-limit] * 100)
    assert done.event("RequestFulfilled")["callbackSucceeded"]


# --- whose callbacks ---


def test_third_contract__that_has_not_accepted__is_not_called(ora: Ora) -> None:
    """Or anybody could feed a stranger's consumer, which sees only that its oracle calls."""
    victim, secretary = ora.deploy("Principal"), ora.world.chain.deploy("Secretary")
    request = (ora.address, LLAMA, PROMPT, victim.address, b"")
    with pytest.raises(Reverted, match="NotAccepted"):
        secretary("ask", *request, sender=ALICE, value=VALUE)
    with pytest.raises(Reverted, match="NotAccepted"):
        ora.adapter(
            "requestCallback", LLAMA, PROMPT, victim.address, 9, b"", sender=THIEF, value=VALUE
        )
    # It speaks for itself only.
    ora.adapter("setAccepted", secretary.address, True, sender=THIEF)
    with pytest.raises(Reverted, match="NotAccepted"):
        secretary("ask", *request, sender=ALICE, value=VALUE)


def accepting(ora: Ora, requester: Contract, accepted: bool = True) -> Contract:
    """A receiver that takes callbacks for somebody's requests."""
    receiver = ora.scripted()
    consent(ora, receiver, requester, accepted)
    return receiver


def consent(ora: Ora, receiver: Contract, requester: Contract, accepted: bool) -> None:
    call = ora.adapter.calldata("setAccepted", requester.address, accepted)
    receiver("onAnswer", ora.address, 0, call)
    receiver("aiOracleCallback", 0, b"", b"")
    assert receiver.read("succeeded")
    assert ora.adapter.read("isAccepted", receiver.address, requester.address) is accepted


def test_third_contract__that_has_accepted__gets_the_answer(ora: Ora) -> None:
    secretary = ora.world.chain.deploy("Secretary")
    receiver = accepting(ora, secretary)
    before = receiver.read("answers")
    request = (ora.address, LLAMA, PROMPT, receiver.address, b"")
    receipt = secretary("ask", *request, sender=ALICE, value=VALUE)
    asked = ora.ticket(receipt)
    assert ora.asked(receipt)["account"] == secretary.address.lower()
    kept = ora.adapter.read("requests", asked.request_id)
    assert (kept[0], kept[4]) == (secretary.address.lower(), receiver.address.lower())
    assert ora.answer(asked).event("RequestFulfilled")["callbackSucceeded"]
    assert receiver.read("answers") == before + 1
    # Accepted is one requester, no other.
    with pytest.raises(Reverted, match="NotAccepted"):
        ora.world.chain.deploy("Secretary")("ask", *request, sender=ALICE, value=VALUE)


def test_third_contract__that_changes_its_mind__is_not_called_until_it_agrees(ora: Ora) -> None:
    secretary = ora.world.chain.deploy("Secretary")
    receiver = accepting(ora, secretary)
    request = (ora.address, LLAMA, PROMPT, receiver.address, b"")
    asked = ora.ticket(secretary("ask", *request, sender=ALICE, value=VALUE))
    consent(ora, receiver, secretary, accepted=False)
    before = receiver.read("answers")
    assert not ora.answer(asked).event("RequestFulfilled")["callbackSucceeded"]
    assert receiver.read("answers") == before
    consent(ora, receiver, secretary, accepted=True)
    ora.retry(asked, ANSWER)
    assert ora.state(asked.request_id) == ANSWERED


def test_callback__by_anybody_but_the_oracle__is_refused(ora: Ora) -> None:
    asked = ora.ticket(ora.ask(ora.scripted()))
    with pytest.raises(Reverted, match="NotOracle"):
        ora.adapter("aiOracleCallback", asked.request_id, b"lie", asked.callback_data, sender=THIEF)


def test_signed_request__in_the_adapters_name__is_refused(ora: Ora) -> None:
    """It would call the adapter with data that the adapter did not write."""
    end = ora.world.chain.now + 60
    hashes = keccak(packed()), keccak(bytes(28))
    order = (ora.address, ora.world.model_id, hashes[0], ora.address, 9_000, hashes[1])
    order += (THIEF, end, 0, 0, 0, end)
    with pytest.raises(Reverted, match="InvalidSignature"):
        ora.world.oracle("requestFor", order, packed(), bytes(28), b"", sender=THIEF)


@pytest.mark.parametrize("gas_without_target", [True, False])
def test_request__target_without_gas_or_gas_without_target__is_refused(
    ora: Ora, gas_without_target: bool
) -> None:
    target, gas = (ZERO, 1) if gas_without_target else (ALICE, 0)
    with pytest.raises(Reverted, match="InvalidCallback"):
        ora.adapter(
            "requestCallback", DIFFUSION, packed(), target, gas, b"", sender=ALICE, value=VALUE
        )


# --- consumers that fail ---


def failing(ora: Ora, name: str) -> Contract:
    if name == "BombingConsumer":
        return ora.deploy(name, True)
    return ora.deploy(name)


@pytest.mark.parametrize("name", ["RevertingConsumer", "BurningConsumer", "BombingConsumer"])
def test_consumer__that_fails__costs_its_gas_and_blocks_nothing(ora: Ora, name: str) -> None:
    """600 kB of returned memory cost the consumer 0.74M gas; copying them would cost as much."""
    consumer = failing(ora, name)
    receipt = consumer("ask", DIFFUSION, packed(), 800_000, b"", sender=ALICE, value=VALUE)
    asked = ora.ticket(receipt)
    done = ora.answer(asked)
    assert not done.event("RequestFulfilled")["callbackSucceeded"]
    assert done.gas_used < 1_100_000
    assert ora.results(done) == []
    assert ora.state(asked.request_id) == OPEN
    assert not ora.adapter.read("isFinalized", asked.request_id)
    with pytest.raises(Reverted, match="CallbackFailed"):
        ora.retry(asked, PACKED_ANSWER)


def test_consumer__that_returns_a_bomb__is_called_and_not_copied(ora: Ora) -> None:
    consumer = ora.deploy("BombingConsumer", False)
    receipt = consumer("ask", DIFFUSION, packed(), 800_000, b"", sender=ALICE, value=VALUE)
    done = ora.answer(ora.ticket(receipt))
    assert done.event("RequestFulfilled")["callbackSucceeded"]
    assert done.gas_used < 1_100_000


def test_consumer__account_without_code__fails_as_at_the_oracle(ora: Ora) -> None:
    receipt = ora.adapter(
        "requestCallback", DIFFUSION, packed(), ALICE, 9_000, b"", sender=ALICE, value=VALUE
    )
    assert not ora.answer(ora.ticket(receipt)).event("RequestFulfilled")["callbackSucceeded"]


def test_retry__repaired_consumer__gets_its_answer_once_with_the_promised_gas(ora: Ora) -> None:
    consumer = ora.deploy("RepairableConsumer")
    receipt = consumer("ask", DIFFUSION, packed(), 150_000, b"", sender=ALICE, value=VALUE)
    asked = ora.ticket(receipt)
    ora.answer(asked)
    consumer("repair")
    done = ora.retry(asked, PACKED_ANSWER)
    assert ora.result(done)["requestId"] == asked.request_id
    assert (consumer.read("calls"), consumer.read("output")) == (1, PACKED_ANSWER)
    assert ora.adapter.read("isFinalized", asked.request_id)
    good = ora.deploy("RepairableConsumer")
    good("repair")
    receipt = good("ask", DIFFUSION, packed(), 150_000, b"", sender=ALICE, value=VALUE)
    ora.answer(ora.ticket(receipt))
    assert consumer.read("gasAtEntry") == good.read("gasAtEntry")
    with pytest.raises(Reverted, match="NothingToRetry"):
        ora.retry(asked, PACKED_ANSWER)


def test_retry__with_more_gas__hands_it_to_the_consumer(ora: Ora) -> None:
    """Who promised too little is not lost."""
    consumer = ora.deploy("RecordingConsumer")
    receipt = consumer("ask", DIFFUSION, packed(), 30_000, b"", sender=ALICE, value=VALUE)
    asked = ora.ticket(receipt)
    assert not ora.answer(asked).event("RequestFulfilled")["callbackSucceeded"]
    with pytest.raises(Reverted, match="CallbackFailed"):
        ora.retry(asked, PACKED_ANSWER)
    ora.retry(asked, PACKED_ANSWER, gas=asked.callback_gas + 300_000)
    assert consumer.read("calls") == 1
    assert 320_000 < consumer.read("gasAtEntry") < 330_000


# --- requests made in callbacks ---


def test_nested__with_the_consumers_own_money__is_answered_in_its_turn(ora: Ora) -> None:
    consumer = ora.deploy("NestedConsumer")
    ora.world.chain.fund(consumer.address, VALUE)
    context = encode(["uint256", "bytes"], [DIFFUSION, packed()])
    receipt = consumer("ask", DIFFUSION, packed(), 700_000, context, sender=ALICE, value=VALUE)
    outer = ora.ticket(receipt)
    done = ora.answer(outer)
    assert done.event("RequestFulfilled")["callbackSucceeded"]
    nested = ora.ticket(done)
    assert nested.request_id == consumer.read("nestedRequestId")
    assert nested.refund_to == outer.refund_to == ALICE
    ora.answer(nested)
    assert ora.adapter.read("isFinalized", nested.request_id)


def test_nested__with_the_money_of_the_callback__has_none(ora: Ora) -> None:
    consumer = ora.scripted()
    consumer("onAnswer", ora.address, 0, ora.call(target=consumer.address))
    ora.answer(ora.ticket(ora.ask(consumer, gas=900_000)))
    assert not consumer.read("succeeded")
    assert consumer.read("reason")[:4] == keccak(text="Underpaid(uint256,uint256)")[:4]


def test_answer__decoded_as_a_word__fails_the_callback_and_nothing_else(ora: Ora) -> None:
    consumer = ora.world.chain.deploy("ScoreReader", ora.address)
    receipt = consumer("ask", LLAMA, PROMPT, sender=ALICE, value=VALUE)
    done = ora.answer(ora.ticket(receipt))
    assert not done.event("RequestFulfilled")["callbackSucceeded"]
    assert consumer.read("score") == 0


def test_nested__in_a_retry__refunds_the_outer_requester(ora: Ora) -> None:
    consumer = ora.scripted(wei=VALUE)
    asked = ora.ticket(ora.ask(consumer, gas=50_000))
    consumer("onAnswer", ora.address, VALUE, ora.call(target=consumer.address))
    ora.answer(asked)
    again = ora.retry(asked, PACKED_ANSWER, gas=asked.callback_gas + 900_000)
    assert ora.ticket(again).refund_to == ALICE


def test_nested__asked_by_a_consumer_of_the_oracle__refunds_its_requester(ora: Ora) -> None:
    """The adapter does not know for whom; the oracle does."""
    direct = ora.scripted(wei=VALUE)
    direct("onAnswer", ora.address, VALUE, ora.call(target=direct.address))
    receipt = direct(
        "ask",
        ora.world.oracle.address,
        ora.world.model_id,
        packed(),
        900_000,
        b"",
        sender=BOB,
        value=VALUE,
    )
    (outer,) = [e.values["requestId"] for e in receipt.events if e.name == "RequestOpened"]
    done = ora.answer(world_ticket(receipt.events))
    assert direct.read("succeeded")
    nested = ora.ticket(done)
    assert nested.request_id != outer
    assert nested.refund_to == BOB


def test_callback__reentering_its_own_delivery__is_refused(ora: Ora) -> None:
    consumer = ora.deploy("ReentrantConsumer")
    receipt = consumer("ask", DIFFUSION, packed(), 900_000, b"", sender=ALICE, value=VALUE)
    asked = ora.ticket(receipt)
    call = ora.adapter.calldata(
        "aiOracleCallback", asked.request_id, PACKED_ANSWER, asked.callback_data
    )
    consumer("prepare", call)
    ora.answer(asked)
    assert consumer.read("attacked")
    assert not consumer.read("succeeded")
