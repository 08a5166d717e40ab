"""What the documented scripts say of the mistakes that are made most."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from oracle.chain import deployments
from oracle.chain.deployments import Deployment
from oracle.config import project_root
from oracle.devnet import CHAIN_ID, fund_new_key

from .test_anvil import Devnet, devnet

__all__ = ["devnet"]  # pytest finds the fixture by its name here

#: An endpoint that nobody listens at.
DEAD = "http://127.0.0.1:1"
CALLED = [{"name": name} for name in ("MODEL", "CALLBACK_GAS", "ask", "isSetosa")]


@pytest.fixture
def place(devnet: Devnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Devnet:
    """A devnet with a record, an account with ether and one without, and artifacts."""
    monkeypatch.setenv("ORACLE_DEPLOYMENTS", str(tmp_path / "deployments"))
    (oracle, registry) = (devnet.oracle.address, devnet.oracle.functions.registry().call())
    deployments.save(Deployment(CHAIN_ID, oracle, registry, 0, (), {}))
    fund_new_key(devnet.anvil.w3, tmp_path / "rich.key", 10**18)
    fund_new_key(devnet.anvil.w3, tmp_path / "poor.key", 0)
    (tmp_path / "built.json").write_text(json.dumps({"abi": CALLED}))
    (tmp_path / "other.json").write_text(json.dumps({"abi": CALLED[1:]}))
    (tmp_path / "words.json").write_text("words")
    (tmp_path / "list.json").write_text("[]")
    return devnet


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("client --rpc {DEAD} --key-file {here}/rich.key", "RPC_UNREACHABLE: "),
        ("client --rpc {rpc} --key-file {here}/none.key", "CONFIG: "),
        ("client --rpc {rpc} --key-file {here}/poor.key", "TENSOR_LENGTH: "),
        ("consumer {here}/none.json --rpc {rpc} --key-file {here}/rich.key", "USAGE: "),
        ("consumer {here}/words.json --rpc {rpc} --key-file {here}/rich.key", "USAGE: "),
        ("consumer {here}/list.json --rpc {rpc} --key-file {here}/rich.key", "USAGE: "),
        ("consumer {here}/other.json --rpc {rpc} --key-file {here}/rich.key", "has no MODEL. Name"),
        ("consumer {here}/built.json --rpc {rpc} --key-file {here}/none.key", "CONFIG: "),
        ("consumer {here}/built.json --rpc {rpc} --key-file {here}/poor.key", "ACCOUNT_UNFUNDED: "),
        ("consumer {here}/built.json --rpc {DEAD} --key-file {here}/rich.key", "RPC_UNREACHABLE: "),
    ],
)
def test_example__mistake__is_one_line(
    place: Devnet, tmp_path: Path, words: str, said: str
) -> None:
    name, *options = words.format(DEAD=DEAD, rpc=place.anvil.url, here=tmp_path).split()
    script = project_root() / "scripts" / f"example_{name}.py"
    done = subprocess.run(
        [sys.executable, script, *options], check=False, capture_output=True, text=True
    )
    assert done.returncode in (2, 6)
    (line,) = done.stderr.splitlines()
    assert said in line
