"""Sending: nonces, unknown outcomes, replacements, lost races."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from eth_account import Account

from oracle import tensor
from oracle.chain.contracts import Status
from oracle.chain.signer import Fees, LocalSigner, Unsigned
from oracle.errors import RpcRejected, RpcUncertain, RpcUnreachable
from oracle.store.states import IntentState, RequestState
from oracle.testing import GAS_UNITS, ORACLE, PUBLISHER

from .world import KEY, World


def refuse_to_simulate_six(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that cannot simulate the answer to ``ask(6, 6)``."""
    simulate = world.node.submitter._oracle.simulate

    def refuse(data: bytes, sender: str, gas: int) -> None:
        if (6).to_bytes(4, "big") * 2 in data:
            raise RpcRejected("gas limit too high")
        simulate(data, sender, gas)

    monkeypatch.setattr(world.node.submitter._oracle, "simulate", refuse)


def nonces(world: World) -> list[int]:
    return [intent.nonce for state in IntentState for intent in world.store.intents(state)]


def pending(world: World, **options: int) -> int:
    """A request whose transaction waits in the mempool."""
    request_id = world.ask(**options)
    world.node.watcher.step()
    world.chain.automine = False
    world.settle()
    assert world.state(request_id) == "pending"
    return request_id


@pytest.mark.parametrize("words", ["ALREADY KNOWN", "AlreadyKnown"])
def test_broadcast__already_known__is_success(world: World, words: str) -> None:
    """Operators' D15: Nethermind writes it without a blank."""
    world.endpoint.fail("eth_sendRawTransaction", RpcRejected(words), after=True)
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "final"
    assert len(world.chain.received) == 1
    assert "transaction not taken" not in {event["event"] for event in world.events()}


def test_broadcast__error_after_sending__is_resolved_by_the_receipt(world: World) -> None:
    world.endpoint.fail("eth_sendRawTransaction", RpcUnreachable("timed out"), after=True)
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1
    assert len(set(world.chain.received)) == 1


def test_replace__mined_while_it_is_looked_at__nothing_else_is_signed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ended the request is its own answer: there is no nonce to use up."""
    request_id = pending(world)
    world.clock.now += 61
    send, mined = world.endpoint.send, []

    def answer(method: str, params: list[Any]) -> Any:
        result = send(method, params)
        if method == "eth_getTransactionCount" and not mined:
            mined.append(world.chain.mine())
        return result

    monkeypatch.setattr(world.endpoint, "send", answer)
    world.node.submitter.step()
    world.settle()
    assert mined
    assert world.state(request_id) == "final"
    (intent,) = world.store.intents(IntentState.FINAL)
    assert len(intent.attempts) == 1
    assert "transaction not taken" not in world.lines.getvalue()
    assert "warning" not in world.lines.getvalue()


def test_broadcast__error_before_sending__sends_the_same_bytes_again(world: World) -> None:
    world.endpoint.fail("eth_sendRawTransaction", RpcUnreachable("refused"), times=3)
    request_id = world.ask()
    for _ in range(5):
        world.settle()
    assert world.state(request_id) == "final"
    assert len(world.chain.received) == 1


def test_broadcast__raw_bytes__are_stored_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = world.chain.send
    stored: list[bytes] = []

    def look(method: str, params: list[str]) -> object:
        if method == "eth_sendRawTransaction":
            (intent,) = world.store.intents(IntentState.PENDING)
            stored.append(intent.attempts[-1].raw)
        return send(method, params)

    monkeypatch.setattr(world.chain, "send", look)
    world.ask()
    world.settle()
    assert stored == world.chain.received


def test_nonce__used_outside_the_ledger__goes_on_from_the_chains(world: World) -> None:
    outside = LocalSigner(Account.from_key(KEY)).sign(
        Unsigned(31337, 0, world.signer.address, b"", 21_000, Fees(10**10, 1))
    )
    world.chain.send("eth_sendRawTransaction", ["0x" + outside.raw.hex()])
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "final"
    assert nonces(world) == [1]


def test_nonce__taken_by_another_sender__request_gets_a_new_one(world: World) -> None:
    request_id = pending(world)
    world.chain.mempool.clear()
    outside = world.signer.sign(
        Unsigned(31337, 0, world.signer.address, b"", 21_000, Fees(10**10, 1))
    )
    world.chain.automine = True
    world.chain.send("eth_sendRawTransaction", ["0x" + outside.raw.hex()])
    world.clock.now += 61
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1
    assert sorted(nonces(world)) == [0, 1]


def test_stuck__is_replaced_with_the_same_nonce_for_an_eighth_more(world: World) -> None:
    request_id = pending(world)
    (first,) = world.chain.mempool
    world.chain.base_fee = first.max_fee + 1
    world.clock.now += 61
    world.settle()
    (second,) = world.chain.mempool
    assert second.nonce == first.nonce
    assert second.max_fee >= first.max_fee * 1.125
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1


def test_stuck__replacement_mined_or_first_mined__either_way_final(world: World) -> None:
    request_id = pending(world)
    (first,) = world.chain.mempool
    world.clock.now += 61
    world.settle()
    # A miner that never heard of the replacement includes the first one.
    world.chain.mempool[:] = [first]
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "final"
    (intent,) = world.store.intents(IntentState.FINAL)
    sent = [attempt.hash for attempt in intent.attempts]
    assert len(sent) == 2
    (row,) = world.store.exported(None, 0, 10)
    assert row.transaction == sent[0]


POOR, RICH = 3 * 10**15, 10**18


def rounds(world: World, count: int) -> None:
    """Blocks that come a little further apart than a transaction may be stuck."""
    for _ in range(count):
        world.chain.mine()
        world.clock.now += 61
        world.settle()


def test_stuck__ceiling_reached_and_nobody_behind__waits_at_the_ceiling(world: World) -> None:
    request_id = pending(world, gas_money=POOR)
    (intent,) = world.store.intents(IntentState.PENDING)
    world.chain.base_fee = 10**12
    rounds(world, 30)
    (waiting,) = world.chain.mempool
    assert waiting.max_fee <= intent.ceiling
    assert waiting.max_fee * 1.125 + 1 >= intent.ceiling
    assert waiting.to == ORACLE
    assert world.state(request_id) == "pending"


def test_stuck__ceiling_reached_and_a_request_behind_pays__makes_way_and_comes_later(
    world: World,
) -> None:
    poor = pending(world, gas_money=POOR)
    (intent,) = world.store.intents(IntentState.PENDING)
    world.chain.base_fee = intent.ceiling + 1
    rich = world.ask(9, 9, gas_money=RICH)
    rounds(world, 4)
    assert world.state(rich) == "final"
    assert (world.state(poor), world.row(poor).reason) == ("proved", "its nonce was used up")
    assert world.chain.fulfilments(poor) == 0
    world.chain.base_fee = 10**9
    rounds(world, 2)
    assert world.state(poor) == "final"
    assert world.chain.fulfilments(poor) == 1
    assert sorted(nonces(world)) == [0, 1, 2]


def test_stuck__request_behind_cannot_pay_either__nothing_is_spent(world: World) -> None:
    first = pending(world, gas_money=POOR)
    world.chain.base_fee = 10**9
    second = world.ask(9, 9, gas_money=POOR)
    world.chain.base_fee = 10**12
    rounds(world, 3)
    assert {sent.to for sent in world.chain.mempool} == {ORACLE}
    # Once the second can be sent, the first can too.
    world.chain.base_fee = 10**9
    rounds(world, 3)
    assert [world.state(first), world.state(second)] == ["final", "final"]


def test_stuck__way_for_another__costs_at_most_twice_what_that_one_pays(world: World) -> None:
    pending(world, gas_money=POOR)
    (poor,) = world.store.intents(IntentState.PENDING)
    world.chain.base_fee = poor.ceiling + 1
    world.chain.mine()
    world.ask(9, 9, gas_money=2 * POOR)
    world.chain.mine()
    for _ in range(40):
        world.clock.now += 61
        world.settle()
    way, behind = world.store.intents(IntentState.PENDING)
    assert way.attempts[-1].cancels
    assert behind.ceiling > poor.ceiling
    assert max(a.max_fee for a in way.attempts) <= 2 * behind.ceiling
    assert all(a.max_fee <= way.ceiling for a in way.attempts if not a.cancels)


def test_stuck__dropped_transaction_mined_after_all__request_is_answered_once(
    world: World,
) -> None:
    poor = pending(world, gas_money=POOR)
    (first,) = world.chain.mempool
    world.chain.base_fee = 10**10
    rich = world.ask(9, 9, gas_money=RICH)
    world.chain.mine()
    world.clock.now += 61
    world.settle()
    # A miner that never heard of the cancel includes the first transaction.
    (_, second) = sorted(world.chain.mempool, key=lambda sent: sent.nonce)
    world.chain.mempool[:] = [first, second]
    world.chain.base_fee = 10**9
    rounds(world, 2)
    assert [world.state(poor), world.state(rich)] == ["final", "final"]
    assert world.chain.fulfilments(poor) == 1


@pytest.mark.parametrize("keep", [True, False])
def test_made_way__reorg__both_requests_are_answered_once(
    make_world: Callable[..., World], keep: bool
) -> None:
    world = make_world(confirmations=3)
    poor = world.ask(gas_money=POOR)
    world.chain.mine(3)
    world.chain.automine = False
    for _ in range(6):
        for service in world.node.services.values():
            service.step()
    assert world.state(poor) == "pending"
    world.chain.base_fee = 10**10
    rich = world.ask(9, 9, gas_money=RICH)
    world.chain.mine(4)
    rounds(world, 3)
    world.chain.base_fee = 10**9
    for _ in range(3):
        for service in world.node.services.values():
            service.step()
    # The cancel and what came after it leave the chain; the transactions are in the pool again.
    world.chain.reorg(3, keep=keep)
    for _ in range(12):
        rounds(world, 1)
    assert [world.state(poor), world.state(rich)] == ["final", "final"]
    assert world.chain.fulfilments(poor) == world.chain.fulfilments(rich) == 1


def test_page_of_requests_that_pay_too_little__does_not_hold_up_the_next(
    make_world: Callable[..., World],
) -> None:
    world = make_world(workers=8)
    poor = [world.ask(i, i, gas_money=POOR) for i in range(1, 41)]
    for _ in range(30):
        for service in (world.node.watcher, world.node.scheduler, world.node.runner):
            service.step()
    assert {world.state(request_id) for request_id in poor} == {"proved"}
    world.chain.base_fee = 10**10
    world.chain.mine()
    rich = world.ask(900, 900, gas_money=RICH)
    for _ in range(4):
        world.settle()
    assert world.state(rich) == "final"
    assert len(world.chain.received) == 1
    waits = [e for e in world.events() if e["event"] == "waiting for a lower base fee"]
    assert len(waits) == len(poor)
    world.chain.base_fee = 10**9
    world.chain.mine()
    for _ in range(4):
        world.settle()
    assert {world.state(request_id) for request_id in poor} == {"final"}


def test_page_of_requests_that_the_endpoint_cannot_simulate__does_not_hold_up_the_next(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(workers=8)
    for _ in range(20):
        world.ask(6, 6)
    healthy = world.ask(7, 7)
    for _ in range(30):
        for service in (world.node.watcher, world.node.scheduler, world.node.runner):
            service.step()
    refuse_to_simulate_six(world, monkeypatch)
    for _ in range(2):
        with suppress(RpcRejected):
            world.node.submitter.step()
    assert world.state(healthy) in ("mined", "final")


def test_stuck__endpoint_does_not_know_the_request__its_answer_is_not_withdrawn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = pending(world)
    with monkeypatch.context() as patch:
        patch.setattr(world.node.submitter._oracle, "status", lambda *_: Status.UNKNOWN)
        world.clock.now += 61
        world.settle()
    (waiting,) = world.chain.mempool
    assert waiting.to == ORACLE
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "final"


def test_cancel_mined__request_open_again__is_sent_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = pending(world)
    with monkeypatch.context() as patch:
        # Fulfilled by another in a block that a reorg takes back before the watcher reads it.
        patch.setattr(world.node.submitter._oracle, "status", lambda *_: Status.FULFILLED)
        world.clock.now += 61
        world.settle()
    (cancel,) = world.chain.mempool
    assert cancel.data == b""
    world.chain.automine = True
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "final"
    assert "failed" not in world.trail(request_id)
    assert sorted(nonces(world)) == [0, 1]


def test_nonce_taken_by_another_sender_and_freed_by_a_reorg__is_used(world: World) -> None:
    request_id = pending(world)
    world.chain.mempool.clear()
    outside = world.signer.sign(
        Unsigned(31337, 0, world.signer.address, b"", 21_000, Fees(10**10, 1))
    )
    world.chain.send("eth_sendRawTransaction", ["0x" + outside.raw.hex()])
    world.chain.mine()
    world.clock.now += 61
    world.node.submitter.step()
    assert world.state(request_id) == "proved"
    world.chain.reorg(1, keep=False)
    world.chain.mempool.clear()
    world.chain.automine = True
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1
    assert nonces(world) == [0, 0]


def given_up(world: World) -> int:
    """A request whose transaction is given up: an endpoint says that its nonce is used."""
    request_id = pending(world)
    (intent,) = world.store.intents(IntentState.PENDING)
    world.node.submitter._displace(intent, f"nonce {intent.nonce} was used by another sender")
    assert world.state(request_id) == "proved"
    return request_id


def test_nonce_given_up_and_freed_by_a_reorg__it_is_used_while_others_keep_coming(
    world: World,
) -> None:
    """The fault run's seed 77: each that was given up took a nonce behind the last one, for ever."""
    world.chain.automine = False
    ids = [world.ask(n, n) for n in range(4)]
    world.chain.mine()
    world.settle()
    first = world.store.intents(IntentState.PENDING)[0]
    world.chain.mempool[:] = [tx for tx in world.chain.mempool if tx.nonce != first.nonce]
    with world.store.transaction():
        world.store.move_intent(first, IntentState.DISPLACED)
        world.store.move(first.request_ids[0], RequestState.PENDING, RequestState.LOST)
    for n in range(6):
        world.clock.now += 61
        world.ask(n, n + 1)
        world.chain.mine()
        world.settle()
    world.chain.mine()
    world.settle()
    assert world.store.intents(IntentState.PENDING) == []
    assert [world.chain.fulfilments(request_id) for request_id in ids] == [0, 1, 1, 1]
    # Nothing but the last one gave up its nonce for it.
    given = [each for each in world.events() if each["event"] == "transaction displaced"]
    assert [each["nonce"] for each in given if "before it" in each["reason"]] == [3]


@pytest.mark.parametrize("reads", ["receipt", "event"])
def test_given_up_transaction_mined_all_the_same__is_ours(world: World, reads: str) -> None:
    """The fault run's seed 77: what the node was paid for was in its records another's."""
    request_id = given_up(world)
    world.chain.mine()
    if reads == "event":
        world.node.watcher.step()
    world.chain.automine = True
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1
    assert len(world.chain.received) == 1


def test_given_up_transaction_mined_all_the_same__whoever_has_its_nonce_by_now_is_sent_anew(
    world: World,
) -> None:
    first = given_up(world)
    waiting = list(world.chain.mempool)
    world.chain.mempool.clear()
    # Another request gets the nonce.
    world.store.set_ceiling(first, 0)
    second = world.ask(5, 6)
    world.chain.mine()
    world.settle()
    (holder,) = world.store.intents(IntentState.PENDING)
    assert (holder.request_ids, holder.nonce) == ((second,), 0)
    world.chain.mempool[:] = waiting
    world.chain.mine()
    world.chain.automine = True
    world.settle()
    assert [world.state(each) for each in (first, second)] == ["final", "final"]
    assert [world.chain.fulfilments(each) for each in (first, second)] == [1, 1]


def test_stuck__request_ended_meanwhile__only_the_nonce_is_used_up(world: World) -> None:
    request_id = pending(world)
    world.chain.base_fee = world.chain.mempool[0].max_fee + 1
    world.chain.end(request_id)
    world.chain.mine()
    world.clock.now += 61
    world.settle()
    (cancel,) = world.chain.mempool
    assert (cancel.to, cancel.data, cancel.gas) == (world.signer.address, b"", 21_000)
    world.chain.base_fee = 10**9
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "lost"
    # The account is free for the next request.
    world.chain.automine = True
    later = world.ask()
    world.settle()
    assert world.state(later) == "final"


def test_race_lost_before_sending__costs_nothing(world: World) -> None:
    request_id = world.ask()
    world.until(lambda: world.state(request_id) == "proved")
    world.chain.end(request_id)
    # The submitter looks before the watcher does.
    world.node.submitter.step()
    assert world.state(request_id) == "lost"
    assert world.chain.received == []


def test_race_lost_after_sending__is_lost(world: World) -> None:
    request_id = world.ask()
    world.until(lambda: world.state(request_id) == "proved")
    world.chain.automine = False
    world.node.submitter.step()
    world.chain.end(request_id)
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "lost"
    assert world.row(request_id).reason == f"fulfilled for {PUBLISHER}"


@pytest.mark.parametrize("cause", ["rival", "top-up"])
def test_mined_in_vain__endpoint_is_behind__request_does_not_fail(
    world: World, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    """The fault run's seed 77: a replica that lacked the block had the request open as it was."""
    request_id = pending(world)
    # What an endpoint says of the state before the block that is to come.
    send, before = world.endpoint.send, {}

    def late(method: str, params: list[Any]) -> Any:
        if method == "eth_call" and params[1] == "latest":
            return before.setdefault(params[0]["data"], send(method, params))
        return send(method, params)

    with monkeypatch.context() as patch:
        patch.setattr(world.endpoint, "send", late)
        world.oracle.status(request_id)
        world.oracle.commitment(request_id)
        if cause == "rival":
            world.chain.end(request_id)
        else:
            world.chain.top_up(request_id, 10**15)
        world.chain.mine()
        world.node.submitter.step()
    assert world.state(request_id) == ("lost" if cause == "rival" else "proved")
    world.chain.automine = True
    world.settle()
    assert world.state(request_id) == ("lost" if cause == "rival" else "final")


def test_race_lost__endpoint_does_not_say_to_whom__is_lost_all_the_same(world: World) -> None:
    request_id = world.ask()
    world.until(lambda: world.state(request_id) == "proved")
    world.chain.end(request_id)
    world.endpoint.fail("eth_getLogs", RpcUnreachable("down"))
    world.node.submitter.step()
    assert world.state(request_id) == "lost"
    assert world.row(request_id).reason == "another node was first"


def send_for_us(world: World, request_id: int) -> str:
    """Somebody else sends our answer; what the ledger should say of it."""
    row = world.row(request_id)
    job = world.store.job(row.job_id or "")
    assert job is not None
    outputs = [tensor.to_field(value) for value in job.outputs or ()]
    data = world.oracle.fulfill_calldata(row.request, row.payee, outputs, job.proof or b"")
    stranger = LocalSigner(Account.from_key("0x" + "44" * 32))
    price = Fees(10**10, 10**9)
    signed = stranger.sign(Unsigned(world.chain.chain_id, 0, ORACLE, data, 10**6, price))
    world.chain.send("eth_sendRawTransaction", ["0x" + signed.raw.hex()])
    return f"delivered by a foreign transaction, 0x{signed.hash.hex()}: our payee was paid"


@pytest.mark.parametrize("first", ["watcher", "submitter"])
def test_somebody_else_sends_our_answer__before_us__the_reason_says_that_we_were_paid(
    world: World, first: str
) -> None:
    request_id = world.ask()
    world.until(lambda: world.state(request_id) == "proved")
    reason = send_for_us(world, request_id)
    world.node.services[first].step()
    world.settle()
    assert world.state(request_id) == "lost"
    assert world.row(request_id).reason == reason
    assert world.chain.received[1:] == []


def test_somebody_else_sends_our_answer__while_ours_waits__the_reason_says_that_we_were_paid(
    world: World,
) -> None:
    request_id = pending(world)
    reason = send_for_us(world, request_id)
    world.chain.mempool.reverse()
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "lost"
    assert world.row(request_id).reason == reason
    assert world.chain.fulfilments(request_id) == 1


def test_refunded_before_sending__is_cancelled(world: World) -> None:
    request_id = world.ask()
    world.until(lambda: world.state(request_id) == "proved")
    world.chain.end(request_id, Status.REFUNDED)
    world.node.submitter.step()
    assert world.state(request_id) == "cancelled"


def test_simulation_reverts__fails_with_the_contracts_reason_and_sends_nothing(
    world: World,
) -> None:
    world.chain.revert_with = ("VerifierChanged", ("0x" + "00" * 20,))
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "failed"
    assert "VerifierChanged" in world.row(request_id).reason
    assert world.chain.received == []


def test_simulation_unreachable__is_not_a_failure(world: World) -> None:
    request_id = world.ask()
    world.until(lambda: world.state(request_id) == "proved")
    world.endpoint.fail("eth_call", RpcUnreachable("down"))
    with pytest.raises(RpcUnreachable):
        world.node.submitter.step()
    assert world.state(request_id) == "proved"
    world.settle()
    assert world.state(request_id) == "final"


def test_base_fee_above_what_the_request_pays__waits(world: World) -> None:
    request_id = world.ask(gas_money=3 * 10**15)
    world.until(lambda: world.state(request_id) == "proved")
    world.chain.base_fee = 10**12
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "proved"
    assert world.chain.received == []
    world.chain.base_fee = 10**9
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "final"


def test_confirmations__transaction_is_final_only_under_enough_blocks(
    make_world: Callable[..., World],
) -> None:
    world = make_world(confirmations=2)
    request_id = world.ask()
    world.chain.mine(2)
    world.settle()
    assert world.state(request_id) == "mined"
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "mined"
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "final"


def test_nonce__used_while_the_node_was_down__request_gets_a_new_one(world: World) -> None:
    world.endpoint.fail("eth_sendRawTransaction", RpcUnreachable("down"), times=99)
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "pending"
    outside = world.signer.sign(
        Unsigned(31337, 0, world.signer.address, b"", 21_000, Fees(10**10, 1))
    )
    world.chain.send("eth_sendRawTransaction", ["0x" + outside.raw.hex()])
    world.endpoint.fail("eth_sendRawTransaction", RpcUnreachable("up"), times=0)
    # The first transaction is now refused for its nonce: never taken, and never mined.
    world.clock.now += 61
    world.settle()
    assert world.state(request_id) == "final"
    assert sorted(nonces(world)) == [0, 1]


def test_transaction_that_no_endpoint_takes__is_replaced(world: World) -> None:
    world.endpoint.fail("eth_sendRawTransaction", RpcRejected("transaction underpriced"), times=2)
    request_id = world.ask()
    world.settle()
    world.endpoint.fail("eth_sendRawTransaction", RpcRejected("underpriced"), times=1)
    world.clock.now += 61
    world.settle()
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "final"
    assert nonces(world) == [0]
    assert world.chain.fulfilments(request_id) == 1


def test_older_nonce_that_a_reorg_brought_back_and_then_in_vain__request_is_sent_again(
    world: World,
) -> None:
    """The fault run's "pending for ever": no transaction was on its way any more."""
    request_id = pending(world)
    submitter, store = world.node.submitter, world.store
    (older,) = store.intents(IntentState.PENDING)
    # Mined in vain: the request gets another nonce.
    store.move_intent(older, IntentState.MINED, world.chain.height)
    store.move(request_id, RequestState.PENDING, RequestState.PROVED, "its nonce was used up")
    submitter._open(older.job_id)
    (newer,) = store.intents(IntentState.PENDING)
    assert newer.nonce == older.nonce + 1
    # A reorg brings the older one back; then the newer one is in vain, too.
    (mined,) = store.intents(IntentState.MINED)
    store.move_intent(mined, IntentState.PENDING)
    store.move_intent(newer, IntentState.MINED, world.chain.height)
    store.move(request_id, RequestState.PENDING, RequestState.PROVED, "its nonce was used up")
    submitter._open(older.job_id)
    assert world.state(request_id) == "pending"
    # And so is the older one at last.
    way = submitter._sign(older.nonce, older.gas, Fees(10**11, 10**10), None)
    store.add_attempt(older.intent_id, way)
    world.chain.mempool.clear()
    world.chain.send("eth_sendRawTransaction", ["0x" + way.raw.hex()])
    world.chain.mine()
    (last,) = store.intents(IntentState.PENDING)
    assert last.nonce == older.nonce
    submitter._follow(last, [last])
    assert world.state(request_id) == "proved"


def test_one_request_that_the_endpoint_cannot_simulate__does_not_hold_up_the_next(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(workers=2)
    poison, healthy = world.ask(6, 6), world.ask(7, 7)
    world.until(lambda: world.state(poison) == world.state(healthy) == "proved")
    refuse_to_simulate_six(world, monkeypatch)
    for _ in range(3):
        with suppress(RpcRejected):
            world.node.submitter.step()
    assert world.state(healthy) in ("mined", "final")
    assert world.state(poison) == "proved"
    # With nothing else to do the refusal is reported, so that the supervisor pauses.
    with pytest.raises(RpcRejected):
        world.node.submitter.step()


def test_waiting_for_a_lower_base_fee__top_up__is_sent(world: World) -> None:
    request_id = world.ask(gas_money=POOR)
    world.until(lambda: world.state(request_id) == "proved")
    world.chain.base_fee = 10**10
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "proved"
    world.chain.top_up(request_id, RICH)
    world.settle()
    assert world.state(request_id) == "final"


def test_stuck_at_its_ceiling__top_up__is_replaced_above_it(world: World) -> None:
    request_id = pending(world, gas_money=POOR)
    world.chain.base_fee = 10**10
    rounds(world, 2)
    assert world.state(request_id) == "pending"
    world.chain.top_up(request_id, RICH)
    rounds(world, 3)
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1


def test_race_lost_after_sending__reorg_of_both__is_answered(
    make_world: Callable[..., World],
) -> None:
    world = make_world(confirmations=1)
    request_id = world.ask()
    world.chain.mine()
    world.until(lambda: world.state(request_id) == "proved")
    world.chain.automine = False
    world.node.submitter.step()
    world.chain.end(request_id)
    world.chain.mine()
    world.node.submitter.step()
    assert world.state(request_id) == "lost"
    world.chain.mine(2)
    world.settle()
    world.chain.reorg(3, keep=False)
    for _ in range(4):
        world.chain.mine()
        world.clock.now += 61
        world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1


def test_mined_in_a_block_that_is_not_read_yet__is_not_final_and_a_reorg_of_it_is_seen(
    make_world: Callable[..., World],
) -> None:
    """The fault run's seed 2: nonces that no reorg gave back, and all behind them stuck."""
    world = make_world(confirmations=1)
    request_id = world.ask()
    world.chain.mine()
    world.until(lambda: world.state(request_id) == "mined")
    world.chain.mine(2)
    # The watcher sees the head and no more.
    world.endpoint.fail("eth_getLogs", RpcUnreachable("down"))
    with suppress(RpcUnreachable):
        world.node.watcher.step()
    world.node.submitter.step()
    assert world.state(request_id) == "mined"
    world.chain.reorg(3, keep=False)
    for _ in range(4):
        world.chain.mine()
        world.clock.now += 61
        world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1


def test_rival_first_while_ours_waits__nonce_is_used_up_at_once_by_a_transfer(
    world: World,
) -> None:
    request_id = pending(world)
    (waiting,) = world.chain.mempool
    world.chain.mempool.clear()
    world.chain.end(request_id)
    world.chain.mine()
    world.chain.mempool.append(waiting)
    world.settle()
    (cancelling,) = world.chain.mempool
    assert (cancelling.nonce, cancelling.to) == (waiting.nonce, world.signer.address)
    assert cancelling.gas == 21_000
    world.chain.automine = True
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "lost"
    assert world.store.intents(IntentState.PENDING) == []
    assert world.node.submitter._store.next_nonce(world.signer.address, 0) == 1


def test_rival_first__ends_are_asked_for_once_a_block(world: World) -> None:
    pending(world)
    world.endpoint.calls.clear()
    for _ in range(5):
        world.settle()
    assert world.endpoint.calls.count("eth_call") == 0
    world.chain.base_fee *= 100
    world.chain.mine()
    for _ in range(5):
        world.settle()
    assert world.endpoint.calls.count("eth_call") == 1


def test_rival_reorganised_away__ours_is_sent_again(world: World) -> None:
    request_id = pending(world)
    world.chain.mempool.clear()
    world.chain.end(request_id)
    world.chain.mine()
    world.settle()
    world.chain.reorg(1, keep=False)
    world.chain.automine = True
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1


def test_price__is_the_next_blocks_base_fee_and_the_tip_that_blocks_took(
    make_world: Callable[..., World],
) -> None:
    world = make_world(priority_fee=None)
    world.chain.tip = 3 * 10**8
    request_id = pending(world)
    (intent,) = world.store.intents(IntentState.PENDING)
    (attempt,) = intent.attempts
    assert attempt.priority_fee == 3 * 10**8
    assert attempt.max_fee == 2 * world.chain.base_fee + 3 * 10**8
    assert intent.request_ids == (request_id,)


def test_price__endpoint_without_fee_history__takes_the_last_block_and_its_suggestion(
    make_world: Callable[..., World],
) -> None:
    world = make_world(priority_fee=None)
    world.chain.tip = 3 * 10**8
    world.endpoint.fail("eth_feeHistory", RpcRejected("no such method"), times=99)
    pending(world)
    (intent,) = world.store.intents(IntentState.PENDING)
    (attempt,) = intent.attempts
    assert attempt.priority_fee == 10**8
    assert attempt.max_fee == 2 * world.chain.base_fee + 10**8


@pytest.mark.parametrize("has_gas_price", [True, False])
def test_price__endpoint_without_any_suggestion__a_proof_is_sent_all_the_same(
    make_world: Callable[..., World], *, has_gas_price: bool
) -> None:
    """Operators' D12: neither eth_feeHistory nor eth_maxPriorityFeePerGas; proved, never sent."""
    world = make_world(priority_fee=None)
    missing = ["eth_feeHistory", "eth_maxPriorityFeePerGas"]
    for method in missing if has_gas_price else [*missing, "eth_gasPrice"]:
        world.endpoint.fail(method, RpcUncertain("no such method", passing=False), times=10**6)
    request_id = pending(world)
    (intent,) = world.store.intents(IntentState.PENDING)
    (attempt,) = intent.attempts
    # What the gas price leaves above the base fee; a share of it where there is no such method.
    assert attempt.priority_fee == 10**8
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "final"


def test_price__is_asked_for_once_a_step(make_world: Callable[..., World]) -> None:
    world = make_world(priority_fee=None, batch_max_requests=1, workers=3)
    for _ in range(3):
        world.ask()
    world.chain.automine = False
    world.until(lambda: world.endpoint.calls.count("eth_sendRawTransaction") == 3)
    assert world.endpoint.calls.count("eth_feeHistory") == 1


@pytest.mark.parametrize("rows", [1, 3])
def test_subsidy__request_that_pays_too_little_is_answered_all_the_same(
    make_world: Callable[..., World], rows: int
) -> None:
    for subsidy, state in ((0, "skipped"), (2 * GAS_UNITS * 10**9, "final")):
        world = make_world(subsidy_per_request=subsidy)
        ids = [world.ask(i, i, gas_money=GAS_UNITS * 10**9) for i in range(rows)]
        world.settle()
        assert [world.state(i) for i in ids] == [state] * rows


def test_endpoint_lies_about_the_nonce__gap_is_left_and_the_request_answered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = world.endpoint.send
    with monkeypatch.context() as patch:
        patch.setattr(
            world.endpoint,
            "send",
            lambda method, params: (
                "0x2a" if method == "eth_getTransactionCount" else send(method, params)
            ),
        )
        ids = [world.ask(), world.ask(3, 4)]
        world.settle()
    assert [intent.nonce for intent in world.store.intents(IntentState.PENDING)] == [42, 43]
    rounds(world, 3)
    assert [world.state(i) for i in ids] == ["final"] * 2
    assert world.chain._nonces == {world.signer.address: 2}


@pytest.mark.parametrize("lie", [{"blockHash": "0x" + "ee" * 32}, {"blockNumber": "0x7fffffff"}])
def test_receipt_of_a_block_that_is_not_the_chains__says_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, lie: dict[str, str]
) -> None:
    request_id = pending(world)
    world.chain.mine()
    send = world.endpoint.send

    def answer(method: str, params: list[Any]) -> Any:
        result = send(method, params)
        return {**result, **lie} if method == "eth_getTransactionReceipt" and result else result

    with monkeypatch.context() as patch:
        patch.setattr(world.endpoint, "send", answer)
        world.settle()
        assert world.state(request_id) == "pending"
    world.settle()
    assert world.state(request_id) == "final"


def test_transaction_that_no_endpoint_takes__is_offered_once_a_block(world: World) -> None:
    world.endpoint.fail("eth_sendRawTransaction", RpcRejected("underpriced"), times=5)
    world.ask()
    world.chain.automine = False
    for _ in range(5):
        world.settle()
    assert world.endpoint.calls.count("eth_sendRawTransaction") == 1
    for _ in range(3):
        world.chain.mine()
        for _ in range(3):
            world.settle()
    assert world.endpoint.calls.count("eth_sendRawTransaction") == 4


@pytest.mark.parametrize("state", ["pending", "proved"])
def test_answered_by_another_transaction_of_ours__is_not_taken_for_lost(
    world: World, state: str
) -> None:
    request_id = world.ask()
    world.settle()
    # As after a reorg in which a later transaction for the same request moved.
    world.store.move(request_id, RequestState.FINAL, RequestState.PENDING, "reorganised")
    if state == "proved":
        world.store.move(request_id, RequestState.PENDING, RequestState.PROVED, "nonce used up")
    else:
        assert world.node.submitter._claim(request_id, RequestState.PENDING)
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1


@pytest.mark.parametrize("first", ["watcher", "submitter"])
def test_taken_for_lost_without_its_receipt__event_says_that_it_is_ours(
    world: World, first: str
) -> None:
    """The fault run's seed 3: the receipt of the batch that answered it was denied."""
    request_id = pending(world)
    world.store.end(
        request_id, RequestState.PENDING, RequestState.LOST, "another node was first", 9
    )
    world.chain.automine = True
    world.chain.mine()
    world.node.services[first].step()
    world.settle()
    assert world.state(request_id) == "final"


def test_answered_by_another_node__is_lost_whatever_we_have_sent(world: World) -> None:
    request_id = pending(world)
    world.chain.mempool.clear()
    world.chain.end(request_id)
    world.chain.mine()
    assert not world.node.submitter._claim(request_id, RequestState.PENDING)
