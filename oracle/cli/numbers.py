"""Numbers as arguments: as people type them and as the text codec writes them."""

from __future__ import annotations

import re
from typing import Annotated, Any

import numpy as np
import typer
from typer.core import TyperCommand

from oracle.client import Array
from oracle.errors import TensorEncoding

Values = Annotated[
    list[str],
    typer.Argument(
        metavar="VALUES",
        help="Input numbers with commas or spaces between them; several rows as [[1,2],[3,4]].",
    ),
]

_NEGATIVE = re.compile(r"-[\d.]")
_SEPARATORS = re.compile(r"\s*,\s*|\s+")


class NumbersCommand(TyperCommand):
    """A command whose arguments may begin with a minus."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Options and arguments, numbers kept out of the options."""
        # No option begins with a digit; behind a space the parser takes it for an argument.
        return super().parse_args(ctx, [f" {a}" if _NEGATIVE.match(a) else a for a in args])


def numbers_of(words: list[str]) -> Array:
    """The row that arguments hold, or the rows.

    Raises:
        TensorEncoding: they are no numbers, or the brackets do not fit.
    """
    text = " ".join(words).strip()
    try:
        if text.startswith("[["):
            return np.array([_row(row) for row in _rows(text)])
        return np.array(_row(text[1:-1] if text[:1] + text[-1:] == "[]" else text))
    except ValueError:
        raise TensorEncoding(
            f"'{text}' is not a list of numbers, nor rows of equal length",
            remedy="Separate numbers by commas: 5.1,3.5, and write rows as [[5.1,3.5],[4.9,3.0]]",
        ) from None


def _rows(text: str) -> list[str]:
    if not re.fullmatch(r"\[\s*\[[^][]*\](\s*,?\s*\[[^][]*\])*\s*\]", text):
        raise ValueError(text)
    return re.findall(r"\[([^][]*)\]", text[1:-1])


def _row(text: str) -> list[float]:
    return [float(number) for number in _SEPARATORS.split(text.strip())]
