"""HTTP endpoints in front of a chain that misbehave by a seeded plan: real sockets, real headers."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

#: Most blocks that a late replica lies behind.
MOST_LATE = 6

#: What can go wrong with any call, and how often against each other.
ANY_CALL: Mapping[str, int] = {
    "rpc_error": 6,
    "http_500": 3,
    "http_429": 4,
    "expired_key": 2,
    "truncated_body": 4,
    "closed_connection": 3,
    "answer_lost": 4,
    "stale_replica": 16,
}
#: What can go wrong with some calls only.
BY_METHOD: Mapping[str, Mapping[str, int]] = {
    "eth_getLogs": {
        "provider_limit": 4,
        "truncated_logs": 30,
        "lying_block_hash": 6,
        "lying_phantom_log": 6,
    },
    "eth_getTransactionReceipt": {"lying_receipt": 8},
    "eth_getBlockByNumber": {"lying_header": 3},
    "eth_chainId": {"wrong_chain": 6},
    "eth_getCode": {"lying_code": 40},
}
#: Share of calls that go wrong at least, of those that are rare.
RARE: Mapping[str, float] = {"eth_getCode": 0.5, "eth_chainId": 0.1}
#: What costs the caller its timeout, or the most bytes that it takes.
ENDLESS = ("hang", "drip", "flood")
_STATE_CALLS = {
    "eth_call": 1,
    "eth_getBalance": 1,
    "eth_getCode": 1,
    "eth_getTransactionCount": 1,
    "eth_feeHistory": 1,
}


class Upstream:
    """The chain behind the endpoints."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()

    def call(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        """The whole JSON-RPC answer."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer: dict[str, Any] = self._session.post(self._url, json=body, timeout=30).json()
        return answer

    def result(self, method: str, *params: Any) -> Any:
        """The result of a call that must not fail."""
        answer = self.call(method, params)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


class FaultyEndpoint:
    """One endpoint.

    Args:
        upstream: the chain.
        rate: share of calls that go wrong.
        hangs: how many calls get an answer without an end, or none at all: `ENDLESS` in turn.
        seed: of the plan.
        tally: counts each fault that changed an answer.
    """

    def __init__(
        self, upstream: str, *, rate: float, hangs: int, seed: str, tally: Counter[str]
    ) -> None:
        self._upstream = Upstream(upstream)
        self._rate = rate
        self._hangs = hangs
        self._random = random.Random(seed)
        self._tally = tally
        self._released = threading.Event()
        self._lock = threading.Lock()
        self.is_calm = False
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body are two writes: without this each call waits for an acknowledgement.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.answer(self, call["method"], call["params"])

            def log_message(self, *_: object) -> None:
                """Nothing: calls are counted."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop serving."""
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._upstream.close()

    def answer(self, handler: BaseHTTPRequestHandler, method: str, params: list[Any]) -> None:
        """Answer a call, or do what the plan says instead."""
        with self._lock:
            fault, dice = self._choose(method)
            act: Callable[..., None] = getattr(self, f"_{fault}")
            act(handler, method, params, dice)

    def _choose(self, method: str) -> tuple[str, random.Random]:
        dice = random.Random(self._random.random())
        if self.is_calm or dice.random() >= max(self._rate, RARE.get(method, 0)):
            return "honest", dice
        if self._hangs and dice.random() < 0.06:
            self._hangs -= 1
            return ENDLESS[self._hangs % len(ENDLESS)], dice
        weights = {**ANY_CALL, **BY_METHOD.get(method, {})}
        return dice.choices(list(weights), list(weights.values()))[0], dice

    # --- the faults ---

    def _honest(self, handler: BaseHTTPRequestHandler, method: str, params: Any, _: Any) -> None:
        _reply(handler, self._upstream.call(method, params))

    def _rpc_error(self, handler: BaseHTTPRequestHandler, *_: Any) -> None:
        self._tally["rpc_error"] += 1
        _reply(handler, {"error": {"code": -32603, "message": "internal error"}})

    def _http_500(self, handler: BaseHTTPRequestHandler, *_: Any) -> None:
        self._tally["http_500"] += 1
        _reply(handler, {"oops": True}, 500)

    def _http_429(
        self, handler: BaseHTTPRequestHandler, _: str, __: Any, dice: random.Random
    ) -> None:
        self._tally["http_429"] += 1
        _reply(handler, {}, 429, {"Retry-After": str(dice.randint(1, 4))})

    def _expired_key(self, handler: BaseHTTPRequestHandler, *_: Any) -> None:
        self._tally["expired_key"] += 1
        error = {"code": -32000, "message": "must be authenticated"}
        _reply(handler, {"error": error}, 401)

    def _provider_limit(self, handler: BaseHTTPRequestHandler, *_: Any) -> None:
        self._tally["provider_limit"] += 1
        message = "query returned more than 10000 results"
        _reply(handler, {"error": {"code": -32005, "message": message}})

    def _truncated_body(
        self, handler: BaseHTTPRequestHandler, method: str, params: Any, _: Any
    ) -> None:
        self._tally["truncated_body"] += 1
        _reply(handler, self._upstream.call(method, params), cut=True)

    def _closed_connection(self, handler: BaseHTTPRequestHandler, *_: Any) -> None:
        self._tally["closed_connection"] += 1
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    def _answer_lost(
        self, handler: BaseHTTPRequestHandler, method: str, params: Any, _: Any
    ) -> None:
        """The call has its effect; nobody hears of it."""
        self._upstream.call(method, params)
        self._tally["answer_lost"] += 1
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    def _hang(self, handler: BaseHTTPRequestHandler, *_: Any) -> None:
        self._tally["hanging_socket"] += 1
        # Until the caller has had enough and closes.
        handler.connection.settimeout(30)
        with self._let_go(handler):
            handler.rfile.read(1)

    def _drip(self, handler: BaseHTTPRequestHandler, *_: Any) -> None:
        """A byte now and then."""
        self._tally["dripping_answer"] += 1
        with self._let_go(handler):
            handler.send_response(200)
            handler.end_headers()
            while not self._released.wait(0.05):
                handler.wfile.write(b" ")

    def _flood(self, handler: BaseHTTPRequestHandler, *_: Any) -> None:
        """More bytes than any answer has."""
        self._tally["flooding_answer"] += 1
        with self._let_go(handler):
            handler.send_response(200)
            handler.end_headers()
            while not self._released.is_set():
                handler.wfile.write(b" " * (1 << 20))

    @contextmanager
    def _let_go(self, handler: BaseHTTPRequestHandler) -> Iterator[None]:
        """Others are answered meanwhile; the connection is over with this."""
        handler.close_connection = True
        self._lock.release()
        try:
            yield
        except OSError:
            pass
        finally:
            self._lock.acquire()

    def _truncated_logs(
        self, handler: BaseHTTPRequestHandler, method: str, params: Any, dice: random.Random
    ) -> None:
        answer = self._upstream.call(method, params)
        if logs := answer.get("result"):
            self._tally["truncated_logs"] += 1
            answer["result"] = logs[: dice.randrange(len(logs))]
        _reply(handler, answer)

    def _lying_block_hash(
        self, handler: BaseHTTPRequestHandler, method: str, params: Any, dice: random.Random
    ) -> None:
        answer = self._upstream.call(method, params)
        if logs := answer.get("result"):
            self._tally["lying_logs"] += 1
            logs[dice.randrange(len(logs))]["blockHash"] = "0x" + dice.randbytes(32).hex()
        _reply(handler, answer)

    def _lying_phantom_log(
        self, handler: BaseHTTPRequestHandler, method: str, params: Any, dice: random.Random
    ) -> None:
        answer = self._upstream.call(method, params)
        if logs := answer.get("result"):
            self._tally["lying_logs"] += 1
            # A request that nobody made: both of its events, under another id.
            transaction = dice.choice(logs)["transactionHash"]
            copies = [
                {**log, "logIndex": hex(1000 + int(log["logIndex"], 16))}
                for log in logs
                if log["transactionHash"] == transaction
            ]
            made_up = "0x" + dice.randbytes(32).hex()
            true_id = copies[0]["topics"][-1]
            for log in copies:
                log["topics"] = [made_up if t == true_id else t for t in log["topics"]]
            logs += copies
        _reply(handler, answer)

    def _lying_receipt(
        self, handler: BaseHTTPRequestHandler, method: str, params: Any, _: Any
    ) -> None:
        if self._upstream.result(method, *params) is not None:
            self._tally["lying_receipt"] += 1
        _reply(handler, {"result": None})

    def _lying_header(
        self, handler: BaseHTTPRequestHandler, method: str, params: Any, dice: random.Random
    ) -> None:
        answer = self._upstream.call(method, params)
        if answer.get("result"):
            self._tally["lying_header"] += 1
            answer["result"]["hash"] = "0x" + dice.randbytes(32).hex()
        _reply(handler, answer)

    def _lying_code(self, handler: BaseHTTPRequestHandler, *_: Any) -> None:
        """As a replica that knows nothing yet."""
        self._tally["lying_code"] += 1
        _reply(handler, {"result": "0x"})

    def _wrong_chain(self, handler: BaseHTTPRequestHandler, *_: Any) -> None:
        self._tally["wrong_chain"] += 1
        _reply(handler, {"result": "0x1"})

    def _stale_replica(
        self, handler: BaseHTTPRequestHandler, method: str, params: Any, dice: random.Random
    ) -> None:
        head = int(self._upstream.result("eth_blockNumber"), 16)
        old = max(1, head - dice.randint(1, MOST_LATE))
        honest = self._upstream.call(method, params)
        answer = self._as_of(old, method, list(params), honest)
        if answer != honest:
            self._tally["stale_replica"] += 1
        _reply(handler, answer)

    def _as_of(
        self, old: int, method: str, params: list[Any], honest: dict[str, Any]
    ) -> dict[str, Any]:
        """A call's answer by a replica whose head is block ``old``."""
        if method in _STATE_CALLS and "latest" in params:
            params[params.index("latest")] = hex(old)
            return self._upstream.call(method, params)
        if method == "eth_getBlockByNumber":
            if params[0] == "latest":
                return self._upstream.call(method, [hex(old), params[1]])
            return {"result": None} if int(params[0], 16) > old else honest
        if method == "eth_getLogs":
            logs = honest.get("result", [])
            return {"result": [log for log in logs if int(log["blockNumber"], 16) <= old]}
        if method == "eth_getTransactionReceipt":
            receipt = honest.get("result")
            if receipt is not None and int(receipt["blockNumber"], 16) > old:
                return {"result": None}
        return honest


def _reply(
    handler: BaseHTTPRequestHandler,
    body: Mapping[str, Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    cut: bool = False,
) -> None:
    text = json.dumps({"jsonrpc": "2.0", **body, "id": 1}).encode()
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text[: len(text) // 2] if cut else text)
    if cut:
        handler.wfile.flush()
        handler.close_connection = True


@contextmanager
def endpoints(
    upstream: str, rates: Sequence[float], *, hangs: int, seed: int, tally: Counter[str]
) -> Iterator[list[FaultyEndpoint]]:
    """Endpoints in front of one chain, best first."""
    made: list[FaultyEndpoint] = []
    try:
        for index, rate in enumerate(rates):
            made.append(
                FaultyEndpoint(
                    upstream,
                    rate=rate,
                    hangs=hangs if index == 0 else 0,
                    seed=f"{seed}/endpoint/{index}",
                    tally=tally,
                )
            )
        yield made
    finally:
        for endpoint in made:
            endpoint.close()
