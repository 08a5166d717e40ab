"""Rows of numbers in files, as people have them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.circuits import table
from oracle.circuits.row import TensorInfo
from oracle.circuits.table import Line, Unreadable
from oracle.errors import UsageError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_KINDS = ".npy, .npz or .csv"
#: How files of numpy begin: one array, or a zip archive of several.
_ARRAY, _ARCHIVE = b"\x93NUMPY", (b"PK\x03\x04", b"PK\x05\x06")
#: Kinds of elements (numpy's letters) that are numbers, or text that may be.
_NUMERIC = frozenset("biufUS")
#: Names in a message.
_NAMED = 6


def read_rows(
    path: Path, what: str = "rows", inputs: Callable[[], Sequence[TensorInfo]] = tuple
) -> Floats:
    """Inputs, float [n, numbers of a row]: rows of any shape are flattened.

    Args:
        path: the file. Its content says what it is, not its name.
        what: what they are, for a message.
        inputs: the model's, as they lie in a row. Asked where the file has several arrays, of which
            each is then one of them, by its name.

    Raises:
        UsageError: the file is missing or holds something else.
    """
    try:
        arrays = _arrays(path)
        if isinstance(arrays, list):
            return np.array(table.numbers_of(arrays))
        if len(arrays) == 1:
            return _flat(next(iter(arrays.values())))
        return _joined(arrays, inputs(), path)
    except Unreadable as error:
        raise _cannot_read(
            path, what, error, f"Give numbers, a row for each input, as {_KINDS}"
        ) from None


def read_labels(path: Path, count: int, classes: Sequence[str] = ()) -> list[str]:
    """One label for each of ``count`` rows, as text.

    Args:
        path: the file; of lines, the first may be a header.
        count: the number of rows.
        classes: labels that there are, as far as they have names: such a first line is no header.

    Raises:
        UsageError: the file is missing, or holds another number of labels.
    """
    try:
        arrays = _arrays(path)
        if isinstance(arrays, list):
            labels = _without_header(_cells(arrays), count, classes)
        else:
            labels = _texts(arrays)
    except Unreadable as error:
        raise _cannot_read(path, "labels", error, f"Give one for each row, as {_KINDS}") from None
    if len(labels) != count:
        raise UsageError(
            f"{path} holds {len(labels)} labels for {count} rows",
            remedy="Give one for each row; begin with a word that is no class, such as label, if the "
            "first line is to be a header",
        )
    return labels


def _cannot_read(path: Path, what: str, error: Unreadable, usual: str) -> UsageError:
    return UsageError(f"cannot read {what} from {path} ({error})", remedy=error.remedy or usual)


# --- files ----------------------------------------------------------------------------------------


def _arrays(path: Path) -> dict[str, Array] | list[Line]:
    """The arrays of a file by name, or its lines."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None
    if not data:
        raise Unreadable("it is empty")
    if data.startswith((_ARRAY, *_ARCHIVE)):
        return _loaded(data)
    if path.suffix in (".npy", ".npz"):
        raise Unreadable(f"it is no {path.suffix} file", "Save it by numpy.save or numpy.savez")
    return table.lines_of(data)


def _loaded(data: bytes) -> dict[str, Array]:
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
        arrays = {"": found} if isinstance(found, np.ndarray) else dict(found.items())
    except MemoryError:
        raise Unreadable("it does not fit the memory, or is damaged") from None
    except Exception as error:  # noqa: BLE001 - numpy, zip and zlib have no base class for theirs
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise Unreadable(f"it is damaged, cut off, or holds no numbers: {reason}") from None
    if not arrays:
        raise Unreadable("it holds no array")
    if not all(isinstance(each, np.ndarray) for each in arrays.values()):
        raise Unreadable("it is an archive of something else than arrays")
    return arrays


# --- numbers --------------------------------------------------------------------------------------


def _flat(array: Array) -> Floats:
    if array.dtype.kind not in _NUMERIC:
        raise Unreadable(f"it holds no real numbers, but {array.dtype}")
    try:
        rows = np.asarray(array, dtype=np.float64)
    except ValueError as error:
        raise Unreadable(str(error)) from None
    if not rows.ndim:
        raise Unreadable("it holds one number, and no rows")
    return rows.reshape(len(rows), -1) if rows.ndim > 2 and len(rows) else rows


def _joined(arrays: Mapping[str, Array], inputs: Sequence[TensorInfo], path: Path) -> Floats:
    """Arrays of one input each side by side, as a row has them."""
    names = [info.name for info in inputs]
    if set(arrays) != set(names):
        given = ", ".join(f"{name!r}: ..." for name in names[:_NAMED])
        more = ", ..." if len(names) > _NAMED else ""
        raise Unreadable(
            f"{_several(arrays)}; the model's inputs are {_listed(names)}",
            f"Give one array of whole rows, or one for each input by its name: "
            f"numpy.savez({str(path)!r}, **{{{given}{more}}})",
        )
    parts = []
    for info in inputs:
        part = _flat(arrays[info.name])
        part = part.reshape(len(part), -1) if len(part) else part.reshape(0, info.length)
        if part.shape[1] != info.length:
            raise Unreadable(
                f"the rows of '{info.name}' have {part.shape[1]} numbers, the input takes "
                f"{info.length}",
                f"Give '{info.name}' as [n, {info.length}]",
            )
        parts.append(part)
    if len({len(part) for part in parts}) > 1:
        counts = ", ".join(f"'{i.name}' {len(p)}" for i, p in zip(inputs, parts, strict=True))
        raise Unreadable(
            f"its arrays have different numbers of rows: {counts}", "Give as many of each"
        )
    return np.hstack(parts)


def _several(arrays: Mapping[str, Array]) -> str:
    return f"it holds {len(arrays)} arrays: {_listed(list(arrays))}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


# --- labels ---------------------------------------------------------------------------------------


def _texts(arrays: Mapping[str, Array]) -> list[str]:
    if len(arrays) > 1:
        raise Unreadable(_several(arrays), "Save the labels alone, as one array")
    (array,) = arrays.values()
    if array.ndim > 1 and max(array.shape) != array.size:
        raise Unreadable(
            f"it has shape {list(array.shape)}", "Give one label for each row: shape [n]"
        )
    return [_label(value) for value in array.ravel().tolist()]


def _label(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    # Classes that were saved as floats are still whole numbers.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _cells(lines: Sequence[Line]) -> list[str]:
    """Labels of a column, or of a file of one line."""
    if len(lines) > 1 and len(lines[0].cells) > 1:
        raise Unreadable(
            f"it has {len(lines[0].cells)} columns", "Give one column: the labels alone"
        )
    for line in lines:
        for column, cell in enumerate(line.cells, 1):
            if not cell:
                raise Unreadable(
                    f"line {line.number}, column {column} is empty", "Give a label for each row"
                )
    return [cell for line in lines for cell in line.cells]


def _without_header(cells: list[str], count: int, classes: Sequence[str]) -> list[str]:
    """The labels, where the first is one and where it names the column."""
    first, others = cells[0], cells[1:]
    if first in classes or not others:
        return cells
    over_numbers = not table.is_number(first) and all(map(table.is_number, others))
    over_text = table.is_number(first) and not any(map(table.is_number, others))
    is_name = not table.is_number(first) and first not in others
    return others if over_numbers or (len(cells) == count + 1 and (over_text or is_name)) else cells
