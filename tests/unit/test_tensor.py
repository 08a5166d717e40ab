"""Values on their way to a circuit and back."""

from __future__ import annotations

import json
import math
import re
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode
from eth_abi.packed import encode_packed
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from oracle import tensor
from oracle.errors import TensorEncoding, TensorLength, TensorRange
from oracle.tensor import R
from oracle.types import Codec, TagLayout, TensorSpec

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "codec.json").read_text())
READABLE = [case for case in VECTORS["text_inputs"] if "error" not in case]
REFUSED = [case for case in VECTORS["text_inputs"] if "error" in case]
FIELD = R // 2
SPEC = TensorSpec(length=3, width=2, scale=7, minimum=-1000, maximum=2000)
ORACLE = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
PAYEE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"

scales = st.integers(0, 40)


@pytest.mark.parametrize(
    ("value", "integer"),
    [(0.5, 1), (-0.5, -1), (1.5, 2), (2.5, 3), (-2.5, -3), (0.49999999999999994, 0), (0.0, 0)],
)
def test_quantize__ties__round_away_from_zero(value: float, integer: int) -> None:
    assert tensor.quantize(value, 0) == integer


@given(st.floats(-1e9, 1e9), scales)
def test_quantize__any_value__agrees_with_exact_arithmetic(value: float, scale: int) -> None:
    exact = (Decimal(value) * 2**scale).to_integral_value(ROUND_HALF_UP)
    assert tensor.quantize(value, scale) == exact


@given(st.floats(-1e6, 1e6), scales)
def test_dequantize__after_quantize__within_half_a_step(value: float, scale: int) -> None:
    assert abs(tensor.dequantize(tensor.quantize(value, scale), scale) - value) <= 2.0**-scale / 2


@given(st.integers(-(2**50), 2**50), scales)
def test_quantize__after_dequantize__identity(integer: int, scale: int) -> None:
    assert tensor.quantize(tensor.dequantize(integer, scale), scale) == integer


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_quantize__not_finite__range_error(value: float) -> None:
    with pytest.raises(TensorRange):
        tensor.quantize(value, 7)


def test_quantize__float_limit__no_overflow() -> None:
    with pytest.raises(TensorRange):
        tensor.encode([1e300, 0, 0], SPEC)
    with pytest.raises(TensorRange, match="too large"):
        tensor.quantize(1.7e308, 40)


@given(st.integers(-(R // 2), R // 2))
def test_field__any_integer__round_trip(integer: int) -> None:
    element = tensor.to_field(integer)
    assert 0 <= element < R
    assert tensor.from_field(element) == integer


def test_field__minus_one__modulus_less_one() -> None:
    assert tensor.to_field(-1) == R - 1


@pytest.mark.parametrize("integer", [R // 2 + 1, -(R // 2) - 1])
def test_to_field__too_large__range_error(integer: int) -> None:
    with pytest.raises(TensorRange):
        tensor.to_field(integer)


@pytest.mark.parametrize("element", [R, R + 1, -1])
def test_from_field__not_canonical__encoding_error(element: int) -> None:
    with pytest.raises(TensorEncoding):
        tensor.from_field(element)


@given(st.integers(1, 32), st.data())
def test_pack__any_width__round_trip_and_solidity_bytes(width: int, data: st.DataObject) -> None:
    bound = 1 << 8 * width - 1
    values = data.draw(st.lists(st.integers(-bound, bound - 1), min_size=1, max_size=5))
    spec = TensorSpec(len(values), width, 0, -bound, bound - 1)
    packed = tensor.pack(values, width)
    assert packed == encode_packed([f"int{8 * width}"] * len(values), values)
    assert tensor.unpack(packed, spec) == tuple(values)


@pytest.mark.parametrize("integer", [32768, -32769])
def test_pack__value_wider_than_width__range_error(integer: int) -> None:
    with pytest.raises(TensorRange, match="2 bytes"):
        tensor.pack([integer], 2)


@pytest.mark.parametrize("length", [0, 5, 7])
def test_unpack__wrong_length__length_error_names_both(length: int) -> None:
    with pytest.raises(TensorLength, match=rf"6 bytes\), got {length}"):
        tensor.unpack(bytes(length), SPEC)


def test_check__bounds__inclusive() -> None:
    tensor.check([SPEC.minimum, 0, SPEC.maximum], SPEC)
    for values in ([SPEC.minimum - 1, 0, 0], [0, 0, SPEC.maximum + 1]):
        with pytest.raises(TensorRange):
            tensor.check(values, SPEC)


def test_check__out_of_range__says_which_value_and_the_range() -> None:
    with pytest.raises(TensorRange, match=r"value 1 is 15\.632\d*, outside \[-7\.8125, 15\.625\]"):
        tensor.check([0, 2001, 0], SPEC)


RANGES = ((-1000, 0), (5, 5), (0, 2000))


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize(
    ("index", "value"), [(0, -1001), (0, 1), (1, 4), (1, 6), (2, -1), (2, 2001)]
)
def test_encode__element_beyond_its_own_range__range_error_naming_both(
    index: int, value: int, codec: Codec
) -> None:
    numbers = [0, 5, 0]
    for edge in RANGES[index]:
        numbers[index] = edge
        tensor.encode([number / 2**7 for number in numbers], SPEC, codec, RANGES)
    numbers[index] = value
    low, high = (bound / 2**7 for bound in RANGES[index])
    message = f"value {index} is {value / 2**7}, outside [{low}, {high}]"
    with pytest.raises(TensorRange, match=re.escape(message)):
        tensor.encode([number / 2**7 for number in numbers], SPEC, codec, RANGES)


def test_encode__wrong_number_of_values__length_error() -> None:
    with pytest.raises(TensorLength, match="takes 3 values, got 2"):
        tensor.encode([1.0, 2.0], SPEC)


@given(st.lists(st.floats(-7.8, 15.6), min_size=3, max_size=3))
def test_decode__after_encode__within_half_a_step(values: list[float]) -> None:
    assert tensor.decode(tensor.encode(values, SPEC), SPEC) == pytest.approx(values, abs=2**-8)


def text_spec(case: dict[str, Any]) -> TensorSpec:
    low, high = int(case.get("minimum", -FIELD)), int(case.get("maximum", FIELD))
    return TensorSpec(case["length"], 32, case["scale"], low, high)


def named(case: dict[str, Any]) -> str:
    return str(case["name"])


@pytest.mark.parametrize("case", VECTORS["tensors"], ids=named)
def test_vectors__packed(case: dict[str, Any]) -> None:
    integers, packed = tuple(map(int, case["integers"])), bytes.fromhex(case["packed"])
    spec = TensorSpec(len(integers), case["width"], 0, -FIELD, FIELD)
    assert tensor.write(integers, spec, Codec.PACKED) == packed
    assert tensor.read(packed, spec, Codec.PACKED) == integers
    assert [str(tensor.to_field(v)) for v in integers] == case["fields"]


@pytest.mark.parametrize("case", READABLE, ids=named)
def test_vectors__readable_text(case: dict[str, Any]) -> None:
    spec = text_spec(case)
    integers = tensor.read(case["text"].encode("latin-1"), spec, Codec.TEXT)
    assert [str(v) for v in integers] == case["integers"]
    tensor.check(integers, spec)


@pytest.mark.parametrize("case", REFUSED, ids=named)
def test_vectors__refused_text(case: dict[str, Any]) -> None:
    spec, data = text_spec(case), case["text"].encode("latin-1")
    if case["error"] == "range":
        integers = tensor.parse(data, spec)
        assert integers[case["index"]] == int(case["value"])
        with pytest.raises(TensorRange, match=f"value {case['index']} is"):
            tensor.check(integers, spec)
    elif case["error"] == "count":
        with pytest.raises(TensorLength, match=f"takes {case['length']} values"):
            tensor.parse(data, spec)
    else:
        reason = {"character": "cannot stand here", "digits": "more than"}[case["error"]]
        with pytest.raises(TensorEncoding, match=f"^byte {case['position']}: .*{reason}") as caught:
            tensor.parse(data, spec)
        assert caught.value.line().isprintable()


@pytest.mark.parametrize("case", VECTORS["text_outputs"], ids=named)
def test_vectors__text_results(case: dict[str, Any]) -> None:
    integers = tuple(map(int, case["integers"]))
    spec = TensorSpec(len(integers), 32, case["scale"], -FIELD, FIELD)
    data = tensor.write(integers, spec, Codec.TEXT)
    assert data.decode() == case["text"]
    exact = [Fraction(word) for word in case["text"].split(",") if word]
    assert tensor.decode(data, spec, Codec.TEXT) == tuple(map(float, exact))


words = st.from_regex(r"[+-]?[0-9]{1,38}(\.[0-9]{1,18})?", fullmatch=True)
gaps = st.text(", []\n\r", min_size=1, max_size=3)


@given(st.lists(st.tuples(words, gaps), max_size=6), st.text(", []\n\r"), st.integers(0, 64))
def test_parse__any_text_of_the_grammar__agrees_with_exact_arithmetic(
    parts: list[tuple[str, str]], start: str, scale: int
) -> None:
    text = start + "".join(word + gap for word, gap in parts)
    expected = []
    for word, _ in parts:
        exact = Fraction(word) * 2**scale
        nearest = math.floor(abs(exact) + Fraction(1, 2))
        expected.append(-nearest if exact < 0 else nearest)
    spec = TensorSpec(len(parts), 32, scale, -FIELD, FIELD)
    assert tensor.parse(text.encode(), spec) == tuple(expected)


@given(st.binary(max_size=12) | st.text("01.-+, []e", max_size=12).map(str.encode))
def test_parse__any_bytes__accepted_only_if_of_the_grammar(data: bytes) -> None:
    number = rb"[+-]?[0-9]{1,38}(\.[0-9]{1,18})?"
    separators = rb"[, \[\]\n\r]"
    grammar = rb"%b*(%b(%b+%b)*%b*)?" % (separators, number, separators, number, separators)
    count = len(re.findall(rb"[0-9.+-]+", data))
    spec = TensorSpec(count, 32, 4, -FIELD, FIELD)
    if re.fullmatch(grammar, data):
        assert len(tensor.parse(data, spec)) == count
    else:
        with pytest.raises(TensorEncoding):
            tensor.parse(data, spec)


@given(st.lists(st.integers(-(2**80), 2**80), min_size=1, max_size=4), st.integers(0, 59))
def test_encode__text__names_every_integer_exactly(integers: list[int], scale: int) -> None:
    spec = TensorSpec(len(integers), 32, scale, -FIELD, FIELD)
    values = [tensor.dequantize(v, scale) for v in integers]
    exact = tuple(tensor.quantize(value, scale) for value in values)
    assert tensor.read(tensor.encode(values, spec, Codec.TEXT), spec, Codec.TEXT) == exact


def test_encode__text__is_the_shortest_that_reads_back() -> None:
    spec = TensorSpec(4, 2, 10, -(2**15), 2**15 - 1)
    assert tensor.encode([5.1, -3.5, 0.0004, 7], spec, Codec.TEXT) == b"5.1,-3.5,0,7"


def test_encode__text_outside_the_range_or_the_digits__range_error() -> None:
    with pytest.raises(TensorRange, match="value 2"):
        tensor.encode([0, 0, 16], SPEC, Codec.TEXT)
    wide = TensorSpec(1, 32, 0, -FIELD, FIELD)
    with pytest.raises(TensorRange, match="38 digits"):
        tensor.encode([1.1e38], wide, Codec.TEXT)


@given(st.lists(st.integers(-FIELD, FIELD), min_size=1, max_size=4), st.integers(0, 64))
def test_write__text__within_half_a_digit_and_never_a_negative_zero(
    integers: list[int], scale: int
) -> None:
    spec = TensorSpec(len(integers), 32, scale, -FIELD, FIELD)
    written = tensor.write(integers, spec, Codec.TEXT).decode().split(",")
    for integer, word in zip(integers, written, strict=True):
        assert re.fullmatch(r"-?(0|[1-9][0-9]*)\.[0-9]{6}", word)
        assert word != "-0.000000"
        assert abs(Fraction(word) - Fraction(integer, 2**scale)) <= Fraction(1, 2 * 10**6)


def test_pad__rows_beyond_the_items__repeat_row_zero() -> None:
    assert tensor.pad([(1, 2), (3, 4)], 4) == (1, 2, 3, 4, 1, 2, 1, 2)
    assert tensor.pad([(1, 2)], 1) == (1, 2)
    for rows in ([], [(1, 2)] * 3):
        with pytest.raises(ValueError, match="do not fit a batch of 2"):
            tensor.pad(rows, 2)


@given(
    st.integers(0, 2**64),
    st.lists(st.integers(0, 2**256 - 1), min_size=1, max_size=4),
    st.sampled_from([TagLayout(), TagLayout(8, 30), TagLayout(1, 1), TagLayout(10, 25)]),
)
def test_tag__any_request__is_the_truncated_hash_of_the_abi_encoding(
    chain_id: int, ids: list[int], layout: TagLayout
) -> None:
    id_hash = keccak(encode_packed(["uint256"] * len(ids), ids))
    fields = ["uint256", "address", "bytes32", "address"]
    digest = keccak(abi_encode(fields, [chain_id, ORACLE, id_hash, PAYEE]))
    limbs = tensor.tag(chain_id, ORACLE, ids, PAYEE, layout)
    assert len(limbs) == layout.limbs
    assert all(0 <= limb < 1 << layout.bits for limb in limbs)
    joined = sum(limb << layout.bits * i for i, limb in enumerate(reversed(limbs)))
    assert joined == int.from_bytes(digest, "big") % (1 << layout.limbs * layout.bits)


def test_tag__each_part_changed__differs() -> None:
    good = (1, ORACLE, [7], PAYEE)
    changes = [(2, ORACLE, [7], PAYEE), (1, PAYEE, [7], PAYEE), (1, ORACLE, [8], PAYEE)]
    changes += [(1, ORACLE, [7, 7], PAYEE), (1, ORACLE, [7], ORACLE)]
    tags = {tensor.tag(*parts, TagLayout()) for parts in [good, *changes]}
    assert len(tags) == 6


@given(rows=st.lists(st.tuples(*[st.integers(-128, 127)] * 3), min_size=1, max_size=5))
def test_rows__packed__come_back_one_by_one(rows: list[tuple[int, ...]]) -> None:
    spec = TensorSpec(length=3, width=1, scale=0, minimum=-128, maximum=127)
    data = tensor.pack((value for row in rows for value in row), 1)
    assert tensor.rows(data, spec, Codec.PACKED) == tuple(rows)


@pytest.mark.parametrize(
    ("data", "codec"),
    [(b"", Codec.PACKED), (b"1234", Codec.PACKED), (b"", Codec.TEXT), (b"1,2,3,4", Codec.TEXT)],
)
def test_rows__none_or_not_whole__refused(data: bytes, codec: Codec) -> None:
    spec = TensorSpec(length=3, width=1, scale=0, minimum=-128, maximum=127)
    with pytest.raises(TensorLength):
        tensor.rows(data, spec, codec)


def test_rows__text__are_split_by_number() -> None:
    spec = TensorSpec(length=2, width=1, scale=1, minimum=-128, maximum=127)
    assert tensor.rows(b"[1, 2.5], [-3, 0]", spec, Codec.TEXT) == ((2, 5), (-6, 0))


WHOLE = TensorSpec(length=2, width=2, scale=0, minimum=-100, maximum=100)


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("value", [1.5, -0.25, 1e-300])
def test_encode__fraction_for_a_model_of_whole_numbers__refused_not_rounded(
    codec: Codec, value: float
) -> None:
    """Publisher 18: 1.5 was rounded to 2, paid and answered."""
    assert tensor.decode(tensor.encode([3.0, -2], WHOLE, codec), WHOLE, codec) == (3, -2)
    with pytest.raises(TensorRange, match=r"value 1 is .*, and the model takes whole") as caught:
        tensor.encode([3, value], WHOLE, codec)
    assert caught.value.index == 1


@pytest.mark.parametrize(("row", "index"), [((0, math.nan, 0), 1), ((0, 0, 99), 2)])
def test_encode__value_at_fault__error_has_its_index(row: Any, index: int) -> None:
    with pytest.raises(TensorRange, match=f"value {index}") as caught:
        tensor.encode(row, SPEC)
    assert caught.value.index == index


@pytest.mark.parametrize(
    ("data", "codec", "words"),
    [
        (bytes(17), Codec.PACKED, "the model answers with 6 bytes a row, got 17"),
        (b"", Codec.PACKED, "got 0"),
        (b"1,2,3,4", Codec.TEXT, "the model answers with 3 numbers a row, got 4"),
        (b"", Codec.TEXT, "got 0"),
    ],
)
def test_decode_rows__no_whole_rows__counts_what_was_given(
    data: bytes, codec: Codec, words: str
) -> None:
    """Publisher 23: of 17 bytes the last 2 were counted, and called an input."""
    with pytest.raises(TensorLength, match=words) as caught:
        tensor.decode_rows(data, SPEC, codec)
    assert "input" not in caught.value.line()
    with pytest.raises(TensorLength, match=words):
        tensor.decode(data, SPEC, codec)


def test_decode__two_rows__are_not_one() -> None:
    data = tensor.pack([1, 2, 3, 4, 5, 6], 2)
    assert tensor.decode_rows(data, SPEC, Codec.PACKED) == tuple(
        tuple(v / 128 for v in row) for row in ((1, 2, 3), (4, 5, 6))
    )
    with pytest.raises(TensorLength, match="got 12"):
        tensor.decode(data, SPEC)
