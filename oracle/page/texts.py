"""How values read on the page."""

from __future__ import annotations

from oracle.log import secretless

#: Longest text of a name or a reason.
_TEXT = 300


def shown(value: str) -> str:
    """Words from a model file, the chain or an endpoint as they may be shown."""
    return secretless(value)[:_TEXT]


def hexed(value: bytes) -> str:
    """Bytes in hex."""
    return f"0x{value.hex()}"


def number(value: float) -> str:
    """A number of an answer, short: the details have all digits."""
    if value == 0:
        return "0"
    if abs(value) < 0.001 or abs(value) >= 1e15:
        return f"{value:.2e}"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"
