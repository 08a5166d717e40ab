"""JSON-RPC over several endpoints: one answers, the next takes over when it does not.

    Rpc (failover, typed answers) -> Endpoint (budget, rest, chain id) -> Transport (one method)

A `Transport` is one method wide, so that a test's chain is one too (`oracle.testing`). The best
endpoint that is not resting is asked first: after a rest the preferred one has its turn again. An
endpoint that asked for a pause is not asked before it is over, whatever else is down.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import requests
from eth_utils.address import to_checksum_address

from oracle.access import Access
from oracle.chain.answers import REMEDY, Said
from oracle.chain.bounded import MOST_BYTES, REDIRECTS, BoundedSession, Reply, TooLarge, TooLong
from oracle.chain.evidence import Block, Log, LogQuery, union
from oracle.chain.pacing import LACKING, Rest, Span, TokenBucket
from oracle.errors import (
    ChainError,
    RpcLimit,
    RpcRejected,
    RpcThrottled,
    RpcUncertain,
    RpcUnreachable,
    UsageError,
    WrongChain,
)

T = TypeVar("T")

#: Some providers turn away what names itself a script's library.
_HEADERS = {"Content-Type": "application/json", "User-Agent": "oracle-node"}
#: Wei per gas to offer as a tip where no endpoint tells what is usual: this share of the base fee.
_TIP_SHARE = 10


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
            RpcRejected: running the call came to an error, or the pool does not take what was
                sent: the chain's word.
            RpcUncertain: any other error to a read; says nothing of the chain.
            RpcLimit: a log query covers too much.
        """
        ...


class HttpTransport:
    """JSON-RPC over HTTP with errors of this tree and no retries of its own.

    Args:
        endpoint: where it is, and what it wants to be told.
        timeout: seconds for a whole call, however the endpoint spends them.
        most_bytes: of an answer.
    """

    def __init__(
        self, endpoint: str | Access, timeout: float, most_bytes: int = MOST_BYTES
    ) -> None:
        access = Access(endpoint) if isinstance(endpoint, str) else endpoint
        self._name = redacted(access.url)
        self._secrets = access.secrets
        self._timeout = timeout
        self._most_bytes = most_bytes
        self._url = access.url
        self._headers = {**_HEADERS, **access.headers}
        # A redirect would carry the headers' secrets to whom it names.
        redirects = 0 if access.headers else REDIRECTS
        self._session = BoundedSession(timeout, most_bytes, redirects, access.ca_file)

    def send(self, method: str, params: list[Any]) -> Any:
        """See `Transport.send`."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        reply = self._post(json.dumps(call).encode())
        answer = _json(reply.content)
        fields = answer if isinstance(answer, dict) else {}
        error = fields.get("error")
        if error is not None or reply.status >= 400:
            raise Said(
                self._name,
                method,
                reply.status,
                error,
                secrets=self._secrets,
                asks_for_rest="Retry-After" in reply.headers,
                seconds=_retry_after(reply.headers),
            ).error()
        if "result" in fields:
            return fields["result"]
        raise RpcUnreachable(f"{self._name} does not answer with JSON-RPC", remedy=REMEDY)

    def _post(self, body: bytes) -> Reply:
        try:
            return self._session.ask("POST", self._url, body, self._headers)
        except TooLong:
            why = f"{self._name} did not answer within {self._timeout:g} s"
        except TooLarge:
            why = f"{self._name} answered with more than {self._most_bytes >> 20} MiB"
        except (requests.RequestException, OSError, ValueError) as error:
            # The cause's text holds the whole URL, credentials included: it is not passed on.
            why = f"no answer from {self._name} ({type(error).__name__})"
        raise RpcUnreachable(why, remedy=REMEDY)


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """How an endpoint does, for a person."""

    #: Scheme, host and port.
    name: str
    #: Seconds until it is asked again; 0 when it serves.
    resting: float
    calls: int
    failures: int
    #: Why it failed last, in its words; empty once it answers again.
    trouble: str = ""
    #: The code of that.
    code: str = ""


class Endpoint:
    """One endpoint with its budget, its rest after failures and its chain id. Thread safe.

    Args:
        access: where it is, and what it may be asked.
        transport: the connection to it.
        chain_id: what it must serve; asked before its first use and after each failure.
        bucket: its budget.
        patience: seconds that a call waits for it at most.
        clock: monotonic seconds.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        access: Access,
        transport: Transport,
        *,
        chain_id: int,
        bucket: TokenBucket,
        patience: float,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.name = redacted(access.url)
        #: Whether it is asked for logs.
        self.has_logs = access.logs
        self._transport = transport
        self._chain_id = chain_id
        self._bucket = bucket
        self._patience = patience
        self._rest = Rest(clock)
        self._sleep = sleep
        self._lock = threading.Lock()
        self._is_checked = False
        self._calls = 0
        self._failures = 0
        self._trouble: ChainError | None = None
        self._span = Span(access.log_blocks)
        self._clock = clock
        # Until when it is taken to have no such method.
        self._lacking: dict[str, float] = {}

    @property
    def most_blocks(self) -> int:
        """Blocks that it takes in one log query, as far as is known."""
        with self._lock:
            return self._span.most

    @property
    def resting(self) -> float:
        """Seconds that it rests yet."""
        return self._rest.left

    @property
    def is_forbidden(self) -> bool:
        """Whether it asked for the rest."""
        return self._rest.left > 0 and self._rest.is_asked

    def lacks(self, method: str) -> bool:
        """Whether it said lately that it has no such method."""
        with self._lock:
            return self._lacking.get(method, float("-inf")) > self._clock()

    def contradicted(self, method: str, why: RpcRejected) -> None:
        """Another endpoint answered what this one refused: it rests, or is asked for that last."""
        if isinstance(why, RpcUncertain) and why.lacks_method:
            with self._lock:
                self._lacking[method] = self._clock() + LACKING
        else:
            self.distrust(why)

    def health(self) -> EndpointHealth:
        """How it does."""
        with self._lock:
            told = self._trouble
            return EndpointHealth(
                self.name,
                self._rest.left,
                self._calls,
                self._failures,
                told.message if told else "",
                told.code if told else "",
            )

    def ask(self, method: str, params: list[Any], read: Callable[[Any], T]) -> T:
        """What ``read`` makes of a call's result; a result it cannot read is no answer.

        Raises:
            RpcUnreachable, WrongChain: it did not answer, and rests.
            RpcRejected: its error; whether that is its own trouble shows when others are asked.
        """
        try:
            if not self._is_checked:
                self._check_chain()
            result = self._ask(method, params, read)
        except RpcRejected as error:
            if error.executed:
                self._answered()
            else:
                with self._lock:
                    self._trouble = error
            raise
        self._answered()
        return result

    def logs(self, query: LogQuery, read: Callable[[Any], T]) -> T:
        """What ``read`` makes of a log query's result; remembers how large a query may be.

        Raises:
            RpcUnreachable, RpcRejected, WrongChain: as `ask`.
        """
        blocks = query.blocks
        try:
            found = self.ask("eth_getLogs", [query.parameters], read)
        except (RpcRejected, RpcUnreachable) as error:
            lacks = isinstance(error, RpcUncertain) and error.lacks_method
            if blocks > 1 and not lacks:
                suggested = error.blocks if isinstance(error, RpcLimit) else None
                refused = isinstance(error, RpcRejected)
                with self._lock:
                    self._span.failed(blocks, suggested=suggested, refused=refused)
            raise
        with self._lock:
            self._span.answered(blocks)
        return found

    def _answered(self) -> None:
        with self._lock:
            self._rest.end()
            self._trouble = None

    def distrust(self, why: ChainError) -> None:
        """It failed, or its answer contradicts another endpoint's: it rests."""
        with self._lock:
            self._failures += 1
            self._is_checked = False
            self._rest.begin()
            self._trouble = why

    def _ask(self, method: str, params: list[Any], read: Callable[[Any], T]) -> T:
        with self._lock:
            self._calls += 1
            wait = self._bucket.take(self._patience)
        if wait > self._patience:
            raise RpcThrottled(
                f"the budget of {self.name} is spent: the next call may be in {wait:.0f} s",
                remedy="Raise rpc_requests_per_second and rpc_burst, or the endpoint's own",
            )
        if wait > 0:
            self._sleep(wait)
        try:
            return read(self._transport.send(method, params))
        except RpcThrottled as error:
            with self._lock:
                self._failures += 1
                self._rest.obey(error.retry_after)
                self._trouble = error
            raise
        except RpcUnreachable as error:
            self.distrust(error)
            raise
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            why = f"{self.name} answers {method} with something else"
            failure = RpcUnreachable(why, remedy=REMEDY)
            self.distrust(failure)
            raise failure from error

    def _check_chain(self) -> None:
        actual = self._ask("eth_chainId", [], _quantity)
        if actual != self._chain_id:
            wrong = WrongChain(
                f"{self.name} serves chain {actual}, not {self._chain_id}",
                remedy="Correct chain_id or rpc_urls",
            )
            self.distrust(wrong)
            raise wrong
        self._is_checked = True


@dataclass(slots=True)
class _LogRound:
    """What the endpoints that were asked came to with a log query."""

    found: list[Log] | None = None
    answers: int = 0
    #: Those that said no, those that take no query of this size, and why the others failed.
    refusals: list[tuple[Endpoint, RpcRejected]] = field(default_factory=list)
    takes_less: list[Endpoint] = field(default_factory=list)
    failure: ChainError | None = None

    @property
    def is_vain(self) -> bool:
        """Whether an endpoint gave no answer."""
        return bool(self.refusals or self.takes_less or self.failure)

    def ask(self, endpoint: Endpoint, query: LogQuery, read: Callable[[Any], list[Log]]) -> None:
        """Ask one more."""
        if endpoint.most_blocks < query.blocks:
            self.takes_less.append(endpoint)
            return
        try:
            answer = endpoint.logs(query, read)
            self.found = union([self.found or [], answer])
            self.answers += 1
        except ValueError:
            # The better endpoint's word counts.
            endpoint.distrust(RpcUnreachable(f"{endpoint.name} contradicts a better endpoint"))
        except RpcRejected as error:
            self.refusals.append((endpoint, error))
        except (RpcUnreachable, WrongChain) as error:
            self.failure = _graver(self.failure, error)


class Rpc:
    """Typed JSON-RPC calls on the best endpoint that answers. Thread safe.

    Args:
        endpoints: where they are, best first.
        chain_id: what each of them must serve.
        timeout: seconds for one whole call on one endpoint.
        transport: makes the connection to one.
        rate: calls a second on one endpoint, unless it has its own; None for no limit.
        burst: calls on one endpoint that may come at once, unless it has its own.
        cross_check: compare log queries with a second endpoint's answer.
        clock: monotonic seconds.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        endpoints: Sequence[str | Access],
        chain_id: int,
        timeout: float = 10,
        transport: Callable[[Access, float], Transport] = HttpTransport,
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
                access,
                transport(access, timeout),
                chain_id=chain_id,
                bucket=TokenBucket(access.rate or rate, access.burst or burst, clock),
                patience=timeout,
                clock=clock,
                sleep=sleep,
            )
            for access in (Access(e) if isinstance(e, str) else e for e in endpoints)
        ]

    def take_endpoints(self, other: Rpc) -> None:
        """Ask another's endpoints from now on, by its rules; calls on their way end where they are.

        Raises:
            WrongChain: the other is of another chain.
        """
        if other.chain_id != self.chain_id:
            raise WrongChain(f"the endpoints are of chain {other.chain_id}, not {self.chain_id}")
        self._endpoints, self._cross_check = other._endpoints, other._cross_check

    def health(self) -> list[EndpointHealth]:
        """How each endpoint does, best first."""
        return [endpoint.health() for endpoint in self._endpoints]

    def require_one_chain(self) -> None:
        """Ask every endpoint for its chain; those that are down are left for later.

        Raises:
            WrongChain: one serves another chain.
        """
        for endpoint in self._endpoints:
            with suppress(RpcUnreachable, RpcRejected):
                endpoint.ask("eth_chainId", [], _quantity)

    def send(self, method: str, params: list[Any]) -> Any:
        """One call, on the next endpoint when one does not answer.

        Raises:
            RpcUnreachable: none answered; says why the last one did not.
            RpcThrottled: all that answer want to be asked less often.
            RpcRejected: the chain's word (``executed``), or every endpoint refused the call.
            RpcUncertain: one refused the call for a trouble that passes, or no other could be asked.
            WrongChain: an endpoint serves another chain, and no other answered.
        """
        return self._ask(method, params, lambda result: result)

    def _ask(self, method: str, params: list[Any], read: Callable[[Any], T]) -> T:
        """`send`, and what ``read`` makes of the result; a result it cannot read is no answer."""
        failure: ChainError | None = None
        refusals: list[tuple[Endpoint, RpcRejected]] = []
        for endpoint in self._in_order(method):
            try:
                result = endpoint.ask(method, params, read)
            except RpcRejected as error:
                if not error.executed:
                    refusals.append((endpoint, error))
                    continue
                _contradict(method, refusals)
                raise
            except (RpcUnreachable, WrongChain) as error:
                failure = _graver(failure, error)
            else:
                _contradict(method, refusals)
                return result
        if refusals:
            raise _refused([error for _, error in refusals], len(self._endpoints))
        raise failure or self._all_throttled(self._endpoints)

    def _in_order(self, method: str) -> list[Endpoint]:
        """Whom to ask: the best first, then those that rest, but none that asked for its rest.

        Last are those that seem to lack the method: no other may be there to ask.
        """
        allowed = [each for each in self._endpoints if not each.is_forbidden]
        # Stable: equals stay in their order.
        return sorted(allowed, key=lambda endpoint: (endpoint.lacks(method), endpoint.resting))

    @property
    def _with_logs(self) -> list[Endpoint]:
        return [endpoint for endpoint in self._endpoints if endpoint.has_logs]

    def _all_throttled(self, endpoints: Sequence[Endpoint]) -> RpcThrottled:
        first = min(endpoints, key=lambda endpoint: endpoint.resting).health()
        seconds, why = first.resting, f": {first.trouble}" if first.trouble else ""
        return RpcThrottled(
            f"every RPC endpoint asked for a pause, the shortest for {seconds:.0f} s more{why}",
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
            raise RpcUnreachable("the RPC endpoint has no latest block", remedy=REMEDY)
        return head

    def logs(
        self, query: LogQuery, check: Callable[[Sequence[Log]], None] = lambda _: None
    ) -> list[Log]:
        """The events of a query, in chain order.

        An answer that contradicts the query, its headers or ``check`` is none. A second endpoint is
        asked when there is one, and more of them while a block's header speaks of events that
        nobody gave: what is missing in one answer is taken from the other. Whatever a second one
        says instead of an answer, the first one's is not doubted for it.

        Args:
            query: what to look for.
            check: raises ValueError for a list that cannot be true.

        Raises:
            RpcLimit: every endpoint that may be asked wants a smaller range, or refuses this one;
                ``blocks`` is what one may take.
            RpcUnreachable: none answered; a smaller range may help, too.
            RpcRejected: every endpoint refuses a single block.
        """

        def read(raw: Any) -> list[Log]:
            logs = _logs(raw)
            query.check(logs)
            check(logs)
            return logs

        order = [endpoint for endpoint in self._in_order("eth_getLogs") if endpoint.has_logs]
        needed = min(2 if self._cross_check else 1, len(order))
        state = _LogRound()
        # One that is alone may be asked again.
        for endpoint in order * 2 if len(order) == 1 else order:
            if len(order) == 1 and state.is_vain:
                break
            if state.answers >= needed and not query.silent(state.found or []):
                break
            state.ask(endpoint, query, read)
        if state.found is not None:
            _contradict("eth_getLogs", state.refusals, only_lacking=query.blocks > 1)
            return state.found
        raise self._no_logs(query.blocks, state)

    def _no_logs(self, blocks: int, state: _LogRound) -> ChainError:
        """What to raise when no endpoint answered a log query."""
        refusing = [endpoint for endpoint, _ in state.refusals]
        errors = [error for _, error in state.refusals]
        if blocks > 1 and (refusing or state.takes_less):
            most = max(endpoint.most_blocks for endpoint in (*refusing, *state.takes_less))
            why = errors[0].message if errors else f"no endpoint takes as many as {blocks} blocks"
            return RpcLimit(why, blocks=min(most, blocks - 1))
        if errors:
            return _refused(errors, len(self._with_logs))
        return state.failure or self._all_throttled(self._with_logs)

    @property
    def most_blocks(self) -> int:
        """Blocks of the largest log query that an endpoint may take, as far as is known."""
        return max(endpoint.most_blocks for endpoint in self._with_logs)

    def call(
        self,
        to: str | None,
        data: bytes,
        *,
        sender: str | None = None,
        gas: int | None = None,
        value: int = 0,
        block: int | None = None,
        read: Callable[[bytes], T],
    ) -> T:
        """What ``read`` makes of the return data of a call on the latest state, or a block's.

        Without ``to`` the data are run as creation code, and what that returns is the result.
        A ValueError of ``read`` is no answer: another endpoint is asked.

        Raises:
            RpcRejected: it reverted (``data`` holds the revert data) or could not run.
        """
        transaction: dict[str, str] = {"data": "0x" + data.hex()}
        if to is not None:
            transaction["to"] = to
        if sender is not None:
            transaction["from"] = sender
        if gas is not None:
            transaction["gas"] = hex(gas)
        if value:
            transaction["value"] = hex(value)
        tag = "latest" if block is None else hex(block)
        return self._ask("eth_call", [transaction, tag], lambda raw: read(_bytes(raw)))

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
        """The tip per gas that the endpoint suggests (wei).

        Where it knows no such method: what its gas price leaves above the base fee; where it has
        none of that either, a share of the base fee. A tip too low is raised when it is stuck.
        """
        with suppress(RpcRejected):
            return self._ask("eth_maxPriorityFeePerGas", [], _quantity)
        base_fee = self.head().base_fee
        with suppress(RpcRejected):
            return max(self._ask("eth_gasPrice", [], _quantity) - base_fee, 1)
        return max(base_fee // _TIP_SHARE, 1)

    def fee_history(self, blocks: int, percentile: int) -> FeeHistory:
        """Prices of the last ``blocks`` blocks, with a percentile of the tips in each.

        Raises:
            RpcRejected: no endpoint has such a method.
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
        UsageError: it is no HTTP address.
        RpcUnreachable: it does not say.
    """
    require_url(url)
    try:
        return _quantity(HttpTransport(url, timeout).send("eth_chainId", []))
    except (AttributeError, TypeError, ValueError):
        raise RpcUnreachable(
            f"{redacted(url)} does not say which chain it serves", remedy=REMEDY
        ) from None


def require_url(url: str) -> None:
    """Refuse what is no HTTP address of an endpoint.

    Raises:
        UsageError: it is none.
    """
    try:
        parts = urlsplit(url)
        # The port is only parsed, and refused, when it is asked for.
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        # What follows a host may be a key, and so may what stands before it.
        scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
        host = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
        raise UsageError(
            f"'{scheme}{mark}{host}' is not a URL of an HTTP endpoint",
            remedy="Give one like http://127.0.0.1:8545",
        )


def fewer_blocks(error: ChainError, blocks: int) -> int:
    """How many blocks to ask for next, where a log query of so many, more than one, failed."""
    known = error.blocks if isinstance(error, RpcLimit) else None
    return known or blocks // 2


def _contradict(
    method: str, refusals: Sequence[tuple[Endpoint, RpcRejected]], *, only_lacking: bool = False
) -> None:
    """Another endpoint answered what these refused: it was their own trouble."""
    for endpoint, error in refusals:
        lacks = isinstance(error, RpcUncertain) and error.lacks_method
        if lacks or not only_lacking:
            endpoint.contradicted(method, error)


def _refused(errors: Sequence[RpcRejected], asked: int) -> RpcRejected:
    """What to raise when some endpoints refused a call and none answered it.

    None of them rests: what all say may be the call's own doing, and a contract that is called
    must not be able to keep the endpoints from others.

    Args:
        errors: theirs, in the order of the endpoints.
        asked: how many endpoints there are to ask.
    """
    error = errors[0]
    if len(errors) == asked:
        lasting = [e for e in errors if isinstance(e, RpcUncertain) and not e.passing]
        if len(lasting) == len(errors):
            return RpcRejected(error.message, remedy=error.remedy, executed=False)
        return error
    if isinstance(error, RpcLimit):
        return error
    return RpcUncertain(error.message, remedy=error.remedy)


def _graver(first: ChainError | None, second: ChainError) -> ChainError:
    """Of two endpoints' failures the one to tell: a wrong chain does not pass by itself."""
    return first if isinstance(first, WrongChain) else second


def redacted(url: str) -> str:
    """A URL's scheme, host and port: API keys travel in user, path and query."""
    parts = urlsplit(url)
    host = parts.hostname or "?"
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


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


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an endpoint asks to be left alone (RFC 9110, 10.2.3); None if it does not say."""
    text = headers.get("Retry-After", "")
    try:
        if text.isdigit():
            return float(text)
        # A date, by the endpoint's own clock.
        asked, now = (parsedate_to_datetime(header) for header in (text, headers.get("Date", "")))
        return max(0.0, (asked - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _json(content: bytes) -> Any:
    """What an answer holds; None when it is no JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
