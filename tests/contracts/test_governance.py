"""What the owner and a publisher can do, and that open requests do not notice."""

from __future__ import annotations

import pytest

from tests.contracts.evm import Reverted
from tests.contracts.world import (
    ALICE,
    BOB,
    FEE,
    NODE,
    OWNER,
    PUBLISHER,
    RECEIVER,
    THIEF,
    ZERO,
    World,
    packed,
)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [("setPaused", (True,)), ("setProtocolFee", (1,)), ("withdrawProtocolFees", (ZERO, THIEF))],
)
def test_owner_functions__for_anyone_else__are_refused(
    world: World, function: str, arguments: tuple[object, ...]
) -> None:
    with pytest.raises(Reverted, match="OwnableUnauthorizedAccount"):
        world.oracle(function, *arguments, sender=THIEF)


def test_ownership__passes_only_when_accepted(world: World) -> None:
    world.oracle("transferOwnership", BOB, sender=OWNER)
    assert world.oracle.read("owner") == OWNER.lower()
    with pytest.raises(Reverted, match="OwnableUnauthorizedAccount"):
        world.oracle("acceptOwnership", sender=THIEF)
    world.oracle("acceptOwnership", sender=BOB)
    assert world.oracle.read("owner") == BOB.lower()


def test_pause__stops_new_requests_and_nothing_else(world: World) -> None:
    served, expiring = world.request(), world.request(lifetime=60)
    assert world.oracle("setPaused", True, sender=OWNER).event("PauseSet")["paused"]
    with pytest.raises(Reverted, match="RequestsPaused"):
        world.request()
    with pytest.raises(Reverted, match="RequestsPaused"):
        world.oracle("requestCallback", world.model_id, packed(), ZERO, 0, b"", value=FEE)
    world.fulfil(served)
    world.chain.advance(61)
    world.refund(expiring)
    world.oracle("withdrawTo", BOB, sender=ALICE)
    world.oracle("setPaused", False, sender=OWNER)
    world.request()


def test_renounce_ownership__while_paused__is_refused(world: World) -> None:
    """Nobody could ever accept requests again."""
    world.oracle("setPaused", True, sender=OWNER)
    with pytest.raises(Reverted, match="RequestsPaused"):
        world.oracle("renounceOwnership", sender=OWNER)
    world.oracle("setPaused", False, sender=OWNER)
    with pytest.raises(Reverted, match="OwnableUnauthorizedAccount"):
        world.oracle("renounceOwnership", sender=THIEF)
    world.oracle("renounceOwnership", sender=OWNER)
    assert world.oracle.read("owner") == ZERO
    world.fulfil(world.request())


def test_protocol_fee__is_capped_at_a_tenth(world: World) -> None:
    with pytest.raises(Reverted, match="ProtocolFeeTooHigh") as caught:
        world.oracle("setProtocolFee", 1_001, sender=OWNER)
    assert caught.value.values == (1_001, 1_000)
    world.oracle("setProtocolFee", 1_000, sender=OWNER)
    assert world.oracle.read("protocolBps") == 1_000


def test_protocol_fee__comes_off_first_and_goes_to_the_owner(world: World) -> None:
    world.oracle("setProtocolFee", 1_000, sender=OWNER)
    done = world.fulfil(world.request()).event("RequestFulfilled")
    rest = FEE - FEE // 10
    assert world.credit(world.oracle.address) == FEE // 10
    assert world.credit(RECEIVER) == rest // 4
    assert world.credit(NODE) == rest - rest // 4 + done["gasPaid"]
    world.oracle("withdrawProtocolFees", ZERO, "0x" + "99" * 20, sender=OWNER)
    assert world.chain.balance("0x" + "99" * 20) == FEE // 10


def test_protocol_fee__changed_under_an_open_request__does_not_touch_it(world: World) -> None:
    asked = world.request()
    world.oracle("setProtocolFee", 1_000, sender=OWNER)
    assert asked.protocol_bps == 0
    assert world.fulfil(asked).event("RequestFulfilled")["feePaid"] == FEE - FEE // 4
    assert world.credit(world.oracle.address) == 0
    assert world.request().protocol_bps == 1_000


def test_successor__is_announced_once_by_the_publisher(world: World) -> None:
    newer, newest = world.register(), world.register()
    with pytest.raises(Reverted, match="NotPublisher"):
        world.registry("setSuccessor", world.model_id, newer, sender=THIEF)
    receipt = world.registry("setSuccessor", world.model_id, newer, sender=PUBLISHER)
    assert receipt.event("ModelSucceeded") == {"modelId": world.model_id, "successor": newer}
    assert world.registry.read("successorOf", world.model_id) == newer
    with pytest.raises(Reverted, match="InvalidSuccessor"):
        world.registry("setSuccessor", world.model_id, newest, sender=PUBLISHER)
    world.fulfil(world.request())


@pytest.mark.parametrize("successor", [0, 1, 2, 4, 2**255])
def test_successor__older_itself_or_unknown__is_refused(world: World, successor: int) -> None:
    model, _ = world.register(), world.register()
    with pytest.raises(Reverted, match="InvalidSuccessor"):
        world.registry("setSuccessor", model, successor, sender=PUBLISHER)


def test_successor__of_an_unknown_model__is_refused(world: World) -> None:
    with pytest.raises(Reverted, match="UnknownModel"):
        world.registry("setSuccessor", 9, 10, sender=PUBLISHER)


def test_get_model__is_oras_tuple(world: World) -> None:
    world.fulfil(world.request())
    expected = (b"\1" * 32, b"\3" * 32, FEE, RECEIVER.lower(), 25, FEE // 4, ZERO, False)
    assert world.oracle.read("getModel", world.model_id) == expected
    with pytest.raises(Reverted, match="UnknownModel"):
        world.oracle.read("getModel", 9)


def test_models__are_listed_by_index(world: World) -> None:
    world.register()
    assert world.oracle.read("numberOfModels") == 2
    assert [world.oracle.read("modelIDs", i) for i in range(2)] == [1, 2]
    with pytest.raises(Reverted, match="IndexOutOfRange") as caught:
        world.oracle.read("modelIDs", 2)
    assert caught.value.values == (2, 2)
