"""Money that goes through the adapter: none of it stays there, none of it goes to somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.contracts.evm import Contract, Receipt, Reverted
from tests.contracts.ora import (
    ANSWERED,
    DIFFUSION,
    OPEN,
    PACKED_ANSWER,
    PROMPT,
    REFUSED,
    TOLD,
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
    RECEIVER,
    THIEF,
    ZERO,
    Ticket,
    packed,
)

ACCOUNTS = (ALICE, BOB, NODE, RECEIVER, THIEF)


@pytest.fixture
def ora() -> Iterator[Ora]:
    made = make_ora()
    yield made
    assert made.world.chain.balance(made.address) == 0


def test_unspent_gas_money__is_the_credit_of_who_started_the_transaction(ora: Ora) -> None:
    done = ora.answer(ora.ticket(ora.ask(ora.scripted()))).event("RequestFulfilled")
    assert ora.world.credit(ALICE) == GAS_MONEY - done["gasPaid"]
    ora.world.oracle("withdrawTo", BOB, sender=ALICE)


def test_unanswered__is_refunded_after_the_deadline(ora: Ora) -> None:
    asked = ora.ticket(ora.ask(ora.scripted()))
    assert asked.deadline == ora.world.chain.now + 86_400
    ora.world.chain.advance(86_401)
    ora.world.refund(asked)
    assert ora.world.credit(ALICE) == VALUE


def test_money__sent_to_the_adapter_itself__is_refused(ora: Ora) -> None:
    with pytest.raises(Reverted):
        ora.world.chain.send(ALICE, ora.address, b"", 1, 100_000)


def test_withdrawal__that_asks_when_it_is_paid__is_asked_as_at_the_oracle(ora: Ora) -> None:
    """The oracle is at work, but delivers nothing: its own rule holds."""
    consumer = ora.scripted()
    ora.world.oracle("deposit", consumer.address, sender=ALICE, value=VALUE)
    wallet = ora.world.chain.deploy("ReentrantConsumer", ora.address)
    wallet("prepare", ora.call(target=wallet.address), value=VALUE)
    ora.world.oracle("deposit", BOB, sender=ALICE, value=7)
    receipt = ora.world.oracle("withdrawTo", wallet.address, sender=BOB)
    assert wallet.read("succeeded")
    assert ora.ticket(receipt).refund_to == BOB


# --- fees in tokens ---


class Paid:
    """A model whose fee is a token's, a consumer that pays it, and ALICE with some."""

    def __init__(self, ora: Ora, name: str = "TestToken") -> None:
        self.ora = ora
        self.token = ora.world.chain.deploy(name)
        model = ora.world.register(token=self.token.address, codec=1, sizes=(1, 4))
        self.name = "openai/dall-e-2"
        self.consumer = ora.deploy("NewerPrompt")
        ora.adapter(
            "setModel", self.consumer.read("calcModelIdByName", self.name), model, sender=OWNER
        )
        self.token("mint", ALICE, 100 * FEE)
        self.token("approve", self.consumer.address, 100 * FEE, sender=ALICE)

    def ask(self, data: bytes = PROMPT, rows: int = 1) -> Receipt:
        return self.consumer("ask", self.name, rows, data, b"", 0, sender=ALICE, value=GAS_MONEY)

    def held(self, *accounts: str) -> tuple[int, ...]:
        return tuple(self.token.read("balanceOf", account) for account in accounts)


def test_token_fee__goes_through_to_the_oracle(ora: Ora) -> None:
    paid = Paid(ora)
    asked = ora.ticket(paid.ask())
    assert asked.fee == FEE
    where = (ALICE, paid.consumer.address, ora.address, ora.world.oracle.address)
    assert paid.held(*where) == (99 * FEE, 0, 0, FEE)
    ora.answer(asked)
    assert ora.world.credit(NODE, paid.token.address) == FEE * 3 // 4


def test_token_fee__of_a_batch__is_for_each_row(ora: Ora) -> None:
    paid = Paid(ora)
    asked = ora.ticket(paid.ask(b"[[1,2,3,4],[1,2,3,4],[1,2,3,4]]", 3))
    assert asked.fee == 3 * FEE
    assert paid.held(ora.address, ora.world.oracle.address) == (0, 3 * FEE)


def test_token_fee__unanswered__is_refunded_in_both_currencies(ora: Ora) -> None:
    paid = Paid(ora)
    asked = ora.ticket(paid.ask())
    ora.world.chain.advance(86_401)
    ora.world.refund(asked)
    assert ora.world.credit(ALICE, paid.token.address) == FEE
    assert ora.world.credit(ALICE) == GAS_MONEY


@pytest.mark.parametrize(("data", "rows"), [(b"words", 1), (b"1 2 3 4 5", 3), (PROMPT, 9)])
def test_token_fee__of_bad_input__goes_back_at_once(ora: Ora, data: bytes, rows: int) -> None:
    paid = Paid(ora)
    refused = ora.refused(paid.ask(data, rows))
    where = (ALICE, paid.consumer.address, ora.address, ora.world.oracle.address)
    assert paid.held(*where) == (100 * FEE, 0, 0, 0)
    assert ora.world.credit(ALICE) == GAS_MONEY
    ora.tell(refused, gas=500_000)


def test_token_fee__not_approved__reverts(ora: Ora) -> None:
    paid = Paid(ora)
    secretary = ora.world.chain.deploy("Secretary")
    model = paid.consumer.read("calcModelIdByName", paid.name)
    with pytest.raises(Reverted, match="ERC20InsufficientAllowance"):
        secretary(
            "ask", ora.address, model, PROMPT, secretary.address, b"", sender=ALICE, value=GAS_MONEY
        )


def test_token_fee__token_that_takes_a_share__reverts(ora: Ora) -> None:
    """The adapter has nothing of its own to make it up from."""
    paid = Paid(ora, "FeeOnTransferToken")
    with pytest.raises(Reverted):
        paid.ask()
    assert paid.held(ALICE) == (100 * FEE,)


# --- any order of everything ---


class AdapterMachine(RuleBasedStateMachine):
    """Keeps its own books and compares."""

    @initialize()
    def begin(self) -> None:
        self.ora = make_ora()
        self.names = ("ScriptedConsumer", "RevertingConsumer", "BurningConsumer")
        self.open: list[tuple[Ticket, str]] = []
        self.failed: list[Ticket] = []
        self.refused: list[tuple[tuple[object, ...], str]] = []
        self.states: dict[int, int] = {}
        self.paid_in = self.paid_out = 0
        self.numbers = count()

    def consumer(self, name: str) -> Contract:
        if name == "ScriptedConsumer":
            return self.ora.scripted(wei=0)
        return self.ora.deploy(name)

    @rule(
        sender=st.sampled_from([ALICE, BOB]),
        name=st.sampled_from(["ScriptedConsumer", "RevertingConsumer", "BurningConsumer"]),
        is_good=st.booleans(),
        surplus=st.integers(0, GAS_MONEY),
        nested=st.sampled_from(["none", "good", "bad"]),
    )
    def ask(self, sender: str, name: str, is_good: bool, surplus: int, nested: str) -> None:
        consumer = self.consumer(name)
        value = VALUE + surplus
        data = packed((next(self.numbers) % 2000, 0, 0, 0)) if is_good else b""
        if name == "ScriptedConsumer":
            receipt = self.ora.ask(consumer, data=data, gas=900_000, value=value, sender=sender)
        else:
            receipt = consumer("ask", DIFFUSION, data, 900_000, b"", sender=sender, value=value)
        self.paid_in += value
        self.note(receipt, name)
        if name == "ScriptedConsumer" and nested != "none":
            self.ora.world.chain.fund(consumer.address, VALUE)
            inner = packed((next(self.numbers) % 2000, 1, 0, 0)) if nested == "good" else b""
            call = self.ora.call(target=consumer.address, data=inner)
            consumer("onAnswer" if is_good else "onError", self.ora.address, VALUE, call)

    def note(self, receipt: Receipt, name: str) -> None:
        """A request that a transaction has made, in or outside of a callback."""
        for event in receipt.events:
            if event.name == "RequestOpened":
                asked = self.ora.ticket(receipt)
                self.open.append((asked, name))
                self.states[asked.request_id] = OPEN
            elif event.name == "RequestRefused":
                refused = self.ora.refused(receipt)
                self.refused.append((refused, name))
                self.states[refused[0]] = REFUSED

    def nest(self, receipt: Receipt) -> None:
        """A request made in a callback is paid by its consumer, who was given the money."""
        made = [e for e in receipt.events if e.name in ("RequestOpened", "RequestRefused")]
        self.paid_in += VALUE * len(made)
        self.note(receipt, "ScriptedConsumer")

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        if not self.open:
            return
        asked, name = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        done = self.ora.answer(asked)
        works = name == "ScriptedConsumer"
        assert done.event("RequestFulfilled")["callbackSucceeded"] is works
        if works:
            self.states[asked.request_id] = ANSWERED
            self.nest(done)
        else:
            self.failed.append(asked)

    @rule(data=st.data())
    def tell(self, data: st.DataObject) -> None:
        if not self.refused:
            return
        place = data.draw(st.integers(0, len(self.refused) - 1))
        refused, name = self.refused[place]
        if name != "ScriptedConsumer":
            with pytest.raises(Reverted, match="CallbackFailed"):
                self.ora.tell(refused, gas=900_000, sender=THIEF)
            return
        self.refused.pop(place)
        self.states[int(str(refused[0]))] = TOLD
        self.nest(self.ora.tell(refused, gas=900_000, sender=THIEF))

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        if self.failed:
            asked = data.draw(st.sampled_from(self.failed))
            with pytest.raises(Reverted, match="CallbackFailed"):
                self.ora.retry(asked, PACKED_ANSWER)

    @rule(data=st.data())
    def refund(self, data: st.DataObject) -> None:
        if not self.open:
            return
        asked, _ = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        now = self.ora.world.chain.now
        self.ora.world.chain.advance(86_401)
        self.ora.world.refund(asked)
        self.ora.world.chain.advance(now - self.ora.world.chain.now)

    @rule(account=st.sampled_from([ALICE, BOB]))
    def withdraw(self, account: str) -> None:
        credit = self.ora.world.credit(account)
        if credit:
            self.ora.world.oracle("withdrawTo", ZERO[:-2] + "99", sender=account)
            self.paid_out += credit

    @invariant()
    def no_wei_is_lost_or_left(self) -> None:
        if not hasattr(self, "ora"):
            return
        world = self.ora.world
        assert world.chain.balance(self.ora.address) == 0
        assert world.credit(self.ora.address) == 0
        held = world.chain.balance(world.oracle.address)
        assert held == self.paid_in - self.paid_out
        escrow = sum(asked.fee + asked.gas_money for asked, _ in self.open)
        assert held == escrow + sum(world.credit(account) for account in ACCOUNTS)
        # Whoever delivers gets what a fulfilment pays, and nothing by an error.
        assert world.credit(THIEF) == 0

    @invariant()
    def states_are_as_noted(self) -> None:
        for request_id, state in getattr(self, "states", {}).items():
            assert self.ora.state(request_id) == state
            assert self.ora.adapter.read("isFinalized", request_id) is (state == ANSWERED)


TestAdapterMachine = AdapterMachine.TestCase
TestAdapterMachine.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
