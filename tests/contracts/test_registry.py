from __future__ import annotations

from typing import Any

import pytest

from oracle import tensor
from tests.contracts.evm import Reverted
from tests.contracts.world import (
    FEE,
    INPUT,
    PUBLISHER,
    THIEF,
    ZERO,
    World,
    tensor_tuple,
)

GREATEST = tensor.R // 2


def shape(**changes: int) -> tuple[int, ...]:
    fields = dict(
        zip(
            ("elements", "width", "scale", "minimum", "maximum"),
            tensor_tuple(INPUT),
            strict=True,
        )
    )
    return tuple((fields | changes).values())


def lower(value: Any) -> Any:
    """Addresses as the decoder gives them."""
    if isinstance(value, (tuple, list)):
        return tuple(map(lower, value))
    return value.lower() if isinstance(value, str) else value


def text(field: bytes) -> str:
    return field.rstrip(b"\0").decode()


def test_register__valid_model__reads_back_as_given(world: World) -> None:
    model = world.model(
        input=(65535, 32, 30, -GREATEST, GREATEST),
        output=(1, 1, 0, -128, 127),
        token=world.verifier.address,
        sizes=(1, 2, 32),
        fee=2**96 - 1,
        receiverBps=10_000,
    )
    model_id = world.registry("register", model, sender=PUBLISHER).value
    assert model_id == 2
    assert world.registry.read("count") == 2
    stored = world.registry.read("getModel", model_id)
    assert stored == lower(model)
    assert world.registry.read("publisherOf", model_id) == PUBLISHER.lower()
    assert world.registry.read("isOpen", model_id)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"verifyGas": 0}, "verifyGas"),
        ({"verifyGas": 10_000_001}, "verifyGas"),
        ({"codec": 2}, "codec"),
        ({"codec": 1, "input": shape(scale=65)}, "input"),
        ({"codec": 1, "output": shape(scale=65)}, "output"),
        ({"token": THIEF}, "token"),
        ({"sizes": ()}, "verifiers"),
        ({"sizes": (2,)}, "verifiers"),
        ({"sizes": (1, 1)}, "verifiers"),
        ({"sizes": (1, 4, 2)}, "verifiers"),
        ({"sizes": range(1, 18)}, "verifiers"),
        ({"tagLimbs": 5, "tagBits": 19}, "tag"),
        ({"tagLimbs": 0}, "tag"),
        ({"tagLimbs": 1, "tagBits": 249}, "tag"),
        ({"input": shape(elements=0)}, "input"),
        ({"input": shape(width=0)}, "input"),
        ({"input": shape(width=33)}, "input"),
        ({"input": shape(minimum=1, maximum=0)}, "input"),
        ({"input": shape(maximum=2**15)}, "input"),
        ({"input": shape(minimum=-(2**15) - 1)}, "input"),
        ({"output": shape(maximum=2**15)}, "output"),
        ({"output": shape(elements=0)}, "output"),
        ({"input": shape(width=32, maximum=GREATEST + 1)}, "input"),
        ({"input": shape(width=32, minimum=-GREATEST - 1)}, "input"),
        ({"receiverBps": 10_001}, "receiverBps"),
        ({"receiver": ZERO}, "receiver"),
    ],
)
def test_register__field_out_of_bounds__names_the_field(
    world: World, changes: dict[str, object], field: str
) -> None:
    with pytest.raises(Reverted, match="InvalidModel") as caught:
        world.register(**changes)
    assert text(caught.value.values[0]) == field


def test_register__range_at_the_edge_of_its_width__is_accepted(world: World) -> None:
    world.register(input=shape(minimum=-(2**15), maximum=2**15 - 1))


@pytest.mark.parametrize("codec", [0, 1])
@pytest.mark.parametrize(
    ("minimum", "maximum"), [(-(2**31), 2**31 - 1), (-(2**31) - 1, 0), (0, 2**31)]
)
def test_input_range__at_and_beyond_32_bits__holds_at_both_edges(
    world: World, codec: int, minimum: int, maximum: int
) -> None:
    """Either bound alone can be beyond the word that a request reads."""
    bounds = shape(width=8, scale=0, minimum=minimum, maximum=maximum)
    model = world.register(codec=codec, input=bounds)
    assert world.registry.read("getModel", model)[5] == bounds

    def ask(element: int) -> None:
        numbers = (0, 0, 0, element)
        text = ",".join(map(str, numbers)).encode()
        world.request(model_id=model, data=text if codec else tensor.pack(numbers, 8))

    ask(minimum)
    ask(maximum)
    for outside in (minimum - 1, maximum + 1):
        with pytest.raises(Reverted, match="TextRange" if codec else "InputRange"):
            ask(outside)


@pytest.mark.parametrize(
    ("minimum", "maximum"), [(-(2**127), 2**127 - 1), (-(2**127) - 1, 0), (0, 2**127)]
)
def test_output_range__at_and_beyond_128_bits__holds_at_both_edges(
    world: World, minimum: int, maximum: int
) -> None:
    bounds = (3, 32, 0, minimum, maximum)
    model = world.register(output=bounds)
    assert world.registry.read("getModel", model)[6] == bounds
    for outside in (minimum - 1, maximum + 1):
        with pytest.raises(Reverted, match="InvalidOutput"):
            world.fulfil(world.request(model_id=model), outputs=(0, 0, outside))
    world.fulfil(world.request(model_id=model), outputs=(minimum, 0, maximum))


@pytest.mark.parametrize("tag", [(4, 24), (1, 248), (31, 8)])
def test_register__tag_at_the_edge_of_its_bounds__is_accepted(
    world: World, tag: tuple[int, int]
) -> None:
    world.register(tagLimbs=tag[0], tagBits=tag[1])


def test_register__verifier_with_other_code__is_rejected(world: World) -> None:
    with pytest.raises(Reverted, match="VerifierCodeMismatch"):
        world.register(codeHash=b"\7" * 32)


def test_register__verifier_without_code__is_rejected(world: World) -> None:
    # A funded account without code has the hash of the empty string.
    with pytest.raises(Reverted, match="VerifierCodeMismatch"):
        world.register(verifier=THIEF, codeHash=world.chain.code_hash(THIEF))


def test_register__no_publisher_share__needs_no_receiver(world: World) -> None:
    world.register(receiver=ZERO, receiverBps=0)


def test_close__by_publisher__stops_requests_for_good(world: World) -> None:
    world.registry("close", world.model_id, sender=PUBLISHER)
    assert not world.registry.read("isOpen", world.model_id)
    with pytest.raises(Reverted, match="ModelNotOpen"):
        world.request()
    with pytest.raises(Reverted, match="ModelNotOpen"):
        world.oracle.read("estimateFee", world.model_id, 0)


def test_close__by_another__is_rejected(world: World) -> None:
    with pytest.raises(Reverted, match="NotPublisher"):
        world.registry("close", world.model_id, sender=THIEF)
    assert world.registry.read("isOpen", world.model_id)


def test_close__twice__says_so_once(world: World) -> None:
    first = world.registry("close", world.model_id, sender=PUBLISHER)
    second = world.registry("close", world.model_id, sender=PUBLISHER)
    assert [event.name for event in first.events] == ["ModelClosed"]
    assert second.events == ()


@pytest.mark.parametrize("model_id", [0, 2, 2**256 - 1])
def test_unknown_model__is_closed_and_unreadable(world: World, model_id: int) -> None:
    assert not world.registry.read("isOpen", model_id)
    assert world.registry.read("publisherOf", model_id) == ZERO
    with pytest.raises(Reverted, match="UnknownModel"):
        world.registry.read("getModel", model_id)
    with pytest.raises(Reverted, match="UnknownModel"):
        world.registry("close", model_id, sender=PUBLISHER)
    with pytest.raises(Reverted, match="ModelNotOpen"):
        world.request(model_id=model_id)


def test_later_registration__leaves_open_requests_as_they_were(world: World) -> None:
    """Fee or verifier cannot change under an open request: a new price is a new model."""
    ticket = world.request()
    other = world.register(fee=FEE * 100, receiverBps=0)
    assert other != world.model_id
    world.registry("close", world.model_id, sender=PUBLISHER)
    paid = world.fulfil(ticket).event("RequestFulfilled")
    assert ticket.fee == FEE
    assert paid["feePaid"] == FEE - FEE // 4
