"""Values on their way to a circuit and back. Pure; the twin of ``TensorCodec.sol``.

    floats <-> fixed point <-> field elements
                    ^
                    |
              request bytes

Fixed point: ``integer = value * 2**scale``, rounded half away from zero (what ezkl does; Python's
own ``round`` differs on ties). Field: BN254's scalar field; a negative integer v is ``R - |v|``.

Request and result bytes, by the model's codec:

- packed: big-endian two's complement, ``width`` bytes an element, no padding;
- text: decimal numbers in ASCII, ``[+-] digits [. digits]``, 1 to 38 digits before the point and
  1 to 18 after it. Separators are comma, space, [, ], LF and CR; they may repeat and mean nothing
  else. A result has six fraction digits and commas.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from oracle.errors import TensorEncoding, TensorLength, TensorRange
from oracle.types import Codec, TagLayout, TensorSpec

#: Least and greatest integer, both inclusive, of each element of a row.
Ranges = Sequence[tuple[int, int]]

#: Order of BN254's scalar field.
R = 21888242871839275222246405745257275088548364400416034343698204186575808495617

#: Most fractional bits of a model with the text codec, and digits of a text number before and
#: after the point: within them a contract's 256-bit words hold every intermediate value.
MAX_TEXT_SCALE = 64
_WHOLE_DIGITS = 38
_FRACTION_DIGITS = 18
#: Fraction digits of a text result, and the most digits before its point: those of `R`.
_RESULT_DIGITS = 6
_RESULT_WHOLE_DIGITS = 77
_SEPARATORS = b", []\n\r"
_NUMBER = re.compile(rb"([+-]?)([0-9]+)(?:\.([0-9]*))?")


def quantize(value: float, scale: int) -> int:
    """The fixed-point integer of ``value``, rounded half away from zero.

    Raises:
        TensorRange: the value, or the value at this scale, is not a finite number.
    """
    try:
        scaled = math.ldexp(value, scale)
    except OverflowError:
        raise TensorRange(f"{value} is too large") from None
    if not math.isfinite(scaled):
        raise TensorRange(f"{value} is not a finite number")
    # Splitting keeps the sum exact where ``value * 2**scale + 0.5`` would round up to a neighbour.
    fraction, whole = math.modf(abs(scaled))
    return int(math.copysign(1, value)) * (int(whole) + (fraction >= 0.5))


def dequantize(integer: int, scale: int) -> float:
    """The real value of a fixed-point integer."""
    return math.ldexp(integer, -scale)


def to_field(integer: int) -> int:
    """A signed integer as a field element. Precondition: ``|integer| <= (R - 1) / 2``."""
    if abs(integer) > R // 2:
        raise TensorRange(f"{integer} does not fit the field")
    return integer % R


def from_field(element: int) -> int:
    """The signed integer behind a field element.

    Raises:
        TensorEncoding: the element is not canonical (not in [0, R)).
    """
    if not 0 <= element < R:
        raise TensorEncoding(f"{element} is not a canonical field element")
    return element if element <= R // 2 else element - R


def check(integers: Sequence[int], spec: TensorSpec, ranges: Ranges = ()) -> None:
    """Raise unless ``integers`` has the length of ``spec`` and each is in its range.

    Args:
        integers: one row.
        spec: the tensor.
        ranges: as in `ranges_of`.
    """
    _require_count(len(integers), spec)
    for index, (integer, (low, high)) in enumerate(
        zip(integers, ranges_of(spec, ranges), strict=True)
    ):
        if not low <= integer <= high:
            raise TensorRange(
                f"value {index} is {dequantize(integer, spec.scale)}, outside "
                f"[{dequantize(low, spec.scale)}, {dequantize(high, spec.scale)}]",
                remedy="Scale the input to the range that the model was built for",
                index=index,
            )


def ranges_of(spec: TensorSpec, ranges: Ranges) -> Ranges:
    """Least and greatest integer of each element of a row; that of ``spec`` where there are none."""
    return ranges or ((spec.minimum, spec.maximum),) * spec.length


def fixed(values: Iterable[float], spec: TensorSpec, ranges: Ranges = ()) -> tuple[int, ...]:
    """A row of real values as the fixed-point integers of a request, checked as in `check`.

    Raises:
        TensorRange: also where a value has a fraction and the model takes whole numbers: it would
            be asked something else. Inputs without fractional bits are of integers and bits alone.
    """
    integers = []
    for index, value in enumerate(values):
        try:
            integer = quantize(value, spec.scale)
        except TensorRange as error:
            raise TensorRange(
                f"value {index}: {error.message}", remedy="Give a finite number", index=index
            ) from None
        if spec.scale == 0 and integer != value:
            raise TensorRange(
                f"value {index} is {value}, and the model takes whole numbers",
                remedy="Give a whole number",
                index=index,
            )
        integers.append(integer)
    check(integers, spec, ranges)
    return tuple(integers)


def encode(
    values: Iterable[float], spec: TensorSpec, codec: Codec = Codec.PACKED, ranges: Ranges = ()
) -> bytes:
    """Real values as request bytes, checked against ``spec`` and, as in `check`, ``ranges``.

    In text each number is the shortest that reads back as its fixed-point integer; that is exact up
    to scale 59, beyond it 18 fraction digits do not name every integer.
    """
    integers = fixed(values, spec, ranges)
    if codec is Codec.PACKED:
        return pack(integers, spec.width)
    numbers = [_shortest(integer, spec.scale) for integer in integers]
    for index, number in enumerate(numbers):
        if len(number.lstrip("-").partition(".")[0]) > _WHOLE_DIGITS:
            raise TensorRange(
                f"value {index} has more than {_WHOLE_DIGITS} digits in text", index=index
            )
    return ",".join(numbers).encode()


def decode(data: bytes, spec: TensorSpec, codec: Codec = Codec.PACKED) -> tuple[float, ...]:
    """Result bytes of one row as real values.

    Raises:
        TensorLength, TensorEncoding: they are not those of one row.
    """
    values, given, row = _answered(data, spec, codec)
    if given != row:
        raise _not_answer(given, row, codec)
    return tuple(values)


def decode_rows(data: bytes, spec: TensorSpec, codec: Codec) -> tuple[tuple[float, ...], ...]:
    """Result bytes of one row or more as real values.

    Raises:
        TensorLength: not whole rows, or none.
        TensorEncoding: as in `parse`.
    """
    values, given, row = _answered(data, spec, codec)
    if not given or given % row:
        raise _not_answer(given, row, codec)
    starts = range(0, len(values), spec.length)
    return tuple(tuple(values[i : i + spec.length]) for i in starts)


def _answered(data: bytes, spec: TensorSpec, codec: Codec) -> tuple[list[float], int, int]:
    """The numbers of result bytes, their length, and that of a row: in bytes, of text in numbers."""
    if codec is Codec.TEXT:
        numbers = _numbers(data, _RESULT_WHOLE_DIGITS)
        return [digits / 10**places for digits, places in numbers], len(numbers), spec.length
    values = [
        dequantize(int.from_bytes(data[i : i + spec.width], "big", signed=True), spec.scale)
        for i in range(0, len(data), spec.width)
    ]
    return values, len(data), spec.length * spec.width


def _not_answer(given: int, row: int, codec: Codec) -> TensorLength:
    unit = "numbers" if codec is Codec.TEXT else "bytes"
    return TensorLength(
        f"the model answers with {row} {unit} a row, got {given}",
        remedy="Give the whole output of an answer, and the model that gave it",
    )


def read(data: bytes, spec: TensorSpec, codec: Codec) -> tuple[int, ...]:
    """Request bytes as fixed-point integers, checked for length (not for range: see `check`)."""
    return unpack(data, spec) if codec is Codec.PACKED else parse(data, spec)


def rows(data: bytes, spec: TensorSpec, codec: Codec) -> tuple[tuple[int, ...], ...]:
    """Request bytes of one or more rows as fixed-point integers, not checked for range.

    Raises:
        TensorLength: not whole rows, or none.
        TensorEncoding: as in `parse`.
    """
    if codec is Codec.PACKED:
        length = spec.length * spec.width
        if not data or len(data) % length:
            raise TensorLength(
                f"the model takes rows of {length} bytes, got {len(data)} bytes",
                remedy="Encode whole rows with the model's width",
            )
        return tuple(unpack(data[i : i + length], spec) for i in range(0, len(data), length))
    numbers = _integers(data, spec.scale)
    if not numbers or len(numbers) % spec.length:
        raise TensorLength(
            f"the model takes rows of {spec.length} values, got {len(numbers)}",
            remedy=f"Send a multiple of {spec.length} values",
        )
    return tuple(numbers[i : i + spec.length] for i in range(0, len(numbers), spec.length))


def write(integers: Sequence[int], spec: TensorSpec, codec: Codec) -> bytes:
    """Fixed-point integers as the result bytes that the contract delivers."""
    if codec is Codec.PACKED:
        return pack(integers, spec.width)
    return ",".join(_decimal(v, spec.scale, _RESULT_DIGITS) for v in integers).encode()


def pack(integers: Iterable[int], width: int) -> bytes:
    """Integers as packed bytes.

    Raises:
        TensorRange: an integer needs more than ``width`` bytes.
    """
    try:
        return b"".join(v.to_bytes(width, "big", signed=True) for v in integers)
    except OverflowError:
        raise TensorRange(f"a value does not fit {width} bytes") from None


def unpack(data: bytes, spec: TensorSpec) -> tuple[int, ...]:
    """Packed bytes as integers, checked for length (not for range: see `check`)."""
    if len(data) != spec.length * spec.width:
        raise TensorLength(
            f"the model takes {spec.length} values of {spec.width} bytes "
            f"({spec.length * spec.width} bytes), got {len(data)} bytes",
            remedy="Encode the input with the model's width",
        )
    return tuple(
        int.from_bytes(data[i : i + spec.width], "big", signed=True)
        for i in range(0, len(data), spec.width)
    )


def parse(data: bytes, spec: TensorSpec) -> tuple[int, ...]:
    """Text as fixed-point integers, each the exact number rounded half away from zero.

    Raises:
        TensorEncoding: a byte cannot stand where it does, or a number has too many digits.
        TensorLength: not ``spec.length`` numbers.
    """
    integers = _integers(data, spec.scale)
    _require_count(len(integers), spec)
    return integers


def pad(rows: Sequence[Sequence[int]], size: int) -> tuple[int, ...]:
    """The inputs of a batch circuit of ``size`` rows: ``rows`` flattened, then row 0 repeated.

    Precondition: ``1 <= len(rows) <= size``.
    """
    if not 1 <= len(rows) <= size:
        raise ValueError(f"{len(rows)} rows do not fit a batch of {size}")
    padded = [*rows, *[rows[0]] * (size - len(rows))]
    return tuple(value for row in padded for value in row)


def tag(
    chain_id: int, oracle: str, request_ids: Sequence[int], payee: str, layout: TagLayout
) -> tuple[int, ...]:
    """The public inputs that bind a proof to its requests and its payee.

    ``keccak256(abi.encode(chainId, oracle, keccak256(abi.encodePacked(requestIds)), payee))``,
    its low ``limbs * bits`` bits, most significant limb first. Same as ``ProofTag.sol``.
    """
    # Slow to import, and every proof's subprocess imports this module.
    from eth_utils.crypto import keccak

    ids = keccak(b"".join(i.to_bytes(32, "big") for i in request_ids))
    digest = int.from_bytes(
        keccak(
            chain_id.to_bytes(32, "big")
            + bytes.fromhex(oracle.removeprefix("0x")).rjust(32, b"\0")
            + ids
            + bytes.fromhex(payee.removeprefix("0x")).rjust(32, b"\0")
        ),
        "big",
    )
    mask = (1 << layout.bits) - 1
    return tuple(digest >> layout.bits * i & mask for i in reversed(range(layout.limbs)))


def _divide(numerator: int, denominator: int) -> int:
    """The quotient rounded half away from zero. Precondition: ``denominator > 0``."""
    quotient = (2 * abs(numerator) + denominator) // (2 * denominator)
    return -quotient if numerator < 0 else quotient


def _shortest(integer: int, scale: int) -> str:
    """The decimal with the fewest fraction digits that reads back as ``integer``."""
    for digits in range(_FRACTION_DIGITS):
        scaled = _divide(integer * 10**digits, 1 << scale)
        if _divide(scaled << scale, 10**digits) == integer:
            return _decimal(integer, scale, digits)
    return _decimal(integer, scale, _FRACTION_DIGITS)


def _decimal(integer: int, scale: int, digits: int) -> str:
    """``integer / 2**scale`` with ``digits`` fraction digits, and no sign on zero."""
    scaled = _divide(integer * 10**digits, 1 << scale)
    whole, fraction = divmod(abs(scaled), 10**digits)
    sign = "-" if scaled < 0 else ""
    return f"{sign}{whole}.{fraction:0{digits}}" if digits else f"{sign}{whole}"


def _numbers(data: bytes, whole_digits: int = _WHOLE_DIGITS) -> list[tuple[int, int]]:
    """The decimal numbers of a text: (all digits as an integer, number of fraction digits)."""
    numbers = []
    position = _skip(data, 0)
    while position < len(data):
        match = _NUMBER.match(data, position)
        if match is None:
            raise _misplaced(data, position + (data[position] in b"+-"))
        sign, whole, fraction = match.groups()
        _limit(match.start(2), whole, whole_digits)
        if fraction == b"":
            raise _misplaced(data, match.end())
        _limit(match.start(3), fraction or b"", _FRACTION_DIGITS)
        position = _skip(data, match.end())
        if position == match.end() < len(data):
            raise _misplaced(data, position)
        digits = int(whole + (fraction or b""))
        numbers.append((-digits if sign == b"-" else digits, len(fraction or b"")))
    return numbers


def _integers(data: bytes, scale: int) -> tuple[int, ...]:
    return tuple(_divide(digits << scale, 10**places) for digits, places in _numbers(data))


def _skip(data: bytes, position: int) -> int:
    while position < len(data) and data[position] in _SEPARATORS:
        position += 1
    return position


def _limit(position: int, digits: bytes, limit: int) -> None:
    if len(digits) > limit:
        raise TensorEncoding(
            f"byte {position + limit}: more than {limit} digits on one side of the point",
            remedy="Send fewer digits",
        )


def _misplaced(data: bytes, position: int) -> TensorEncoding:
    found = repr(chr(data[position])) if position < len(data) else "the end"
    return TensorEncoding(
        f"byte {position}: {found} cannot stand here",
        remedy="Send decimal numbers such as -1.5, separated by commas or spaces",
    )


def _require_count(count: int, spec: TensorSpec) -> None:
    if count != spec.length:
        raise TensorLength(
            f"the model takes {spec.length} values, got {count}",
            remedy=f"Send exactly {spec.length} values",
        )
