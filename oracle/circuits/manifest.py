"""What may be in a bundle's folder, whoever made it: plain files of some size, numbers within bounds.

Hashes say that a file is the one that the manifest names. They say nothing of the manifest itself,
of which only the specification has a hash: anyone may write the rest anew. So each value must be of
its type and within what a circuit can have, before anything is decided by it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NoReturn, Self

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from oracle.errors import BundleInvalid

#: Bytes of the largest proving key that is hashed, of any other file, and of one that is parsed.
MOST_KEY, MOST_FILE, MOST_JSON = 1 << 36, 1 << 33, 1 << 26
_CHUNK = 1 << 20
_MOST_NAME = 200
#: What a name must be, for a message.
A_NAME = f"give 1 to {_MOST_NAME} characters that can be shown"
_REMEDY = "Build the bundle again, or copy it again"

_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Byte = Annotated[int, Field(ge=0, le=255)]
_Size = Annotated[int, Field(ge=1, le=2**16 - 1)]
_Gas = Annotated[int, Field(ge=1, le=2**32 - 1)]
#: A word of the chain's, with a sign.
_Word = Annotated[int, Field(gt=-(2**256), lt=2**256)]
_Error = Annotated[float, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]
#: A day, and a year: no proof and no build takes longer.
_ProofSeconds = Annotated[float, Field(gt=0, le=24 * 3600)]
_BuildSeconds = Annotated[float, Field(ge=0, le=365 * 24 * 3600)]


class _Part(BaseModel):
    """Values as they are in JSON, none made fit."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Tensor(_Part):
    length: _Size
    width: Annotated[int, Field(ge=1, le=32)]
    scale: _Byte
    minimum: _Word
    maximum: _Word

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError("minimum is above maximum")
        return self


class _Tag(_Part):
    limbs: Annotated[int, Field(ge=1, le=255)]
    bits: Annotated[int, Field(ge=1, le=253)]


class _Batch(_Part):
    size: _Size
    settings_hash: _Sha256
    vk_hash: _Sha256
    srs_hash: _Sha256
    verifier_code_hash: _Sha256
    verify_gas: _Gas


class _Spec(_Part):
    onnx_hash: _Sha256
    settings_hash: _Sha256
    vk_hash: _Sha256
    srs_hash: _Sha256
    input: _Tensor
    output: _Tensor
    verifier_code_hash: _Sha256
    verify_gas: _Gas
    codec: Literal[0, 1]
    tag: _Tag
    batches: list[_Batch]
    input_ranges: list[Annotated[list[_Word], Len(2, 2)]]


class _Shaped(_Part):
    name: str
    shape: list[_Count]
    dtype: str


class _Origin(_Part):
    file_hash: _Sha256
    inputs: list[_Shaped]
    outputs: list[_Shaped]
    labels: list[str]
    dims: dict[str, _Count]
    objective: str
    reveal: str
    max_error: _Error
    flat: _Error
    tabled: bool
    widened: bool
    #: `Plan.parse` looks into it.
    plan: dict[str, Any] | None


class _Promise(_Part):
    kind: Literal["ranges", "samples"]
    ranges: list[Annotated[list[float], Len(2, 2)]]
    narrowed: list[str]


class _Errors(_Part):
    certified: _Error | None
    measured: _Error
    rounding: _Error
    rounded: _Count
    rows: _Count


class _Measures(_Part):
    max_abs_error: _Error
    label_agreement: _Share | None
    #: BN254 has room for no more than 2**28 rows.
    logrows: Annotated[int, Field(ge=1, le=28)]
    columns: _Count
    verify_gas: _Gas
    proving_key_bytes: _Count
    verifier_code_bytes: _Count
    proof_bytes: _Count
    prove_memory_bytes: _Count
    prove_seconds: _ProofSeconds
    build_seconds: _BuildSeconds
    srs_unsafe: bool


class _Manifest(_Part):
    format: int
    name: str
    bundle_id: _Sha256
    spec: _Spec
    input_name: str
    output_name: str
    origin: _Origin
    promise: _Promise
    error: _Errors
    margin: _Error
    near_margin: _Share
    warnings: list[str]
    files: dict[str, _Sha256]
    measures: Annotated[list[_Measures], Len(1)]
    versions: dict[str, str]

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if not is_name(self.name):
            raise ValueError(f"name: {A_NAME}")
        return self


class _Verifier(BaseModel):
    """``verifier.json``."""

    model_config = ConfigDict(strict=True)

    abi: list[dict[str, Any]]
    bytecode: Annotated[str, Field(pattern="^([0-9a-f]{2})+$")]


def is_name(text: str) -> bool:
    """Whether a model may be called so: its name is seen in logs, metrics and terminals."""
    return 0 < len(text) <= _MOST_NAME and text.isprintable()


def checked_manifest(path: Path, values: object) -> dict[str, Any]:
    """The values of a manifest, each of its type and within bounds.

    Raises:
        BundleInvalid: names the first that is not.
    """
    return _checked(_Manifest, path, values)


def read_verifier(path: Path) -> dict[str, Any]:
    """A circuit's ``verifier.json``.

    Raises:
        BundleInvalid: it is none.
    """
    return _checked(_Verifier, path, read_json(path))


def _checked(schema: type[BaseModel], path: Path, values: object) -> dict[str, Any]:
    try:
        schema.model_validate(values)
    except ValidationError as error:
        # Without the value, which may be of any size.
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))[:100]
        place = "".join(char if char.isprintable() else "?" for char in place)
        if first["type"] == "missing":
            raise BundleInvalid(f"{path} lacks {place}", remedy=_REMEDY) from None
        said = first["msg"].removeprefix("Value error, ")
        raise BundleInvalid(
            f"{path}: {place}{': ' if place else ''}{said}", remedy=_REMEDY
        ) from None
    return dict(values) if isinstance(values, dict) else {}


def read_json(path: Path) -> Any:
    """What is in a bundle's JSON file.

    Raises:
        BundleInvalid: it is no plain file, or not JSON that anyone could have meant.
    """
    with _opened(path, MOST_JSON) as file:
        text = file.read(MOST_JSON + 1)
    if len(text) > MOST_JSON:
        raise _too_large(path, MOST_JSON)
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise BundleInvalid(f"{path} is nested too deep", remedy=_REMEDY) from None
    except ValueError:
        raise BundleInvalid(f"{path} is not JSON", remedy=_REMEDY) from None


def require_plain(path: Path, most: int = MOST_FILE) -> None:
    """Refuse what is no plain file, or too large.

    Raises:
        BundleInvalid: says which.
    """
    with _opened(path, most):
        return


def plain_sha256(path: Path, most: int = MOST_FILE) -> bytes:
    """SHA-256 of a bundle's file.

    Raises:
        BundleInvalid: it is no plain file, too large, or cannot be read.
    """
    digest, left = hashlib.sha256(), most
    with _opened(path, most) as file:
        while chunk := file.read(_CHUNK):
            left -= len(chunk)
            # It may have grown since it was opened.
            if left < 0:
                raise _too_large(path, most)
            digest.update(chunk)
    return digest.digest()


@contextmanager
def _opened(path: Path, most: int) -> Iterator[BinaryIO]:
    """A plain file of at most so many bytes; links, devices and pipes are not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise BundleInvalid(f"{path} is not a plain file", remedy=_REMEDY)
            if found.st_size > most:
                raise _too_large(path, most)
            yield file
    except OSError as error:
        if path.is_symlink():
            raise BundleInvalid(f"{path} is a link", remedy=_REMEDY) from None
        raise BundleInvalid(f"cannot read {path}: {error.strerror}", remedy=_REMEDY) from None


def _too_large(path: Path, most: int) -> BundleInvalid:
    return BundleInvalid(f"{path} has more than {most >> 20} MiB", remedy=_REMEDY)


def _refuse(constant: str) -> NoReturn:
    """NaN and the infinities are no JSON."""
    raise ValueError(constant)
