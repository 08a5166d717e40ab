"""Requests as an onlooker sees them: a page at a time, newest first.

A page is named by the place of its first request, so that it stays the same while new requests
arrive. Of one state, or one model in one state, places are read off an index; of several states,
off each of them and merged. An id's first digits are looked for among ids alone: what is found is
sorted here, and too much of it is refused rather than sorted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from oracle.errors import UsageError
from oracle.ids import IdRange
from oracle.store.database import Database, Row
from oracle.store.records import Sighting, read_mined_note
from oracle.store.states import RequestState

#: Ids with the same first digits that are looked through.
MATCHES = 1_000

#: Block, log index and the id's text: two requests may have the first two alike after a reorg.
Spot = tuple[int, int, str]
#: After every request.
NEWEST: Spot = (2**63 - 1, 2**63 - 1, "g")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests; all by default."""

    #: Empty for any.
    states: frozenset[RequestState] = frozenset()
    model_id: int | None = None
    #: Any id in one of them; None for any id.
    ids: tuple[IdRange, ...] | None = None


@dataclass(frozen=True, slots=True)
class Turned:
    """A page."""

    sightings: tuple[Sighting, ...]
    #: Where the page begins that holds older ones; None if there are none.
    older: Spot | None
    #: Where the page begins that holds newer ones; None if that is the newest page.
    newer: Spot | None
    #: How many are newer than this page, a page's worth at most.
    ahead: int


class Pages:
    """Reads pages of requests.

    Args:
        database: the ledger's.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def turn(self, wanted: Wanted, at: Spot, limit: int) -> Turned:
        """The page of ``limit`` requests that begins at ``at``.

        Raises:
            UsageError: so many ids begin as wanted that they cannot be sorted.
        """
        if wanted.ids is not None:
            back, on = self._found(wanted.ids, wanted, at, limit)
        else:
            back = self._walk("back", wanted, at, limit + 1)
            on = self._walk("on", wanted, at, limit) if at < NEWEST else []
        return Turned(
            sightings=self.sightings(spot[2] for spot in back[:limit]),
            older=back[limit] if len(back) > limit else None,
            newer=on[limit - 1] if len(on) >= limit else None,
            ahead=len(on),
        )

    def sightings(self, names: Iterable[str]) -> tuple[Sighting, ...]:
        """Requests by their ids' text, newest first; unknown ones are left out."""
        rows = self._db.rows("sightings", ids=json.dumps(list(names)))
        return tuple(map(_sighting, rows))

    def _walk(self, way: str, wanted: Wanted, at: Spot, limit: int) -> list[Spot]:
        """Places back from ``at``, itself included, or on from it."""
        values: dict[str, Any] = {
            "block": at[0],
            "log_index": at[1],
            "request_id": at[2],
            "limit": limit,
        }
        if wanted.model_id is not None:
            states = wanted.states or frozenset(RequestState)
            values["model_id"] = str(wanted.model_id)
            rows = self._in_states(f"places_{way}_of_model", states, values)
        elif wanted.states:
            rows = self._in_states(f"places_{way}_in_state", wanted.states, values)
        else:
            rows = list(self._db.rows(f"places_{way}", **values))
        return sorted(map(_spot, rows), reverse=way == "back")[:limit]

    def _in_states(
        self, name: str, states: Iterable[RequestState], values: dict[str, Any]
    ) -> list[Row]:
        return [row for state in states for row in self._db.rows(name, state=state, **values)]

    def _found(
        self, ids: Iterable[IdRange], wanted: Wanted, at: Spot, limit: int
    ) -> tuple[list[Spot], list[Spot]]:
        """Both ways among ids of these ranges."""
        rows: dict[str, Row] = {}
        for each in ids:
            found = self._db.rows(
                "places_of_ids",
                low=each.low,
                high=each.high,
                shortest=each.shortest,
                longest=each.longest,
                limit=MATCHES + 1 - len(rows),
            )
            rows |= {row["request_id"]: row for row in found}
            if len(rows) > MATCHES:
                raise UsageError(
                    f"more than {MATCHES} ids begin so", remedy="Write more digits of the id"
                )
        spots = sorted(_spot(row) for row in rows.values() if _is_wanted(row, wanted))
        return (
            [spot for spot in reversed(spots) if spot <= at][: limit + 1],
            [spot for spot in spots if spot > at][:limit],
        )


def transaction_of(row: Row, sent: bytes | None) -> tuple[bytes | None, int | None]:
    """The transaction that answered a request, with its gas; else the last one sent for it.

    They differ when one was replaced and mined all the same.
    """
    mined = read_mined_note(row["mined"] or "")
    if row["state"] in (RequestState.MINED, RequestState.FINAL) and mined is not None:
        return mined
    return None if sent is None else bytes(sent), None


def _is_wanted(row: Row, wanted: Wanted) -> bool:
    return (not wanted.states or row["state"] in wanted.states) and (
        wanted.model_id is None or row["model_id"] == str(wanted.model_id)
    )


def _spot(row: Row) -> Spot:
    return row["block_number"], row["log_index"], row["request_id"]


def _outputs(text: str | None) -> tuple[int, ...] | None:
    """The numbers of a proof; none at all where the store holds something else in their place."""
    if text is None:
        return None
    try:
        return tuple(map(int, json.loads(text)))
    except (ValueError, TypeError):
        return ()


def _sighting(row: Row) -> Sighting:
    transaction, gas = transaction_of(row, row["sent"])
    return Sighting(
        request_id=int(row["request_id"], 16),
        model_id=int(row["model_id"]),
        state=RequestState(row["state"]),
        reason=row["reason"],
        place=(row["block_number"], row["log_index"]),
        input=row["input"],
        seen_at=row["seen_at"],
        updated_at=row["updated_at"],
        prove_seconds=row["prove_time"],
        rows=row["size"],
        gas=gas,
        transaction=transaction,
        outputs=_outputs(row["outputs"]),
        row=row["position"] if row["joined"] else None,
    )
