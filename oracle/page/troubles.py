"""What went wrong last: equal things are one line with their number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from oracle.health import Health
from oracle.log import request_hex
from oracle.page.texts import shown
from oracle.store.ledger import Store
from oracle.store.states import RequestState

#: Lines that are shown, and requests of each bad end that they are made from.
_LINES = 12
_ENDS = 100
#: Ends that an operator wants to hear of, and the code of one that gives no other.
_BAD_ENDS: Mapping[RequestState, str] = {
    RequestState.FAILED: "FAILED",
    RequestState.EXPIRED: "EXPIRED",
    RequestState.SKIPPED: "SKIPPED",
}
#: As errors and as reasons to skip a request have it.
_CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*|[a-z][a-z0-9]*(_[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """Something that went wrong, once or several times."""

    #: When it did last.
    at: float
    code: str
    #: Of the last time, as `where`.
    detail: str
    #: The service, the endpoint, or the request's id.
    where: str
    #: The state of the requests that it ended; empty for a service or an endpoint.
    state: str = ""
    #: How often, and since when; of each end the newest hundred requests are counted.
    count: int = 1
    since: float = 0.0


def errors(store: Store, health: Health, now: float) -> tuple[ErrorLine, ...]:
    """The last ones, newest first."""
    lines: dict[tuple[str, str], ErrorLine] = {}
    for line in sorted(_each(store, health, now), key=lambda line: -line.at):
        key = line.code, line.state or line.where
        last = lines.get(key)
        lines[key] = (
            replace(line, since=line.at)
            if last is None
            else replace(last, count=last.count + 1, since=line.at)
        )
    return tuple(lines.values())[:_LINES]


def _each(store: Store, health: Health, now: float) -> Iterator[ErrorLine]:
    for watched in health.watched:
        for age, code, detail in watched.pulse.recent():
            yield ErrorLine(now - age, code, shown(detail), watched.name)
    services = {watched.name for watched in health.watched}
    for trouble in store.troubles():
        if trouble.subject not in services:
            yield ErrorLine(
                trouble.since, trouble.code, shown(trouble.detail), shown(trouble.subject)
            )
    for state, code in _BAD_ENDS.items():
        for request_id, at, reason in store.ended_so(state, _ENDS):
            yield _ended(at, reason, code, request_hex(request_id), state)


def _ended(at: float, reason: str, code: str, where: str, state: RequestState) -> ErrorLine:
    """A request's bad end; most reasons begin with their own code."""
    head, colon, detail = reason.partition(": ")
    if colon and _CODE.fullmatch(head):
        return ErrorLine(at, head, shown(detail), where, state.value)
    return ErrorLine(at, code, shown(reason), where, state.value)
