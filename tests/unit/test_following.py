"""Commands that another one proposes can be pasted: they find the same chain, oracle and account."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from oracle.access import Access
from oracle.circuits.promise import Kind
from oracle.cli import register as register_command
from oracle.cli import why as why_command
from oracle.cli.following import Given, typed
from oracle.config import NodeConfig
from oracle.errors import OracleError

URL = "https://rpc.example/v2?key=a&b=c d"
PLACE = ["--rpc", URL, "--chain-id", "17000", "--oracle", "0x0a"]
KEY = ["--key-file", "a key"]
KEYSTORE = ["--keystore", "k.json", "--password-file", "its password"]
ALL = Given(URL, 17_000, "0x0a", 7, Path("a key"))


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("oracle why 0x1", [*PLACE, "--first-block", "7"]),
        ("oracle result 0x1", [*PLACE, "--first-block", "7"]),
        ("oracle refund 0x1", [*PLACE, "--first-block", "7", *KEY]),
        ("oracle top-up 0x1 --wei 5", [*PLACE, "--first-block", "7", *KEY]),
        ("oracle retry 0x1", [*PLACE, "--first-block", "7", *KEY]),
        ("oracle request VALUES --model 2", [*PLACE, *KEY]),
        ("oracle model show 2", PLACE),
        ("oracle model close 1", [*PLACE, *KEY]),
        ("oracle model succeed 1 NEW", [*PLACE, *KEY]),
    ],
)
def test_whole__everything_given__is_in_the_command(command: str, more: list[str]) -> None:
    """contract-developers D10: what a shell reads otherwise is quoted."""
    assert shlex.split(ALL.whole(command)) == [*command.split(), *more]


@pytest.mark.parametrize("command", ["oracle withdraw", "oracle deposit --wei WEI --account 0x0b"])
def test_whole__money_of_an_account_that_may_be_anothers__its_key_is_left_open(
    command: str,
) -> None:
    whole = shlex.split(ALL.whole(f"{command} --key-file KEY"))
    assert whole == [*command.split(), *PLACE, "--key-file", "KEY"]


def test_whole__a_keystore__is_named_with_its_password() -> None:
    given = Given(keystore=Path("k.json"), password_file=Path("its password"))
    assert shlex.split(given.whole("oracle request 1,2")) == ["oracle", "request", "1,2", *KEYSTORE]


@pytest.mark.parametrize("end", ["", " --key-file KEY"])
def test_whole__nobody_named__the_key_is_left_open_once(end: str) -> None:
    assert Given().whole(f"oracle refund 0x1{end}") == "oracle refund 0x1 --key-file KEY"


@pytest.mark.parametrize(
    "command",
    [
        "oracle why 0x1 --config node.toml",
        "oracle node run --config node.toml",
        "oracle devnet up --node --folder d",
        "oracle model audit bundle",
    ],
)
def test_whole__it_says_itself_where_it_looks__stays_as_it_is(command: str) -> None:
    assert ALL.whole(command) == command


def test_told__an_error_that_ends_in_a_command__has_it_whole() -> None:
    with pytest.raises(OracleError) as caught, Given(URL).told():
        raise OracleError("no", remedy="Ask").ending_in("oracle why 0x1")
    assert caught.value.remedy == f"Ask: oracle why 0x1 --rpc {shlex.quote(URL)}"


def test_typed__below_here_relative__elsewhere_whole() -> None:
    assert typed(Path.cwd() / "a b" / "c") == "'a b/c'"
    assert typed("/nowhere/c") == "/nowhere/c"
    assert typed(os.fspath(Path.cwd())) == "."


@pytest.mark.parametrize(
    ("url", "shown"),
    [("http://node:8545", "http://node:8545"), (f"{URL}&token=SECRETSECRET", "URL")],
)
def test_why__a_nodes_configuration__its_chain_is_in_the_commands_but_no_key(
    url: str, shown: str
) -> None:
    """A refund would else go to the default chain, and a provider's key to the terminal."""
    endpoints = (Access(url), Access("http://second"))
    node = SimpleNamespace(endpoints=endpoints, chain_id=17_000, oracle="0x0a")
    given = why_command._given(cast("NodeConfig", node), Given(first_block=7))
    assert given == Given(shown, 17_000, "0x0a", 7)


def test_register__its_next_command__asks_the_model_where_it_was_registered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle: Any = SimpleNamespace(
        name="iris", require_safe=lambda _: None, stated=SimpleNamespace(kind=Kind.RANGES)
    )
    chain: Any = SimpleNamespace(rpc=SimpleNamespace(chain_id=31337), oracle="0x0a")
    stand_ins = {
        "signer_of": lambda *_: None,
        "chain_of": lambda *_: chain,
        "Bundle": SimpleNamespace(load=lambda *_: bundle),
        "OracleContract": lambda *_: SimpleNamespace(registry=lambda: "0x0b"),
        "register_bundle": lambda *_, **__: SimpleNamespace(model_id=2, gas_used=1),
        "deployed_model": lambda *_: None,
        "record_model": lambda *_: None,
    }
    for name, value in stand_ins.items():
        monkeypatch.setattr(register_command, name, value)
    register_command.register(Path("iris"), URL, 17_000, "0x0a", key_file=Path("a key"))
    following = capsys.readouterr().out.rpartition("; then ")[2]
    request = ["oracle", "request", "VALUES", "--model", "2"]
    assert shlex.split(following) == [*request, *PLACE, *KEY]
