"""SRS files: which are trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.circuits import srs
from oracle.circuits.srs import SrsSource
from oracle.errors import SrsMismatch
from oracle.prover.child import Limits, Sandbox

SANDBOX = Sandbox(Limits(timeout=60, memory_bytes=4 << 30, threads=1))


def test_pins__one_hash_for_each_size() -> None:
    pins = srs.ceremony_pins()
    assert sorted(pins) == list(range(1, 27))
    assert all(len(pin) == 32 for pin in pins.values())
    assert len(set(pins.values())) == 26


def test_get__ceremony_file_missing__says_which(tmp_path: Path) -> None:
    with pytest.raises(SrsMismatch, match=r"kzg12\.srs is missing"):
        SrsSource(tmp_path).get(12, SANDBOX)


def test_get__ceremony_file_with_other_content__refused(tmp_path: Path) -> None:
    (tmp_path / "kzg6.srs").write_bytes(b"not the ceremony's")
    with pytest.raises(SrsMismatch, match=srs.ceremony_pins()[6].hex()):
        SrsSource(tmp_path).get(6, SANDBOX)


def test_get__ceremony_file_as_pinned__accepted_as_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kzg6.srs"
    path.write_bytes(b"stands for the ceremony's file")
    monkeypatch.setattr(srs, "ceremony_pins", lambda: {6: srs.sha256_file(path)})
    assert not SrsSource(tmp_path).get(6, SANDBOX).unsafe


def test_get__size_without_ceremony_file__refused(tmp_path: Path) -> None:
    with pytest.raises(SrsMismatch, match="no ceremony file is known"):
        SrsSource(tmp_path).get(27, SANDBOX)


def test_get__devnet__made_once_kept_and_marked_unsafe(tmp_path: Path) -> None:
    source = SrsSource(tmp_path, unsafe=True)
    first, second = source.get(6, SANDBOX), source.get(6, SANDBOX)
    assert first == second
    assert first.unsafe
    assert [path.name for path in tmp_path.iterdir()] == ["devnet6.srs"]
    assert first.path.stat().st_size == 128 * 2**6 + 260


def test_find__by_hash_not_by_name(tmp_path: Path) -> None:
    (tmp_path / "kzg6.srs").write_bytes(b"one")
    (tmp_path / "devnet6.srs").write_bytes(b"other")
    other = srs.sha256_file(tmp_path / "devnet6.srs")
    assert srs.find(tmp_path, other, 6) == tmp_path / "devnet6.srs"
    with pytest.raises(SrsMismatch):
        srs.find(tmp_path, bytes(32), 6)
