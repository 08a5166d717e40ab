"""Answers and requests that a reorg moves about among blocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from oracle.chain.signer import Fees, Unsigned
from oracle.store.states import IntentState

from .world import World

MakeWorld = Callable[..., World]


def pending(world: World) -> int:
    world.chain.automine = False
    request_id = world.ask()
    world.chain.mine()
    world.settle()
    assert world.state(request_id) == "pending"
    return request_id


@pytest.fixture
def answered_by_an_earlier_nonce(make_world: MakeWorld) -> tuple[World, int]:
    """What was given up was mined after all; the nonce that came after it was never."""
    world = make_world(confirmations=2)
    world.chain.automine = False
    request_id = world.ask()
    world.chain.mine(3)
    world.settle()
    (first,) = world.store.intents(IntentState.PENDING)
    sent, world.chain.mempool = world.chain.mempool, []
    other = world.signer.sign(
        Unsigned(31337, first.nonce, world.signer.address, b"", 21_000, Fees(10**10, 1))
    )
    world.chain.send("eth_sendRawTransaction", ["0x" + other.raw.hex()])
    world.chain.mine()
    world.clock.now += 61
    world.settle()
    (second,) = world.store.intents(IntentState.PENDING)
    assert second.nonce == first.nonce + 1
    world.chain.reorg(1, keep=False)
    world.chain.mempool = sent
    world.chain.mine(3)
    # Not final yet, though the watcher has read its block.
    world.node.submitter._confirmations = 5
    world.settle()
    assert world.state(request_id) == "mined"
    world.node.submitter._confirmations = 2
    return world, request_id


def test_earlier_nonce_leaves_the_chain__its_request_waits_for_it_again(
    answered_by_an_earlier_nonce: tuple[World, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The submitter looks before the watcher has seen the other chain."""
    world, request_id = answered_by_an_earlier_nonce
    first = world.store.intents(IntentState.MINED)[0]
    send = world.endpoint.send

    def without_receipts(method: str, params: list[object]) -> object:
        return None if method == "eth_getTransactionReceipt" else send(method, params)

    with monkeypatch.context() as patch:
        patch.setattr(world.endpoint, "send", without_receipts)
        world.node.submitter.step()
    assert first.intent_id in {each.intent_id for each in world.store.intents(IntentState.PENDING)}
    assert world.state(request_id) == "pending"
    world.chain.mine(3)
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1


def answered_behind(world: World) -> int:
    """A reorg puts a request behind its answer in one block: that is in vain, and it is found so."""
    request_id = pending(world)
    sent = list(world.chain.mempool)
    world.chain.reorg(1, keep=False)
    world.chain.mempool = sent
    # The answer first.
    chain = world.chain
    chain._append([*chain._take_ready(), chain._dropped[request_id]])
    world.chain.automine = True
    world.chain.mine(world.node._parts.config.confirmations)
    # The request is found before the submitter looks for what became of its answer.
    for _ in range(3):
        world.node.watcher.step()
        world.node.scheduler.step()
    assert world.state(request_id) == "proved"
    return request_id


def test_request_mined_again_behind_its_answer_in_one_block__is_answered_anew(
    make_world: MakeWorld,
) -> None:
    """The answer met no request, and by the end of the block there was one: nothing was refused."""
    world = make_world()
    request_id = answered_behind(world)
    world.settle()
    assert world.state(request_id) == "final"
    assert "failed" not in world.trail(request_id)
    assert world.chain.fulfilments(request_id) == 1


def test_earlier_nonce_in_vain_leaves_the_chain__the_request_stays_answered(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    world.node.submitter._confirmations = 50
    request_id = answered_behind(world)
    world.settle()
    first, second = world.store.intents(IntentState.MINED)
    assert world.state(request_id) == "mined"
    gone = {"0x" + attempt.hash.hex() for attempt in first.attempts}
    send = world.endpoint.send

    def without_the_first(method: str, params: list[object]) -> object:
        lost = method == "eth_getTransactionReceipt" and params[0] in gone
        return None if lost else send(method, params)

    world.node.submitter._confirmations = 0
    monkeypatch.setattr(world.endpoint, "send", without_the_first)
    world.node.submitter.step()
    assert [each.intent_id for each in world.store.intents(IntentState.PENDING)] == [
        first.intent_id
    ]
    assert [each.intent_id for each in world.store.intents(IntentState.FINAL)] == [second.intent_id]
    assert world.state(request_id) == "final"
