"""Sending: nonces, unknown outcomes, replacements, lost races."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from eth_account import Account

from oracle.chain.contracts import Status
from oracle.chain.signer import Fees, LocalSigner, Unsigned
from oracle.errors import RpcRejected, RpcUnreachable
from oracle.store.states import IntentState

from .world import KEY, World


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


def test_broadcast__already_known__is_success(world: World) -> None:
    world.endpoint.fail("eth_sendRawTransaction", RpcRejected("ALREADY KNOWN"), after=True)
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "final"
    assert len(world.chain.received) == 1


def test_broadcast__error_after_sending__is_resolved_by_the_receipt(world: World) -> None:
    world.endpoint.fail("eth_sendRawTransaction", RpcUnreachable("timed out"), after=True)
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1
    assert len(set(world.chain.received)) == 1


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


def test_stuck__ceiling_reached__goes_no_higher(world: World) -> None:
    gas_money = 3 * 10**15
    request_id = pending(world, gas_money=gas_money)
    (intent,) = world.store.intents(IntentState.PENDING)
    world.chain.base_fee = 10**12
    for _ in range(30):
        world.clock.now += 61
        world.settle()
    (waiting,) = world.chain.mempool
    assert waiting.max_fee <= intent.ceiling
    assert waiting.max_fee * 1.125 + 1 >= intent.ceiling
    assert world.state(request_id) == "pending"


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
    assert world.row(request_id).reason == "another node was first"


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
    assert world.state(request_id) == "final"
    assert nonces(world) == [0]
    assert world.chain.fulfilments(request_id) == 1


def test_one_request_that_the_endpoint_cannot_simulate__does_not_hold_up_the_next(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(workers=2)
    poison, healthy = world.ask(6, 6), world.ask(7, 7)
    world.until(lambda: world.state(poison) == world.state(healthy) == "proved")
    simulate = world.node.submitter._oracle.simulate

    def refuse(data: bytes, sender: str, gas: int) -> None:
        if (6).to_bytes(4, "big") * 2 in data:
            raise RpcRejected("gas limit too high")
        simulate(data, sender, gas)

    monkeypatch.setattr(world.node.submitter._oracle, "simulate", refuse)
    for _ in range(3):
        with suppress(RpcRejected):
            world.node.submitter.step()
    assert world.state(healthy) in ("mined", "final")
    assert world.state(poison) == "proved"
    # With nothing else to do the refusal is reported, so that the supervisor pauses.
    with pytest.raises(RpcRejected):
        world.node.submitter.step()
