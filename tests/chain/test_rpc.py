"""Endpoints: failover, chain id, what each kind of answer becomes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from oracle.chain.evidence import LogQuery
from oracle.chain.rpc import Rpc, redacted
from oracle.errors import (
    OracleError,
    RpcLimit,
    RpcRejected,
    RpcThrottled,
    RpcUncertain,
    RpcUnreachable,
    WrongChain,
)

NOWHERE = "http://user:secret@127.0.0.1:1/v3/api-key?token=t"


@contextmanager
def endpoint(
    answer: Callable[[str], Any],
    http_status: int = 200,
    *,
    every_method: bool = False,
    headers: Mapping[str, str] | None = None,
    length: int | None = None,
) -> Iterator[str]:
    """An HTTP endpoint; ``answer`` gives the body of a JSON-RPC answer by method.

    The chain id is right unless ``every_method`` is answered. ``length`` is what it claims to send.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if call["method"] == "eth_chainId" and not every_method:
                body, code = {"result": "0x7a69"}, 200
            else:
                body, code = answer(call["method"]), http_status
            text = body if isinstance(body, bytes) else json.dumps({"id": 1, **body}).encode()
            self.log_request(code)
            self.send_response_only(code)
            fault = code == http_status and call["method"] != "eth_chainId"
            claimed = length if fault and length is not None else len(text)
            for name, value in (headers or {}).items() if fault else ():
                self.send_header(name, value)
            self.send_header("Content-Length", str(claimed))
            self.close_connection = claimed != len(text)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def error_of(body: Any, method: str = "eth_call", http_status: int = 200) -> OracleError:
    with endpoint(lambda _: body, http_status) as url, pytest.raises(OracleError) as caught:
        Rpc([url], 31337).send(method, [])
    return caught.value


def failure(message: str, code: int = -32000, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


def test_send__first_endpoint_down__asks_the_next_and_stays_there() -> None:
    with endpoint(lambda _: {"result": "0x2a"}) as url:
        rpc = Rpc([NOWHERE, url], 31337)
        assert rpc.balance("0x") == 42
        assert [endpoint.failures for endpoint in rpc.health()] == [1, 0]
        assert rpc.balance("0x") == 42
        assert [endpoint.failures for endpoint in rpc.health()] == [1, 0]


def test_send__all_down__names_the_endpoint_without_credentials() -> None:
    with pytest.raises(RpcUnreachable) as caught:
        Rpc([NOWHERE], 31337).head()
    line = caught.value.line()
    assert "http://127.0.0.1:1" in line
    for secret in ("user", "secret", "api-key", "token"):
        assert secret not in line
    assert caught.value.__cause__ is None


def test_send__wrong_chain__says_both() -> None:
    with endpoint(lambda _: {"result": "0x1"}) as url, pytest.raises(WrongChain) as caught:
        Rpc([url], 1).head()
    assert "serves chain 31337, not 1" in caught.value.line()


def test_send__wrong_chain_on_a_spare__is_refused_when_it_takes_over() -> None:
    with endpoint(lambda _: {"result": "0x1"}) as url, pytest.raises(WrongChain):
        Rpc([NOWHERE, url], 1).head()


def test_rejected__revert__carries_its_data() -> None:
    error = error_of(failure("execution reverted", 3, data="0xdeadbeef"))
    assert isinstance(error, RpcRejected)
    assert error.data == b"\xde\xad\xbe\xef"


def test_rejected__revert_data_nested__is_found() -> None:
    error = error_of(failure("execution reverted", -32603, data={"data": "0x01"}))
    assert isinstance(error, RpcRejected)
    assert error.data == b"\x01"


@pytest.mark.parametrize(
    "message",
    ["query returned more than 10000 results", "block range is too wide", "limit exceeded"],
)
def test_rejected__log_query_too_large__is_a_limit(message: str) -> None:
    assert isinstance(error_of(failure(message), "eth_getLogs"), RpcLimit)


def test_rejected__log_query_too_large_with_http_400__is_a_limit() -> None:
    error = error_of(failure("eth_getLogs is limited to 10 blocks"), "eth_getLogs", 400)
    assert isinstance(error, RpcLimit)


@pytest.mark.parametrize("http_status", [429, 500, 503])
def test_http_trouble__is_unreachable(http_status: int) -> None:
    error = error_of(b"busy", http_status=http_status)
    assert isinstance(error, RpcUnreachable)
    assert isinstance(error, RpcThrottled) == (http_status == 429)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, None),
        (
            {
                "Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT",
                "Date": "Fri, 31 Dec 1999 23:59:29 GMT",
            },
            30,
        ),
    ],
)
@pytest.mark.parametrize("http_status", [429, 503])
def test_too_often__says_for_how_long(
    headers: dict[str, str], seconds: float | None, http_status: int
) -> None:
    with (
        endpoint(lambda _: b"busy", http_status, headers=headers) as url,
        pytest.raises(RpcUnreachable) as caught,
    ):
        Rpc([url], 31337).send("eth_call", [])
    if headers or http_status == 429:
        assert isinstance(caught.value, RpcThrottled)
        assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    "body",
    [
        failure("daily request count exceeded, request rate limited", -32005),
        failure("Your app has exceeded its compute units per second capacity", 429),
        failure("Too Many Requests"),
    ],
)
@pytest.mark.parametrize("method", ["eth_call", "eth_getLogs"])
def test_too_often__told_in_the_body__is_no_limit_of_the_query(
    body: dict[str, Any], method: str
) -> None:
    assert isinstance(error_of(body, method), RpcThrottled)


def test_body_cut_short__is_unreachable() -> None:
    with (
        endpoint(lambda _: b'{"id": 1, "resu', length=500) as url,
        pytest.raises(RpcUnreachable),
    ):
        Rpc([url], 31337).send("eth_call", [])


def test_answer_that_is_not_json__is_unreachable() -> None:
    assert isinstance(error_of(b"<html>"), RpcUnreachable)


def test_internal_error__is_no_word_of_the_chain_and_may_pass() -> None:
    error = error_of(failure("internal error", -32603))
    assert isinstance(error, RpcUncertain)
    assert error.transient
    assert not error.executed


BLOCK = {
    "number": "0x5",
    "hash": "0x" + "11" * 32,
    "parentHash": "0x" + "22" * 32,
    "timestamp": "0x10",
    "gasLimit": "0xffffffffffffffff",
}
RECEIPT = {
    "transactionHash": "0x" + (b"h" * 32).hex(),
    "logs": [],
    "status": "0x1",
    "blockNumber": "0x5",
    "blockHash": "0x" + "11" * 32,
    "gasUsed": "0x1",
    "effectiveGasPrice": "0x1",
}
LOG = {
    "address": "0x" + "0a" * 20,
    "topics": ["0x" + "11" * 32],
    "data": "0x",
    "blockNumber": "0x5",
    "blockHash": "0x" + "11" * 32,
    "transactionHash": "0x" + "11" * 32,
    "logIndex": "0x0",
}
QUERY = LogQuery("0x" + "0a" * 20, (b"\x11" * 32,), 5, 6)
GOOD: dict[str, Any] = {
    "eth_getBlockByNumber": BLOCK,
    "eth_getTransactionReceipt": RECEIPT,
    "eth_getLogs": [LOG],
    "eth_call": "0x2a",
    "eth_getCode": "0x2a",
    "eth_getBalance": "0x2a",
    "eth_getTransactionCount": "0x2a",
    "eth_maxPriorityFeePerGas": "0x2a",
}


def ask_everything(rpc: Rpc) -> list[Any]:
    """One answer of each typed call; an error in place of an answer."""
    calls: list[Callable[[], Any]] = [
        lambda: rpc.block(5),
        lambda: rpc.receipt(b"h" * 32),
        lambda: rpc.logs(QUERY),
        lambda: rpc.call("0x", b"", read=bytes),
        lambda: rpc.code("0x"),
        lambda: rpc.balance("0x"),
        lambda: rpc.nonce("0x"),
        rpc.priority_fee,
    ]
    answers: list[Any] = []
    for call in calls:
        try:
            answers.append(call())
        except OracleError as error:
            answers.append(error)
    return answers


@pytest.mark.parametrize(
    "body", [b"[]", b'"x"', b"null", b"1", b"{}", b'{"id": 1}', b'{"error": null}']
)
def test_answer_that_is_not_json_rpc__is_unreachable_and_names_the_endpoint(body: bytes) -> None:
    error = error_of(body)
    assert isinstance(error, RpcUnreachable)
    assert "http://127.0.0.1:" in error.line()


def test_answer_with_a_null_error__is_its_result() -> None:
    with endpoint(lambda _: {"result": "0x2a", "error": None}) as url:
        assert Rpc([url], 31337).balance("0x") == 42


@pytest.mark.parametrize("result", [None, [], "x", 1, True, "0x-5", {"result": "0x1"}])
def test_chain_id_of_a_wrong_form__is_unreachable(result: Any) -> None:
    with (
        endpoint(lambda _: {"result": result}, every_method=True) as url,
        pytest.raises(RpcUnreachable),
    ):
        Rpc([url], 31337).head()


@pytest.mark.parametrize(
    "result",
    [
        {},
        [{}],
        [[]],
        ["x"],
        "x",
        "0xzz",
        1,
        True,
        {"number": 5},
        BLOCK | {"number": "0x" + "f" * 17},
    ],
)
def test_results_of_a_wrong_form__make_the_next_endpoint_answer(result: Any) -> None:
    with (
        endpoint(lambda _: {"result": result}) as bad,
        endpoint(lambda method: {"result": GOOD[method]}) as good,
    ):
        assert {type(a) for a in ask_everything(Rpc([bad], 31337))} == {RpcUnreachable}
        good_answers = ask_everything(Rpc([good], 31337))
        assert ask_everything(Rpc([bad, good], 31337)) == good_answers
    assert not [answer for answer in good_answers if isinstance(answer, OracleError)]


def test_results_of_null__are_no_answer_but_for_blocks_and_receipts() -> None:
    with endpoint(lambda _: {"result": None}) as url:
        block, receipt, *others = ask_everything(Rpc([url], 31337))
    assert (block, receipt) == (None, None)
    assert {type(answer) for answer in others} == {RpcUnreachable}


def test_block__unknown__is_none() -> None:
    with endpoint(lambda _: {"result": None}) as url:
        assert Rpc([url], 31337).block(9) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pw@host.example/v3/KEY", "https://host.example"),
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("https://h/?apikey=1", "https://h"),
    ],
)
def test_redacted__keeps_scheme_host_and_port(url: str, shown: str) -> None:
    assert redacted(url) == shown
