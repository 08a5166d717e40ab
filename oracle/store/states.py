"""Every state of the ledger and every legal step between them, in one place.

Request:
    SEEN -> SKIPPED | ACCEPTED -> QUEUED -> RUNNING -> PROVED -> PENDING -> MINED -> FINAL
    side exits: FAILED (code) · EXPIRED (deadline) · LOST (another node was first)
                CANCELLED (refunded, or by the operator) · ORPHANED (its block left the chain)
                ACCEPTED again (its batch could not answer it: it is proved alone)
                SEEN again (its node is gone; the operator wants it; its deadline has not passed on
                the chain after all)
Job (one proof):         QUEUED -> RUNNING -> PROVED | FAILED | CANCELLED
Intent (one nonce):      PENDING -> MINED -> FINAL, or DISPLACED (the nonce went to another sender)
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, auto


class RequestState(StrEnum):
    """Where a request stands on this node."""

    SEEN = auto()
    SKIPPED = auto()
    ACCEPTED = auto()
    QUEUED = auto()
    RUNNING = auto()
    PROVED = auto()
    PENDING = auto()
    MINED = auto()
    FINAL = auto()
    FAILED = auto()
    EXPIRED = auto()
    LOST = auto()
    CANCELLED = auto()
    ORPHANED = auto()


class JobState(StrEnum):
    """Where a proof stands."""

    QUEUED = auto()
    RUNNING = auto()
    PROVED = auto()
    FAILED = auto()
    CANCELLED = auto()


class IntentState(StrEnum):
    """Where a nonce stands."""

    PENDING = auto()
    MINED = auto()
    FINAL = auto()
    DISPLACED = auto()


_R = RequestState

#: Before its transaction is signed a request may leave for these at any time.
_EXITS = frozenset({_R.EXPIRED, _R.LOST, _R.CANCELLED, _R.ORPHANED})

# Back to ACCEPTED: a request that its batch could not answer is proved alone. Back to SEEN before a
# transaction is signed: the node that took it is gone, and another one decides.
# To PENDING at once: a transaction that was sent before a reorg answered it after all, or one of a
# batch that it had left.
REQUEST_STEPS: Mapping[RequestState, frozenset[RequestState]] = {
    _R.SEEN: _EXITS | {_R.PENDING, _R.SKIPPED, _R.ACCEPTED},
    # Back to SEEN when the base fee fell or the queue got shorter, and at every start: the operator
    # may have added the bundle that was missing.
    _R.SKIPPED: _EXITS | {_R.PENDING, _R.SEEN},
    # Straight to PROVED when the same statement was proved before a reorg.
    _R.ACCEPTED: _EXITS | {_R.SEEN, _R.PENDING, _R.QUEUED, _R.PROVED, _R.FAILED},
    _R.QUEUED: _EXITS | {_R.SEEN, _R.PENDING, _R.RUNNING, _R.PROVED, _R.FAILED},
    _R.RUNNING: _EXITS | {_R.SEEN, _R.PENDING, _R.QUEUED, _R.PROVED, _R.FAILED, _R.ACCEPTED},
    _R.PROVED: _EXITS | {_R.SEEN, _R.PENDING, _R.FAILED, _R.ACCEPTED},
    # Back to PROVED when its nonce went to something else: another sender of the account, or a
    # transaction that made way for requests that pay more.
    _R.PENDING: _EXITS | {_R.MINED, _R.PROVED, _R.FAILED, _R.ACCEPTED},
    # Back to PENDING when a reorg dropped the transaction's block.
    _R.MINED: frozenset({_R.FINAL, _R.PENDING, _R.ORPHANED}),
    _R.FINAL: frozenset({_R.PENDING, _R.ORPHANED}),
    # Back to SEEN at a start, when the fault was this machine's, or when the operator says so.
    _R.FAILED: frozenset({_R.SEEN, _R.PENDING, _R.ORPHANED, _R.LOST, _R.CANCELLED}),
    # Back to SEEN while the chain's time allows: a reorg set it back, or an older version of this
    # program went by a wrong clock of its machine.
    _R.EXPIRED: frozenset({_R.SEEN, _R.PENDING, _R.ORPHANED, _R.LOST, _R.CANCELLED}),
    # Back to SEEN when a reorg dropped the block in which it ended, or when the operator who
    # cancelled it says so.
    # To PENDING when its event says that a transaction of ours was the first one.
    _R.LOST: frozenset({_R.SEEN, _R.PENDING, _R.ORPHANED}),
    _R.CANCELLED: frozenset({_R.SEEN, _R.ORPHANED}),
    # Mined again.
    _R.ORPHANED: frozenset({_R.SEEN}),
}

JOB_STEPS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(
        {JobState.QUEUED, JobState.PROVED, JobState.FAILED, JobState.CANCELLED}
    ),
    # Finished proofs stay for a request that is mined again. A batch's that was refused fails.
    JobState.PROVED: frozenset({JobState.FAILED}),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}

INTENT_STEPS: Mapping[IntentState, frozenset[IntentState]] = {
    IntentState.PENDING: frozenset({IntentState.MINED, IntentState.DISPLACED}),
    IntentState.MINED: frozenset({IntentState.FINAL, IntentState.PENDING}),
    IntentState.FINAL: frozenset({IntentState.PENDING}),
    # What was given up was mined all the same: endpoints keep what they were sent.
    IntentState.DISPLACED: frozenset({IntentState.PENDING}),
}

#: Requests that no proof is paid for yet: their deadline and their end on chain still matter.
UNSENT = (_R.SEEN, _R.SKIPPED, _R.ACCEPTED, _R.QUEUED, _R.RUNNING, _R.PROVED)
#: States that nothing but a reorg or an operator changes; their rows may be trimmed.
ENDED = (_R.SKIPPED, _R.FINAL, _R.FAILED, _R.EXPIRED, _R.LOST, _R.CANCELLED, _R.ORPHANED)
