"""What a node asks of an endpoint while nobody asks anything of it.

A whole node, stepped as its threads step, with the pauses that they make: seconds are counted, not
waited for. A block every 12 seconds, a scrape and a look at its health every four.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from oracle.node import Node
from tests.node.world import World

BLOCK_SECONDS, SCRAPE_SECONDS, TICK = 12.0, 4.0, 1.0
#: What the manual states.
WITHOUT, WITH = 60, 30

MakeWorld = Callable[..., World]


class Idle:
    """A node that nobody asks anything, in simulated time."""

    def __init__(self, world: World) -> None:
        self.world, self.node = world, world.node
        self.calls: Counter[str] = Counter()
        self.due = dict.fromkeys(self.node.services, 0.0)
        self.pages = self.node.pages()
        #: Whether a WebSocket tells of each block.
        self.tells = False
        inner = world.endpoint.send

        def send(method: str, params: list[Any]) -> Any:
            self.calls[method] += 1
            return inner(method, params)

        world.endpoint.send = send  # type: ignore[method-assign]
        world.chain.mine(30)
        self.next_block = self.next_scrape = world.clock.now

    def run(self, minutes: float) -> float:
        """Calls a minute in these minutes."""
        self.calls.clear()
        end = self.world.clock.now + 60 * minutes
        while self.world.clock.now < end:
            self.world.clock.now += TICK
            self._tick(self.world.clock.now)
        return self.calls.total() / minutes

    def _tick(self, now: float) -> None:
        if now >= self.next_block:
            self.next_block += BLOCK_SECONDS
            self.world.chain.mine()
            if self.tells and self.node._arrivals.heard(self.world.chain.height):
                self._ring()
        if now >= self.next_scrape:
            self.next_scrape += SCRAPE_SECONDS
            for page in ("/metrics", "/readyz", "/livez", "/api/state"):
                self.pages[page]({})
        while due := [name for name, when in self.due.items() if when <= now]:
            for name in due:
                if self.node.services[name].step():
                    self._ring()
                else:
                    self.due[name] = now + self.node._threads[name]._interval()

    def _ring(self) -> None:
        self.due = dict.fromkeys(self.due, 0.0)


@pytest.fixture
def idle(make_world: MakeWorld) -> Callable[..., Idle]:
    def make(**options: Any) -> Idle:
        world = make_world(**options)
        config, parts = world.node._parts.config, world.node._parts
        # By the world's clock, whatever the machine's says.
        world.node = Node(
            parts, world.store, world.prover, world.clock, world.node._log, world.clock
        )
        assert config.poll_seconds == 2, "the default"
        return Idle(world)

    return make


@pytest.mark.parametrize("confirmations", [0, 12])
def test_idle__polling__asks_at_most_60_times_a_minute(
    idle: Callable[..., Idle], confirmations: int
) -> None:
    found = idle(confirmations=confirmations)
    found.run(2)
    # It does look: each block's header and logs at least.
    assert 10 <= found.run(8) <= WITHOUT
    assert found.calls["eth_getLogs"] >= 40


@pytest.mark.parametrize("confirmations", [0, 12])
def test_idle__blocks_are_told_of__asks_at_most_30_times_a_minute(
    idle: Callable[..., Idle], confirmations: int
) -> None:
    found = idle(confirmations=confirmations)
    found.tells = True
    found.run(2)
    assert 10 <= found.run(8) <= WITH
    assert found.calls["eth_getLogs"] >= 40
    cursor = found.world.store.cursor()
    assert cursor is not None
    # Nothing is read later for it.
    assert cursor.block == found.world.chain.height - confirmations


def test_idle__no_more_is_told__full_speed_after_three_block_times(
    idle: Callable[..., Idle],
) -> None:
    found = idle(confirmations=0)
    found.tells = True
    found.run(2)
    slow = found.run(5)
    found.tells = False
    found.run(3 * BLOCK_SECONDS / 60)
    assert slow <= WITH < found.run(5) <= WITHOUT


def test_told__endpoint_has_the_block_later__it_is_asked_until_it_has(
    idle: Callable[..., Idle],
) -> None:
    """A socket may be ahead of the endpoint beside it: its block is not missed for three others."""
    found = idle(confirmations=0)
    found.tells = True
    found.run(2)
    world = found.world
    found.run(5 / 60)
    assert found.node._arrivals.heard(world.chain.height + 1)
    found._ring()
    world.clock.now += TICK
    found._tick(world.clock.now)
    request = world.ask()
    found.next_block += 100 * BLOCK_SECONDS
    found.run(3 / 60)
    assert world.store.request(request) is not None


def test_socket_lies__whatever_it_tells__costs_no_more_than_polling(
    idle: Callable[..., Idle],
) -> None:
    """Heads without end and of any height: a hostile socket drains no endpoint."""
    found = idle(confirmations=0)
    found.run(2)
    tick = found._tick

    def flooded(now: float) -> None:
        rings = [found.node._arrivals.heard(10**18) for _ in range(50)]
        if any(rings):
            found._ring()
        tick(now)

    found._tick = flooded  # type: ignore[method-assign]
    assert found.run(8) <= WITHOUT
