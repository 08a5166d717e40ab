"""Endpoints with headers, certificates and limits of their own (operators D15, missing 10)."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from oracle.access import Access
from oracle.chain.evidence import LogQuery
from oracle.chain.rpc import Rpc
from oracle.errors import ChainError, RpcLimit, RpcThrottled, RpcUncertain, RpcUnreachable

TLS = Path(__file__).with_name("tls")
KEY = "s3cret-KEY-0123456789"
CHAIN_ID = 31337

Answer = Callable[[dict[str, Any]], Any]


class Server:
    """An endpoint with TLS that keeps what it was told."""

    def __init__(self, answer: Answer, *, wanted: dict[str, str] | None = None) -> None:
        self.heads: list[dict[str, str]] = []
        self.methods: list[str] = []
        told = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self) -> None:
                call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.heads.append({name.lower(): text for name, text in self.headers.items()})
                told.methods.append(call["method"])
                if any(self.headers.get(name) != text for name, text in (wanted or {}).items()):
                    self._send(401, {"error": f"no such key: {dict(self.headers)}"})
                elif call["method"] == "eth_chainId":
                    self._send(200, {"result": hex(CHAIN_ID)})
                elif isinstance(found := answer(call), str) and found.startswith("http"):
                    self.send_response(307)
                    self.send_header("Location", found)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    self._send(200, {"result": found})

            def _send(self, status: int, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        # A caller that does not trust us hangs up.
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / "server.pem")
        # The handshake belongs to the caller's thread: one that breaks it off stops nobody.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serving(self) -> Iterator[Server]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda answer, **options: stack.enter_context(Server(answer, **options).serving())


def trusted(server: Server, **options: Any) -> Access:
    return Access(server.url, ca_file=TLS / "authority.pem", **options)


def rpc(*accesses: Access, **options: Any) -> Rpc:
    return Rpc(accesses, CHAIN_ID, timeout=20, **options)


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}, {"X-A": KEY, "X-B": "two words"}],
)
def test_headers__are_sent_with_each_call_over_tls(serve: Serve, headers: dict[str, str]) -> None:
    server = serve(lambda _: "0x2a", wanted=headers)
    asked = rpc(trusted(server, headers=headers))
    assert [asked.balance("0x"), asked.balance("0x")] == [42, 42]
    assert len(server.heads) == 3
    for head in server.heads:
        assert {name.lower(): text for name, text in headers.items()}.items() <= head.items()


def test_headers__netrc_and_environment__replace_nothing(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies about on a machine for other programs is not the node's word."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "no-such-file"))
    headers = {"authorization": f"Bearer {KEY}"}
    server = serve(lambda _: "0x2a", wanted=headers)
    assert rpc(trusted(server, headers=headers)).balance("0x") == 42


def test_user_in_the_address__still_authenticates(serve: Serve) -> None:
    server = serve(lambda _: "0x2a", wanted={"Authorization": "Basic bWU6czNjcmV0LXBhc3M="})
    url = server.url.replace("https://", "https://me:s3cret-pass@")
    assert rpc(Access(url, ca_file=TLS / "authority.pem")).balance("0x") == 42


def test_certificate__not_of_the_named_authority__is_no_answer(serve: Serve) -> None:
    server = serve(lambda _: "0x2a")
    with pytest.raises(RpcUnreachable, match="SSLError"):
        rpc(Access(server.url)).balance("0x")
    assert server.heads == []


@pytest.mark.parametrize("text", [f"Bearer {KEY}", KEY, "ab12"])
def test_headers__endpoint_repeats_them__are_not_passed_on(serve: Serve, text: str) -> None:
    """A provider's words reach logs, status and page."""
    server = serve(lambda _: "0x2a", wanted={"authorization": "another"})
    access = trusted(server, headers={"Authorization": text})
    asked = rpc(access)
    with pytest.raises(ChainError) as caught:
        asked.balance("0x")
    told = [caught.value.line(), repr(caught.value), asked.health()[0].trouble]
    told += [repr(access), str(access), repr(asked.health())]
    assert "no such key" in told[0]
    for each in told:
        assert text not in each
        assert text.rsplit(maxsplit=1)[-1] not in each


def test_headers__redirect_to_another_host__are_not_carried_there(serve: Serve) -> None:
    other = serve(lambda _: "0x2a")
    first = serve(lambda _: other.url)
    for headers in ({"x-api-key": KEY}, {"Authorization": f"Bearer {KEY}"}):
        with pytest.raises(RpcUnreachable):
            rpc(trusted(first, headers=headers)).balance("0x")
    assert other.heads == []


def test_redirect__without_headers__is_followed_as_before(serve: Serve) -> None:
    other = serve(lambda _: "0x2a")
    first = serve(lambda _: other.url)
    assert rpc(trusted(first)).balance("0x") == 42


def query(first: int, last: int) -> LogQuery:
    return LogQuery(address="0x" + "ab" * 20, topics=(), first=first, last=last)


class Counted:
    """An endpoint that answers, and counts its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Any]]] = []

    def send(self, method: str, params: list[Any]) -> Any:
        self.calls.append((method, params))
        return {"eth_chainId": hex(CHAIN_ID), "eth_getLogs": []}.get(method, "0x2a")

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.calls)


def counted(*accesses: Access, **options: Any) -> tuple[Rpc, list[Counted]]:
    ends = {access.url: Counted() for access in accesses}
    made = Rpc(accesses, CHAIN_ID, transport=lambda access, _: ends[access.url], **options)
    return made, list(ends.values())


def test_logs__endpoint_that_is_not_for_them__is_never_asked_for_them() -> None:
    made, (first, second, third) = counted(
        Access("http://a", logs=False), Access("http://b"), Access("http://c")
    )
    assert made.logs(query(1, 5)) == []
    assert made.balance("0x") == 42
    assert [end.count("eth_getLogs") for end in (first, second, third)] == [0, 1, 1]
    assert [end.count("eth_getBalance") for end in (first, second, third)] == [1, 0, 0]


def test_logs__the_only_one_for_them_is_down__others_are_still_not_asked() -> None:
    class Down(Counted):
        def send(self, method: str, params: list[Any]) -> Any:
            raise RpcUnreachable("gone")

    ends = {"http://a": Counted(), "http://b": Down()}
    made = Rpc(
        [Access("http://a", logs=False), Access("http://b")],
        CHAIN_ID,
        transport=lambda access, _: ends[access.url],
    )
    with pytest.raises(RpcUnreachable, match="gone"):
        made.logs(query(1, 5))
    assert ends["http://a"].count("eth_getLogs") == 0


def test_logs__the_only_one_for_them_wants_a_rest__is_told_as_theirs() -> None:
    class Throttled(Counted):
        def send(self, method: str, params: list[Any]) -> Any:
            raise RpcThrottled("slower", retry_after=7.0)

    ends = {"http://a": Counted(), "http://b": Throttled()}
    made = Rpc(
        [Access("http://a", logs=False), Access("http://b")],
        CHAIN_ID,
        transport=lambda access, _: ends[access.url],
        clock=lambda: 0.0,
    )
    for _ in range(2):
        with pytest.raises(RpcThrottled) as caught:
            made.logs(query(1, 5))
    assert caught.value.retry_after == 7.0


def test_log_blocks__of_one_endpoint__is_never_exceeded_there() -> None:
    made, (first, second) = counted(Access("http://a", log_blocks=10), Access("http://b"))
    assert made.most_blocks > 1000
    made.logs(query(1, 1000))
    assert (first.count("eth_getLogs"), second.count("eth_getLogs")) == (0, 1)
    for _ in range(100):
        made.logs(query(1, 10))
    # A hundred answers in a row let no more be asked of it.
    made.logs(query(1, 11))
    assert first.count("eth_getLogs") == 100


def test_log_blocks__of_all_endpoints__are_what_may_be_asked() -> None:
    made, (first, second) = counted(
        Access("http://a", log_blocks=10), Access("http://b", log_blocks=20)
    )
    assert made.most_blocks == 20
    with pytest.raises(RpcLimit) as caught:
        made.logs(query(1, 100))
    assert caught.value.blocks == 20
    assert first.count("eth_getLogs") == second.count("eth_getLogs") == 0


def test_budget__of_one_endpoint__is_its_own() -> None:
    slept: list[float] = []
    made, _ = counted(
        Access("http://a", rate=1, burst=3),
        clock=lambda: 0.0,
        sleep=slept.append,
        rate=50,
        burst=99,
    )
    for _ in range(4):
        made.balance("0x")
    # The question for the chain is the first call.
    assert slept == [1.0, 2.0]


def test_budget__not_its_own__is_that_of_all() -> None:
    slept: list[float] = []
    made, _ = counted(
        Access("http://a", burst=2), clock=lambda: 0.0, sleep=slept.append, rate=4, burst=99
    )
    for _ in range(2):
        made.balance("0x")
    assert slept == [0.25]


class Lacking(Counted):
    """An endpoint without some methods."""

    def __init__(self, *lacks: str) -> None:
        super().__init__()
        self.lacked = lacks

    def send(self, method: str, params: list[Any]) -> Any:
        found = super().send(method, params)
        if method in self.lacked:
            raise RpcUncertain("no such method", passing=False, lacks_method=True)
        return found


def beside(first: Counted, now: list[float]) -> tuple[Rpc, Counted]:
    ends = {"http://a": first, "http://b": Counted()}
    made = Rpc(list(ends), CHAIN_ID, transport=lambda a, _: ends[a.url], clock=lambda: now[0])
    return made, ends["http://b"]


def test_method__one_endpoint_lacks_it__is_asked_of_another_and_all_else_of_it() -> None:
    now = [0.0]
    first = Lacking("eth_getTransactionCount")
    made, second = beside(first, now)
    for _ in range(5):
        assert (made.nonce("0x"), made.balance("0x")) == (42, 42)
    assert (first.count("eth_getTransactionCount"), first.count("eth_getBalance")) == (1, 5)
    assert (second.count("eth_getTransactionCount"), second.count("eth_getBalance")) == (5, 0)
    assert [health.resting for health in made.health()] == [0, 0]
    now[0] += 601
    # It may have been upgraded.
    assert made.nonce("0x") == 42
    assert first.count("eth_getTransactionCount") == 2


def test_method__the_other_endpoint_is_gone__the_one_that_lacked_it_is_asked() -> None:
    now = [0.0]
    first = Lacking("eth_getTransactionCount")
    made, second = beside(first, now)
    assert made.nonce("0x") == 42
    first.lacked = ()
    second.send = lambda *_: (_ for _ in ()).throw(RpcUnreachable("gone"))  # type: ignore[method-assign]
    assert made.nonce("0x") == 42


def test_logs__one_endpoint_lacks_them__takes_as_many_blocks_as_before_and_does_not_rest() -> None:
    now = [0.0]
    first = Lacking("eth_getLogs")
    made, second = beside(first, now)
    for _ in range(3):
        assert made.logs(query(1, 500)) == []
    assert made.most_blocks > 1000
    assert [health.resting for health in made.health()] == [0, 0]
    assert made.balance("0x") == 42
    assert first.count("eth_getBalance") == 1
    assert second.count("eth_getLogs") >= 3
