"""Ids of requests as people have them: whole, in hex or in decimal, or by their first digits."""

from __future__ import annotations

from oracle.errors import UsageError

_DIGITS = 64
_HEX = frozenset("0123456789abcdef")
#: Digits of the greatest number of 256 bits in decimal.
_MOST_DECIMAL = 78


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
