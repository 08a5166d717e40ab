"""Where a build may write, and when a disk is full."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest

from oracle.circuits import build as building
from oracle.circuits.srs import SrsSource
from oracle.errors import CircuitError, ProverUnavailable, UsageError
from oracle.prover.child import Limits, result_of

LIMITS = Limits(timeout=1, memory_bytes=1 << 30, threads=1)


def build(out: Path, srs: Path) -> None:
    building.build(
        Path("model.onnx"),
        np.zeros((8, 1)),
        name="model",
        max_error=0.1,
        out=out,
        srs=SrsSource(srs, unsafe=True),
    )


@pytest.mark.parametrize(
    "out",
    [
        "/sys/x",
        "/sys/x/y",
        "/proc/x",
        "/dev/null/x",
        "{there}/" + "n" * 250,
        "{there}/" + "n" * 300,
    ],
)
def test_build__out_where_nothing_can_be_written__is_one_line(tmp_path: Path, out: str) -> None:
    """Publisher 9: PermissionError, OSError and FileNotFoundError were tracebacks."""
    with pytest.raises(UsageError, match="cannot be made") as caught:
        build(Path(out.format(there=tmp_path)), tmp_path)
    assert "--out" in caught.value.line()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "quota"), ProverUnavailable()]
)
def test_build__disk_is_full__says_which_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Publisher 10: "PROVER: RuntimeError: Failed to run setup: [io] No space left on device"."""
    out, srs = tmp_path / "here" / "bundle", tmp_path / "srs"
    srs.mkdir()

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(building, "search", fail)
    for full in (out.parent, srs):
        free = {full: 10}
        monkeypatch.setattr(
            shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free.get(path, 99))
        )
        with pytest.raises(CircuitError) as caught:
            build(out, srs)
        assert f"no room is left on the disk of {full}." in caught.value.line()
        assert "--out" in caught.value.line()
        assert not list(out.parent.iterdir())


def test_build__another_error_of_the_system__is_not_called_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(building, "search", fail)
    with pytest.raises(OSError, match="broken"):
        build(tmp_path / "bundle", tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_result_of__prover_met_a_full_disk__unavailable_and_can_be_tried_again(
    tmp_path: Path, number: int
) -> None:
    said = f"RuntimeError: Failed to run setup: [io] {os.strerror(number)} (os error {number})"
    answer = {"error": {"code": "PROVER", "message": said}}
    (tmp_path / "result.json").write_text(json.dumps(answer))
    with pytest.raises(ProverUnavailable, match="no room is left") as caught:
        result_of(tmp_path, 0, LIMITS)
    assert caught.value.transient
    # Without room for an answer either.
    (tmp_path / "result.json").write_text("")
    (tmp_path / "log").write_text(f"Traceback\nOSError: [Errno {number}] {os.strerror(number)}\n")
    with pytest.raises(ProverUnavailable, match="no room is left"):
        result_of(tmp_path, 1, LIMITS)
