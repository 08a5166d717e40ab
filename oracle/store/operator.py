"""The operator's word on requests, and the whole ledger for other programs.

Everything here is safe beside a running node: it goes through the store, and the node honours it
in its next step. Several names are all done or none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from oracle.errors import RequestBusy, RequestUnknown
from oracle.log import request_hex
from oracle.store.ledger import Store
from oracle.store.records import ExportRow, RequestRow
from oracle.store.states import ENDED, UNSENT, RequestState

#: What reasons that are the operator's begin with.
REASON = "operator"
#: Ends that a request may be taken back from.
_REFUSED = (RequestState.SKIPPED, RequestState.FAILED, RequestState.EXPIRED)
#: Rows of the ledger that are read at once.
_PAGE = 1_000
#: Most digits of a job's id.
_JOB_DIGITS = 64


def cancel(store: Store, names: Sequence[str]) -> list[RequestRow]:
    """End requests for this node: a running proof stops, a finished one is not sent.

    Args:
        store: opened for the operator.
        names: request ids, or unique beginnings of them.

    Returns:
        the requests as they were.

    Raises:
        RequestUnknown: no request, or several, have such a name.
        RequestBusy: one is sent, or has ended.
    """
    with store.transaction():
        rows = [_request(store, name) for name in names]
        for row in rows:
            if row.state not in (*UNSENT, RequestState.FAILED) and not _is_early(store, row):
                raise _busy(row, "cancelled")
            store.move(row.request_id, row.state, RequestState.CANCELLED, f"{REASON}: cancelled")
    return rows


def requeue(store: Store, names: Sequence[str]) -> list[RequestRow]:
    """Have requests decided on anew that were skipped, failed, or cancelled by the operator.

    Whether they still have time is the chain's to say, as of the newest block that a node saw: one
    that was given up too early is taken back, too.

    Args:
        store: opened for the operator.
        names: ids of requests or of jobs, or unique beginnings of them. A job stands for those of
            its requests that can be taken back.

    Returns:
        the requests as they were.

    Raises:
        RequestUnknown: no request or job, or several, have such a name.
        RequestBusy: one is on its way, or has ended for good.
    """
    with store.transaction():
        rows = {row.request_id: row for name in names for row in _takeable_back(store, name)}
        for row in rows.values():
            store.move(row.request_id, row.state, RequestState.SEEN, f"{REASON}: taken up again")
    return list(rows.values())


def export(store: Store, since: float = 0) -> Iterator[ExportRow]:
    """Every request that moved since a time (seconds since the epoch), in chain order."""
    last: ExportRow | None = None
    while True:
        page = store.exported(last, since, _PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1]


def _takeable_back(store: Store, name: str) -> list[RequestRow]:
    # A name longer than any job's is a request's in decimal.
    if name.startswith("0x") or len(name) > _JOB_DIGITS:
        row = _request(store, name)
        if not _is_refused(row):
            raise _busy(row, "taken up again")
        if not _has_time(store, row):
            raise _late(row)
        return [row]
    found = store.find_jobs(name)
    if len(found) != 1:
        raise _unknown("job", name, len(found))
    rows = store.requests_in_proof(found[0].job_id)
    able = [row for row in rows if _is_refused(row) and _has_time(store, row)]
    if not able:
        raise RequestBusy(
            f"no request of job {found[0].job_id} was skipped, failed or cancelled and has time left"
        )
    return able


def _has_time(store: Store, row: RequestRow) -> bool:
    """Whether the chain would still take an answer, as of the newest block that a node saw."""
    cursor = store.cursor()
    return cursor is None or not cursor.has_passed(row.request.deadline)


def _is_early(store: Store, row: RequestRow) -> bool:
    """Whether a request was given up though it has time: the node will take it back."""
    return row.state is RequestState.EXPIRED and _has_time(store, row)


def _is_refused(row: RequestRow) -> bool:
    return row.state in _REFUSED or (
        row.state is RequestState.CANCELLED and row.reason.startswith(f"{REASON}:")
    )


def _request(store: Store, name: str) -> RequestRow:
    found = store.find_requests(name)
    if len(found) != 1:
        raise _unknown("request", name, len(found))
    return found[0]


def _unknown(kind: str, name: str, found: int) -> RequestUnknown:
    if found:
        return RequestUnknown(
            f"several {kind}s begin with {name}", remedy="Write more digits of the id"
        )
    return RequestUnknown(
        f"the store knows no {kind} {name}",
        remedy="See the ids with: oracle node status --json, or oracle node export",
    )


def _late(row: RequestRow) -> RequestBusy:
    name = request_hex(row.request_id)
    return RequestBusy(
        f"the deadline of request {name} has passed on the chain",
        remedy=f"Whoever asked can have the money given back with: oracle refund {name}",
    )


def _busy(row: RequestRow, what: str) -> RequestBusy:
    if row.state is RequestState.EXPIRED:
        return _late(row)
    text = f"request {request_hex(row.request_id)} is {row.state} and cannot be {what}"
    if row.state in (RequestState.PENDING, RequestState.MINED):
        return RequestBusy(text, remedy="Its transaction is sent: wait for its end")
    if row.state in ENDED:
        return RequestBusy(text, remedy="It has ended: nothing is left to do")
    return RequestBusy(text, remedy="It is on its way: nothing is to be done")
