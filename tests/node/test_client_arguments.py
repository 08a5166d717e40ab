"""What a developer may give `oracle.client` by mistake, and ids as people have them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from oracle import client as module
from oracle.chain.artifacts import contract
from oracle.chain.rpc import Rpc, chain_id_of
from oracle.cli.main import app
from oracle.client import Handle, OracleClient
from oracle.devnet import CHAIN_ID
from oracle.errors import RequestTimeout, RequestUnknown, TensorEncoding, UsageError
from oracle.ids import read_id
from oracle.log import request_hex
from oracle.types import ZERO_ADDRESS

from .test_anvil import Devnet, devnet
from .test_client import client, make_client

__all__ = ["client", "devnet", "make_client"]  # pytest finds the fixtures by their names here

F = [1, 2]
WRONG: dict[str, tuple[Callable[[OracleClient, Handle], Any], str]] = {
    "handle of a short text": (lambda c, _: c.handle("0x"), "not a request id"),
    "handle of words": (lambda c, _: c.handle("iris"), "not a request id"),
    "handle of too many digits": (lambda c, _: c.handle("0x" + "1" * 65), "not a request id"),
    "handle(-1)": (lambda c, _: c.handle(-1), "not a request id"),
    "handle(2**256)": (lambda c, _: c.handle(2**256), "not a request id"),
    "handle(None)": (lambda c, _: c.handle(None), "not a request id"),  # type: ignore[arg-type]
    "handle(1.5)": (lambda c, _: c.handle(1.5), "not a request id"),  # type: ignore[arg-type]
    "why(-1)": (lambda c, _: c.why(-1), "not a request id"),
    "refund(-1)": (lambda c, _: c.refund(-1), "not a request id"),
    "first block": (lambda c, h: c.handle(h.request_id, -1), "not the number of a block"),
    "why's first block": (lambda c, h: c.why(h.request_id, -1), "not the number of a block"),
    "request(-1)": (lambda c, _: c.request(-1, F), "no model -1"),
    "request of a name": (lambda c, _: c.request("iris", F), "no model 'iris'"),  # type: ignore[arg-type]
    "request(2**256)": (lambda c, _: c.request(2**256, F), "no model"),
    "model(1.0)": (lambda c, _: c.model(1.0), "no model 1.0"),  # type: ignore[arg-type]
    "complex": (lambda c, _: c.request(1, [1j, 2]), "no array of numbers"),
    "complex array": (lambda c, _: c.request(1, np.array([1j, 2])), "no array of numbers"),
    "lifetime=1.5": (lambda c, _: c.request(1, F, lifetime=1.5), "live for 1.5 s"),  # type: ignore[arg-type]
    "lifetime=10**30": (lambda c, _: c.request(1, F, lifetime=10**30), "cannot live for"),
    "lifetime=10**12": (lambda c, _: c.request(1, F, lifetime=10**12), "cannot live for"),
    "lifetime=1": (lambda c, _: c.request(1, F, lifetime=1), "live for 1 s"),
    "lifetime=29": (lambda c, _: c.request(1, F, lifetime=29), "live for 29 s"),
    "lifetime=0": (lambda c, _: c.request(1, F, lifetime=0), "live for 0 s"),
    "lifetime=-5": (lambda c, _: c.request(1, F, lifetime=-5), "live for -5 s"),
    "withdraw of a name": (lambda c, _: c.withdraw("nope"), "not an Ethereum address"),
    "withdraw to a mistyped one": (
        lambda c, _: c.withdraw("0x70997970c51812dc3A010C7d01b50e0d17dc79C8"),
        "not an Ethereum address",
    ),
    "withdraw(None)": (lambda c, _: c.withdraw(None), "not an Ethereum address"),  # type: ignore[arg-type]
    "top_up of half a wei": (lambda c, h: c.top_up(h.request_id, 1.5), "of wei"),  # type: ignore[arg-type]
    "top_up(-1)": (lambda c, h: c.top_up(h.request_id, -1), "of wei"),
    "retry with -1": (lambda c, h: c.retry(h.request_id, -1), "of gas"),
    "retry with 2**64": (lambda c, h: c.retry(h.request_id, 2**64), "of gas"),
    "wait(nan)": (lambda _, h: h.wait(math.nan), "not a time to wait"),
    "wait(-1)": (lambda _, h: h.wait(-1), "not a time to wait"),
    "wait(None)": (lambda _, h: h.wait(None), "not a time to wait"),  # type: ignore[arg-type]
    "wait('5')": (lambda _, h: h.wait("5"), "'5' is not a time to wait"),  # type: ignore[arg-type]
    "wait(10**400)": (lambda _, h: h.wait(10**400), "not a time to wait"),
    "encode of a huge number": (lambda c, _: c.encode(1, [10**400, 1]), "too large"),
    "encode of rows": (lambda c, _: c.encode(1, [F] * 65), "proves 4 rows at most"),
    "decode(5)": (lambda c, _: c.decode(1, 5), "bytes, not int"),  # type: ignore[arg-type]
    "decode(None)": (lambda c, _: c.decode(1, None), "bytes, not NoneType"),  # type: ignore[arg-type]
    "decode of hex": (lambda c, _: c.decode(1, "0x00"), "bytes, not str"),  # type: ignore[arg-type]
    "relay({})": (lambda c, _: c.relay({}), "Envelope, not dict"),  # type: ignore[arg-type]
    "relay(None)": (lambda c, _: c.relay(None), "Envelope, not NoneType"),  # type: ignore[arg-type]
    "relay of JSON": (lambda c, _: c.relay("{}"), "Envelope, not str"),  # type: ignore[arg-type]
    "model('1')": (lambda c, _: c.model("1"), "no model '1'"),  # type: ignore[arg-type]
    "lifetime='60'": (lambda c, _: c.request(1, F, lifetime="60"), "live for '60' s"),  # type: ignore[arg-type]
    "deposit('5')": (lambda c, _: c.deposit("5"), "'5' is not an amount of wei"),  # type: ignore[arg-type]
    "withdraw to nobody": (lambda c, _: c.withdraw(ZERO_ADDRESS), "it is the zero address"),
    "withdraw to the oracle": (lambda c, _: c.withdraw(c._oracle), "it is the oracle itself"),
    "wait of a text": (lambda _, h: h.wait("soon"), "not a time to wait"),  # type: ignore[arg-type]
}


def test_client__wrong_argument__is_an_error_of_the_tree(
    devnet: Devnet, client: OracleClient
) -> None:
    """contract-developers D8: each line of the table, and more of its kind; with a remedy, and nothing is sent."""
    handle = client.request(devnet.model_id, F)
    sent = devnet.anvil.w3.eth.get_transaction_count(client.account)  # type: ignore[arg-type]
    for name, (call, words) in WRONG.items():
        with pytest.raises(UsageError, match=words) as caught:
            call(client, handle)
        coded = "complex" in name or "decode" in name
        assert isinstance(caught.value, TensorEncoding) == coded, name
        assert caught.value.remedy, name
    assert devnet.anvil.w3.eth.get_transaction_count(client.account) == sent  # type: ignore[arg-type]


def test_client__oracle_that_is_no_address__says_so(devnet: Devnet) -> None:
    """contract-developers D8: `OracleClient(rpc, "hello")`."""
    with pytest.raises(UsageError, match="hello is not an Ethereum address"):
        OracleClient(Rpc([devnet.anvil.url], CHAIN_ID), "hello")


def test_client__too_much__says_the_limit(client: OracleClient) -> None:
    for call in (
        lambda: client.deposit(1 << 96),
        lambda: client.sign_request(1, F, max_cost=1 << 96),
        lambda: client.sign_request(1, F, tip=1 << 96),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.remedy == "Give a whole number below 2**96"


def test_max_lifetime__is_the_contracts(devnet: Devnet) -> None:
    assert contract("InferenceOracle").abi
    assert devnet.oracle.functions.MAX_LIFETIME().call() == module.MAX_LIFETIME


def test_handle__shown__is_short(devnet: Devnet, client: OracleClient) -> None:
    """contract-developers D8: what an error of asyncio's quotes."""
    handle = client.request(devnet.model_id, F)
    name = request_hex(handle.request_id)
    assert repr(handle) == f"Handle({name}, model 1)"
    assert repr(handle.wait(60)) == f"Result({name}, [2.0, 1.0])"


def test_client__id_in_each_form__finds_the_request(devnet: Devnet, client: OracleClient) -> None:
    """contract-developers D9: as explorers print it, as programs do, and by its first digits."""
    handle = client.request(devnet.model_id, F)
    name = request_hex(handle.request_id)
    for form in (name, name.upper().replace("X", "x"), name[2:], str(handle.request_id), name[:10]):
        assert client.handle(form).request_id == handle.request_id
        assert client.why(form).request_id == handle.request_id


def test_client__first_digits_of_none_or_of_several__are_refused(
    devnet: Devnet, client: OracleClient
) -> None:
    """contract-developers D9: a cut id is never taken for another one."""
    ids = {f"{client.request(devnet.model_id, [n / 16, 0]).request_id:064x}" for n in range(17)}
    # Of seventeen ids two begin alike.
    (shared, *_) = [d for d in "0123456789abcdef" if sum(i.startswith(d) for i in ids) > 1]
    with pytest.raises(UsageError, match=rf"requests begin with 0x{shared}") as caught:
        client.handle(f"0x{shared}")
    assert caught.value.remedy == "Write more digits of the id"
    with pytest.raises(RequestUnknown, match="begins with 0x123456789abc"):
        client.why("0x123456789abc")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("0x" + "0" * 63 + "7", 7),
        ("f" * 64, 2**256 - 1),
        (str(2**256 - 1), 2**256 - 1),
        ("0xAb", "ab"),
        ("12345678", "12345678"),
    ],
)
def test_read_id__whole_or_begun(name: str, read: int | str) -> None:
    """contract-developers D9: digits without 0x that are too few for a number in decimal are an id's first."""
    assert read_id(name) == read


@pytest.mark.parametrize("name", ["", "0x", "x", "0x" + "g" * 64, str(2**256), "9" * 5000, "-1"])
def test_read_id__no_id__is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a request id"):
        read_id(name)


def test_handle__awaited__waits_longer_than_the_default(
    devnet: Devnet, make_client: Callable[..., OracleClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """contract-developers D6: the default is that of `wait` alone; what is awaited is bounded by its loop."""
    monkeypatch.setattr(module, "POLL", 0.01)
    monkeypatch.setattr(module, "TIMEOUT", 0.0)
    handle = make_client().request(devnet.model_id, F)

    async def main() -> Any:
        async with asyncio.timeout(60):
            waiting = asyncio.ensure_future(asyncio.wait_for(handle, 60))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            while not waiting.done():
                devnet.settle()
                await asyncio.sleep(0.02)
            return await waiting

    assert list(asyncio.run(main()).values) == [2, 1]


def test_handle__answered__has_a_timeout_of_its_own(
    devnet: Devnet, make_client: Callable[..., OracleClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """contract-developers D6: the parameter, and its error with the command that says why."""
    monkeypatch.setattr(module, "POLL", 0.01)
    handle = make_client().request(devnet.model_id, F)
    with pytest.raises(RequestTimeout, match="after 0 s") as caught:
        asyncio.run(handle.answered(timeout=0.1))
    assert caught.value.remedy == f"Ask: oracle why {request_hex(handle.request_id)}"


def test_handle__awaited_past_the_deadline__ends(
    devnet: Devnet, make_client: Callable[..., OracleClient]
) -> None:
    """contract-developers D6: without a limit of its own a wait still ends: after it no answer can come."""
    handle = make_client().request(devnet.model_id, F, lifetime=60)
    devnet.rpc("evm_increaseTime", 61)
    devnet.rpc("evm_mine")

    async def main() -> None:
        await handle

    with pytest.raises(RequestTimeout, match="by its deadline"):
        asyncio.run(main())


def test_request__on_a_chain_that_mines_on_demand__lives_from_now_on(
    devnet: Devnet, client: OracleClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """contract-developers D8: its last block is hours old, and the next is not."""
    idle = 2 * module.LIFETIME
    last = devnet.anvil.w3.eth.get_block("latest")["timestamp"]
    devnet.rpc("evm_increaseTime", idle)
    monkeypatch.setattr(module.time, "time", lambda: last + idle)
    handle = client.request(devnet.model_id, F)
    assert handle.deadline == last + idle + module.LIFETIME


def test_request__this_machines_clock_is_wrong__lives_from_the_chains_time_on(
    devnet: Devnet, client: OracleClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = devnet.anvil.w3.eth.get_block("latest")["timestamp"]
    for wrong in (0, last + 400 * 86_400):
        monkeypatch.setattr(module.time, "time", lambda wrong=wrong: wrong)
        deadline = client.request(devnet.model_id, F).deadline
        assert 0 <= deadline - last - module.LIFETIME < 600


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("foo", "'foo'"),
        ("", "''"),
        ("127.0.0.1:8545", "'127.0.0.1:8545'"),
        ("ws://127.0.0.1:8545", "'ws://127.0.0.1:8545'"),
        ("http://", "'http://'"),
        ("http://host:99999", "'http://host:99999'"),
        ("http://[::1", "'http://[::1'"),
        ("rpc.example/v2/SECRET", "'rpc.example'"),
        ("wss://me:SECRET@rpc.example/v2/SECRET?SECRET", "'wss://rpc.example'"),
    ],
)
def test_chain_id_of__no_url__says_so_without_its_secrets(url: str, shown: str) -> None:
    """contract-developers D8: `chain_id_of("foo")`, and `--rpc foo`."""
    with pytest.raises(UsageError) as caught:
        chain_id_of(url)
    assert f"{shown} is not a URL" in caught.value.message
    assert "SECRET" not in caught.value.line()
    refused = CliRunner().invoke(app, ["result", "0x" + "1" * 64, "--rpc", url]).exception
    assert isinstance(refused, UsageError)
    assert refused.line() == caught.value.line()
