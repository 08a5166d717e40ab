"""What a reader asks for: an address's parameters, checked."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from oracle.errors import UsageError
from oracle.ids import ranges_of
from oracle.page.stages import STAGES
from oracle.services.http import Query
from oracle.store.pages import NEWEST, Spot, Wanted
from oracle.store.states import RequestState

#: Requests on a page, unless the reader says, and at most.
LIMIT = 25
MOST = 200
_NAMES = ("stage", "state", "model", "id", "at", "limit")
_SPOT = re.compile(r"([0-9]{1,19})-([0-9]{1,19})-(0x[0-9a-f]{1,64})")
_ID = re.compile(r"0x[0-9a-f]{64}")
#: Characters of a value that an error repeats.
_REPEATED = 80


@dataclass(frozen=True, slots=True)
class Asked:
    """Which page of which requests."""

    wanted: Wanted
    at: Spot
    limit: int


def read_page(query: Query) -> Asked:
    """The page that an address asks for.

    Raises:
        UsageError: it asks for what there cannot be.
    """
    for name in query:
        if name not in _NAMES:
            raise UsageError(
                f"there is no parameter {_quoted(name)}", remedy=f"Use {', '.join(_NAMES)}"
            )
    model = _number(query, "model", 2**256 - 1)
    return Asked(
        Wanted(
            states=_states(query.get("stage"), query.get("state")),
            model_id=model,
            ids=ranges_of(query["id"]) if query.get("id", "").strip() else None,
        ),
        at=_place(query["at"]) if "at" in query else NEWEST,
        limit=_limit(query),
    )


def read_one(query: Query) -> int:
    """The request that an address asks for.

    Raises:
        UsageError: it names none.
    """
    if set(query) != {"id"} or not _ID.fullmatch(query["id"]):
        raise UsageError("no request is named", remedy="Ask with id=0x and 64 hex digits")
    return int(query["id"], 16)


def written(spot: Spot) -> str:
    """The inverse of what ``at`` is read by."""
    return f"{spot[0]}-{spot[1]}-{spot[2]}"


def _states(stage: str | None, state: str | None) -> frozenset[RequestState]:
    states = frozenset(RequestState)
    if stage is not None:
        if stage not in STAGES:
            raise UsageError(
                f"there is no stage {_quoted(stage)}", remedy=f"Use {', '.join(STAGES)}"
            )
        states &= frozenset(STAGES[stage])
    if state is not None:
        if state not in set(RequestState):
            raise UsageError(
                f"there is no state {_quoted(state)}", remedy=f"Use {', '.join(RequestState)}"
            )
        states &= {RequestState(state)}
    if not states:
        raise UsageError(f"no request of stage {stage} is {state}", remedy="Use one of the two")
    return frozenset() if len(states) == len(RequestState) else states


def _limit(query: Query) -> int:
    limit = _number(query, "limit", MOST)
    if limit == 0:
        raise UsageError("a page has one request at least", remedy="Use limit=1 or more")
    return LIMIT if limit is None else limit


def _number(query: Query, name: str, most: int) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and int(text) <= most:
        return int(text)
    raise UsageError(f"{name} cannot be {_quoted(text)}", remedy=f"Use 0 to {most}")


def _place(text: str) -> Spot:
    found = _SPOT.fullmatch(text)
    if found is None or max(int(found[1]), int(found[2])) > NEWEST[0]:
        raise UsageError(
            f"at cannot be {_quoted(text)}", remedy="Use what a page gave as older or newer"
        )
    return int(found[1]), int(found[2]), found[3]


def _quoted(text: str) -> str:
    """Foreign text on one line, in ASCII."""
    return json.dumps(text[:_REPEATED])
