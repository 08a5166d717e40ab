"""Answers that real providers gave, and endpoints that give them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from oracle.chain.rpc import Transport
from oracle.errors import RpcLimit, RpcRejected, RpcUnreachable

_FILE = json.loads((Path(__file__).parent / "chain" / "provider_answers.json").read_text())

#: Calls that each kind of answer is given to.
_STATE = ("eth_call", "eth_getCode", "eth_getBalance", "eth_getTransactionCount")
_FEES = ("eth_feeHistory", "eth_maxPriorityFeePerGas")
#: Blocks that a query may cover before it is answered so.
TAKEN = 3


@dataclass(frozen=True)
class Answer:
    """One answer."""

    #: "range", "reads", "state" or "fees".
    when: str
    http: int
    code: int | None
    message: str
    source: str
    data: Any = None
    #: In place of JSON-RPC.
    body: str | None = None

    def is_given_to(self, method: str, params: list[Any]) -> bool:
        """Whether a call is answered so."""
        if self.when == "range":
            return method == "eth_getLogs" and _blocks(params[0]) > TAKEN
        if self.when == "reads":
            return method != "eth_sendRawTransaction"
        return method in (_STATE if self.when == "state" else _FEES)

    @property
    def content(self) -> bytes:
        """The HTTP body."""
        if self.body is not None:
            return self.body.encode()
        error = {"code": self.code, "message": self.message, "data": self.data}
        error = {name: value for name, value in error.items() if value is not None}
        return json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}).encode()

    @property
    def words(self) -> str:
        """What a person should find in what is told of it."""
        return self.message[:30] or ("JSON-RPC" if self.http == 200 else f"HTTP {self.http}")


def _blocks(query: dict[str, str]) -> int:
    return int(query["toBlock"], 16) - int(query["fromBlock"], 16) + 1


ANSWERS = [Answer(**each) for each in _FILE["answers"]]
EXECUTIONS = [Answer(when="call", **each) for each in _FILE["executions"]]


def name_of(answer: Answer) -> str:
    """For pytest's list of cases."""
    return f"{answer.when}-{answer.http}-{answer.code}-{answer.message[:24]}".replace(" ", "_")


@dataclass
class Provider:
    """An endpoint that answers as a provider did, to the calls it did so to; else ``inner``."""

    inner: Transport
    #: What it says; None while nothing is wrong.
    answer: Answer | None = None
    calls: list[str] = field(default_factory=list)

    def reply(self, method: str, params: list[Any]) -> tuple[int, bytes]:
        """HTTP status and body."""
        self.calls.append(method)
        if self.answer is not None and self.answer.is_given_to(method, params):
            return self.answer.http, self.answer.content
        try:
            outcome: dict[str, Any] = {"result": self.inner.send(method, params)}
        except RpcUnreachable:
            return 503, b""
        except RpcRejected as error:
            code = -32005 if isinstance(error, RpcLimit) else 3
            data = "0x" + error.data.hex() if error.data else None
            outcome = {"error": {"code": code, "message": error.message, "data": data}}
        return 200, json.dumps({"jsonrpc": "2.0", "id": 1, **outcome}).encode()


@contextmanager
def serving(provider: Provider) -> Iterator[str]:
    """The provider on a free local port; its URL, with what may be a key in it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = provider.reply(call["method"], call["params"])
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: calls are counted."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v2/the-api-key"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
