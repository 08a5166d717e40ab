"""Rows of numbers in files, as people have them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.errors import UsageError

_KINDS = ".npy, .npz or .csv"


def read_rows(path: Path, what: str = "rows") -> npt.NDArray[np.float64]:
    """Inputs, float [n, numbers of a row]: rows of any shape are flattened.

    Args:
        path: the file.
        what: what they are, for a message.

    Raises:
        UsageError: the file is missing or holds something else.
    """
    try:
        found = _array(path)
        rows = np.asarray(found, dtype=np.float64)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"cannot read {what} from {path} ({error})",
            remedy=f"Give numbers, a row for each input, as {_KINDS}",
        ) from None
    return rows.reshape(len(rows), -1) if rows.ndim > 2 else rows


def read_labels(path: Path, count: int) -> list[str]:
    """One label for each of ``count`` rows, as text.

    Raises:
        UsageError: the file is missing, or holds another number of labels.
    """
    try:
        found = np.asarray(_array(path, texts=True))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read labels from {path} ({error})",
            remedy=f"Give one for each row, as {_KINDS}",
        ) from None
    labels = [_label(value) for value in found.ravel().tolist()]
    if len(labels) != count:
        raise UsageError(
            f"{path} holds {len(labels)} labels for {count} rows", remedy="Give one for each row"
        )
    return labels


def _label(value: Any) -> str:
    # Classes that were saved as floats are still whole numbers.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _array(path: Path, *, texts: bool = False) -> Any:
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            if len(archive.files) != 1:
                raise ValueError(
                    f"it holds {len(archive.files)} arrays: {', '.join(archive.files)}"
                )
            return archive[archive.files[0]]
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    if lines and not texts and not all(map(_is_number, lines[0])):
        del lines[0]
    if texts and len(lines) > 1 and not _is_number(lines[0][0]) and _is_number(lines[1][0]):
        del lines[0]
    if not lines:
        raise ValueError("it is empty")
    if len({len(line) for line in lines}) > 1:
        raise ValueError("its lines have different lengths")
    return np.array(lines if texts else [[float(cell) for cell in line] for line in lines])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
