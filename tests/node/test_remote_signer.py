"""A node whose key is elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from oracle.chain.remote import RemoteSigner
from oracle.errors import SignerRefused, SignerUnreachable
from tests.chain.test_remote import ADDRESS, Signer, remote

from .world import World

__all__ = ["remote"]


@pytest.fixture
def signed_remotely(make_world: Callable[..., World], remote: Signer) -> World:
    world = make_world()
    world.signer = RemoteSigner(remote.url, ADDRESS)  # type: ignore[assignment]
    world.restart()
    return world


def test_request__is_answered_with_a_key_that_the_node_never_has(signed_remotely: World) -> None:
    request_id = signed_remotely.ask()
    signed_remotely.settle()
    assert signed_remotely.state(request_id) == "final"
    assert signed_remotely.chain.fulfilments(request_id) == 1


@pytest.mark.parametrize(("status", "error"), [(503, SignerUnreachable), (404, SignerRefused)])
def test_signer_down__transactions_on_their_way_are_followed_and_new_ones_wait(
    signed_remotely: World, remote: Signer, status: int, error: type[Exception]
) -> None:
    world = signed_remotely
    world.chain.automine = False
    sent = world.ask(1, 1)
    world.chain.mine()
    world.until(lambda: world.state(sent) == "pending")
    remote.status = status
    waits = world.ask(2, 2)
    world.chain.mine()
    for _ in range(10):
        for name, service in world.node.services.items():
            try:
                service.step()
            except error:
                assert name == "submitter"
    assert world.state(sent) == "final"
    assert world.state(waits) == "proved"
    with pytest.raises(error):
        world.node.submitter.step()
    remote.status = 200
    world.chain.automine = True
    world.settle()
    assert world.state(waits) == "final"
    assert len(set(world.chain.received)) == 2
