"""Any order of requests, results, refunds and withdrawals: money is conserved, ends are final."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from tests.contracts.evm import Contract, Reverted
from tests.contracts.world import (
    ALICE,
    BOB,
    FEE,
    FULFILLED,
    GAS_MONEY,
    NODE,
    OPEN,
    RECEIVER,
    REFUNDED,
    THIEF,
    Ticket,
    make_world,
)

ACCOUNTS = (ALICE, BOB, NODE, RECEIVER, THIEF)


class OracleMachine(RuleBasedStateMachine):
    """Keeps its own books and compares."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.world = make_world()
        self.consumers: list[Contract] = [
            self.world.deploy(name)
            for name in ("RecordingConsumer", "RevertingConsumer", "BurningConsumer")
        ]
        self.expected: dict[int, int] = {}
        self.escrow: dict[int, int] = {}
        self.withdrawn = 0
        self.paid_in = 0

    def opened(self, ticket: Ticket) -> Ticket:
        assert ticket.request_id not in self.expected, "an id was reused"
        self.expected[ticket.request_id] = OPEN
        self.escrow[ticket.request_id] = ticket.fee + ticket.gas_money
        self.paid_in += ticket.fee + ticket.gas_money
        return ticket

    def ended(self, ticket: Ticket, status: int) -> None:
        self.expected[ticket.request_id] = status
        del self.escrow[ticket.request_id]

    @rule(
        target=tickets,
        sender=st.sampled_from([ALICE, BOB]),
        surplus=st.integers(0, GAS_MONEY),
        lifetime=st.integers(1, 5000),
        refund_to=st.sampled_from(ACCOUNTS),
    )
    def request(self, sender: str, surplus: int, lifetime: int, refund_to: str) -> Ticket:
        ticket = self.world.request(
            sender, value=FEE + surplus, lifetime=lifetime, refund_to=refund_to
        )
        return self.opened(ticket)

    @rule(
        target=tickets,
        which=st.integers(0, 2),
        gas=st.sampled_from([1, 30_000, 300_000]),
        surplus=st.integers(0, GAS_MONEY),
        data=st.binary(max_size=40),
    )
    def ask(self, which: int, gas: int, surplus: int, data: bytes) -> Ticket:
        consumer = self.consumers[which]
        return self.opened(self.world.ask(consumer, gas=gas, data=data, value=FEE + surplus))

    @rule(
        ticket=tickets,
        payee=st.sampled_from(ACCOUNTS),
        sender=st.sampled_from([NODE, THIEF]),
        gas_price=st.integers(0, 40),
    )
    def fulfil(self, ticket: Ticket, payee: str, sender: str, gas_price: int) -> None:
        self.world.chain.gas_price = gas_price
        if self.expected[ticket.request_id] != OPEN:
            with pytest.raises(Reverted, match="NotOpen"):
                self.world.fulfil(ticket, payee=payee, sender=sender)
        elif self.world.chain.now > ticket.deadline:
            with pytest.raises(Reverted, match="DeadlinePassed"):
                self.world.fulfil(ticket, payee=payee, sender=sender)
        else:
            self.world.fulfil(ticket, payee=payee, sender=sender)
            self.ended(ticket, FULFILLED)

    @rule(ticket=tickets)
    def forge(self, ticket: Ticket) -> None:
        with pytest.raises(Reverted, match=r"ProofRejected|NotOpen|DeadlinePassed"):
            self.world.fulfil(ticket, payee=THIEF, proof=self.world.proof(ticket, payee=NODE))

    @rule(ticket=tickets, sender=st.sampled_from(ACCOUNTS))
    def refund(self, ticket: Ticket, sender: str) -> None:
        if self.expected[ticket.request_id] != OPEN:
            with pytest.raises(Reverted, match="NotOpen"):
                self.world.refund(ticket, sender)
        elif self.world.chain.now <= ticket.deadline:
            with pytest.raises(Reverted, match="DeadlineNotPassed"):
                self.world.refund(ticket, sender)
        else:
            self.world.refund(ticket, sender)
            self.ended(ticket, REFUNDED)

    @rule(account=st.sampled_from(ACCOUNTS))
    def withdraw(self, account: str) -> None:
        credit = self.world.credit(account)
        if credit == 0:
            with pytest.raises(Reverted, match="NothingToWithdraw"):
                self.world.oracle("withdrawTo", BOB, sender=account)
        else:
            before = self.world.chain.balance(BOB)
            self.world.oracle("withdrawTo", BOB, sender=account)
            assert self.world.chain.balance(BOB) == before + credit
            self.withdrawn += credit

    @rule(seconds=st.integers(1, 3000))
    def wait(self, seconds: int) -> None:
        self.world.chain.advance(seconds)

    @invariant()
    def money_is_conserved(self) -> None:
        balance = self.world.chain.balance(self.world.oracle.address)
        credited = sum(map(self.world.credit, ACCOUNTS))
        assert balance == credited + sum(self.escrow.values())
        assert balance == self.paid_in - self.withdrawn

    @invariant()
    def every_request_stands_where_it_should(self) -> None:
        for request_id, status in self.expected.items():
            assert self.world.oracle.read("status", request_id) == status
            assert self.world.oracle.read("isFinalized", request_id) == (status > OPEN)


TestOracleMachine = OracleMachine.TestCase
TestOracleMachine.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
