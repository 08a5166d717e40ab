"""JSON-RPC over several endpoints: one answers, the next takes over when it does not.

    Rpc (chain id check, failover, typed answers) -> Transport (one method) -> endpoint

A `Transport` is one method wide, so that a test's chain is one too (`oracle.testing`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import requests
from eth_utils.address import to_checksum_address
from web3 import HTTPProvider
from web3.types import RPCEndpoint

from oracle.errors import RpcLimit, RpcRejected, RpcUnreachable, WrongChain

T = TypeVar("T")

#: What providers say, in place of a standard code, when a log query covers too much.
_LIMIT = re.compile(
    r"limit|too (many|large|wide)|more than \d+|exceed|range is|response size|timeout", re.I
)
#: Codes that tell of the endpoint's state and not of the call (JSON-RPC: internal error,
#: resource unavailable, limit exceeded): another endpoint may do better.
_ENDPOINT_TROUBLE = frozenset({-32603, -32002, -32005, 429})

#: What the call itself came to, whatever the code: anvil says "internal error" when gas runs out.
_EXECUTION = re.compile(r"revert|out ?of ?gas", re.I)


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header, as far as the node needs it."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    #: Wei per gas.
    base_fee: int
    gas_limit: int


@dataclass(frozen=True, slots=True)
class Log:
    """An event as a contract emitted it."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    log_index: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """Outcome of a mined transaction."""

    transaction_hash: bytes
    succeeded: bool
    block_number: int
    block_hash: bytes
    gas_used: int
    #: Wei per gas actually paid.
    gas_price: int
    #: Every contract's events, in order.
    logs: tuple[Log, ...]
    #: What the transaction created, if it did.
    contract: str | None = None


class Transport(Protocol):
    """One endpoint."""

    def send(self, method: str, params: list[Any]) -> Any:
        """The ``result`` of a call.

        Raises:
            RpcUnreachable: no answer; the call may or may not have taken effect.
            RpcRejected: the endpoint answered with an error.
        """
        ...


class HttpTransport:
    """web3.py's HTTP provider with errors of this tree and no retries of its own."""

    def __init__(self, url: str, timeout: float) -> None:
        self._name = redacted(url)
        self._provider = HTTPProvider(
            url, request_kwargs={"timeout": timeout}, exception_retry_configuration=None
        )

    def send(self, method: str, params: list[Any]) -> Any:
        """See `Transport.send`."""
        try:
            answer: Any = self._provider.make_request(RPCEndpoint(method), params)
        except requests.HTTPError as error:
            answer = _error_body(error.response)
            if answer is None:
                raise RpcUnreachable(
                    f"{self._name} answered HTTP {error.response.status_code}", remedy=_REMEDY
                ) from None
        except (requests.RequestException, ValueError) as error:
            # The cause's text holds the whole URL, credentials included: it is not passed on.
            raise RpcUnreachable(
                f"no answer from {self._name} ({type(error).__name__})", remedy=_REMEDY
            ) from None
        if isinstance(answer, dict):
            if answer.get("error") is not None:
                raise self._rejected(method, answer["error"])
            if "result" in answer:
                return answer["result"]
        raise RpcUnreachable(f"{self._name} does not answer with JSON-RPC", remedy=_REMEDY)

    def _rejected(self, method: str, error: Any) -> RpcRejected | RpcUnreachable:
        message = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        code = error.get("code") if isinstance(error, dict) else None
        text = f"{method} on {self._name}: {message}"
        if method == "eth_getLogs" and (code == -32005 or _LIMIT.search(message)):
            return RpcLimit(text)
        data = _revert_data(error.get("data")) if isinstance(error, dict) else b""
        if code in _ENDPOINT_TROUBLE and not data and not _EXECUTION.search(message):
            return RpcUnreachable(text, remedy=_REMEDY)
        return RpcRejected(text, data=data)


class Rpc:
    """Typed JSON-RPC calls on the first endpoint that answers.

    It stays with one endpoint until that fails. The chain id of an endpoint is checked before its
    first use. Thread safe.

    Args:
        urls: HTTP endpoints, best first.
        chain_id: what each of them must serve.
        timeout: seconds for one call on one endpoint.
        transport: makes the connection to a URL.
    """

    def __init__(
        self,
        urls: Sequence[str],
        chain_id: int,
        timeout: float = 10,
        transport: Callable[[str, float], Transport] = HttpTransport,
    ) -> None:
        self.chain_id = chain_id
        self._names = [redacted(url) for url in urls]
        self._transports = [transport(url, timeout) for url in urls]
        self._checked: set[int] = set()
        self._current = 0
        self._lock = threading.Lock()

    def send(self, method: str, params: list[Any]) -> Any:
        """One call, on the next endpoint when one does not answer.

        Raises:
            RpcUnreachable: none answered; says why the last one did not.
            RpcRejected: an endpoint answered with an error.
            WrongChain: an endpoint serves another chain.
        """
        return self._ask(method, params, lambda result: result)

    def _ask(self, method: str, params: list[Any], read: Callable[[Any], T]) -> T:
        """`send`, and what ``read`` makes of the result; a result it cannot read is no answer."""
        start = self._current
        failure: RpcUnreachable | None = None
        for step in range(len(self._transports)):
            index = (start + step) % len(self._transports)
            try:
                self._check_chain(index)
                result = self._call_on(index, method, params, read)
            except RpcUnreachable as error:
                failure = error
                continue
            with self._lock:
                self._current = index
            return result
        raise failure or RpcUnreachable("no RPC endpoint is configured")

    def _call_on(self, index: int, method: str, params: list[Any], read: Callable[[Any], T]) -> T:
        result = self._transports[index].send(method, params)
        try:
            return read(result)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RpcUnreachable(
                f"{self._names[index]} answers {method} with something else", remedy=_REMEDY
            ) from error

    def _check_chain(self, index: int) -> None:
        if index in self._checked:
            return
        actual = self._call_on(index, "eth_chainId", [], _quantity)
        if actual != self.chain_id:
            raise WrongChain(
                f"{self._names[index]} serves chain {actual}, not {self.chain_id}",
                remedy="Correct chain_id or rpc_urls",
            )
        with self._lock:
            self._checked.add(index)

    def block(self, number: int | None = None) -> Block | None:
        """A block's header, the latest by default; None when the endpoint has no such block."""
        tag = "latest" if number is None else hex(number)
        return self._ask("eth_getBlockByNumber", [tag, False], _block)

    def head(self) -> Block:
        """The latest block's header."""
        head = self.block()
        if head is None:
            raise RpcUnreachable("the RPC endpoint has no latest block", remedy=_REMEDY)
        return head

    def logs(
        self,
        address: str,
        topics: Sequence[bytes],
        first: int,
        last: int,
        indexed: Sequence[bytes | None] = (),
    ) -> list[Log]:
        """Events of a contract whose first topic is one of ``topics``, in chain order.

        Args:
            address: the contract.
            topics: first topics to look for; any of them matches.
            first: first block, inclusive.
            last: last block, inclusive.
            indexed: what the further topics must be; None matches anything.

        Raises:
            RpcLimit: the endpoint wants a smaller range.
        """
        query = {
            "address": address,
            "topics": [
                ["0x" + topic.hex() for topic in topics],
                *(None if topic is None else "0x" + topic.hex() for topic in indexed),
            ],
            "fromBlock": hex(first),
            "toBlock": hex(last),
        }
        return self._ask("eth_getLogs", [query], _logs)

    def call(
        self,
        to: str,
        data: bytes,
        *,
        sender: str | None = None,
        gas: int | None = None,
        value: int = 0,
    ) -> bytes:
        """The return data of a call on the latest state.

        Raises:
            RpcRejected: it reverted (``data`` holds the revert data) or could not run.
        """
        transaction: dict[str, str] = {"to": to, "data": "0x" + data.hex()}
        if sender is not None:
            transaction["from"] = sender
        if gas is not None:
            transaction["gas"] = hex(gas)
        if value:
            transaction["value"] = hex(value)
        return self._ask("eth_call", [transaction, "latest"], _bytes)

    def code(self, address: str) -> bytes:
        """Deployed bytecode; empty when there is none."""
        return self._ask("eth_getCode", [address, "latest"], _bytes)

    def balance(self, address: str) -> int:
        """Wei of an account."""
        return self._ask("eth_getBalance", [address, "latest"], _quantity)

    def nonce(self, address: str) -> int:
        """Number of the account's mined transactions."""
        return self._ask("eth_getTransactionCount", [address, "latest"], _count)

    def priority_fee(self) -> int:
        """The tip per gas that the endpoint suggests (wei)."""
        return self._ask("eth_maxPriorityFeePerGas", [], _quantity)

    def send_raw(self, raw: bytes) -> None:
        """Broadcast a signed transaction. Any error leaves it unknown whether it was taken."""
        self.send("eth_sendRawTransaction", ["0x" + raw.hex()])

    def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """Outcome of a transaction; None while it is not mined."""

        def read(raw: Any) -> Receipt | None:
            return None if raw is None else _receipt(transaction_hash, raw)

        return self._ask("eth_getTransactionReceipt", ["0x" + transaction_hash.hex()], read)


def chain_id_of(url: str, timeout: float = 10) -> int:
    """The chain that an endpoint serves, for whoever wants to use it whatever it is.

    Raises:
        RpcUnreachable: it does not say.
    """
    try:
        return _quantity(HttpTransport(url, timeout).send("eth_chainId", []))
    except (AttributeError, TypeError, ValueError):
        raise RpcUnreachable(
            f"{redacted(url)} does not say which chain it serves", remedy=_REMEDY
        ) from None


def redacted(url: str) -> str:
    """A URL's scheme, host and port: API keys travel in user, path and query."""
    parts = urlsplit(url)
    host = parts.hostname or "?"
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


_REMEDY = "Check rpc_urls and that the endpoint is up"


# Readers of results. An endpoint may say anything: what is not of the expected form raises
# AttributeError, KeyError, TypeError or ValueError, which `Rpc` takes for no answer.


def _bytes(text: Any) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _quantity(text: Any) -> int:
    value = int(text, 16)
    if not 0 <= value < 2**256:
        raise ValueError("not an unsigned 256-bit integer")
    return value


def _count(text: Any) -> int:
    """A number of blocks, seconds or logs: the store keeps them in 64 bits."""
    value = _quantity(text)
    if value >= 2**63:
        raise ValueError("not a count")
    return value


def _block(raw: Any) -> Block | None:
    if raw is None:
        return None
    return Block(
        number=_count(raw["number"]),
        hash=_bytes(raw["hash"]),
        parent_hash=_bytes(raw["parentHash"]),
        timestamp=_count(raw["timestamp"]),
        base_fee=_quantity(raw.get("baseFeePerGas") or "0x0"),
        gas_limit=_quantity(raw["gasLimit"]),
    )


def _logs(raw: Any) -> list[Log]:
    if not isinstance(raw, list):
        raise TypeError("not a list")
    found = [
        Log(
            address=str(log["address"]),
            topics=tuple(_bytes(topic) for topic in log["topics"]),
            data=_bytes(log["data"]),
            block_number=_count(log["blockNumber"]),
            block_hash=_bytes(log["blockHash"]),
            transaction_hash=_bytes(log["transactionHash"]),
            log_index=_count(log["logIndex"]),
        )
        for log in raw
    ]
    return sorted(found, key=lambda log: (log.block_number, log.log_index))


def _receipt(transaction_hash: bytes, raw: Any) -> Receipt:
    return Receipt(
        transaction_hash=transaction_hash,
        succeeded=_quantity(raw["status"]) == 1,
        block_number=_count(raw["blockNumber"]),
        block_hash=_bytes(raw["blockHash"]),
        gas_used=_quantity(raw["gasUsed"]),
        gas_price=_quantity(raw["effectiveGasPrice"]),
        logs=tuple(_logs(raw["logs"])),
        contract=str(to_checksum_address(created))
        if (created := raw.get("contractAddress"))
        else None,
    )


def _revert_data(data: Any) -> bytes:
    # Geth and anvil give a hex string, some proxies an object that holds one.
    if isinstance(data, dict):
        data = data.get("data")
    if not isinstance(data, str) or not data.startswith("0x"):
        return b""
    try:
        return _bytes(data)
    except ValueError:
        return b""


def _error_body(response: requests.Response) -> Any:
    """A JSON-RPC error that came with an HTTP error status; None for anything else."""
    if response.status_code == 429 or response.status_code >= 500:
        return None
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) and "error" in body else None
