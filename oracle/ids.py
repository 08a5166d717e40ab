"""Ids of requests as people have them: whole, in hex or in decimal, or by their first digits."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.errors import UsageError

_DIGITS = 64
_HEX = frozenset("0123456789abcdef")
#: Digits of the greatest number of 256 bits in decimal.
_MOST_DECIMAL = 78
#: Fewer than these an id has once in a hundred million: it is a hash.
_LEAST_DECIMAL = 70


@dataclass(frozen=True, slots=True)
class IdRange:
    """Ids from one to another, both included, by their text: hex without leading zeros.

    Texts sort as their numbers do only where they are equally long.
    """

    low: str
    high: str
    #: Characters of the text.
    shortest: int
    longest: int


def read_id(name: str) -> int | str:
    """The id that a name says whole, or else the hex digits that it begins with.

    64 hex digits are whole, and so is a number in decimal that is longer, as ids mostly are.

    Raises:
        UsageError: no id can be called so.
    """
    text = name.strip().lower()
    digits = text.removeprefix("0x")
    if digits and set(digits) <= _HEX and len(digits) <= _DIGITS:
        return int(digits, 16) if len(digits) == _DIGITS else digits
    if text.isascii() and text.isdecimal() and len(text) <= _MOST_DECIMAL:
        number = int(text)
        if number < 1 << 256:
            return number
    raise UsageError(
        f"'{name}' is not a request id",
        remedy="Give 0x and 64 hex digits or the first of them, or the whole number in decimal",
    )


def ranges_of(text: str) -> tuple[IdRange, ...]:
    """Where the ids lie that begin with these digits, as they are shown in hex or in decimal.

    Digits that may be either stand for both; after ``0x`` they are hex.

    Raises:
        UsageError: no id can begin so.
    """
    name = text.strip().lower()
    digits = name.removeprefix("0x")
    if not digits or not set(digits) <= _HEX or len(digits) > _MOST_DECIMAL:
        raise UsageError(
            "an id begins with other digits", remedy="Write its first digits, in hex or decimal"
        )
    found: tuple[IdRange, ...] = ()
    if len(digits) <= _DIGITS:
        found += _in_hex(digits)
    if digits == name and digits.isdecimal() and not digits.startswith("0"):
        found += _in_decimal(digits)
    if not found:
        raise UsageError(
            "no id begins so, or too many do", remedy="Write the digits behind the zeros too"
        )
    return found


def _in_hex(digits: str) -> tuple[IdRange, ...]:
    rest = digits.lstrip("0")
    if not rest:
        return ()
    low = f"0x{rest}"
    if rest == digits:
        # As the command line has it: also ids with so many leading zeros that these are left out.
        return (IdRange(low, low + "g", len(low), 2 + _DIGITS),)
    length = 2 + _DIGITS - (len(digits) - len(rest))
    return (IdRange(low, low + "g", length, length),)


def _in_decimal(digits: str) -> tuple[IdRange, ...]:
    lengths = {len(digits), *range(max(len(digits), _LEAST_DECIMAL), _MOST_DECIMAL + 1)}
    ranges = []
    for length in sorted(lengths):
        unit = 10 ** (length - len(digits))
        first, last = int(digits) * unit, (int(digits) + 1) * unit - 1
        for size in range(len(hex(first)), min(len(hex(last)), 2 + _DIGITS) + 1):
            low, high = max(first, 16 ** (size - 3)), min(last, 16 ** (size - 2) - 1)
            if low <= high:
                ranges.append(IdRange(hex(low), hex(high), size, size))
    return tuple(ranges)
