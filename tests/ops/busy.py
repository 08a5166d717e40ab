"""A store as a busy node has it: hundreds of requests in every state, written through the store."""

from __future__ import annotations

import random
from collections.abc import Sequence

from oracle.store.ledger import Store
from oracle.store.records import mined_note
from oracle.store.states import IntentState, RequestState
from oracle.tensor import pack
from tests.node.world import World
from tests.store.makers import make_attempt, make_proof, make_request

_R = RequestState
#: What becomes of requests, by how often.
_FATES = {
    _R.FINAL: 60, _R.MINED: 5, _R.SKIPPED: 18, _R.FAILED: 6, _R.EXPIRED: 4, _R.LOST: 3,
    _R.CANCELLED: 4,
}  # fmt: skip
_REASONS = {
    _R.SKIPPED: (
        "fee_low: pays 2000000000 wei per gas, the base fee is 9000000000",
        "no_bundle: no bundle of model 77",
        "deadline_near: 4 s left, a proof takes 9 s",
    ),
    _R.FAILED: ("PROVER_MEMORY: killed at 4096 MB",),
    _R.EXPIRED: ("deadline passed, was queued",),
    _R.LOST: ("another node was first",),
    _R.CANCELLED: ("refunded", "operator: cancelled"),
}
#: The newest ones are on their way.
_OPEN = (_R.SEEN, _R.ACCEPTED, _R.QUEUED, _R.QUEUED, _R.RUNNING, _R.PROVED, _R.PENDING)


def fill(
    world: World,
    amount: int,
    outputs: Sequence[Sequence[int]],
    *,
    fates: Sequence[RequestState] = (),
    seed: int = 0,
) -> list[int]:
    """Requests, oldest first, and their ids.

    Args:
        world: the node's.
        amount: how many.
        outputs: those that are answered answer one of these.
        fates: where they end, in turns; by default as on a node that is at work.
        seed: of what is drawn.
    """
    chance, store, now = random.Random(seed), world.store, world.clock.now
    ids = [chance.getrandbits(256) for _ in range(amount)]
    with store.transaction():
        for index, request_id in enumerate(ids):
            left = amount - index
            world.clock.now = now - 40.0 * left
            if fates:
                fate = fates[index % len(fates)]
            elif left <= len(_OPEN):
                fate = _OPEN[left - 1]
            else:
                (fate,) = chance.choices(list(_FATES), list(_FATES.values()))
            model = 77 if fate is _R.SKIPPED and chance.random() < 0.5 else world.model_id
            add(
                world,
                request_id,
                fate,
                chance.choice(outputs),
                place=(100 + index // 2, index),
                model_id=model,
                reason=chance.choice(_REASONS.get(fate, ("",))),
            )
    world.clock.now = now
    return ids


def add(
    world: World,
    request_id: int,
    fate: RequestState,
    outputs: Sequence[int] = (1, 2),
    *,
    place: tuple[int, int] = (100, 0),
    model_id: int | None = None,
    reason: str = "",
    rows: int = 1,
) -> None:
    """One request, taken to its state step by step."""
    store, model = world.store, world.model_id if model_id is None else model_id
    store.add_request(
        make_request(
            request_id,
            model_id=model,
            block_number=place[0],
            log_index=place[1],
            input=pack([1000, 2000] * rows, 4),
            deadline=int(world.clock.now) + 3600,
            transaction_hash=request_id.to_bytes(32, "big")[::-1],
        )
    )
    if fate is _R.SEEN:
        return
    if fate in _REASONS:
        source = _R.SEEN
        if fate is _R.FAILED:
            store.accept(request_id)
            source = _R.ACCEPTED
        store.move(request_id, source, fate, reason)
        return
    store.accept(request_id)
    if fate is not _R.ACCEPTED:
        prove(world, (request_id,), fate, outputs, size=rows)


def prove(
    world: World, ids: Sequence[int], fate: RequestState, outputs: Sequence[int], *, size: int = 1
) -> None:
    """Take ACCEPTED requests on together, by one proof and one transaction."""
    store, name = world.store, f"{ids[0]:064x}"
    store.enqueue(ids, name, "b" * 64, size=size, memory_bytes=1 << 30)
    if fate is _R.QUEUED:
        return
    _run(store, name, world.clock.now)
    if fate is _R.RUNNING:
        return
    seconds = 2 + ids[0] % 300 / 100
    store.finish_job(make_proof(name, outputs=tuple(outputs), prove_seconds=seconds))
    if fate is _R.PROVED:
        return
    account = world.signer.address
    sent = ids[0].to_bytes(32, "little")
    store.add_intent(
        ids, make_attempt(sent, raw=b"raw"), job_id=name, account=account,
        nonce=store.next_nonce(account, 0), gas=700_000, ceiling=10**12,
    )  # fmt: skip
    if fate is _R.PENDING:
        return
    (intent,) = [each for each in store.intents(IntentState.PENDING) if each.job_id == name]
    store.move_intent(intent, IntentState.MINED, 200)
    if fate is _R.FINAL:
        (intent,) = [each for each in store.intents(IntentState.MINED) if each.job_id == name]
        store.move_intent(intent, IntentState.FINAL, 200)
    for request_id in ids:
        store.move(request_id, _R.PENDING, _R.MINED, mined_note(sent, 590_000 + ids[0] % 60_000))
        if fate is _R.FINAL:
            store.move(request_id, _R.MINED, _R.FINAL)


def _run(store: Store, name: str, now: float) -> None:
    """Start the job, and no other that waits."""
    job = store.claim_job(now, 3600)
    waiting = []
    while job is not None and job.job_id != name:
        waiting.append(job)
        job = store.claim_job(now, 3600)
    assert job is not None, "every job before it is claimed, then it is"
    for each in waiting:
        store.requeue_job(
            each.job_id, error="", attempts=0, memory_bytes=1, not_before=0, node_id=each.node_id
        )
