"""What the contract refuses an account: one clear line, and a remedy that works when it is pasted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from oracle.chain.codec import ContractAbi
from oracle.cli.main import app
from oracle.client import Handle, OracleClient
from oracle.errors import ChainError, OracleError, RequestRefunded, TransactionReverted, UsageError
from oracle.log import request_hex
from oracle.refusals import explained

from .test_anvil import Devnet, devnet
from .test_client import client, make_client

__all__ = ["client", "devnet", "make_client"]  # pytest finds the fixtures by their names here


def refused(devnet: Devnet, folder: Path, words: str) -> OracleError:
    """The error of a command that an account gives."""
    key = f"--key-file={folder / 'caller.key'}" if not words.startswith("result") else "--json"
    place = ("--rpc", devnet.anvil.url, "--oracle", devnet.oracle.address)
    error = CliRunner().invoke(app, [*shlex.split(words), *place, key]).exception
    assert isinstance(error, OracleError), error
    return error


def command_of(error: OracleError, devnet: Devnet, folder: Path) -> list[str]:
    """What to paste; it finds the same chain and oracle."""
    assert error.command, error.line()
    assert error.line().endswith(f": {error.command}.")
    assert not re.search(r"\d{40}", error.line().replace(devnet.oracle.address, "")), "ids in hex"
    typed = error.command.replace("KEY", str(folder / "caller.key"))
    assert f" --rpc {devnet.anvil.url} --oracle {devnet.oracle.address}" in typed
    return shlex.split(typed)[1:]


def end(devnet: Devnet, handle: Handle) -> None:
    past = handle.deadline + 1 - devnet.anvil.w3.eth.get_block("latest")["timestamp"]
    devnet.rpc("evm_increaseTime", past)
    devnet.rpc("evm_mine")


def test_open_request__refund_and_retry__say_what_it_waits_for(
    devnet: Devnet, client: OracleClient, tmp_path: Path
) -> None:
    name = request_hex(client.request(devnet.model_id, [1, 2]).request_id)
    for words in (f"refund {name}", f"retry {name}", f"result {name}"):
        error = refused(devnet, tmp_path, words)
        assert name in error.line()
        typed = command_of(error, devnet, tmp_path)
        assert typed[:2] == ["why", name]
        assert CliRunner().invoke(app, typed).exit_code == 0
    with pytest.raises(TransactionReverted) as caught:
        client.refund(name)
    assert caught.value.name == "DeadlineNotPassed"
    assert re.search(r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ, by", caught.value.message)


def test_late_and_refunded_request__top_up_refund_result__say_where_the_money_is(
    devnet: Devnet, client: OracleClient, tmp_path: Path
) -> None:
    """Each command that is named is the next one to give."""
    handle = client.request(devnet.model_id, [1, 2], lifetime=60)
    name = request_hex(handle.request_id)
    end(devnet, handle)
    late = refused(devnet, tmp_path, f"top-up {name} --wei {10**15}")
    refund = command_of(late, devnet, tmp_path)
    assert refund[:2] == ["refund", name]
    assert CliRunner().invoke(app, refund).exit_code == 0
    for words in (f"refund {name}", f"top-up {name} --wei {10**15}", f"result {name}"):
        error = refused(devnet, tmp_path, words)
        assert "refund" in error.message or isinstance(error, RequestRefunded)
        withdraw = command_of(error, devnet, tmp_path)
        assert withdraw[0] == "withdraw"
    assert CliRunner().invoke(app, withdraw).exit_code == 0


def test_answered_request__refund_and_retry__name_the_answer(
    devnet: Devnet, client: OracleClient, tmp_path: Path
) -> None:
    handle = client.request(devnet.model_id, [1, 2])
    handle.wait(60)
    name = request_hex(handle.request_id)
    for words in (f"refund {name}", f"top-up {name} --wei {10**15}", f"retry {name}"):
        error = refused(devnet, tmp_path, words)
        assert (error.exit_code, name in error.message) == (ChainError.exit_code, True)
        typed = command_of(error, devnet, tmp_path)
        assert typed[:2] == ["result", name]
        assert CliRunner().invoke(app, typed).exit_code == 0


def test_nobody__deposit_withdraw_sign__are_told_before_the_contract_is_asked(
    devnet: Devnet, client: OracleClient, tmp_path: Path
) -> None:
    nobody = "0x" + "0" * 40
    for words in (
        f"deposit --wei 1 --account {nobody}",
        f"withdraw --to {nobody}",
        f"withdraw --to {devnet.oracle.address}",
        f"sign-request 1,2 --refund-to {nobody}",
    ):
        error = refused(devnet, tmp_path, words)
        assert type(error) is UsageError
        assert error.remedy


def test_withdraw__to_a_contract_that_takes_none__says_so(
    devnet: Devnet, client: OracleClient
) -> None:
    client.deposit(5)
    registry = devnet.oracle.functions.registry().call()
    with pytest.raises(TransactionReverted, match=f"{registry} does not take ether") as caught:
        client.withdraw(registry)
    assert caught.value.remedy == "Name an account that does"
    assert client.credit() == 5


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("CallbackFailed", (1 << 255,), "fails again"),
        ("RetryGas", (5, 70_000), "promised 70000 gas, 5 is less. Give 70000 or more"),
        ("NotOpen", (7, 0), "has no request"),
        ("NotOpen", (7, 99), "has no request"),
        ("DeadlinePassed", ((1 << 64) - 1,), "was second 18446744073709551615"),
        # An endpoint's inventions, and what says enough by itself.
        ("NotOpen", (), "as it was"),
        ("DeadlinePassed", (1, 2), "as it was"),
        ("WithdrawalFailed", (), "as it was"),
        ("CommitmentMismatch", (1,), "as it was"),
        ("", (), "as it was"),
        ("RequestsPaused", (), "has paused new requests. Wait"),
        ("Underpaid", (1, 2), "costs 2 wei by now, 1 wei are too little"),
    ],
)
def test_explained__whatever_arguments_there_are__is_a_line(
    name: str, arguments: tuple[int, ...], words: str
) -> None:
    error = TransactionReverted("as it was", name=name, arguments=arguments)
    found = explained(error, 7)
    assert words in found.line()
    assert (found.name, found.arguments) == (name, arguments)


def test_error__of_a_request__has_its_id_in_hex() -> None:
    abi = ContractAbi.of("InferenceOracle")
    data = abi.encode_error("NotOpen", 1 << 255, 2)
    assert abi.error(data) == ("NotOpen", f"NotOpen({request_hex(1 << 255)}, 2)")
    assert abi.error_arguments(data) == (1 << 255, 2)
    assert abi.error(data[:20]) == ("NotOpen", "NotOpen")
    assert abi.error_arguments(data[:20]) == ()


def test_explained__of_no_request__names_none() -> None:
    error = TransactionReverted("as it was", name="DeadlinePassed", arguments=(1,))
    assert explained(error) is error
