"""Bad input at the adapter: no revert, money back at once, and an error callback by whoever sends it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from eth_abi import encode
from eth_utils import keccak, to_checksum_address

from tests.contracts.evm import Contract, Receipt, Reverted
from tests.contracts.ora import (
    DIFFUSION,
    INVALID_BATCH_SIZE,
    INVALID_INPUT,
    LLAMA,
    NAME,
    PROMPT,
    REFUSED,
    TOLD,
    UNKNOWN,
    VALUE,
    Ora,
    make_ora,
)
from tests.contracts.world import (
    ALICE,
    BOB,
    FEE,
    NODE,
    NUMBERS,
    OWNER,
    THIEF,
    ZERO,
    packed,
)
from tests.contracts.world import (
    ticket as world_ticket,
)

BAD = b"1, 2, 3"
WORDS = b"Tell me how to prepare eggs"


@pytest.fixture
def ora() -> Iterator[Ora]:
    made = make_ora()
    yield made
    assert made.world.chain.balance(made.address) == 0


def error(name: str, types: list[str], *values: int) -> bytes:
    return keccak(text=f"{name}({','.join(types)})")[:4] + encode(types, values)


TWO = ["uint256", "uint256"]
RANGED = ["uint256", "int256"]


def newer(ora: Ora, data: bytes, rows: int = 1, context: bytes = b"context") -> Receipt:
    """Ask the text model, with a consumer of the newer kind."""
    prompt = ora.deploy("NewerPrompt")
    return prompt("ask", NAME, rows, data, context, 0, sender=ALICE, value=VALUE)


def consumer_of(ora: Ora, receipt: Receipt) -> Contract:
    account = to_checksum_address(ora.asked(receipt)["account"])
    return ora.world.chain.at(account, "NewerPrompt")


@pytest.mark.parametrize(
    ("data", "rows", "code", "message"),
    [
        (BAD, 1, INVALID_INPUT, error("InputLength", TWO, 3, 4)),
        (b"", 1, INVALID_INPUT, error("InputLength", TWO, 0, 4)),
        (WORDS, 1, INVALID_INPUT, error("TextSyntax", ["uint256"], 0)),
        (b"1,2,3,8", 1, INVALID_INPUT, error("TextRange", RANGED, 3, 2048)),
        (b" " * 129, 1, INVALID_INPUT, error("TextTooLong", TWO, 129, 128)),
        (b"1 2 3 4 x", 2, INVALID_INPUT, error("TextSyntax", ["uint256"], 8)),
        (b"1 2 3 4 " * 3, 2, INVALID_BATCH_SIZE, error("InputLength", TWO, 12, 8)),
        (PROMPT, 5, INVALID_BATCH_SIZE, error("InvalidBatchSize", TWO, 5, 4)),
        (PROMPT, 0, INVALID_BATCH_SIZE, error("InvalidBatchSize", TWO, 0, 4)),
    ],
)
def test_bad_input__is_answered_by_the_error_callback(
    ora: Ora, data: bytes, rows: int, code: int, message: bytes
) -> None:
    receipt = newer(ora, data, rows)
    request = ora.asked(receipt)
    refused = ora.refused(receipt)
    assert refused == (request["requestId"], ALICE.lower(), code, message)
    assert request["batchSize"] == rows
    assert ora.state(refused[0]) == REFUSED
    # All the money, at once; nothing is open at the oracle.
    assert ora.world.credit(ALICE) == VALUE
    assert ora.world.oracle.read("status", refused[0]) == 0
    prompt = consumer_of(ora, receipt)
    assert prompt.read("failed") == 0
    told = ora.tell(refused, gas=500_000, sender=THIEF)
    assert told.event("ErrorDelivered") == {"requestId": refused[0]}
    heard = tuple(prompt.read(name) for name in ("failed", "code", "message", "context"))
    assert heard == (refused[0], code, message, b"context")
    assert ora.state(refused[0]) == TOLD
    assert not ora.adapter.read("isFinalized", refused[0])


def test_bad_input__packed__names_the_element(ora: Ora) -> None:
    consumer = ora.scripted()
    beyond = packed((*NUMBERS[:3], 2001))
    refused = ora.refused(ora.ask(consumer, data=beyond))
    assert refused[2:] == (INVALID_INPUT, error("InputRange", RANGED, 3, 2001))
    kept = (consumer.address.lower(), refused[0], DIFFUSION, beyond, consumer.address.lower())
    assert ora.adapter.read("requests", refused[0]) == (*kept, 300_000, b"")


def test_bad_input__twice__are_two_requests(ora: Ora) -> None:
    consumer = ora.scripted()
    first, second = (ora.refused(ora.ask(consumer, data=b"")) for _ in range(2))
    assert first[0] != second[0]
    ora.tell(first)
    ora.tell(second)
    assert consumer.read("errors") == 2


def test_bad_input__without_money__is_answered_alike(ora: Ora) -> None:
    consumer = ora.scripted()
    ora.tell(ora.refused(ora.ask(consumer, data=b"", value=0)))
    assert (consumer.read("errors"), ora.world.credit(ALICE)) == (1, 0)


def test_bad_input__nobody_to_tell__is_the_oracles_error(ora: Ora) -> None:
    with pytest.raises(Reverted, match="InputLength"):
        ora.adapter("requestCallback", DIFFUSION, b"", ZERO, 0, b"", sender=ALICE, value=VALUE)
    assert ora.world.credit(ALICE) == 0


def test_other_refusals__are_the_oracles_errors(ora: Ora) -> None:
    """About money, gas or the model, which ORA refuses at once, too."""
    consumer = ora.scripted()
    for how, name in (
        ({"value": FEE - 1}, "Underpaid"),
        ({"gas": 5_000_001}, "InvalidCallback"),
        ({"context": b"\1" * 8_165}, "CallbackDataTooLong"),
    ):
        with pytest.raises(Reverted, match=name):
            ora.ask(consumer, **how)  # type: ignore[arg-type]
    ora.ask(consumer, context=b"\1" * 8_164)
    ora.world.oracle("setPaused", True, sender=OWNER)
    with pytest.raises(Reverted, match="RequestsPaused"):
        ora.ask(consumer, data=b"")


def test_checker__with_an_error_of_its_own__is_passed_on(ora: Ora) -> None:
    moody = ora.world.chain.deploy("MoodyChecker", 4, -2000, 2000)
    model = ora.world.register(inputChecker=moody.address)
    ora.adapter("setModel", 7, model, sender=OWNER)
    consumer = ora.scripted()
    ora.ask(consumer, model=7)
    moody("feel", 1)
    with pytest.raises(Reverted, match="Grudge"):
        ora.ask(consumer, model=7)


@pytest.mark.parametrize("gas", range(150_000, 420_000, 13_007))
def test_bad_input__any_gas__is_refused_for_what_it_is_or_not_at_all(ora: Ora, gas: int) -> None:
    """A call that is starved says nothing about the input, and good input is never refused."""
    consumer = ora.scripted()
    arguments = (ora.address, LLAMA, PROMPT, 300_000, b"")
    try:
        receipt = consumer("ask", *arguments, sender=ALICE, value=VALUE, gas=gas)
    except Reverted:
        return
    assert [e.name for e in receipt.events].count("RequestRefused") == 0


# --- telling ---


def test_tell__in_the_same_transaction__is_too_early(ora: Ora) -> None:
    """ORA's consumers are never called before their own call has returned."""
    consumer = ora.scripted()
    refused = ora.refused(ora.ask(consumer, data=b""))
    ora.tell(refused)
    # The next one's id, which a transaction can know beforehand.
    same = ora.world.chain.deploy("SameTransaction")
    count = 2
    guess = keccak(
        encode(
            ["string", "uint256", "address", "uint256"],
            ["refused", 1, ora.address, count],
        )
    )
    following = (int.from_bytes(guess, "big"), *refused[1:])
    ask = consumer.calldata("ask", ora.address, DIFFUSION, b"", 300_000, b"")
    tell = ora.adapter.calldata("deliverError", *following[:3], 300_000, following[3])
    receipt = same("perform", consumer.address, ask, ora.address, tell, sender=ALICE, value=VALUE)
    assert ora.refused(receipt) == following
    assert not same.read("succeeded")
    assert same.read("answer") == keccak(text="TooEarly(uint256)")[:4]
    ora.tell(following)
    assert consumer.read("errors") == 2


def test_tell__gas__is_exact(ora: Ora) -> None:
    consumer = ora.scripted()
    entries = set()
    for gas in (2_000_000, 1_000_000, 600_000):
        ora.tell(ora.refused(ora.ask(consumer, data=b"", gas=400_000)), gas=400_000)
        entries.add(consumer.read("gasAtEntry"))
        refused = ora.refused(ora.ask(consumer, data=b"", gas=400_000))
        arguments = (*refused[:3], 400_000, refused[3])
        ora.adapter("deliverError", *arguments, gas=gas)
        entries.add(consumer.read("gasAtEntry"))
    assert len(entries) == 1
    refused = ora.refused(ora.ask(consumer, data=b"", gas=400_000))
    with pytest.raises(Reverted, match="NotEnoughGas"):
        ora.adapter("deliverError", *refused[:3], 400_000, refused[3], gas=420_000)


def test_tell__less_gas_than_promised__is_refused_and_more_is_given(ora: Ora) -> None:
    consumer = ora.scripted()
    refused = ora.refused(ora.ask(consumer, data=b"", gas=400_000))
    with pytest.raises(Reverted, match="RetryGas"):
        ora.tell(refused, gas=399_999)
    ora.tell(refused, gas=900_000)
    assert consumer.read("gasAtEntry") > 890_000


def test_tell__twice_or_something_else__is_refused(ora: Ora) -> None:
    refused = ora.refused(ora.ask(ora.scripted(), data=b""))
    other = ora.refused(ora.ask(ora.scripted(), data=b""))
    for wrong in (
        (other[0] + 1, *refused[1:]),
        (refused[0], THIEF, *refused[2:]),
        (*refused[:2], 1, refused[3]),
        (*refused[:3], b"lie"),
    ):
        with pytest.raises(Reverted, match="NotPending"):
            ora.tell(wrong)
    ora.tell(refused)
    with pytest.raises(Reverted, match="NotPending"):
        ora.tell(refused)


def test_tell__open_request__is_refused(ora: Ora) -> None:
    asked = ora.ticket(ora.ask(ora.scripted()))
    with pytest.raises(Reverted, match="NotPending"):
        ora.tell((asked.request_id, ALICE, 0, b""))
    assert ora.adapter.read("refusals", asked.request_id) == bytes(32)


def test_tell__older_consumer__has_nothing_to_call_but_its_money(ora: Ora) -> None:
    prompt = ora.deploy("OlderPrompt")
    receipt = prompt("calculateAIResult", LLAMA, WORDS.decode(), sender=ALICE, value=VALUE)
    refused = ora.refused(receipt)
    with pytest.raises(Reverted, match="CallbackFailed"):
        ora.tell(refused)
    assert ora.state(refused[0]) == REFUSED
    ora.world.oracle("withdrawTo", BOB, sender=ALICE)
    assert ora.world.credit(ALICE) == 0


def test_tell__third_contract__only_while_it_accepts(ora: Ora) -> None:
    secretary = ora.world.chain.deploy("Secretary")
    receiver = ora.scripted()
    arguments = (ora.address, LLAMA, BAD, receiver.address, b"")
    with pytest.raises(Reverted, match="NotAccepted"):
        secretary("ask", *arguments, sender=ALICE, value=VALUE)
    for accepted in (True, False):
        receiver("onAnswer", ora.address, 0, accept(ora, secretary, accepted))
    # The last is the first that it performs.
    receiver("aiOracleCallback", 0, b"", b"")
    receiver("aiOracleCallback", 0, b"", b"")
    refused = ora.refused(secretary("ask", *arguments, sender=ALICE, value=VALUE))
    receiver("onAnswer", ora.address, 0, accept(ora, secretary, False))
    receiver("aiOracleCallback", 0, b"", b"")
    with pytest.raises(Reverted, match="NotAccepted"):
        ora.tell(refused)
    receiver("onAnswer", ora.address, 0, accept(ora, secretary, True))
    receiver("aiOracleCallback", 0, b"", b"")
    ora.tell(refused)
    assert receiver.read("errors") == 1


def accept(ora: Ora, requester: Contract, accepted: bool) -> bytes:
    return ora.adapter.calldata("setAccepted", requester.address, accepted)


# --- requests made in callbacks, and whose money that is ---


def test_nested__bad_input__is_refused_and_paid_back_to_the_outer_requester(ora: Ora) -> None:
    """Not to the node, which started the transaction."""
    consumer = ora.scripted(wei=VALUE)
    consumer("onAnswer", ora.address, VALUE, ora.call(target=consumer.address, data=b""))
    done = ora.answer(ora.ticket(ora.ask(consumer, gas=900_000)))
    assert done.event("RequestFulfilled")["callbackSucceeded"]
    assert consumer.read("succeeded")
    refused = ora.refused(done)
    assert refused[1] == ALICE.lower()
    unspent = VALUE - FEE - done.event("RequestFulfilled")["gasPaid"]
    assert ora.world.credit(ALICE) == VALUE + unspent
    ora.tell(refused)
    assert consumer.read("errors") == 1


def test_nested__in_an_error_callback__is_for_the_refunded_account(ora: Ora) -> None:
    """Not for whoever delivers the error."""
    consumer = ora.scripted(wei=VALUE)
    refused = ora.refused(ora.ask(consumer, data=b"", gas=900_000))
    consumer("onError", ora.address, VALUE, ora.call(target=consumer.address))
    told = ora.tell(refused, gas=900_000, sender=THIEF)
    assert consumer.read("succeeded")
    nested = ora.ticket(told)
    assert nested.refund_to == ALICE
    assert nested.deadline == ora.world.chain.now + 86_400
    ora.answer(nested)
    assert consumer.read("answers") == 1


def test_nested__bad_input_in_an_error_callback__is_paid_back_to_the_same(ora: Ora) -> None:
    consumer = ora.scripted(wei=VALUE)
    refused = ora.refused(ora.ask(consumer, data=b"", gas=900_000))
    consumer("onError", ora.address, VALUE, ora.call(target=consumer.address, data=b""))
    again = ora.refused(ora.tell(refused, gas=900_000, sender=THIEF))
    assert again[1] == ALICE.lower()
    assert (ora.world.credit(ALICE), ora.world.credit(THIEF)) == (2 * VALUE, 0)


def test_nested__batch_in_an_error_callback__is_refused(ora: Ora) -> None:
    """The oracle would refund whoever delivers the error."""
    consumer = ora.scripted(wei=VALUE)
    refused = ora.refused(ora.ask(consumer, data=b"", gas=900_000))
    rows = b"1 2 3 4 " * 2
    arguments = (2, LLAMA, rows, consumer.address, 100_000, b"", 0, 0)
    batch = ora.adapter.calldata("requestBatchInference", *arguments)
    consumer("onError", ora.address, VALUE, batch)
    ora.tell(refused, gas=900_000, sender=THIEF)
    assert not consumer.read("succeeded")
    assert consumer.read("reason") == keccak(text="BatchWithinErrorCallback()")[:4]


def direct_request(ora: Ora, consumer: Contract, sender: str) -> Receipt:
    """A consumer of the oracle itself asks there."""
    arguments = (ora.world.oracle.address, ora.world.model_id, packed(), 900_000, b"")
    return consumer("ask", *arguments, sender=sender, value=VALUE)


def test_nested__bad_input_of_a_consumer_of_the_oracle__is_the_oracles_error(ora: Ora) -> None:
    """For whom the money is only the oracle knows; the node must not get it."""
    direct = ora.scripted(wei=VALUE)
    direct("onAnswer", ora.address, VALUE, ora.call(target=direct.address, data=b""))
    asked = world_ticket(direct_request(ora, direct, BOB).events)
    done = ora.world.fulfil(asked)
    assert not direct.read("succeeded")
    assert direct.read("reason")[:4] == keccak(text="InputLength(uint256,uint256)")[:4]
    paid = done.event("RequestFulfilled")["gasPaid"] + done.event("RequestFulfilled")["feePaid"]
    assert ora.world.credit(NODE) == paid


def test_tell__while_the_oracle_delivers__is_refused(ora: Ora) -> None:
    """What the error's consumer asks again would be refunded to whomever the answer is for."""
    victim = ora.scripted(wei=VALUE)
    refused = ora.refused(ora.ask(victim, data=b"", gas=400_000))
    victim("onError", ora.address, VALUE, ora.call(target=victim.address))
    tell = ora.adapter.calldata("deliverError", *refused[:3], 400_000, refused[3])
    for attacker_asks_adapter in (True, False):
        attacker = ora.scripted()
        attacker("onAnswer", ora.address, 0, tell)
        if attacker_asks_adapter:
            ora.answer(ora.ticket(ora.ask(attacker, gas=900_000, sender=THIEF)))
        else:
            ora.world.fulfil(world_ticket(direct_request(ora, attacker, THIEF).events))
        assert attacker.read("answers") == 1
        assert attacker.read("reason") == keccak(text="OracleBusy()")[:4]
    assert victim.read("errors") == 0


@pytest.mark.parametrize("through_adapter", [True, False])
@pytest.mark.parametrize("data", [packed(), b""])
def test_error_callback__that_sends_a_fulfilment__gets_nothing_of_its_callback(
    ora: Ora, through_adapter: bool, data: bytes
) -> None:
    """The thief's error is being delivered when the victim asks in its own callback: what is left
    over goes where the victim's request says."""
    victim = ora.scripted(wei=VALUE)
    victim("onAnswer", ora.address, VALUE, ora.call(target=victim.address, data=data))
    if through_adapter:
        outer = ora.ticket(ora.ask(victim, gas=900_000, sender=BOB))
    else:
        outer = world_ticket(direct_request(ora, victim, BOB).events)
    thief = ora.scripted()
    refused = ora.refused(ora.ask(thief, data=b"", gas=4_000_000, value=0, sender=THIEF))
    fulfil = ora.world.oracle.calldata("fulfill", *ora.world.fulfil_arguments(outer))
    thief("onError", ora.world.oracle.address, 0, fulfil)
    done = ora.tell(refused, gas=4_000_000, sender=THIEF)
    assert thief.read("succeeded")
    assert victim.read("answers") == 1
    if data:
        assert ora.ticket(done).refund_to == BOB
    elif through_adapter:
        assert ora.refused(done)[1] == BOB.lower()
    else:
        assert not victim.read("succeeded")
    assert ora.world.credit(THIEF) == 0
    assert ora.state(outer.request_id) in (UNKNOWN, 2)


def test_answer__within_an_error_callback__is_put_back_to_the_error(ora: Ora) -> None:
    """After the answer, the error's consumer is still whom requests are for."""
    other = ora.scripted()
    outer = ora.ticket(ora.ask(other, sender=BOB))
    consumer = ora.scripted(wei=VALUE)
    refused = ora.refused(ora.ask(consumer, data=b"", gas=4_000_000))
    both = ora.world.chain.deploy("Both")
    fulfil = ora.world.oracle.calldata("fulfill", *ora.world.fulfil_arguments(outer))
    call = ora.call(target=both.address, gas=100_000)
    steps = both.calldata("perform", ora.world.oracle.address, fulfil, ora.address, call)
    consumer("onError", both.address, VALUE, steps)
    done = ora.tell(refused, gas=4_000_000, sender=THIEF)
    assert consumer.read("succeeded")
    assert other.read("answers") == 1
    assert ora.ticket(done).refund_to == ALICE
