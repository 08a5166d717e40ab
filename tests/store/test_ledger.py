"""The ledger: guarded steps, nonces, recovery, what survives a restart."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.errors import DutyLost, StoreError, StoreMismatch
from oracle.store.database import Location
from oracle.store.ledger import START, Store
from oracle.store.records import Trouble
from oracle.store.states import UNSENT, IntentState, JobState, RequestState

from .makers import (
    ACCOUNT,
    BIG,
    ORACLE,
    accept,
    force_state,
    make_attempt,
    make_proof,
    make_request,
    make_store,
    see_head,
)


def send(store: Store, request_id: int, nonce: int, hash_: bytes = b"x" * 32) -> bool:
    return store.add_intent(
        [request_id],
        make_attempt(hash_),
        job_id=f"job{request_id}",
        account=ACCOUNT,
        nonce=nonce,
        gas=1,
        ceiling=BIG,
    )


def prove(store: Store, request_id: int = 7) -> None:
    accept(store, make_request(request_id), f"job{request_id}")
    assert store.claim_job(1000, 60)
    assert store.finish_job(make_proof(f"job{request_id}"))


uint256 = st.integers(0, BIG)
uint64 = st.integers(0, 2**64 - 1)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    request_id=uint256,
    model_id=uint256,
    deadline=uint64,
    gas=uint64,
    fee=uint256,
    data=st.binary(max_size=64),
)
def test_request__any_numbers__come_back_as_they_went_in(
    store: Store,
    request_id: int,
    model_id: int,
    deadline: int,
    gas: int,
    fee: int,
    data: bytes,
) -> None:
    request = make_request(
        request_id,
        model_id=model_id,
        deadline=deadline,
        callback_gas=gas,
        fee=fee,
        gas_money=fee,
        input=data,
        callback_data=data,
    )
    if store.add_request(request):
        row = store.request(request_id)
        assert row is not None
        assert row.request == request


def test_add_request__known__is_left_alone(store: Store) -> None:
    assert store.add_request(make_request())
    assert store.move(7, RequestState.SEEN, RequestState.ACCEPTED)
    assert not store.add_request(make_request(model_id=2))
    row = store.request(7)
    assert row is not None
    assert (row.state, row.request.model_id) == (RequestState.ACCEPTED, 1)


def test_transaction__fails__leaves_nothing(store: Store) -> None:
    def add_and_fail() -> None:
        with store.transaction():
            store.add_request(make_request())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        add_and_fail()
    assert store.request(7) is None


def test_claim_job__two_threads__one_gets_it(store: Store) -> None:
    accept(store, make_request())
    got = []
    start = threading.Barrier(4)

    def claim() -> None:
        start.wait()
        got.append(store.claim_job(1000, 60))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(job is not None for job in got) == 1


def test_enqueue__statement_proved_before__goes_straight_to_proved(store: Store) -> None:
    store.start_cursor(9, 10)
    prove(store)
    assert store.rewind(4) == [7]
    assert store.add_request(make_request(block_number=6))
    assert store.move(7, RequestState.SEEN, RequestState.ACCEPTED)
    assert store.enqueue([7], "job7", "bundle", size=1, memory_bytes=1)
    row = store.request(7)
    assert row is not None
    assert row.state is RequestState.PROVED
    job = store.job("job7")
    assert job is not None
    assert job.outputs == (-3, 2**100)


def test_finish_job__cancelled_meanwhile__is_refused(store: Store) -> None:
    accept(store, make_request())
    store.claim_job(1000, 60)
    assert store.move(7, RequestState.RUNNING, RequestState.EXPIRED)
    assert store.cancel_unwanted_jobs() == ["job"]
    assert not store.finish_job(make_proof("job"))
    job = store.job("job")
    assert job is not None
    assert job.state is JobState.CANCELLED


def test_live_leases__lapse_with_time(store: Store) -> None:
    accept(store, make_request())
    store.claim_job(1000, 60)
    assert store.live_leases(1059) == 1
    assert store.live_leases(1060) == 0
    assert [job.job_id for job in store.lapsed_leases(1060)] == ["job"]


def test_next_nonce__is_above_chain_and_ledger(store: Store) -> None:
    assert store.next_nonce(ACCOUNT, 3) == 3
    prove(store)
    assert send(store, 7, 3)
    assert store.next_nonce(ACCOUNT, 3) == 4
    assert store.next_nonce(ACCOUNT, 9) == 9
    assert store.next_nonce(ORACLE, 0) == 0


def test_add_intent__nonce_given_twice__is_impossible(store: Store) -> None:
    prove(store, 7)
    prove(store, 8)
    assert send(store, 7, 0)
    with pytest.raises(StoreError, match=r"(?i)unique"):
        send(store, 8, 0, b"y" * 32)
    row = store.request(8)
    assert row is not None
    assert row.state is RequestState.PROVED


def test_add_intent__nonce_of_a_displaced_intent__may_be_given_again(store: Store) -> None:
    prove(store)
    assert send(store, 7, 0)
    (first,) = store.intents(IntentState.PENDING)
    assert store.move_intent(first, IntentState.DISPLACED)
    assert store.move(7, RequestState.PENDING, RequestState.PROVED)
    assert store.next_nonce(ACCOUNT, 0) == 0
    # The same nonce at the same price is the same transaction.
    assert send(store, 7, 0)
    (second,) = store.intents(IntentState.PENDING)
    assert [attempt.hash for attempt in second.attempts] == [b"x" * 32]


def test_end_by_a_transaction_that_is_not_followed_any_more__is_that_ones(store: Store) -> None:
    """The fault run's seed 3: the one that is followed is in vain for it."""
    prove(store)
    assert send(store, 7, 3)
    (first,) = store.intents(IntentState.PENDING)
    assert store.move_intent(first, IntentState.MINED, 5)
    assert store.move(7, RequestState.PENDING, RequestState.PROVED)
    assert send(store, 7, 4, b"y" * 32)
    assert not store.end_unsent(7, RequestState.LOST, "another was first", 5, b"x" * 32)
    row = store.request(7)
    assert row is not None
    assert row.state is RequestState.MINED


def test_sendable__leaves_out_who_pays_too_little_and_pages_in_chain_order(store: Store) -> None:
    for request_id in (1, 2, 3, 4):
        accept(store, make_request(request_id, log_index=request_id), f"job{request_id}")
        assert store.claim_job(1000, 60)
        assert store.finish_job(make_proof(f"job{request_id}"))
    store.set_ceiling(2, 10)
    store.set_ceiling(3, BIG)

    def ids(least: int, after: tuple[int, int] = START, limit: int = 9) -> list[int]:
        return [row.request_id for row in store.sendable(least, after, limit)]

    assert ids(10) == [1, 2, 3, 4]
    assert ids(11) == ids(BIG) == [1, 3, 4]
    assert ids(11, limit=2) == [1, 3]
    assert ids(11, after=(5, 3)) == [4]


def test_skipped_for__gives_those_with_the_reason_and_time_left(store: Store) -> None:
    reasons = {1: "fee_low: 1 wei", 2: "no_bundle: none", 3: "fee_low: 2 wei", 4: ""}
    for request_id, reason in reasons.items():
        deadline = 999 if request_id == 3 else 2000
        store.add_request(make_request(request_id, log_index=request_id, deadline=deadline))
        store.move(request_id, RequestState.SEEN, RequestState.SKIPPED, reason)
    see_head(store, 1000)
    found = store.skipped_for({"fee_low", "deadline_near"}, START, 9)
    assert [row.request_id for row in found] == [1]
    assert store.skipped_for({"fee_low"}, found[0].place, 9) == []


def test_reconsider__takes_back_skips_and_named_failures_that_have_time(store: Store) -> None:
    for request_id in (1, 2, 3, 4):
        deadline = 999 if request_id == 4 else 2000
        accept(store, make_request(request_id, deadline=deadline), f"job{request_id}")
    for request_id, code in ((1, "PROVER_CRASHED"), (2, "PROVER_INPUT"), (4, "PROVER_CRASHED")):
        store.move(request_id, RequestState.QUEUED, RequestState.FAILED, f"{code}: why.")
    store.add_request(make_request(5))
    store.move(5, RequestState.SEEN, RequestState.SKIPPED, "no_bundle: none")
    see_head(store, 1000)
    assert store.reconsider({"PROVER_CRASHED"}) == 2
    states = {row.request_id: row.state for row in store.recent(9)}
    assert states == {
        1: RequestState.SEEN,
        2: RequestState.FAILED,
        3: RequestState.QUEUED,
        4: RequestState.FAILED,
        5: RequestState.SEEN,
    }
    assert [step.reason for step in store.history(1)][-1] == "looked at again"
    assert RequestState.SEEN not in [step.state for step in store.history(2)[1:]]


def test_add_intent__request_not_proved_any_more__stores_nothing(store: Store) -> None:
    prove(store)
    assert store.move(7, RequestState.PROVED, RequestState.LOST)
    assert not send(store, 7, 0)
    assert store.intents(IntentState.PENDING) == []


def test_recover__requeues_and_forgets_broadcasts(store: Store) -> None:
    prove(store, 7)
    send(store, 7, 0)
    store.set_broadcast(b"x" * 32)
    accept(store, make_request(8), "job8")
    store.claim_job(1000, 60)
    assert store.recover() == (1, 0)
    (intent,) = store.intents(IntentState.PENDING)
    assert intent.attempts[0].broadcast_at is None
    assert intent.attempts[0].raw == b"raw"
    job = store.job("job8")
    assert job is not None
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)


def test_rewind__undoes_what_came_after_and_nothing_else(store: Store) -> None:
    store.start_cursor(3, 10)
    store.advance(6, [(4, b"4"), (5, b"5"), (6, b"6")])
    store.add_request(make_request(1, block_number=4))
    store.add_request(make_request(2, block_number=5))
    store.end_unsent(1, RequestState.LOST, "taken", 6, b"another's")
    assert store.rewind(4) == [2]
    first, second = store.request(1), store.request(2)
    assert first is not None
    assert second is not None
    assert (first.state, second.state) == (RequestState.SEEN, RequestState.ORPHANED)
    assert store.known_blocks(9) == [(4, b"4")]
    found = store.cursor()
    assert found is not None
    assert found.block == 4


@pytest.mark.parametrize("state", [*UNSENT, RequestState.FAILED, RequestState.EXPIRED])
@pytest.mark.parametrize("reached", ["pending", "mined", "final"])
def test_end_unsent__answered_by_a_transaction_of_the_store__is_that_ones_whatever_it_was(
    store: Store, state: RequestState, reached: str
) -> None:
    """Also one that its batch was sent without, and answered all the same."""
    for request_id in (1, 2):
        store.add_request(make_request(request_id))
        store.move(request_id, RequestState.SEEN, RequestState.ACCEPTED)
    assert store.enqueue([1, 2], "job1", "bundle", size=2, memory_bytes=1)
    store.claim_job(1000, 60)
    store.finish_job(make_proof("job1"))
    store.take_out(2, RequestState.PROVED, "left out")
    assert send(store, 1, 0)
    for source, target in (("pending", "mined"), ("mined", "final")):
        if reached != "pending" and source != reached:
            (intent,) = store.intents(IntentState(source))
            store.move_intent(intent, IntentState(target), 6)
    force_state(store, 2, state)
    assert not store.end_unsent(2, RequestState.LOST, "fulfilled", 6, b"x" * 32)
    row = store.request(2)
    assert row is not None
    assert row.state == reached
    (intent,) = store.intents(IntentState(reached))
    assert set(intent.request_ids) == {1, 2}


@pytest.mark.parametrize("state", [*UNSENT, RequestState.FAILED, RequestState.EXPIRED])
def test_end_unsent__answered_by_another__is_lost_whatever_was_sent_for_it(
    store: Store, state: RequestState
) -> None:
    prove(store)
    assert send(store, 7, 0)
    force_state(store, 7, state)
    assert store.end_unsent(7, RequestState.LOST, "fulfilled", 6, b"y" * 32)
    row = store.request(7)
    assert row is not None
    assert row.state is RequestState.LOST


def test_trim__deletes_old_ended_requests_and_keeps_the_rest(store: Store) -> None:
    store.start_cursor(0, 10)
    store.advance(100, [(50, b"a"), (100, b"b")])
    for request_id in (1, 2):
        store.add_request(make_request(request_id))
    store.move(1, RequestState.SEEN, RequestState.SKIPPED, "why")
    store.trim(blocks_before=200, rows_before=1001)
    assert store.request(1) is None
    assert store.request(2) is not None
    assert store.history(1) == []
    assert store.known_blocks(200) == [(100, b"b")]


def test_open__read_only__works_beside_a_node(store: Store, location: Location) -> None:
    store.add_request(make_request())
    reader = make_store(location, read_only=True)
    assert reader.counts() == {RequestState.SEEN: 1}
    with pytest.raises(StoreError, match=r"read-?only"):
        reader.move(7, RequestState.SEEN, RequestState.ACCEPTED)
    reader.close()


def test_open__another_chain_or_oracle__is_refused(location: Location) -> None:
    make_store(location).close()
    for change in ({"chain_id": 1}, {"oracle": ACCOUNT}):
        with pytest.raises(StoreMismatch):
            make_store(location, **change)
    # A refusal leaves no lock behind.
    make_store(location).close()


def test_batch__requests_share_a_job_and_an_intent_and_keep_the_proofs_order(
    store: Store,
) -> None:
    for request_id, place in ((5, 9), (6, 3)):
        store.add_request(make_request(request_id, log_index=place))
        assert store.move(request_id, RequestState.SEEN, RequestState.ACCEPTED)
    assert store.enqueue([5, 6], "both", "bundle", size=4, memory_bytes=1)
    assert [row.request_id for row in store.requests_in_proof("both")] == [5, 6]
    assert [row.request_id for row in store.requests_of("both")] == [6, 5]
    job = store.claim_job(1000, 60)
    assert job is not None
    assert (job.size, job.request_ids) == (4, (5, 6))
    assert store.finish_job(make_proof("both"))
    assert store.add_intent(
        [5, 6], make_attempt(), job_id="both", account=ACCOUNT, nonce=0, gas=1, ceiling=1
    )
    (intent,) = store.intents(IntentState.PENDING)
    assert (intent.job_id, set(intent.request_ids)) == ("both", {5, 6})
    for request_id in (5, 6):
        live = store.live_intent(request_id)
        assert live is not None
        assert live.intent_id == intent.intent_id
    assert [batch.job_id for batch in store.open_batches(9)] == ["both"]


def test_enqueue__one_of_several_not_accepted_any_more__stores_nothing(store: Store) -> None:
    for request_id in (5, 6):
        store.add_request(make_request(request_id))
        assert store.move(request_id, RequestState.SEEN, RequestState.ACCEPTED)
    assert store.move(6, RequestState.ACCEPTED, RequestState.LOST)
    assert not store.enqueue([5, 6], "both", "bundle", size=4, memory_bytes=1)
    assert store.job("both") is None
    row = store.request(5)
    assert row is not None
    assert (row.state, row.job_id) == (RequestState.ACCEPTED, None)


def test_add_intent__one_of_several_not_proved_any_more__stores_nothing(store: Store) -> None:
    for request_id in (5, 6):
        prove(store, request_id)
    assert store.move(6, RequestState.PROVED, RequestState.LOST)
    assert not store.add_intent(
        [5, 6], make_attempt(), job_id="both", account=ACCOUNT, nonce=0, gas=1, ceiling=1
    )
    assert store.intents(IntentState.PENDING) == []
    row = store.request(5)
    assert row is not None
    assert row.state is RequestState.PROVED


def test_trim__request_that_an_unanswered_batch_names__stays(store: Store) -> None:
    store.start_cursor(0, 10)
    for request_id in (5, 6):
        store.add_request(make_request(request_id))
        assert store.move(request_id, RequestState.SEEN, RequestState.ACCEPTED)
    assert store.enqueue([5, 6], "both", "bundle", size=4, memory_bytes=1)
    assert store.move(5, RequestState.QUEUED, RequestState.LOST)
    store.trim(blocks_before=0, rows_before=1001)
    assert [row.request_id for row in store.requests_in_proof("both")] == [5, 6]
    assert store.move(6, RequestState.QUEUED, RequestState.LOST)
    store.cancel_unwanted_jobs()
    store.trim(blocks_before=0, rows_before=1001)
    assert store.request(5) is None
    assert store.request(6) is None
    assert store.job("both") is None


def test_counts__follow_every_step_and_deletion(store: Store) -> None:
    store.start_cursor(9, 10)
    for request_id in (1, 2, 3):
        store.add_request(make_request(request_id))
    assert store.counts() == {RequestState.SEEN: 3}
    for request_id in (1, 2):
        store.move(request_id, RequestState.SEEN, RequestState.SKIPPED, "fee_low: why")
    assert store.counts() == {RequestState.SEEN: 1, RequestState.SKIPPED: 2}
    # What changes no state changes no count.
    store.set_ceiling(3, 5)
    # A known request is not one more; one that is mined again is.
    assert not store.add_request(make_request(3))
    store.rewind(4)
    assert store.counts() == {RequestState.ORPHANED: 3}
    assert store.add_request(make_request(3))
    assert store.reconsider({"x"}) == 0
    store.trim(blocks_before=0, rows_before=1001)
    assert store.counts() == {RequestState.SEEN: 1}


def test_trim__goes_in_portions(store: Store) -> None:
    store.start_cursor(0, 10)
    for request_id in range(5):
        store.add_request(make_request(request_id))
        store.move(request_id, RequestState.SEEN, RequestState.SKIPPED, "why")
    left = []
    while store.trim(blocks_before=0, rows_before=1001, limit=2):
        left.append(sum(store.counts().values()))
    assert left[:3] == [3, 1, 0]
    assert all(store.history(request_id) == [] for request_id in range(5))


def test_trim__request_that_was_topped_up__goes_too(store: Store) -> None:
    store.start_cursor(0, 10)
    store.add_request(make_request())
    store.top_up(7, 10**20, 6)
    store.move(7, RequestState.SEEN, RequestState.SKIPPED, "why")
    store.trim(blocks_before=0, rows_before=1001)
    assert store.request(7) is None


def test_take_over__living_and_dead__frees_only_what_the_dead_held(store: Store) -> None:
    store.join(name="here", account=ACCOUNT, payee=ACCOUNT, workers=2, lease=30)
    store.add_request(make_request())
    assert store.accept(7)
    assert store.enqueue([7], "job7", "bundle", size=1, memory_bytes=1)
    assert store.claim_job(1000, 60)
    assert store.take_over() == (0, 0)
    assert store.running_here() == {"job7"}
    assert store.workers() == 2
    assert not store.has_rivals()
    store.leave()
    # Its job is to be run by somebody else, and its request to be decided on by another payee.
    assert store.take_over() == (1, 1)
    row = store.request(7)
    assert row is not None
    assert row.state is RequestState.SEEN
    assert store.running_here() == set()


def test_accepted__is_this_payees_alone(store: Store) -> None:
    store.join(name="here", account=ACCOUNT, payee=ACCOUNT, workers=1, lease=30)
    for request_id in (1, 2):
        store.add_request(make_request(request_id))
    assert store.accept(1)
    store.join(name="here", account=ACCOUNT, payee=ORACLE, workers=1, lease=30)
    assert store.accept(2)
    assert [row.request_id for row in store.accepted(9)] == [2]
    assert not store.enqueue([1], "job1", "bundle", size=1, memory_bytes=1)
    assert not store.attach(1, RequestState.ACCEPTED, "job1")
    assert store.enqueue([2], "job2", "bundle", size=1, memory_bytes=1)
    assert store.backlog() == 1


def test_duty__is_one_nodes_and_guards_a_transaction(store: Store) -> None:
    assert not store.has_duty("watch")
    store.join(name="here", account=ACCOUNT, payee=ACCOUNT, workers=1, lease=30)
    assert store.has_duty("watch")
    with store.transaction("watch"):
        store.start_cursor(1, 2)
    with pytest.raises(DutyLost), store.transaction("send"):
        store.set_head(9, 9, 9)
    store.leave()
    with pytest.raises(DutyLost), store.transaction("watch"):
        store.set_head(9, 9, 9)
    found = store.cursor()
    assert found is not None
    assert found.head == 0


def test_troubles__those_that_a_node_said_last__until_it_leaves(store: Store) -> None:
    store.join(name="a:1", account="0x1", payee="0x2", workers=1, lease=1e9)
    first, second = Trouble("watcher", "A", "x", 5.0), Trouble("endpoint 1", "B", "y", 6.0)
    store.set_troubles([second, first])
    store.set_troubles([first, second])
    assert store.troubles() == [replace(first, node="a:1"), replace(second, node="a:1")]
    store.set_troubles([second])
    assert store.troubles() == [replace(second, node="a:1")]
    store.leave()
    assert store.troubles() == []
