"""Input elements with ranges of their own: refused at the door, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from eth_utils import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle import tensor
from oracle.chain.input_ranges import creation_code
from oracle.errors import TensorRange
from oracle.types import Codec, TensorSpec
from tests.contracts.evm import Chain, Contract, Reverted
from tests.contracts.test_mock import MAKERS
from tests.contracts.world import (
    ALICE,
    FEE,
    FULFILLED,
    GAS_MONEY,
    INPUT,
    NUMBERS,
    REFUNDED,
    THIEF,
    ZERO,
    Ticket,
    World,
    packed,
    tensor_tuple,
    ticket,
)

#: Of `INPUT`, whose own range is [-2000, 2000]; `NUMBERS` fit.
RANGES = ((-2000, 500), (-40, -30), (14, 14), (0, 2000))
ROW = (0, -35, 14, 7)
CODECS = [Codec.PACKED, Codec.TEXT]


@pytest.fixture(params=MAKERS)
def world(request: pytest.FixtureRequest) -> World:
    """With the real oracle, and with the mock, which has to refuse alike."""
    return MAKERS[request.param]()


def checker(chain: Chain, ranges: tensor.Ranges = RANGES) -> Contract:
    return chain.create(creation_code(ranges), "InputRanges")


def register(world: World, ranges: tensor.Ranges = RANGES, **changes: Any) -> int:
    address = checker(world.chain, ranges).address
    return world.register(inputChecker=address, sizes=(1, 4), **changes)


def written(numbers: Sequence[int], codec: Codec, spec: TensorSpec = INPUT) -> bytes:
    if codec is Codec.PACKED:
        return tensor.pack(numbers, spec.width)
    return ",".join(str(number / 2**spec.scale) for number in numbers).encode()


def outside(codec: Codec) -> str:
    return "InputRange" if codec is Codec.PACKED else "TextRange"


def moody(world: World) -> Contract:
    return world.chain.deploy("MoodyChecker", INPUT.length, INPUT.minimum, INPUT.maximum)


CONTENT, REVERTING, BURNING, BOMBING = range(4)

# --- at the door ---


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("index", range(INPUT.length))
def test_request__element_at_and_beyond_its_own_range__taken_and_named(
    world: World, codec: Codec, index: int
) -> None:
    """Beyond it is still within the row's range, which another model has alone."""
    model = register(world, codec=codec)

    def ask(value: int) -> None:
        numbers = list(ROW)
        numbers[index] = value
        world.request(model_id=model, data=written(numbers, codec))

    low, high = RANGES[index]
    ask(low)
    ask(high)
    for value in (low - 1, high + 1):
        with pytest.raises(Reverted) as caught:
            ask(value)
        assert (caught.value.name, caught.value.values) == (outside(codec), (index, value))


@pytest.mark.parametrize("codec", CODECS)
def test_request__rows__each_is_checked_and_the_place_in_all_of_them_named(
    world: World, codec: Codec
) -> None:
    model = register(world, codec=codec)

    def ask(numbers: Sequence[int]) -> Any:
        arguments = (3, model, written(numbers, codec), ZERO, 0, b"", 0, 0)
        value = 3 * FEE + GAS_MONEY
        return world.oracle("requestBatchInference", *arguments, sender=ALICE, value=value)

    assert ticket(ask(ROW * 3).events).model_id == model
    for row in range(3):
        numbers = list(ROW * 3)
        numbers[row * INPUT.length + 1] = 0
        numbers[-1] = -1
        with pytest.raises(Reverted) as caught:
            ask(numbers)
        assert caught.value.name == outside(codec)
        assert caught.value.values == (row * INPUT.length + 1, 0)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("numbers", [(), ROW[:-1], (*ROW, 0), ROW * 2])
def test_request__wrong_length__is_refused_as_without_ranges(
    world: World, codec: Codec, numbers: tuple[int, ...]
) -> None:
    model = register(world, codec=codec)
    errors = {"InputLength"} if codec is Codec.PACKED else {"InputLength", "TextRange"}
    with pytest.raises(Reverted) as caught:
        world.request(model_id=model, data=written(numbers, codec))
    assert caught.value.name in errors


def test_request__text_that_is_none__names_the_byte(world: World) -> None:
    model = register(world, codec=Codec.TEXT)
    with pytest.raises(Reverted) as caught:
        world.request(model_id=model, data=b"0,-0.13,x,1")
    assert (caught.value.name, caught.value.values) == ("TextSyntax", (8,))


@pytest.mark.parametrize("codec", CODECS)
def test_request__ranges_beyond_32_bits__hold_alike(world: World, codec: Codec) -> None:
    wide = TensorSpec(2, 8, 0, -(2**40), 2**40)
    ranges = ((-(2**40), 0), (2**39, 2**40))
    model = register(world, ranges, codec=codec, input=tensor_tuple(wide))
    stored = world.registry.read("getModel", model)
    assert stored[5] == tensor_tuple(wide)

    def ask(*numbers: int) -> None:
        data = tensor.pack(numbers, 8) if codec is Codec.PACKED else b"%d %d" % numbers
        world.request(model_id=model, data=data)

    ask(-(2**40), 2**40)
    ask(0, 2**39)
    for index, numbers in ((0, (1, 2**39)), (1, (0, 2**39 - 1))):
        with pytest.raises(Reverted, match=outside(codec)) as caught:
            ask(*numbers)
        assert caught.value.values[0] == index


def test_registered_model__names_its_checker_and_says_the_ranges(world: World) -> None:
    found = checker(world.chain)
    model = world.register(inputChecker=found.address)
    stored = to_checksum_address(world.registry.read("getModel", model)[7])
    assert stored == found.address
    assert [found.read("rangeOf", i) for i in range(INPUT.length)] == list(RANGES)
    assert found.read("hull") == (INPUT.length, -2000, 2000)
    with pytest.raises(Reverted, match="NoSuchElement") as caught:
        found.read("rangeOf", INPUT.length)
    assert caught.value.values == (INPUT.length, INPUT.length)
    assert world.registry.read("getModel", world.model_id)[7] == ZERO


# --- registration ---


def refused(world: World, address: str, **changes: Any) -> None:
    count = world.registry.read("count")
    with pytest.raises(Reverted, match="InvalidModel") as caught:
        world.register(inputChecker=address, **changes)
    assert caught.value.values[0].rstrip(b"\0") == b"inputChecker"
    assert world.registry.read("count") == count


def test_register__checker_without_code__is_refused(world: World) -> None:
    refused(world, THIEF)


@pytest.mark.parametrize("ranges", [RANGES[:-1], (*RANGES, (0, 0))])
def test_register__checker_of_another_length__is_refused(
    world: World, ranges: tensor.Ranges
) -> None:
    refused(world, checker(world.chain, ranges).address)


@pytest.mark.parametrize("beyond", [(-2001, 0), (0, 2001)])
def test_register__checker_whose_hull_is_beyond_the_input__is_refused(
    world: World, beyond: tuple[int, int]
) -> None:
    refused(world, checker(world.chain, (*RANGES[:-1], beyond)).address)


def test_register__checker_with_an_empty_range__is_refused(world: World) -> None:
    with pytest.raises(Reverted, match="EmptyRange") as caught:
        register(world, (*RANGES[:-1], (1, 0)))
    assert caught.value.values == (3,)


def test_register__checker_without_its_ranges__is_refused(world: World) -> None:
    with pytest.raises(Reverted):
        world.register(inputChecker=world.chain.deploy("InputRanges").address)


def test_register__checker_that_reverts__is_refused(world: World) -> None:
    stub = moody(world)
    stub("feel", REVERTING)
    with pytest.raises(Reverted):
        world.register(inputChecker=stub.address)


# --- a checker that turns ---


@pytest.mark.parametrize("mood", [REVERTING, BURNING, BOMBING, None])
@pytest.mark.parametrize("codec", CODECS)
def test_checker__that_turns_after_registration__fails_requests_of_its_model_and_nothing_else(
    codec: Codec, mood: int | None
) -> None:
    """What was asked before is answered or refunded, other models are asked as ever."""
    world = MAKERS["real"]()
    stub = moody(world)
    model = world.register(codec=codec, inputChecker=stub.address)
    data = written(NUMBERS, codec)
    answered, refunded = (world.request(model_id=model, data=data) for _ in range(2))
    if mood is None:
        world.chain.erase_code(stub.address)
    else:
        stub("feel", mood)
    before = (world.chain.balance(world.oracle.address), world.oracle.read("repeats", ALICE))
    with pytest.raises(Reverted):
        world.request(model_id=model, data=data)
    assert before == (
        world.chain.balance(world.oracle.address),
        world.oracle.read("repeats", ALICE),
    )
    world.fulfil(world.request())
    world.fulfil(answered, proof=world.proof(answered, inputs=NUMBERS))
    assert world.status(answered) == FULFILLED
    world.chain.advance(3601)
    world.refund(refunded)
    assert world.status(refunded) == REFUNDED
    assert world.registry.read("getModel", model)[7] == stub.address.lower()


@pytest.mark.parametrize("codec", CODECS)
def test_checker__that_takes_anything__leaves_the_length_and_for_text_the_rows_range(
    codec: Codec,
) -> None:
    world = MAKERS["real"]()
    model = world.register(codec=codec, inputChecker=moody(world).address)
    with pytest.raises(Reverted, match="InputLength"):
        world.request(model_id=model, data=written(NUMBERS[:-1], codec))
    beyond = written((0, 0, 0, INPUT.maximum + 1), codec)
    if codec is Codec.TEXT:
        with pytest.raises(Reverted, match="TextRange"):
            world.request(model_id=model, data=beyond)
    else:
        # The publisher's own doing: no proof of such a request may exist, and it can be refunded.
        assert world.request(model_id=model, data=beyond).input == beyond


@pytest.mark.parametrize("element", [tensor.R // 2 + 1, -(tensor.R // 2) - 1, 2**255 - 1])
def test_checker__that_takes_anything__lets_nothing_in_that_is_beyond_the_field(
    element: int,
) -> None:
    world = MAKERS["real"]()
    widest = (INPUT.length, 32, 0, -(tensor.R // 2), tensor.R // 2)
    stub = world.chain.deploy("MoodyChecker", INPUT.length, 0, 0)
    model = world.register(input=widest, inputChecker=stub.address)
    world.request(model_id=model, data=tensor.pack((0, 0, 0, tensor.R // 2), 32))
    with pytest.raises(Reverted, match="InputRange") as caught:
        world.request(model_id=model, data=tensor.pack((0, 0, 0, element), 32))
    assert caught.value.values == (3, element)


def test_fulfil__model_with_ranges__is_answered(world: World) -> None:
    asked: Ticket = world.request(model_id=register(world), data=packed(NUMBERS))
    assert asked.input == packed(NUMBERS)
    if world.oracle.artifact.name == "InferenceOracle":
        world.fulfil(asked)
        assert world.status(asked) == FULFILLED


# --- against Python ---


@lru_cache
def chain() -> Chain:
    return Chain()


@st.composite
def cases(draw: st.DrawFn) -> tuple[TensorSpec, tuple[tuple[int, int], ...], list[int]]:
    """A tensor, ranges within it, and rows that are mostly near the edges of these."""
    width = draw(st.integers(1, 32))
    low, high = max(-(tensor.R // 2), -(2 ** (8 * width - 1))), 2 ** (8 * width - 1) - 1
    high = min(tensor.R // 2, high)
    numbers = st.integers(low, high) | st.sampled_from([low, -1, 0, 1, high])
    ranges = draw(
        st.lists(
            st.tuples(numbers, numbers).map(lambda r: (min(r), max(r))), min_size=1, max_size=9
        )
    )
    rows = draw(st.integers(0, 3))
    values: list[int] = []
    for least, greatest in ranges * rows:
        near = [least, greatest, max(low, least - 1), min(high, greatest + 1)]
        values.append(draw(st.sampled_from(near) | st.integers(least, greatest) | numbers))
    return TensorSpec(len(ranges), width, 0, low, high), tuple(ranges), values


@settings(deadline=None, max_examples=150)
@given(cases(), st.sampled_from(CODECS), st.integers(0, 64), st.binary(max_size=3))
def test_check__any_ranges_and_rows__refuses_what_python_refuses(
    case: tuple[TensorSpec, tuple[tuple[int, int], ...], list[int]],
    codec: Codec,
    scale: int,
    spare: bytes,
) -> None:
    """With part of a row behind the last whole one, which is for the oracle to refuse."""
    spec, ranges, values = case
    if codec is Codec.PACKED:
        data = tensor.pack(values, spec.width)
        if len(spare) < spec.length * spec.width:
            data += spare
    else:
        spec = replace(spec, scale=scale, minimum=-(2**60), maximum=2**60)
        ranges = tuple((low >> 192, high >> 192) for low, high in ranges)
        values = [value >> 192 for value in values]
        data = ",".join(tensor._decimal(v, scale, 18) for v in values).encode()
        values = list(tensor._integers(data, scale))
    arguments = (data, int(codec), spec.width, scale)
    expected = None
    for start in range(0, len(values), spec.length):
        row = values[start : start + spec.length]
        try:
            tensor.check(row, spec, ranges)
        except TensorRange as error:
            index = start + int(error.message.split()[1])
            expected = (outside(codec), (index, values[index]))
            break
    deployed = checker(chain(), ranges)
    if expected is None:
        deployed.read("check", *arguments)
    else:
        with pytest.raises(Reverted) as caught:
            deployed.read("check", *arguments)
        assert (caught.value.name, caught.value.values) == expected
