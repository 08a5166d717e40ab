"""`TensorCodec.sol` and `ProofTag.sol` are the twins of `oracle/tensor.py`."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle import tensor
from oracle.types import TagLayout, TensorSpec
from tests.contracts.evm import Chain, Contract, Reverted

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "codec.json").read_text())
MINIMUM, MAXIMUM = -(tensor.R // 2), tensor.R // 2


@lru_cache
def harness() -> Contract:
    """The libraries; they keep no state, so one is enough."""
    return Chain().deploy("LibraryHarness")


@st.composite
def tensors(draw: st.DrawFn) -> tuple[int, list[int]]:
    width = draw(st.integers(1, 32))
    low, high = max(MINIMUM, -(2 ** (8 * width - 1))), min(MAXIMUM, 2 ** (8 * width - 1) - 1)
    numbers = st.integers(low, high) | st.sampled_from([low, -1, 0, high])
    return width, draw(st.lists(numbers, max_size=40))


def spec(width: int, length: int) -> TensorSpec:
    return TensorSpec(length=length, width=width, scale=0, minimum=MINIMUM, maximum=MAXIMUM)


@settings(deadline=None)
@given(tensors())
def test_unpack__any_tensor__equals_python(case: tuple[int, list[int]]) -> None:
    width, numbers = case
    data = tensor.pack(numbers, width)
    assert harness().read("unpack", data, width) == tuple(numbers)
    assert tensor.unpack(data, spec(width, len(numbers))) == tuple(numbers)


@settings(deadline=None)
@given(tensors())
def test_fields__any_tensor__equal_python_and_pack_back(case: tuple[int, list[int]]) -> None:
    width, numbers = case
    data = tensor.pack(numbers, width)
    fields = tuple(map(tensor.to_field, numbers))
    assert harness().read("toFields", data, len(numbers), width) == fields
    assert harness().read("pack", fields, width, MINIMUM, MAXIMUM) == data


@settings(deadline=None)
@given(st.integers(0, 2**256 - 1) | st.integers(-3, 3).map(lambda v: tensor.R // 2 + v))
def test_pack__any_word__is_its_integer_or_refused(element: int) -> None:
    try:
        expected = tensor.pack([tensor.from_field(element)], 32)
    except tensor.TensorEncoding:
        with pytest.raises(Reverted, match="InvalidOutput"):
            harness().read("pack", [element], 32, -(2**255), 2**255 - 1)
    else:
        assert harness().read("pack", [element], 32, -(2**255), 2**255 - 1) == expected


@settings(deadline=None)
@given(tensors(), st.integers(MINIMUM, MAXIMUM), st.integers(MINIMUM, MAXIMUM))
def test_check__any_range__names_the_first_element_outside(
    case: tuple[int, list[int]], one: int, other: int
) -> None:
    width, numbers = case
    low, high = sorted((one >> 8 * (32 - width), other >> 8 * (32 - width)))
    outside = [(i, v) for i, v in enumerate(numbers) if not low <= v <= high]
    arguments = (tensor.pack(numbers, width), len(numbers), width, low, high)
    if outside:
        with pytest.raises(Reverted, match="InputRange") as caught:
            harness().read("check", *arguments)
        assert caught.value.values == outside[0]
    else:
        harness().read("check", *arguments)


words = st.integers(0, 2**256 - 1)
addresses = st.binary(min_size=20, max_size=20).map(lambda b: "0x" + b.hex())
layouts = st.sampled_from([(5, 24), (1, 248), (31, 8), (4, 62), (12, 8)])


@settings(deadline=None)
@given(words, addresses, st.lists(words, min_size=1, max_size=4), addresses, layouts)
def test_tag__any_statement__equals_python(
    chain_id: int, oracle: str, ids: list[int], payee: str, layout: tuple[int, int]
) -> None:
    limbs, bits = layout
    expected = tensor.tag(chain_id, oracle, ids, payee, TagLayout(limbs, bits))
    assert harness().read("tag", chain_id, oracle, ids, payee, limbs, bits) == expected


@pytest.mark.parametrize("case", VECTORS["tensors"], ids=lambda case: case["name"])
def test_vectors__tensors__hold_on_both_sides(case: dict[str, Any]) -> None:
    width, numbers = case["width"], tuple(map(int, case["integers"]))
    data, fields = bytes.fromhex(case["packed"]), tuple(map(int, case["fields"]))
    assert tensor.pack(numbers, width) == data
    assert tensor.unpack(data, spec(width, len(numbers))) == numbers
    assert tuple(map(tensor.to_field, numbers)) == fields
    assert tuple(map(tensor.from_field, fields)) == numbers
    assert harness().read("unpack", data, width) == numbers
    assert harness().read("toFields", data, len(numbers), width) == fields
    assert harness().read("pack", fields, width, MINIMUM, MAXIMUM) == data


@pytest.mark.parametrize("case", VECTORS["tags"], ids=lambda case: case["name"])
def test_vectors__tags__hold_on_both_sides(case: dict[str, Any]) -> None:
    ids, limbs = [int(i) for i in case["requestIds"]], tuple(case["limbs"])
    layout = TagLayout(len(limbs), case["bits"])
    arguments = (case["chainId"], case["oracle"], ids, case["payee"])
    assert tensor.tag(*arguments, layout) == limbs
    assert harness().read("tag", *arguments, len(limbs), case["bits"]) == limbs
