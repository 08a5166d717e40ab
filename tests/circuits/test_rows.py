"""Rows and labels in files: what is read, and one line for what is not."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from oracle.circuits.row import TensorInfo
from oracle.circuits.rows import read_labels, read_rows
from oracle.errors import UsageError

TWO = (TensorInfo("left input", (1, 2), "float32"), TensorInfo("right→input", (1, 1), "float32"))


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def said(read: Callable[[], object]) -> str:
    """The one line of what is refused."""
    with pytest.raises(UsageError) as caught:
        read()
    assert "\n" not in caught.value.line()
    assert caught.value.remedy
    return caught.value.line()


def bytes_of(write: Callable[..., None], *arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    write(file, *arrays)
    return file.getvalue()


NPY = bytes_of(np.save, np.ones((9, 2)))
NPZ = bytes_of(np.savez_compressed, np.arange(2000.0).reshape(-1, 2))
HUGE = NPY.replace(b"(9, 2)", b"(9999999999999999, 2)")[: len(NPY)]


def archive(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("data.pkl", content)
    return file.getvalue()


BROKEN = {
    "nothing.npy": b"",
    "nothing.npz": b"",
    "nothing.csv": b"",
    "cut.npy": NPY[:-9],
    "head.npy": NPY[:20],
    "huge.npy": HUGE,
    "no.npy": b"1,2\n",
    "cut.npz": NPZ[: len(NPZ) // 2],
    "head.npz": NPZ[:10],
    "flipped.npz": NPZ[:200] + bytes(byte ^ 255 for byte in NPZ[200:260]) + NPZ[260:],
    "empty.npz": archive(b"")[-22:],
    "other.npz": archive(b"x"),
    "one.npy": bytes_of(np.save, np.float64(3)),
    "complex.npy": bytes_of(np.save, np.ones(3) * 1j),
    "dates.npy": bytes_of(np.save, np.zeros(3, "M8[s]")),
    "named.npy": bytes_of(np.save, np.zeros(3, [("a", float)])),
    "words.npy": bytes_of(np.save, np.array(["a"])),
    "long.csv": "1," + "1" * 140_000,
    "binary.csv": b"\xff\xfe1\x00,\x00",
    "nul.csv": b"1,\x00\n1,2\n",
    "ragged.csv": "1,2\n3\n",
    "header.csv": "a,b\n",
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("what", ["rows", "labels"])
def test_read__broken_file__is_one_line_of_the_tree(tmp_path: Path, name: str, what: str) -> None:
    """Publisher 8: BadZipFile, csv.Error and EOFError were tracebacks, or "stopped"."""
    path = written(tmp_path, name, BROKEN[name])
    if what == "rows":
        assert "cannot read rows" in said(lambda: read_rows(path))
    else:
        assert str(path) in said(lambda: read_labels(path, 77))


@pytest.mark.parametrize(
    "text",
    ["1,2\n3,4.5\n", "a,b\n1,2\n3,4.5\n", "\ufeff1,2\r\n3,4.5\r\n\r\n", '"x 1","y"\n1,2\n3,4.5'],
    ids=["plain", "header", "windows", "quoted header"],
)
def test_read_rows__csv__with_or_without_header(tmp_path: Path, text: str) -> None:
    assert read_rows(written(tmp_path, "rows.csv", text)).tolist() == [[1, 2], [3, 4.5]]


def test_read_rows__tensors__are_flattened(tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4)
    np.save(tmp_path / "images.npy", images)
    np.savez(tmp_path / "images.npz", images)
    for name in ("images.npy", "images.npz"):
        assert read_rows(tmp_path / name).tolist() == images.reshape(2, 12).tolist()


def test_read_rows__objects__are_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "cannot read rows" in said(lambda: read_rows(tmp_path / "objects.npy"))


@pytest.mark.parametrize("name", ["missing.npy", "."])
def test_read__no_file__is_one_line(tmp_path: Path, name: str) -> None:
    assert "cannot read rows" in said(lambda: read_rows(tmp_path / name))


def test_read_rows__array_under_another_name__is_known_by_its_content(tmp_path: Path) -> None:
    """Publisher 8: an .npy renamed .npz did not support the context manager protocol."""
    for name in ("array.npz", "array", "array.csv"):
        assert read_rows(written(tmp_path, name, NPY)).tolist() == [[1, 1]] * 9
    assert len(read_rows(written(tmp_path, "archive.npy", NPZ))) == 1000


# --- the first line -------------------------------------------------------------------------------

FLOATS = "".join(f"{i}.5,-0.25\n" for i in range(9))


def test_read_rows__header_as_pandas_numbers_columns__is_no_row(tmp_path: Path) -> None:
    """Publisher 11: DataFrame(X).to_csv(index=False) became a sample, and widened the promise."""
    path = written(tmp_path, "rows.csv", "0,1\n" + FLOATS)
    assert read_rows(path).tolist() == [[i + 0.5, -0.25] for i in range(9)]


@pytest.mark.parametrize(
    "text",
    [
        "0,1\n1,0\n1,1\n",  # tokens, or names over them
        "0,1\n0.5,0.5\n",  # few lines tell nothing
        "0\n1\n1\n",
        "0\n0.5\n0.25\n",
        "2019,2020\n" + FLOATS,
        "1,2\n" + FLOATS,
    ],
)
def test_read_rows__first_line_that_may_be_either__is_refused_until_names_begin_it(
    tmp_path: Path, text: str
) -> None:
    path = written(tmp_path, "rows.csv", text)
    line = said(lambda: read_rows(path))
    assert "may be names of columns or data" in line
    assert "Begin the file with a line of names" in line
    first, _, others = text.partition("\n")
    names = ",".join(f"x{i}" for i in range(first.count(",") + 1))
    as_header = read_rows(written(tmp_path, "header.csv", f"{names}\n{others}"))
    as_data = read_rows(written(tmp_path, "data.csv", f"{names}\n{text}"))
    assert as_data.tolist() == [[*map(float, first.split(","))], *as_header.tolist()]


@pytest.mark.parametrize(
    "text",
    ["1,2\n3,4\n", "5,3\n5,3\n4.5,2\n", "1.0,2.5\n" + FLOATS, "3\n1\n", "0,0\n0,1\n", "0,1\n"],
)
def test_read_rows__first_line_like_the_others__is_data(tmp_path: Path, text: str) -> None:
    assert len(read_rows(written(tmp_path, "rows.csv", text))) == text.count("\n")


@pytest.mark.parametrize("line", [1, 4])
@pytest.mark.parametrize("cell", ["", "NA", "?", "x", "1;5"])
def test_read_rows__cell_without_a_number__is_named_in_any_line(
    tmp_path: Path, line: int, cell: str
) -> None:
    """Publisher 11: in the first line it made a header, and a sample vanished."""
    lines = ["1.5,2.5,3.5"] * 6
    lines[line - 1] = f"1.5,{cell},3.5"
    path = written(tmp_path, "rows.csv", "\n".join(lines))
    assert f"line {line}, column 2 is " in said(lambda: read_rows(path))


@pytest.mark.parametrize("text", ["1.5\n\n2.5\n", '1.5\n""\n2.5', '""\n1.5\n', "NA\n1.5\n"])
def test_read_rows__missing_number_of_a_column__is_named(tmp_path: Path, text: str) -> None:
    assert "column 1 is " in said(lambda: read_rows(written(tmp_path, "rows.csv", text)))


def test_read_rows__lines_of_different_lengths__are_named(tmp_path: Path) -> None:
    path = written(tmp_path, "rows.csv", "a,b\n1,2\n\n1,2,3\n")
    assert "line 1 2, line 4 3" in said(lambda: read_rows(path))


@pytest.mark.parametrize("names", [",a,b", ",0,1"])
@pytest.mark.parametrize("start", [0, 1])
def test_read_rows__column_that_counts_the_rows__is_no_input(
    tmp_path: Path, names: str, start: int
) -> None:
    rows = "".join(f"{i + start},0.5,1.5\n" for i in range(9))
    line = said(lambda: read_rows(written(tmp_path, "rows.csv", f"{names}\n{rows}")))
    assert "counts the rows" in line
    assert "to_csv(path, index=False)" in line


# --- several inputs -------------------------------------------------------------------------------


def test_read_rows__array_for_each_input__in_the_models_order(tmp_path: Path) -> None:
    """Publisher 17: .npz with an array for each input was refused, by a line that asked for .npz."""
    left, right = np.arange(6.0).reshape(3, 2), np.array([7.0, 8, 9])
    path = tmp_path / "rows.npz"
    for arrays in (
        {"right→input": right, "left input": left},
        {"left input": left, "right→input": right},
    ):
        np.savez(path, **arrays)
        assert read_rows(path, inputs=lambda: TWO).tolist() == [[0, 1, 7], [2, 3, 8], [4, 5, 9]]


def test_read_rows__arrays_that_are_not_the_inputs__remedy_works_when_pasted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, X=np.ones((3, 2)), y=np.ones(3))
    line = said(lambda: read_rows(path, inputs=lambda: TWO))
    assert "it holds 2 arrays: X, y; the model's inputs are left input, right→input" in line
    command = line[line.index("numpy.savez(") :].rstrip(".")
    exec(command.replace("...", "numpy.ones((3, 1))", 1).replace("...", "[1, 1, 1]"), {"numpy": np})
    assert "'left input' have 1 numbers, the input takes 2" in said(
        lambda: read_rows(path, inputs=lambda: TWO)
    )
    np.savez(path, **{"left input": np.ones((3, 2)), "right→input": [1, 1]})
    line = said(lambda: read_rows(path, inputs=lambda: TWO))
    assert "different numbers of rows: 'left input' 3, 'right→input' 2" in line


# --- labels ---------------------------------------------------------------------------------------

TREES = ("ash", "elm", "oak")


@pytest.mark.parametrize(
    ("text", "classes", "labels"),
    [
        ("species\nash\nelm\nash\n", TREES, ["ash", "elm", "ash"]),
        ("species\nash\nelm\nash\n", (), ["ash", "elm", "ash"]),
        ("0\nash\nelm\nash\n", TREES, ["ash", "elm", "ash"]),
        ("label\n0\n2\n1\n", (), ["0", "2", "1"]),
        ("oak\nash\nelm\n", TREES, ["oak", "ash", "elm"]),
        ("0\n2\n1\n", (), ["0", "2", "1"]),
        ("0,2,1\n", (), ["0", "2", "1"]),
    ],
)
def test_read_labels__with_or_without_header(
    tmp_path: Path, text: str, classes: tuple[str, ...], labels: list[str]
) -> None:
    """Publisher 12: over labels that are text a header was a label too many."""
    assert read_labels(written(tmp_path, "labels.csv", text), 3, classes) == labels


@pytest.mark.parametrize(
    ("text", "classes", "words"),
    [
        ("oak\nash\nelm\nash\n", TREES, "4 labels for 3 rows"),  # a class is no header
        ("ash\nash\nelm\nash\n", (), "4 labels for 3 rows"),
        ("7\n0\n2\n1\n", (), "4 labels for 3 rows"),
        ("label\n0\n2\n", (), "2 labels for 3 rows"),
        ("id,label\n1,ash\n2,elm\n3,oak\n", TREES, "it has 2 columns"),
        ("ash\n\nelm\n", TREES, "line 2, column 1 is empty"),
    ],
)
def test_read_labels__not_one_for_each_row__said(
    tmp_path: Path, text: str, classes: tuple[str, ...], words: str
) -> None:
    assert words in said(lambda: read_labels(written(tmp_path, "labels.csv", text), 3, classes))


def test_read_labels__arrays_of_any_kind__as_text(tmp_path: Path) -> None:
    for array in (np.array([0.0, 2]), np.array([[0], [2]]), np.array([b"0", b"2"])):
        np.save(tmp_path / "labels.npy", array)
        assert read_labels(tmp_path / "labels.npy", 2) == ["0", "2"]
    np.save(tmp_path / "labels.npy", np.eye(2))
    assert "shape [2, 2]" in said(lambda: read_labels(tmp_path / "labels.npy", 2))
