"""`InputRanges`: the code of the contract that holds each input element to a range of its own.

The ranges are the end of its code: minimum and maximum of each element in turn, as few bytes of
two's complement as hold all of them; then the number of elements (two bytes) and that of bytes (one).
So the code follows from the ranges, and the ranges from the code; nobody's word is taken for either.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from itertools import chain

from oracle.errors import ModelUnsupported
from oracle.tensor import Ranges
from oracle.types import ZERO_ADDRESS, RegisteredModel

#: Creation code that returns what follows it: it copies all but its own 11 bytes and returns that.
_RETURN_THE_REST = bytes.fromhex("600b5981380380925939f3")
#: Bytes that a contract may have (EIP-170).
_MAX_CODE = 24_576
_TRAILER = 3


def creation_code(ranges: Ranges) -> bytes:
    """What a transaction without recipient carries to deploy the contract.

    Raises:
        ModelUnsupported: more ranges than a contract holds.
    """
    return _RETURN_THE_REST + deployed_code(ranges)


def deployed_code(ranges: Ranges) -> bytes:
    """The contract's code.

    Args:
        ranges: least and greatest integer of each input element; at least one.

    Raises:
        ModelUnsupported: more ranges than a contract holds.
    """
    bounds = list(chain.from_iterable(ranges))
    # A bound's magnitude, less one if it is negative, and a bit for the sign.
    width = max((bound ^ bound >> 256).bit_length() // 8 + 1 for bound in bounds)
    packed = b"".join(bound.to_bytes(width, "big", signed=True) for bound in bounds)
    code = _logic() + packed + len(ranges).to_bytes(2, "big") + bytes([width])
    if len(code) > _MAX_CODE:
        most = (_MAX_CODE - len(_logic()) - _TRAILER) // (2 * width)
        raise ModelUnsupported(
            f"the ranges of {len(ranges)} input elements do not fit a contract, which holds {most}",
            remedy="Give all elements one range",
        )
    return code


def ranges_in(code: bytes) -> tuple[tuple[int, int], ...] | None:
    """The ranges that a contract with this code holds inputs to; None if it is another contract."""
    packed, width = code[len(_logic()) : -_TRAILER], int.from_bytes(code[-1:], "big")
    if not packed or not 1 <= width <= 32 or len(packed) % (2 * width):
        return None
    bounds = [
        int.from_bytes(packed[i : i + width], "big", signed=True)
        for i in range(0, len(packed), width)
    ]
    found = tuple(zip(bounds[::2], bounds[1::2], strict=True))
    # Other logic, another number of elements, or more bytes than are needed.
    if deployed_code(found) != code:
        return None
    return found if all(low <= high for low, high in found) else None


def is_foreign_checker(model: RegisteredModel) -> bool:
    """Whether a registered model's inputs are checked by a contract that is not this one."""
    return model.input_checker != ZERO_ADDRESS and not model.spec.input_ranges


@cache
def _logic() -> bytes:
    """The contract's code without ranges, as `scripts/export_abi.py` writes it."""
    text = files("oracle.chain").joinpath("abi", "InputRanges.deployed.json").read_text()
    return bytes.fromhex(json.loads(text).removeprefix("0x"))
