"""Addresses as people write them."""

from __future__ import annotations

from eth_utils.address import is_checksum_address, is_hex_address, to_checksum_address


def read_address(value: object) -> str | None:
    """The checksum address that a text says; None if it says none, or was mistyped.

    In lower or in upper case it has no checksum (EIP-55), in mixed case it has to be right.
    """
    if not (isinstance(value, str) and value.startswith(("0x", "0X")) and is_hex_address(value)):
        return None
    digits = value[2:]
    if digits not in (digits.lower(), digits.upper()) and not is_checksum_address(value):
        return None
    return str(to_checksum_address(value))
