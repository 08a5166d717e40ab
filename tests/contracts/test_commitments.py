"""A model whose input is a commitment: elements that have nothing to be held to but the field."""

from __future__ import annotations

import pytest

from oracle.chain.input_ranges import creation_code
from oracle.tensor import R
from tests.contracts.evm import Reverted
from tests.contracts.world import (
    COMMITMENT,
    FULFILLED,
    NODE,
    RESULT,
    VALUES,
    World,
)

#: Elements, bytes, scale, least and greatest.
FIELD = (1, 32, 0, 0, R - 1)


def words(*elements: int) -> bytes:
    """As ``abi.encodePacked`` writes them."""
    return b"".join(element.to_bytes(32, "big") for element in elements)


def signed(element: int) -> int:
    return element - R if element > R // 2 else element


@pytest.mark.parametrize("element", [0, 1, R // 2, R // 2 + 1, R - 1])
def test_commitment__any_field_element__is_the_proofs_input_as_it_is(
    world: World, element: int
) -> None:
    """An oracle does nothing new for it: it is an element whose range is the field."""
    model_id = world.register(inputKind=COMMITMENT, input=FIELD)
    asked = world.request(model_id=model_id, data=words(element))
    proof = world.statement([signed(element)], [asked.request_id], NODE, RESULT)
    other = world.statement([signed((element + 1) % R)], [asked.request_id], NODE, RESULT)
    with pytest.raises(Reverted, match="ProofRejected"):
        world.fulfil(asked, proof=other)
    world.fulfil(asked, proof=proof)
    assert world.status(asked) == FULFILLED


@pytest.mark.parametrize("element", [R, R + 1, 2**255 - 1, 2**255, 2**256 - 1])
def test_commitment__no_field_element__is_refused_at_the_door(world: World, element: int) -> None:
    """One element would have several encodings, and an open request more than one statement."""
    model_id = world.register(inputKind=COMMITMENT, input=(2, *FIELD[1:]))
    with pytest.raises(Reverted, match="InputRange") as caught:
        world.request(model_id=model_id, data=words(0, element))
    assert caught.value.values[0] == 1


def test_commitment__registered__reads_back_and_others_are_of_values(world: World) -> None:
    model_id = world.register(inputKind=COMMITMENT, input=FIELD)
    model = world.registry.read("getModel", model_id)
    assert (model[4], model[5]) == (COMMITMENT, FIELD)
    assert world.registry.read("getModel", world.model_id)[4] == VALUES


@pytest.mark.parametrize(
    "changes",
    [
        {"codec": 1},
        {"input": (0, 32, 0, 0, R - 1)},
        {"input": (1, 31, 0, 0, R - 1)},
        {"input": (1, 32, 1, 0, R - 1)},
        {"input": (1, 32, 0, 1, R - 1)},
        {"input": (1, 32, 0, -1, R - 1)},
        {"input": (1, 32, 0, 0, R - 2)},
        {"input": (1, 32, 0, 0, R)},
    ],
)
def test_register__commitment_that_is_not_of_whole_elements__is_refused(
    world: World, changes: dict[str, object]
) -> None:
    with pytest.raises(Reverted, match="InvalidModel") as caught:
        world.register(**({"inputKind": COMMITMENT, "input": FIELD} | changes))
    assert caught.value.values[0].rstrip(b"\0") == b"commitment"


def test_register__commitment_with_an_input_checker__is_refused(world: World) -> None:
    """It could only look at numbers that nobody can see."""
    checker = world.chain.create(creation_code(((0, 1),)), "InputRanges")
    with pytest.raises(Reverted, match="InvalidModel") as caught:
        world.register(inputKind=COMMITMENT, input=FIELD, inputChecker=checker.address)
    assert caught.value.values[0].rstrip(b"\0") == b"commitment"


def test_register__values_with_a_commitments_range__are_refused(world: World) -> None:
    """An integer above (R - 1) / 2 would come out as a negative one."""
    with pytest.raises(Reverted, match="InvalidModel") as caught:
        world.register(inputKind=VALUES, input=FIELD)
    assert caught.value.values[0].rstrip(b"\0") == b"input"


def test_register__unknown_kind_of_input__is_refused(world: World) -> None:
    with pytest.raises(Reverted):
        world.register(inputKind=2)
    assert world.registry.read("count") == 1
