"""Lines of cells with commas between them, as people have them: which are data, which names columns.

A line that is dropped as a header and was data, or the other way round, changes what a model is built
from without a word. So a first line is a header only where that is certain, and where it could be
either it is refused.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

#: What stands where a number is missing.
_MISSING = frozenset({"", "na", "n/a", "#n/a", "null", "none", "?", "-"})
_INTEGER = re.compile(r"-?[0-9]+")
#: Lines without a whole number under 0, 1, 2, ... from which on these are names: as pandas has them.
_ENOUGH = 8
#: Characters of a cell that a message shows.
_SHOWN = 20


class Unreadable(ValueError):
    """Why a file is not what it should be, and what helps; empty if the usual does."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Line:
    """The cells of a line, and which of the file it is, from 1."""

    number: int
    cells: Sequence[str]


def lines_of(data: bytes) -> list[Line]:
    """The lines of a text, all of one length, at least one. Blank ones are a missing cell or none.

    Raises:
        Unreadable: it is none.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("it is neither .npy nor .npz, nor text in UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        lines = [Line(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise Unreadable(f"line {reader.line_num}: {error}") from None
    while lines and not lines[-1].cells:
        lines.pop()
    filled = [line for line in lines if line.cells]
    if not filled:
        raise Unreadable("it is empty")
    first = filled[0]
    for line in filled:
        if len(line.cells) != len(first.cells):
            raise Unreadable(
                f"its lines have different lengths: line {first.number} {len(first.cells)}, "
                f"line {line.number} {len(line.cells)}"
            )
    if len(first.cells) > 1:
        return filled
    return [Line(line.number, line.cells or [""]) for line in lines]


def numbers_of(lines: Sequence[Line]) -> list[list[float]]:
    """The numbers of all lines but a header.

    Raises:
        Unreadable: a cell holds none, or the first line may be a header or not.
    """
    _reject_index(lines)
    data = lines[1:] if _is_header(lines) else lines
    if not data:
        raise Unreadable("it holds a header alone")
    return [
        [_number(line, column, cell) for column, cell in enumerate(line.cells, 1)] for line in data
    ]


def is_number(text: str) -> bool:
    """Whether a cell holds one; NaN and infinities are."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_header(lines: Sequence[Line]) -> bool:
    first, others = lines[0].cells, [cell for line in lines[1:] for cell in line.cells]
    if not any(map(is_number, first)):
        return any(cell.lower() not in _MISSING for cell in first)
    if not others or not all(map(_INTEGER.fullmatch, first)) or len(set(first)) < len(first):
        return False
    are_counted = list(first) == [str(column) for column in range(len(first))]
    stand_out = len(first) > 1 and not any(map(_INTEGER.fullmatch, others))
    if are_counted and stand_out and len(lines) > _ENOUGH:
        return True
    if are_counted or stand_out:
        shown = ", ".join(first[:4]) + (", ..." if len(first) > 4 else "")
        raise Unreadable(
            f"its first line, {shown}, may be names of columns or data",
            "Begin the file with a line of names, such as x0,x1,x2: in place of that line if it is "
            "names, above it if it is data",
        )
    return False


def _reject_index(lines: Sequence[Line]) -> None:
    """A column without a name that counts the rows, as pandas writes it, is no input."""
    if lines[0].cells[0] or len(lines[0].cells) == 1:
        return
    counted = [line.cells[0] for line in lines[1:]]
    if counted and counted in ([str(i + start) for i in range(len(counted))] for start in (0, 1)):
        raise Unreadable(
            "its first column has no name and counts the rows",
            "Write it without that column; in pandas: to_csv(path, index=False)",
        )


def _number(line: Line, column: int, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        where = f"line {line.number}, column {column}"
    if not cell:
        raise Unreadable(f"{where} is empty", "Put a number there, or leave that line out")
    shown = cell if len(cell) <= _SHOWN else cell[:_SHOWN] + "..."
    if ";" in cell or "\t" in cell:
        raise Unreadable(f"{where} is '{shown}', no number", "Separate numbers by commas")
    raise Unreadable(
        f"{where} is '{shown}', no number", "Put a number there, or leave that line out"
    )
