"""Values on their way to a circuit and back. Pure; the twin of ``TensorCodec.sol``.

    floats <-> fixed point <-> field elements
                    ^
                    |
              request bytes

Fixed point: ``integer = value * 2**scale``, rounded half away from zero (what ezkl does; Python's
own ``round`` differs on ties). Field: BN254's scalar field; a negative integer v is ``R - |v|``.
Packed bytes: big-endian two's complement, ``width`` bytes an element, no padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from oracle.errors import TensorEncoding, TensorLength, TensorRange
from oracle.types import TagLayout, TensorSpec

#: Order of BN254's scalar field.
R = 21888242871839275222246405745257275088548364400416034343698204186575808495617


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


def check(integers: Sequence[int], spec: TensorSpec) -> None:
    """Raise unless ``integers`` has the length and range of ``spec``."""
    if len(integers) != spec.length:
        raise TensorLength(
            f"the model takes {spec.length} values, got {len(integers)}",
            remedy=f"Send exactly {spec.length} values",
        )
    for index, integer in enumerate(integers):
        if not spec.minimum <= integer <= spec.maximum:
            raise TensorRange(
                f"value {index} is {dequantize(integer, spec.scale)}, outside "
                f"[{dequantize(spec.minimum, spec.scale)}, {dequantize(spec.maximum, spec.scale)}]",
                remedy="Scale the input to the range that the model was built for",
            )


def encode(values: Iterable[float], spec: TensorSpec) -> bytes:
    """Real values as request bytes, checked against ``spec``."""
    integers = [quantize(value, spec.scale) for value in values]
    check(integers, spec)
    return pack(integers, spec.width)


def decode(data: bytes, spec: TensorSpec) -> tuple[float, ...]:
    """Result bytes as real values."""
    return tuple(dequantize(v, spec.scale) for v in unpack(data, spec))


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
