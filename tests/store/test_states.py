"""The table of states is whole, and the store obeys it."""

from __future__ import annotations

from itertools import product

import pytest

from oracle.store.ledger import Store
from oracle.store.states import (
    ENDED,
    INTENT_STEPS,
    JOB_STEPS,
    REQUEST_STEPS,
    UNSENT,
    IntentState,
    JobState,
    RequestState,
)

from .makers import force_state, make_request


@pytest.mark.parametrize(
    ("states", "steps"),
    [(RequestState, REQUEST_STEPS), (JobState, JOB_STEPS), (IntentState, INTENT_STEPS)],
)
def test_table__names_every_state(states: type, steps: dict) -> None:
    assert set(steps) == set(states)


def test_table__every_request_state__can_be_reached_from_seen() -> None:
    reached = {RequestState.SEEN}
    while True:
        further = reached.union(*(REQUEST_STEPS[state] for state in reached))
        if further == reached:
            break
        reached = further
    assert reached == set(RequestState)


def test_table__every_unfinished_request__can_become_final() -> None:
    finishing = {RequestState.FINAL}
    while True:
        more = finishing | {s for s, steps in REQUEST_STEPS.items() if steps & finishing}
        if more == finishing:
            break
        finishing = more
    on_the_way = set(RequestState) - set(ENDED)
    assert on_the_way <= finishing


def test_table__unsent_requests__have_no_transaction_behind_them() -> None:
    assert not {RequestState.PENDING, RequestState.MINED, RequestState.FINAL} & set(UNSENT)


def test_move__every_pair__follows_the_table(store: Store) -> None:
    request = make_request()
    store.add_request(request)
    request_id = request.key.request_id
    for source, target in product(RequestState, RequestState):
        force_state(store, request_id, source)
        if target in REQUEST_STEPS[source]:
            assert store.move(request_id, source, target, "why")
            row = store.request(request_id)
            assert row is not None
            assert (row.state, row.reason) == (target, "why")
            assert store.history(request_id)[-1].state is target
        else:
            with pytest.raises(ValueError, match="no step"):
                store.move(request_id, source, target)


def test_move__from_another_state_than_the_present__changes_nothing(store: Store) -> None:
    request = make_request()
    store.add_request(request)
    request_id = request.key.request_id
    assert not store.move(request_id, RequestState.ACCEPTED, RequestState.QUEUED)
    assert [step.state for step in store.history(request_id)] == [RequestState.SEEN]
