"""A double of `oracle.testing` behind HTTP, for nodes that run in a process of their own.

with HttpEndpoint(FakeChain()) as endpoint:
    Rpc([endpoint.url], chain_id)
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from oracle.chain.rpc import Transport
from oracle.errors import RpcLimit, RpcRejected, RpcUnreachable

#: JSON-RPC error codes: a call that reverted, and a query that covers too much.
_REVERTED, _LIMIT = 3, -32005
#: Seconds between two looks at whether to stop.
_POLL = 0.01


@contextmanager
def over_http(inner: Transport) -> Iterator[str]:
    """A transport as a JSON-RPC endpoint on a free local port; its URL.

    Calls are handed on one at a time. `RpcRejected` travels as a JSON-RPC error, `RpcUnreachable`
    as HTTP 503.
    """
    server = _Server(inner)
    thread = threading.Thread(target=server.serve_forever, args=(_POLL,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    # A client that was killed leaves its connection's thread waiting: nobody waits for that.
    daemon_threads = True
    block_on_close = False

    def __init__(self, inner: Transport) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._inner = inner
        self._one_at_a_time = threading.Lock()

    def answer(self, call: dict[str, Any]) -> bytes | None:
        """The body of the answer; None when there is none."""
        try:
            with self._one_at_a_time:
                outcome = {"result": self._inner.send(call["method"], call["params"])}
        except RpcUnreachable:
            return None
        except RpcRejected as error:
            code = _LIMIT if isinstance(error, RpcLimit) else _REVERTED
            data = "0x" + error.data.hex() if error.data else None
            outcome = {"error": {"code": code, "message": error.message, "data": data}}
        return json.dumps({"jsonrpc": "2.0", "id": call["id"], **outcome}).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave in one packet: in two, the second waits for the client's acknowledgement.
    wbufsize = -1

    def do_POST(self) -> None:
        """Answer a call."""
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = cast("_Server", self.server).answer(call)
        self.send_response(200 if body is not None else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the client tells what went wrong."""
