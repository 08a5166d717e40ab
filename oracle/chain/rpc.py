"""JSON-RPC over several endpoints: one answers, the next takes over when it does not.

    Rpc (failover, typed answers) -> Endpoint (budget, rest, chain id) -> Transport (one method)

A `Transport` is one method wide, so that a test's chain is one too (`oracle.testing`). The best
endpoint that is not resting is asked first: after a rest the preferred one has its turn again. An
endpoint that asked for a pause is not asked before it is over, whatever else is down.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import requests
from eth_utils.address import to_checksum_address
from web3 import HTTPProvider
from web3.types import RPCEndpoint

from oracle.chain.evidence import Block, Log, LogQuery, union
from oracle.chain.pacing import Rest, TokenBucket
from oracle.errors import (
    ChainError,
    RpcLimit,
    RpcRejected,
    RpcThrottled,
    RpcUnreachable,
    WrongChain,
)

T = TypeVar("T")

#: What providers say, in place of a standard code, when a log query covers too much.
_LIMIT = re.compile(
    r"limit|too (many|large|wide)|more than \d+|exceed|range is|response size|timeout", re.I
)
#: What they say when they were asked too often, whatever the call.
_THROTTLED = re.compile(
    r"rate.?limit|too many requests|requests? (count|rate|per)|compute units|per.second"
    r"|throughput|quota|credits|throttl",
    re.I,
)
#: Codes that tell of the endpoint's state and not of the call (JSON-RPC: internal error,
#: resource unavailable, limit exceeded): another endpoint may do better.
_ENDPOINT_TROUBLE = frozenset({-32603, -32002, -32005, 429})

#: What the call itself came to, whatever the code: anvil says "internal error" when gas runs out.
_EXECUTION = re.compile(r"revert|out ?of ?gas", re.I)


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


@dataclass(frozen=True, slots=True)
class FeeHistory:
    """What recent blocks charged (EIP-1559), oldest first. Wei per gas."""

    #: Of each block, and last that of the block to come.
    base_fees: tuple[int, ...]
    #: A percentile of the tips paid in each block; 0 in an empty one.
    tips: tuple[int, ...]
    #: Share of its gas limit that each block used.
    used: tuple[float, ...]


class Transport(Protocol):
    """One endpoint."""

    def send(self, method: str, params: list[Any]) -> Any:
        """The ``result`` of a call.

        Raises:
            RpcUnreachable: no answer; the call may or may not have taken effect.
            RpcThrottled: the endpoint wants to be asked less often.
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
            if error.response.status_code == 429 or "Retry-After" in error.response.headers:
                raise self._throttled(
                    f"HTTP {error.response.status_code}", _retry_after(error.response)
                ) from None
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
        if code == 429 or _THROTTLED.search(message):
            return self._throttled(message, None)
        if method == "eth_getLogs" and (code == -32005 or _LIMIT.search(message)):
            return RpcLimit(text)
        data = _revert_data(error.get("data")) if isinstance(error, dict) else b""
        if code in _ENDPOINT_TROUBLE and not data and not _EXECUTION.search(message):
            return RpcUnreachable(text, remedy=_REMEDY)
        return RpcRejected(text, data=data)

    def _throttled(self, why: str, seconds: float | None) -> RpcThrottled:
        return RpcThrottled(
            f"{self._name} wants to be asked less often ({why})",
            remedy="Lower rpc_requests_per_second, or add an endpoint to rpc_urls",
            retry_after=seconds,
        )


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """How an endpoint does, for a person."""

    #: Scheme, host and port.
    name: str
    #: Seconds until it is asked again; 0 when it serves.
    resting: float
    calls: int
    failures: int


class Endpoint:
    """One endpoint with its budget, its rest after failures and its chain id. Thread safe.

    Args:
        url: where it is.
        transport: the connection to it.
        chain_id: what it must serve; asked before its first use and after each failure.
        bucket: its budget.
        clock: monotonic seconds.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        url: str,
        transport: Transport,
        *,
        chain_id: int,
        bucket: TokenBucket,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.name = redacted(url)
        self._transport = transport
        self._chain_id = chain_id
        self._bucket = bucket
        self._rest = Rest(clock)
        self._sleep = sleep
        self._lock = threading.Lock()
        self._is_checked = False
        self._calls = 0
        self._failures = 0

    @property
    def resting(self) -> float:
        """Seconds that it rests yet."""
        return self._rest.left

    @property
    def is_forbidden(self) -> bool:
        """Whether it asked for the rest."""
        return self._rest.left > 0 and self._rest.is_asked

    def health(self) -> EndpointHealth:
        """How it does."""
        with self._lock:
            return EndpointHealth(self.name, self._rest.left, self._calls, self._failures)

    def ask(self, method: str, params: list[Any], read: Callable[[Any], T]) -> T:
        """What ``read`` makes of a call's result; a result it cannot read is no answer.

        Raises:
            RpcUnreachable, RpcRejected, WrongChain: as `Rpc.send`.
        """
        if not self._is_checked:
            self._check_chain()
        try:
            result = self._ask(method, params, read)
        except RpcRejected:
            self._answered()
            raise
        self._answered()
        return result

    def _answered(self) -> None:
        with self._lock:
            self._rest.end()

    def distrust(self) -> None:
        """Its answer contradicts a better endpoint's."""
        with self._lock:
            self._failures += 1
            self._is_checked = False
            self._rest.begin()

    def _ask(self, method: str, params: list[Any], read: Callable[[Any], T]) -> T:
        with self._lock:
            self._calls += 1
            wait = self._bucket.take()
        if wait > 0:
            self._sleep(wait)
        try:
            return read(self._transport.send(method, params))
        except RpcThrottled as error:
            with self._lock:
                self._failures += 1
                self._rest.obey(error.retry_after)
            raise
        except RpcUnreachable:
            self.distrust()
            raise
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            self.distrust()
            raise RpcUnreachable(
                f"{self.name} answers {method} with something else", remedy=_REMEDY
            ) from error

    def _check_chain(self) -> None:
        actual = self._ask("eth_chainId", [], _quantity)
        if actual != self._chain_id:
            self.distrust()
            raise WrongChain(
                f"{self.name} serves chain {actual}, not {self._chain_id}",
                remedy="Correct chain_id or rpc_urls",
            )
        self._is_checked = True


class Rpc:
    """Typed JSON-RPC calls on the best endpoint that answers. Thread safe.

    Args:
        urls: HTTP endpoints, best first.
        chain_id: what each of them must serve.
        timeout: seconds for one call on one endpoint.
        transport: makes the connection to a URL.
        rate: calls a second on one endpoint; None for no limit.
        burst: calls on one endpoint that may come at once.
        cross_check: compare log queries with a second endpoint's answer.
        clock: monotonic seconds.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        urls: Sequence[str],
        chain_id: int,
        timeout: float = 10,
        transport: Callable[[str, float], Transport] = HttpTransport,
        *,
        rate: float | None = None,
        burst: int = 1,
        cross_check: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.chain_id = chain_id
        self._cross_check = cross_check
        self._endpoints = [
            Endpoint(
                url,
                transport(url, timeout),
                chain_id=chain_id,
                bucket=TokenBucket(rate, burst, clock),
                clock=clock,
                sleep=sleep,
            )
            for url in urls
        ]

    def health(self) -> list[EndpointHealth]:
        """How each endpoint does, best first."""
        return [endpoint.health() for endpoint in self._endpoints]

    def require_one_chain(self) -> None:
        """Ask every endpoint for its chain; those that are down are left for later.

        Raises:
            WrongChain: one serves another chain.
        """
        for endpoint in self._endpoints:
            with suppress(RpcUnreachable):
                endpoint.ask("eth_chainId", [], _quantity)

    def send(self, method: str, params: list[Any]) -> Any:
        """One call, on the next endpoint when one does not answer.

        Raises:
            RpcUnreachable: none answered; says why the last one did not.
            RpcThrottled: all that answer want to be asked less often.
            RpcRejected: an endpoint answered with an error.
            WrongChain: an endpoint serves another chain, and no other answered.
        """
        return self._ask(method, params, lambda result: result)

    def _ask(self, method: str, params: list[Any], read: Callable[[Any], T]) -> T:
        """`send`, and what ``read`` makes of the result; a result it cannot read is no answer."""
        failure: ChainError | None = None
        for endpoint in self._in_order():
            try:
                return endpoint.ask(method, params, read)
            except (RpcUnreachable, WrongChain) as error:
                failure = _graver(failure, error)
        raise failure or self._all_throttled()

    def _in_order(self) -> list[Endpoint]:
        """Whom to ask: the best first, then those that rest, but none that asked for its rest."""
        allowed = [each for each in self._endpoints if not each.is_forbidden]
        # Stable: equals stay in their order.
        return sorted(allowed, key=lambda endpoint: endpoint.resting)

    def _all_throttled(self) -> RpcThrottled:
        seconds = min((endpoint.resting for endpoint in self._endpoints), default=0.0)
        return RpcThrottled(
            f"every RPC endpoint asked for a pause, the shortest for {seconds:.0f} s more",
            remedy="Lower rpc_requests_per_second, or add an endpoint to rpc_urls",
            retry_after=seconds,
        )

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
        self, query: LogQuery, check: Callable[[Sequence[Log]], None] = lambda _: None
    ) -> list[Log]:
        """The events of a query, in chain order.

        An answer that contradicts the query, its headers or ``check`` is none. A second endpoint is
        asked when there is one, and more of them while a block's header speaks of events that
        nobody gave: what is missing in one answer is taken from the other.

        Args:
            query: what to look for.
            check: raises ValueError for a list that cannot be true.

        Raises:
            RpcLimit: the endpoint wants a smaller range, or, for one block, all of them do.
        """

        def read(raw: Any) -> list[Log]:
            logs = _logs(raw)
            query.check(logs)
            check(logs)
            return logs

        failure: ChainError | None = None
        found: list[Log] | None = None
        answers = 0
        order = self._in_order()
        needed = min(2 if self._cross_check else 1, len(order))
        # One that is alone may be asked again.
        for endpoint in order * 2 if len(order) == 1 else order:
            if failure is not None and len(order) == 1:
                break
            if answers >= needed and not query.silent(found or []):
                break
            try:
                answer = endpoint.ask("eth_getLogs", [query.parameters], read)
                found = union([found or [], answer])
            except ValueError:
                # The better endpoint's word counts.
                endpoint.distrust()
                continue
            except (RpcUnreachable, WrongChain) as error:
                failure = _graver(failure, error)
                continue
            except RpcLimit as error:
                if found is None and query.first < query.last:
                    raise
                failure = error
                continue
            answers += 1
        if found is None:
            raise failure or self._all_throttled()
        return found

    def call(
        self,
        to: str,
        data: bytes,
        *,
        sender: str | None = None,
        gas: int | None = None,
        value: int = 0,
        read: Callable[[bytes], T],
    ) -> T:
        """What ``read`` makes of the return data of a call on the latest state.

        A ValueError of ``read`` is no answer: another endpoint is asked.

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
        return self._ask("eth_call", [transaction, "latest"], lambda raw: read(_bytes(raw)))

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

    def fee_history(self, blocks: int, percentile: int) -> FeeHistory:
        """Prices of the last ``blocks`` blocks, with a percentile of the tips in each.

        Raises:
            RpcRejected: the endpoint has no such method.
        """
        return self._ask("eth_feeHistory", [hex(blocks), "latest", [percentile]], _fee_history)

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


def _graver(first: ChainError | None, second: ChainError) -> ChainError:
    """Of two endpoints' failures the one to tell: a wrong chain does not pass by itself."""
    return first if isinstance(first, WrongChain) else second


def redacted(url: str) -> str:
    """A URL's scheme, host and port: API keys travel in user, path and query."""
    parts = urlsplit(url)
    host = parts.hostname or "?"
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


_REMEDY = "Check the address (--rpc, or a node's rpc_urls) and that the endpoint is up"


# Readers of results. An endpoint may say anything: what is not of the expected form raises
# AttributeError, LookupError, TypeError or ValueError, which `Rpc` takes for no answer.


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
        logs_bloom=_bloom(raw.get("logsBloom") or "0x0"),
    )


def _bloom(text: Any) -> int:
    value = int(text, 16)
    if not 0 <= value < 2**2048:
        raise ValueError("not a bloom filter")
    return value


def _fee_history(raw: Any) -> FeeHistory:
    rewards = raw.get("reward") or []
    history = FeeHistory(
        base_fees=tuple(_quantity(fee) for fee in raw["baseFeePerGas"]),
        tips=tuple(_quantity(tips[0]) for tips in rewards),
        used=tuple(float(ratio) for ratio in raw["gasUsedRatio"]),
    )
    if not history.base_fees or len(history.tips) > len(history.used):
        raise ValueError("not a fee history")
    return history


def _logs(raw: Any) -> list[Log]:
    if not isinstance(raw, list):
        raise TypeError("not a list")
    if any(log.get("removed") for log in raw):
        raise ValueError("a log that was removed")
    found = [
        Log(
            address=_address(log["address"]),
            topics=tuple(_bytes(topic) for topic in log["topics"]),
            data=_bytes(log["data"]),
            block_number=_count(log["blockNumber"]),
            block_hash=_bytes(log["blockHash"]),
            transaction_hash=_bytes(log["transactionHash"]),
            log_index=_count(log["logIndex"]),
        )
        for log in raw
    ]
    return sorted(found, key=lambda log: log.place)


def _address(text: Any) -> str:
    if len(_bytes(text)) != 20:
        raise ValueError("not an address")
    return str(text).lower()


def _receipt(transaction_hash: bytes, raw: Any) -> Receipt:
    status = _quantity(raw["status"])
    if status > 1 or _bytes(raw["transactionHash"]) != transaction_hash:
        raise ValueError("not the transaction's receipt")
    return Receipt(
        transaction_hash=transaction_hash,
        succeeded=status == 1,
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


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that an endpoint asks to be left alone (RFC 9110, 10.2.3); None if it does not say."""
    text = response.headers.get("Retry-After", "")
    try:
        if text.isdigit():
            return float(text)
        # A date, by the endpoint's own clock.
        asked, now = (
            parsedate_to_datetime(header) for header in (text, response.headers.get("Date", ""))
        )
        return max(0.0, (asked - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _error_body(response: requests.Response) -> Any:
    """A JSON-RPC error that came with an HTTP error status; None for anything else."""
    if response.status_code >= 500:
        return None
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) and "error" in body else None
