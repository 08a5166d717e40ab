"""Endpoints that answer anything: no service crashes, and the truth wins once it is told again."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from oracle.errors import OracleError

from .world import World

METHODS = (
    *("eth_getBlockByNumber", "eth_getLogs", "eth_call", "eth_getCode", "eth_getBalance"),
    *("eth_getTransactionCount", "eth_getTransactionReceipt", "eth_feeHistory"),
    *("eth_maxPriorityFeePerGas", "eth_chainId"),
)
GARBAGE: dict[str, Callable[[random.Random], Any]] = {
    "nothing": lambda dice: None,
    "empty bytes": lambda dice: "0x",
    "many words": lambda dice: "0x" + dice.randbytes(32 * 40).hex(),
    "a large number": lambda dice: hex(2**200),
    "an object": lambda dice: {"number": "0x1"},
}


def distorted(value: Any, dice: random.Random) -> Any:
    """The same answer with one thing in it changed."""
    if isinstance(value, dict):
        key = dice.choice(sorted(value)) if value else None
        return {k: distorted(v, dice) if k == key else v for k, v in value.items()}
    if isinstance(value, list):
        index = dice.randrange(len(value)) if value else None
        return [distorted(v, dice) if i == index else v for i, v in enumerate(value)]
    if isinstance(value, str) and value.startswith("0x"):
        size = max(1, len(value) // 2 - 1)
        return "0x" + dice.randbytes(size + dice.choice((-1, 0, 0, 0, 1))).hex()
    return "0x1"


def step_all(world: World) -> None:
    for service in world.node.services.values():
        with suppress(OracleError):
            service.step()


def lie(
    world: World, monkeypatch: pytest.MonkeyPatch, method: str, change: Callable[[Any], Any]
) -> None:
    send = world.endpoint.send
    monkeypatch.setattr(
        world.endpoint,
        "send",
        lambda called, params: (
            change(send(called, params)) if called == method else send(called, params)
        ),
    )


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("method", METHODS)
def test_garbage__crashes_nothing_and_leaves_nothing_behind(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, method: str, garbage: str
) -> None:
    world = make_world(priority_fee=None)
    dice = random.Random(1)
    first = world.ask()
    with monkeypatch.context() as patch:
        lie(world, patch, method, lambda _: GARBAGE[garbage](dice))
        for _ in range(6):
            step_all(world)
    finish(world, first)


@pytest.mark.parametrize("seed", range(20))
def test_answers_with_one_thing_changed__crash_nothing_and_leave_nothing_behind(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    world = make_world(priority_fee=None)
    dice = random.Random(seed)
    first = world.ask()
    with monkeypatch.context() as patch:
        method = METHODS[seed % len(METHODS)]
        lie(world, patch, method, lambda answer: distorted(answer, dice))
        for _ in range(10):
            step_all(world)
    finish(world, first)


def finish(world: World, request_id: int) -> None:
    """The endpoint is honest again: the request comes to its end."""
    for _ in range(12):
        world.chain.mine()
        for _ in range(6):
            step_all(world)
        world.clock.now += 61
        if world.chain.fulfilments(request_id):
            break
    world.settle()
    assert world.chain.fulfilments(request_id) == 1
    assert world.state(request_id) == "final"
