"""A node whose endpoints answer as real providers did: no request is lost, whichever does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest

from oracle.chain.rpc import HttpTransport
from oracle.errors import OracleError
from tests.providers import ANSWERS, Answer, Provider, name_of, serving

from .world import World


@dataclass
class Pair:
    """A node with two endpoints of one chain."""

    world: World
    first: Provider
    second: Provider

    def run(self, steps: int) -> None:
        """Let every service work; a block comes with each round."""
        for _ in range(steps):
            for service in self.world.node.services.values():
                with suppress(OracleError):
                    service.step()
            self.world.chain.mine()


@pytest.fixture
def pair(make_world: Callable[..., World]) -> Iterator[Pair]:
    apart = make_world()
    first, second = Provider(apart.chain), Provider(apart.chain)
    with ExitStack() as stack:
        urls = tuple(stack.enter_context(serving(each)) for each in (first, second))
        options = {"rpc_urls": urls, "priority_fee": None}
        world = World(apart.folder / "pair", options, beside=apart, transport=HttpTransport)
        yield Pair(world, first, second)
        world.die()


@pytest.mark.sampled(15)
@pytest.mark.parametrize("answer", ANSWERS, ids=name_of)
def test_first_endpoint_so__request_is_answered_once_meanwhile(pair: Pair, answer: Answer) -> None:
    pair.first.answer = answer
    request_id = pair.world.ask()
    pair.run(20)
    assert pair.world.chain.fulfilments(request_id) == 1
    assert pair.world.state(request_id) == "final"
    if answer.when == "reads":
        (trouble,) = pair.world.store.troubles()
        assert trouble.subject.startswith("endpoint 1 (http://127.0.0.1:")
        assert answer.words[:12] in trouble.detail
        assert "the-api-key" not in trouble.detail
    pair.first.answer = None
    pair.world.clock.now += 61
    pair.run(3)
    assert pair.world.store.troubles() == []


@pytest.mark.sampled(15)
@pytest.mark.parametrize("answer", ANSWERS, ids=name_of)
def test_both_endpoints_so__request_is_answered_once_they_recover(
    pair: Pair, answer: Answer
) -> None:
    pair.first.answer = pair.second.answer = answer
    request_id = pair.world.ask()
    pair.run(10)
    if answer.when in ("reads", "state"):
        assert [each.subject[:10] for each in pair.world.store.troubles()] == [
            *("endpoint 1", "endpoint 2")
        ]
    pair.first.answer = pair.second.answer = None
    for _ in range(8):
        # Rests that were asked for are over.
        # Rests that were asked for end, too.
        pair.world.clock.now += 61
        pair.run(3)
    assert pair.world.chain.fulfilments(request_id) == 1
    assert pair.world.state(request_id) == "final"
