"""A publisher's file as it lies on disk: read once, with the data files beside it.

A large model keeps tensors in files of their own and names them. Such a name is the model's choice
and could be any file's: only plain files in its own folder are read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oracle.errors import ModelMalformed, ModelUnsupported, ProverError
from oracle.prover.sandbox import Sandbox

#: More, data files included, is refused unread (bytes).
MAX_BYTES = 256 << 20
#: How protocol buffers name the field of a tensor that says which file holds it.
_LOCATION = b"location"
_ONE_FILE = "Save the model as one file: onnx.save(onnx.load(path), path)"


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes of a model, unchecked."""

    data: bytes
    #: Files that hold some of its tensors, by name in that order; most models have none.
    beside: Mapping[str, bytes]

    @property
    def sha256(self) -> bytes:
        """Of the file; with data files, of the hashes of all, its own first."""
        hashes = [hashlib.sha256(each).digest() for each in (self.data, *self.beside.values())]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256(b"".join(hashes)).digest()

    def write(self, folder: Path) -> Path:
        """Put all files into a folder; where the model is."""
        for name, data in self.beside.items():
            (folder / name).write_bytes(data)
        path = folder / "model.onnx"
        path.write_bytes(self.data)
        return path


def read(path: Path, sandbox: Sandbox) -> Source:
    """Read a model file and what is stored beside it.

    Args:
        path: the file.
        sandbox: looks for names of other files in it.

    Raises:
        ModelMalformed: it cannot be read, or a data file is missing.
        ModelUnsupported: a name leads elsewhere than to a plain file in the model's folder, or the
            files are too large.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelUnsupported(f"{path.name} has {size} bytes, the limit is {MAX_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise ModelMalformed(
            f"cannot read {path}: {error.strerror}", remedy="Give the path of an ONNX file"
        ) from None
    if _LOCATION not in data:
        return Source(data, {})
    with tempfile.TemporaryDirectory(prefix="oracle-model-") as folder:
        copy = Source(data, {}).write(Path(folder))
        try:
            names = sandbox.run("external_data", {"model": str(copy)})["locations"]
        except ProverError as error:
            raise malformed(error.message) from None
    return Source(data, _beside(path, names, MAX_BYTES - len(data)))


def file_hash(path: Path, sandbox: Sandbox) -> bytes:
    """`Source.sha256` of a publisher's file. Errors as `read`."""
    return read(path, sandbox).sha256


def malformed(reason: str) -> ModelMalformed:
    """The error for a file that is no ONNX model."""
    return ModelMalformed(
        f"not a valid ONNX model: {first_line(reason) or 'empty'}",
        remedy="Export the model again and check it with onnx.checker",
    )


def first_line(text: str) -> str:
    """What a library says first, cut where it goes on."""
    return next((line.strip()[:200] for line in text.splitlines() if line.strip()), "")


def _beside(path: Path, names: Sequence[str], room: int) -> dict[str, bytes]:
    """The files of these names in the model's folder, of at most ``room`` bytes together."""
    found = {}
    for name in names:
        file = path.parent / name
        if name in {"", ".", ".."} or Path(name).name != name or file.is_symlink():
            raise ModelUnsupported(
                f"a tensor is stored in '{name}', which is no plain file in the model's folder",
                remedy=_ONE_FILE,
            )
        try:
            if not file.is_file():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            room -= file.stat().st_size
            if room < 0:
                raise ModelUnsupported(f"{path.name} and its data have more than {MAX_BYTES} bytes")
            found[name] = file.read_bytes()
        except OSError as error:
            raise ModelMalformed(
                f"cannot read {file}, where a tensor of {path.name} is stored: {error.strerror}",
                remedy=f"Put {name} beside {path.name}, or save the model as one file",
            ) from None
    return found
