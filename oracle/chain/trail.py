"""All that the chain's logs say of one request, or of one model's end.

Endpoints limit how many blocks a query may cover. What is looked for is mostly young, so the newest
blocks are read first, in steps that the endpoint takes, back to where the story begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from oracle.chain.codec import ContractAbi
from oracle.chain.contracts import OracleContract, Status
from oracle.chain.evidence import Log, LogQuery
from oracle.chain.rpc import Rpc, fewer_blocks
from oracle.errors import RequestUnknown, RpcLimit, RpcUnreachable, UsageError
from oracle.ids import read_id
from oracle.types import Request

T = TypeVar("T")

#: Events of a request, by the position of its id among their indexed fields.
_TRAIL = (
    (
        *("RequestOpened", "RequestRelayed", "RequestToppedUp", "RequestSkipped"),
        *("RequestFulfilled", "CallbackRetried", "RequestRefunded"),
    ),
    ("AICallbackRequest", "AICallbackResult"),
)


@dataclass(frozen=True, slots=True)
class Happening:
    """One event of a request."""

    #: The event's name in `IInferenceOracle` or `IAIOracle`.
    event: str
    fields: dict[str, Any]
    block_number: int
    transaction_hash: bytes


@dataclass(frozen=True, slots=True)
class Trail:
    """All that the chain's logs say of one request."""

    #: As it was asked, with its present gas money; None when there is no such request.
    request: Request | None
    #: In chain order.
    happenings: tuple[Happening, ...]

    def last(self, event: str) -> Happening | None:
        """The newest event of this name."""
        return next((each for each in reversed(self.happenings) if each.event == event), None)


def trail_of(rpc: Rpc, oracle: OracleContract, request_id: int, first: int, last: int) -> Trail:
    """A request's events in blocks ``first`` to ``last``.

    Raises:
        RpcRejected, RpcUnreachable: no endpoint even gives single blocks.
    """
    abi = ContractAbi.of("InferenceOracle")
    logs: list[tuple[str, Log]] = []
    fetch = partial(_request_logs, rpc, abi, oracle.address, request_id)
    for page in _newest_first(fetch, first, last):
        logs[:0] = page
        if any(name == "AICallbackRequest" for name, _ in page):
            break
    happenings = tuple(
        Happening(name, abi.event(name, log), log.block_number, log.transaction_hash)
        for name, log in logs
    )
    newest = dict(logs)
    if not newest.keys() >= {"AICallbackRequest", "RequestOpened"}:
        return Trail(None, happenings)
    made, opened = newest["AICallbackRequest"], newest["RequestOpened"]
    fields = abi.event("AICallbackRequest", made), abi.event("RequestOpened", opened)
    request = oracle.read(made, *fields)
    if "RequestToppedUp" in newest:
        raised = abi.event("RequestToppedUp", newest["RequestToppedUp"])
        request = replace(request, gas_money=raised["gasMoney"])
    return Trail(request, happenings)


def find_id(rpc: Rpc, oracle: OracleContract, name: str, first_block: int, last_block: int) -> int:
    """The id that a name stands for: whole, or the first digits of one request's.

    Raises:
        UsageError: the name is none, or several ids begin with it.
        RequestUnknown: no request's id begins with it.
        RpcLimit: the endpoint does not even take single blocks.
    """
    digits = read_id(name)
    if isinstance(digits, int):
        return digits
    # Programs leave leading zeros out.
    whole = int(digits, 16)
    if oracle.status(whole) is not Status.UNKNOWN:
        return whole
    abi = ContractAbi.of("InferenceOracle")
    topics = {abi.topic("RequestOpened"): "RequestOpened"}
    fetch = partial(_logs, rpc, abi, oracle.address, topics, ())
    found = {
        log.topics[1]
        for page in _newest_first(fetch, first_block, last_block)
        for log in page
        if log.topics[1].hex().startswith(digits)
    }
    if len(found) > 1:
        raise UsageError(
            f"the ids of {len(found)} requests begin with 0x{digits}",
            remedy="Write more digits of the id",
        )
    if not found:
        raise RequestUnknown(
            f"no request since block {first_block} has an id that begins with 0x{digits}",
            remedy="Check the id, the oracle's address, the chain and the first block",
        )
    return int.from_bytes(found.pop(), "big")


def closing_of(rpc: Rpc, registry: str, model_id: int, first: int, last: int) -> Happening | None:
    """The event with which a model was closed in blocks ``first`` to ``last``.

    Raises:
        RpcRejected, RpcUnreachable: no endpoint even gives single blocks.
    """
    abi = ContractAbi.of("ModelRegistry")
    closed, topic = abi.topic("ModelClosed"), model_id.to_bytes(32, "big")
    fetch = partial(_logs, rpc, abi, registry, {closed: "ModelClosed"}, (topic,))
    for page in _newest_first(fetch, first, last):
        for log in page:
            fields = abi.event("ModelClosed", log)
            return Happening("ModelClosed", fields, log.block_number, log.transaction_hash)
    return None


def _request_logs(
    rpc: Rpc, abi: ContractAbi, oracle: str, request_id: int, first: int, last: int
) -> list[tuple[str, Log]]:
    topic = request_id.to_bytes(32, "big")
    found: list[tuple[str, Log]] = []
    for position, events in enumerate(_TRAIL):
        names = {abi.topic(name): name for name in events}
        indexed = (*[None] * position, topic)
        logs = _logs(rpc, abi, oracle, names, indexed, first, last)
        found += [(names[log.topics[0]], log) for log in logs]
    return sorted(found, key=lambda each: (each[1].block_number, each[1].log_index))


def _logs(
    rpc: Rpc,
    abi: ContractAbi,
    address: str,
    topics: Mapping[bytes, str],
    indexed: Sequence[bytes | None],
    first: int,
    last: int,
) -> list[Log]:
    query = LogQuery(address, tuple(topics), first, last, indexed=tuple(indexed))
    logs = rpc.logs(query, partial(_check, abi, topics))
    # There are endpoints that filter by the first topic only.
    return [
        log
        for log in logs
        if all(want in (None, has) for want, has in zip(indexed, log.topics[1:], strict=False))
    ]


def _check(abi: ContractAbi, topics: Mapping[bytes, str], logs: Sequence[Log]) -> None:
    """Refuse a list with a log that the contract does not emit.

    Raises:
        ValueError: there is one.
    """
    for log in logs:
        abi.event(topics[log.topics[0]], log)


def _newest_first(fetch: Callable[[int, int], list[T]], first: int, last: int) -> Iterator[list[T]]:
    """What blocks ``first`` to ``last`` hold, from the newest back, in steps the endpoint takes."""
    step = last - first + 1
    while last >= first:
        low = max(first, last - step + 1)
        try:
            page = fetch(low, last)
        except (RpcLimit, RpcUnreachable) as error:
            # A query that is too large may end in a timeout, or in a gateway's 504.
            if low == last:
                raise
            step = fewer_blocks(error, last - low + 1)
            continue
        yield page
        last = low - 1
