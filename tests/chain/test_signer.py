"""The key: read from private files only, shown nowhere."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import subprocess
from pathlib import Path

import pytest
from eth_account import Account

from oracle.chain.signer import Fees, LocalSigner, Unsigned
from oracle.errors import ConfigError

KEY = "11" * 32
ADDRESS = Account.from_key(KEY).address
UNSIGNED = Unsigned(31337, 5, ADDRESS, b"\x01", 21_000, Fees(10**10, 10**9))


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture(scope="module")
def keystore() -> str:
    # The least work factor: its strength is not under test.
    return json.dumps(Account.encrypt(KEY, "pass word", kdf="pbkdf2", iterations=1))


@pytest.mark.parametrize("text", [KEY, "0x" + KEY, f" 0x{KEY}\n"])
def test_key_file__hex__gives_the_account(tmp_path: Path, text: str) -> None:
    assert LocalSigner.from_key_file(private(tmp_path / "k", text)).address == ADDRESS


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_key_file__open_to_others__is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError) as caught:
        LocalSigner.from_key_file(private(tmp_path / "k", KEY, mode))
    assert "chmod 600" in caught.value.line()


def test_key_file__open_to_others__its_remedy_can_be_pasted(tmp_path: Path) -> None:
    """contract-developers D10: with a space in the path, too."""
    path = private(tmp_path / "my key", KEY, 0o644)
    with pytest.raises(ConfigError) as caught:
        LocalSigner.from_key_file(path)
    assert caught.value.remedy
    subprocess.run(shlex.split(caught.value.remedy.removeprefix("Run: ")), check=True)
    assert LocalSigner.from_key_file(path).address == ADDRESS


@pytest.mark.parametrize("text", ["", "zz", KEY[:-2], "00" * 32, "ff" * 32])
def test_key_file__not_a_key__is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LocalSigner.from_key_file(private(tmp_path / "k", text))
    assert not text or text not in caught.value.line()
    assert caught.value.__cause__ is None


def test_key_file__missing__is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file") as caught:
        LocalSigner.from_key_file(tmp_path / "none")
    assert "Set key_file" in caught.value.line()


def test_keystore__right_password__gives_the_account(tmp_path: Path, keystore: str) -> None:
    files = private(tmp_path / "ks", keystore), private(tmp_path / "pw", "pass word\n")
    assert LocalSigner.from_keystore(*files).address == ADDRESS


@pytest.mark.parametrize("damage", ["password", "json", "empty object"])
def test_keystore__unusable__is_one_line(tmp_path: Path, keystore: str, damage: str) -> None:
    text = {"json": "{", "empty object": "{}"}.get(damage, keystore)
    password = "wrong" if damage == "password" else "pass word"
    with pytest.raises(ConfigError, match="could not be decrypted"):
        LocalSigner.from_keystore(
            private(tmp_path / "ks", text), private(tmp_path / "pw", password)
        )


def test_keystore__nested_too_deep__is_one_line(tmp_path: Path) -> None:
    for name, text in (("keystore", "[" * 60_000), ("password", "word")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    with pytest.raises(ConfigError, match="could not be decrypted"):
        LocalSigner.from_keystore(tmp_path / "keystore", tmp_path / "password")


def test_key_file__pipe__is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(ConfigError, match="not a plain file"):
        LocalSigner.from_key_file(tmp_path / "key")


def test_keystore__password_file_open_to_others__is_refused(tmp_path: Path, keystore: str) -> None:
    with pytest.raises(ConfigError, match="read by others"):
        LocalSigner.from_keystore(
            private(tmp_path / "ks", keystore), private(tmp_path / "pw", "pass word", 0o644)
        )


def test_signer__shows_its_address_only(tmp_path: Path) -> None:
    signer = LocalSigner.from_key_file(private(tmp_path / "k", KEY))
    assert repr(signer) == str(signer) == f"LocalSigner({ADDRESS})"
    with pytest.raises(TypeError):
        pickle.dumps(signer)


def test_sign__same_transaction__gives_the_same_bytes(tmp_path: Path) -> None:
    signer = LocalSigner.from_key_file(private(tmp_path / "k", KEY))
    first, second = signer.sign(UNSIGNED), signer.sign(UNSIGNED)
    assert first == second
    assert Account.recover_transaction(first.raw) == ADDRESS
