"""Sends proofs: the only writer of its account, of all nodes that have it.

Invariants: a transaction's bytes are in the store before they are sent; a nonce is given to one
request, or one batch, only; an error after sending means *unknown*, and only a receipt or the account's nonce
says what happened. A request never pays more than its ceiling, and never holds up one that can
pay: its nonce is used up at the market's price then, and it waits for a lower one. A request that
its batch could not answer is proved alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from oracle import fees, tensor
from oracle.chain.contracts import Ended, OracleContract, RegistryContract, Status, commitment_of
from oracle.chain.rpc import Receipt, Rpc
from oracle.chain.signer import Fees, Signer, Unsigned
from oracle.errors import (
    OracleError,
    RpcRejected,
    RpcUnreachable,
    SignerRefused,
    SignerUnreachable,
    TransactionReverted,
)
from oracle.log import request_fields, request_hex
from oracle.store.ledger import START, Store
from oracle.store.records import Attempt, Intent, Job, RequestRow, Settled, mined_note
from oracle.store.states import IntentState, JobState, RequestState
from oracle.types import ZERO_ADDRESS, RegisteredModel

#: What endpoints say to bytes that they hold already.
_ALREADY = (
    *("already known", "alreadyknown", "known transaction"),
    *("already imported", "already in mempool"),
)
#: Gas of a transfer without data, which uses up a nonce.
_TRANSFER_GAS = 21_000
#: Requests whose own proof is not finished.
_UNPROVED = (RequestState.ACCEPTED, RequestState.QUEUED, RequestState.RUNNING)
#: Blocks whose prices tell the market's, and the percentile of the tips in each.
_FEE_BLOCKS = 20
_FEE_PERCENTILE = 50
#: Most new transactions in a step.
_BATCH = 20
#: Blocks whose state every endpoint that is not late still has: full nodes keep 128.
_STATE_BLOCKS = 64
#: What is said of a lost request while no log says more.
_OTHER_FIRST = "another node was first"
#: What using up a nonce may cost per gas, as a multiple of what a request behind it pays: a
#: transfer takes less than a thirtieth of a fulfilment's gas, so that stays a small share of it.
_WAY_FACTOR = 2


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A call that answers requests with a proof."""

    job: Job
    #: Those to be answered; a batch's proof may name others, which have ended.
    rows: tuple[RequestRow, ...]
    data: bytes
    gas: int
    #: Wei per gas at which it stops paying.
    ceiling: int
    #: Gas that a batch saves against each request alone.
    saved: int = 0

    @property
    def request_ids(self) -> tuple[int, ...]:
        """Ids of the requests to be answered."""
        return tuple(row.request_id for row in self.rows)


class Submitter:
    """Turns proofs into mined transactions.

    Args:
        store: the ledger.
        rpc: the chain.
        oracle: where proofs go.
        registry: the registered models.
        signer: the account.
        payee: who the proofs name.
        confirmations: blocks on top of a transaction that make it final.
        priority_fee: tip in wei per gas; None takes what recent blocks took.
        subsidy: wei that an answer may cost beyond what its request brings.
        stuck_seconds: after that long a transaction is replaced.
        clock: seconds since the epoch; deadlines are measured by the chain's.
        log: for a person.
    """

    def __init__(
        self,
        store: Store,
        rpc: Rpc,
        oracle: OracleContract,
        registry: RegistryContract,
        signer: Signer,
        *,
        payee: str,
        confirmations: int,
        priority_fee: int | None,
        subsidy: int = 0,
        stuck_seconds: float,
        clock: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._rpc = rpc
        self._oracle = oracle
        self._registry = registry
        self._signer = signer
        self._payee = payee
        self._confirmations = confirmations
        self._priority_fee = priority_fee
        self._subsidy = subsidy
        self._stuck_seconds = stuck_seconds
        self._clock = clock
        self._log = log
        self._models: dict[int, RegisteredModel] = {}
        self._opened_to = START
        # Prices as of this step: base fee of the block to come, and tip. None until asked for.
        self._prices: tuple[int, int] | None = None
        # By intent: the head at which its requests were last looked at.
        self._looked_at: dict[int, int] = {}
        # By request: the head at which the chain did not know it for the first time.
        self._unknown_at: dict[int, int] = {}
        # By transaction: the head at which an endpoint refused it.
        self._refused_at: dict[bytes, int] = {}
        # A nonce that nobody uses, before others that wait for it, and the head at which it was
        # found.
        self._gap: int | None = None
        self._gap_at = -1
        #: What only one node does at a time.
        self._duty = f"send from {signer.address}"

    def take_prices(self, priority_fee: int | None, subsidy: int) -> None:
        """Pay by other terms from the next transaction on."""
        self._priority_fee, self._subsidy = priority_fee, subsidy

    def step(self) -> bool:
        """Take every transaction one step on; False when nothing changed, or another node sends."""
        if not self._store.has_duty(self._duty):
            return False
        self._prices = None
        worked = False
        refusal: OracleError | None = None
        proved = self._store.sendable(fees.least(self._base_fee()), self._opened_to, _BATCH)
        # A full page may be one of requests that wait: the next step looks behind it.
        self._opened_to = proved[-1].place if len(proved) == _BATCH else START
        for job_id in dict.fromkeys(row.job_id for row in proved):
            try:
                worked |= self._open(job_id)
            except (RpcRejected, SignerRefused, SignerUnreachable) as error:
                # What the endpoint or the signer cannot handle must not hold up the others.
                refusal = error
        pending = self._store.intents_to_follow(IntentState.PENDING)
        for intent in pending:
            worked |= self._follow(intent, pending)
        for intent in self._store.intents_to_follow(IntentState.MINED):
            worked |= self._settle(intent)
        if refusal is not None and not worked:
            raise refusal
        return worked

    # --- a new transaction ---

    def _open(self, job_id: str | None) -> bool:
        """Answer the PROVED requests of a job."""
        job = self._store.job(job_id or "")
        if job is None:
            raise ValueError(f"a request is PROVED by job {job_id}, which is gone")
        rows = self._store.requests_of(job.job_id)
        rows = [each for each in rows if each.state is RequestState.PROVED]
        again = [each for each in rows if self._store.live_intent(each.request_id) is not None]
        for each in again:
            # Mined again after a reorg while the first transaction still waits.
            self._store.move(each.request_id, RequestState.PROVED, RequestState.PENDING)
        if again or not rows:
            return bool(again)
        delivery = self._delivery(job, rows)
        if delivery.saved < 0:
            return self._split(rows, "too few of its batch are left")
        price = self._first_price(delivery)
        if price is None:
            return False
        try:
            result = self._oracle.simulate(delivery.data, self._signer.address, delivery.gas)
        except TransactionReverted as error:
            return self._refused(delivery, error)
        except RpcRejected as error:
            if error.transient or not _is_batch(job):
                raise
            # Too large for this endpoint, perhaps: one by one they are not.
            return self._refuse_batch(job, error)
        changed = self._regroup(delivery, result) if _is_batch(job) else None
        return self._send(delivery, price) if changed is None else changed

    def _first_price(self, delivery: _Delivery) -> Fees | None:
        """What to pay for gas; None while the requests pay too little."""
        base_fee, tip = self._market()
        price = fees.first(base_fee, tip, delivery.ceiling)
        if price is None:
            for row in delivery.rows:
                self._store.set_ceiling(row.request_id, delivery.ceiling)
            self._log.warning(
                "waiting for a lower base fee",
                **request_fields(delivery.request_ids),
                base_fee=base_fee,
                pays=delivery.ceiling,
            )
        return price

    def _send(self, delivery: _Delivery, price: Fees) -> bool:
        account, ids = self._signer.address, delivery.request_ids
        nonce = self._next_nonce(account)
        attempt = self._sign(nonce, delivery.gas, price, delivery.data)
        with self._store.transaction(self._duty):
            added = self._store.add_intent(
                ids,
                attempt,
                job_id=delivery.job.job_id,
                account=account,
                nonce=nonce,
                gas=delivery.gas,
                ceiling=delivery.ceiling,
            )
        if added:
            self._log.info(
                "transaction signed",
                **request_fields(ids),
                nonce=nonce,
                tx=attempt.hash,
                max_fee=price.max_fee,
            )
            self._broadcast(ids, attempt)
        return True

    def _next_nonce(self, account: str) -> int:
        """The nonce that others wait for, if there is one; else the first that is free."""
        next_nonce = self._rpc.nonce(account)
        if next_nonce == self._gap and not self._store.has_nonce(account, next_nonce):
            return next_nonce
        return self._store.next_nonce(account, next_nonce)

    def _delivery(self, job: Job, rows: Sequence[RequestRow]) -> _Delivery:
        """The call that answers ``rows`` with a finished proof, as their requests stand now."""
        if job.proof is None or job.outputs is None:
            raise ValueError(f"job {job.job_id} is PROVED without a proof")
        requests = [row.request for row in rows]
        model = self._model(requests[0].model_id)
        outputs = [tensor.to_field(value) for value in job.outputs]
        if not _is_batch(job):
            (request,) = requests
            data = self._oracle.fulfill_calldata(request, self._payee, outputs, job.proof)
            gas = fees.gas_limit(request.gas_units, data)
            ceiling = fees.ceiling(request, model, self._subsidy)
            return _Delivery(job, tuple(rows), data, gas, ceiling)
        named = [row.request for row in self._store.requests_in_proof(job.job_id)]
        data = self._oracle.fulfill_batch_calldata(named, self._payee, outputs, job.proof)
        terms = fees.BatchTerms.of(model.spec, job.size, skipped=len(named) - len(requests))
        return _Delivery(
            job,
            tuple(rows),
            data,
            fees.gas_limit(terms.sent_units(requests), data),
            terms.ceiling(requests, model, self._subsidy),
            terms.saved(len(requests)),
        )

    def _refused(self, delivery: _Delivery, error: TransactionReverted) -> bool:
        """The simulation reverted: end the request, or wait if the chain is about to change."""
        if error.name == "NothingToDeliver":
            return self._leave_out(delivery.rows, others_wait=False)
        if _is_batch(delivery.job):
            return self._refuse_batch(delivery.job, error)
        (row,) = delivery.rows
        late = error.name == "DeadlinePassed"
        # Topped up, or too late, in a block that the watcher has not seen: the proof stays good.
        if error.name == "CommitmentMismatch" or (late and not self._is_late(row)):
            return False
        if error.name == "NotOpen":
            status = self._oracle.status(row.request_id)
            if status in (Status.UNKNOWN, Status.OPEN):
                # Its block is being reorganised; the watcher will tell.
                return False
        else:
            status = Status.OPEN
        target, reason = _outcome(status, expired=late)
        if target is RequestState.LOST:
            if self._claim(row.request_id, RequestState.PROVED):
                return True
            reason = self._how_lost(row)
        if target is RequestState.FAILED:
            reason = error.line()
        self._move(row.request_id, RequestState.PROVED, target, reason)
        return True

    # --- a batch that cannot be delivered whole ---

    def _refuse_batch(self, job: Job, error: OracleError) -> bool:
        """Have each request proved alone, and the batch's proof not used again."""
        self._store.refuse_job(job.job_id, error.line())
        self._log.warning(
            "batch refused, proving each alone",
            **request_fields(job.request_ids),
            job=job.job_id,
            reason=error.line(),
        )
        return True

    def _split(self, rows: Sequence[RequestRow], reason: str) -> bool:
        """Have each request proved alone."""
        for row in rows:
            self._move(row.request_id, RequestState.PROVED, RequestState.ACCEPTED, reason)
        return True

    def _regroup(self, delivery: _Delivery, result: bytes) -> bool | None:
        """Part with requests that the batch would skip, take back those that it would not.

        Returns:
            whether any moved; None when the batch can go as it is.
        """
        delivered = self._oracle.delivered(result)
        if delivered < len(delivery.rows):
            return self._leave_out(delivery.rows, others_wait=True)
        if delivered > len(delivery.rows) and self._take_back(delivery.job):
            return True
        return None

    def _leave_out(self, rows: Sequence[RequestRow], *, others_wait: bool) -> bool:
        """Part with the requests that a batch would skip; the others, if any, go without them."""
        moved = False
        for row in rows:
            target, reason = self._fate(row, others_wait=others_wait)
            if target is RequestState.LOST:
                if self._claim(row.request_id, RequestState.PROVED):
                    moved = True
                    continue
                reason = self._how_lost(row)
            if target is not RequestState.PROVED and not self._is_deliverable(row):
                moved |= self._move(row.request_id, RequestState.PROVED, target, reason)
        return moved

    def _take_back(self, job: Job) -> bool:
        """Answer requests that had left the batch, and that it would deliver all the same."""
        moved = False
        for row in self._store.requests_in_proof(job.job_id):
            if row.state in _UNPROVED and self._is_deliverable(row):
                moved |= self._store.attach(row.request_id, row.state, job.job_id)
        return moved

    def _fate(self, row: RequestRow, *, others_wait: bool) -> tuple[RequestState, str]:
        """What becomes of a request that its batch skips."""
        status = self._oracle.status(row.request_id)
        if status is Status.UNKNOWN:
            # An endpoint that is late or reorganising: the watcher will tell.
            if not others_wait or not self._is_unknown_for_long(row.request_id):
                return RequestState.PROVED, "its block is reorganised"
            return RequestState.ACCEPTED, "left out of its batch: the chain does not know it"
        self._unknown_at.pop(row.request_id, None)
        target, reason = _outcome(status, expired=self._is_late(row))
        if target is RequestState.FAILED:
            # Open: topped up, so that the batch named another commitment.
            return RequestState.ACCEPTED, "left out of its batch"
        return target, reason

    def _is_unknown_for_long(self, request_id: int) -> bool:
        """Whether the watcher has read on past the head at which a request was first not known."""
        cursor = self._store.cursor()
        return cursor is not None and cursor.block > self._unknown_at.setdefault(
            request_id, cursor.head
        )

    def _is_deliverable(self, row: RequestRow) -> bool:
        """Whether the request is open as the store knows it, and in time."""
        return not self._is_late(row) and (
            self._oracle.commitment(row.request_id) == commitment_of(row.request)
        )

    # --- a transaction on its way ---

    def _follow(self, intent: Intent, pending: Sequence[Intent]) -> bool:
        if self._look_for_receipt(intent):
            return True
        last = intent.attempts[-1]
        if last.broadcast_at is None and self._refused_at.get(last.hash) != self._head():
            self._broadcast(intent.request_ids, last)
            if self._look_for_receipt(intent):
                return True
        if self._is_in_vain(intent):
            return self._replace(intent, pending)
        # A transaction that no endpoint takes is stuck too: underpriced, or its nonce is used.
        waited = self._clock() - max(last.created_at, last.broadcast_at or 0)
        # Less than nothing: the clock was ahead when it was sent, and it would wait for ever.
        if 0 <= waited < self._stuck_seconds:
            return False
        return self._unstick(intent, pending)

    def _unstick(self, intent: Intent, pending: Sequence[Intent]) -> bool:
        next_nonce = self._rpc.nonce(intent.account)
        first = next((each for each in pending if each.account == intent.account), intent)
        if next_nonce < first.nonce and not self._store.has_nonce(intent.account, next_nonce):
            return self._close_gap(next_nonce, intent, pending)
        if next_nonce <= intent.nonce:
            if intent.account != self._signer.address:
                # Another key's, whose node is gone: these bytes are all that can be sent.
                self._broadcast(intent.request_ids, intent.attempts[-1])
                return False
            return self._replace(intent, pending)
        # Asked for again: it may have been mined between the two questions.
        if not self._look_for_receipt(intent):
            self._displace(intent, f"nonce {intent.nonce} was used by another sender")
        return True

    def _close_gap(self, nonce: int, intent: Intent, pending: Sequence[Intent]) -> bool:
        """Have something sent with a nonce that others wait for and that nobody will ever use.

        An endpoint lied when the others' were chosen, or a reorg gave the nonce back. Only the last
        of them gives up its own for it, so that no other gap opens; at most one a block.
        """
        if intent.account == self._signer.address:
            if self._gap_at == self._head():
                return False
            self._gap, self._gap_at = nonce, self._head()
            intent = [each for each in pending if each.account == intent.account][-1]
        self._displace(intent, f"nonce {nonce} before it is not used")
        return True

    def _is_in_vain(self, intent: Intent) -> bool:
        """Whether every request of a transaction on its way has ended; asked once a block."""
        head = self._head()
        if intent.attempts[-1].cancels or self._looked_at.get(intent.intent_id) == head:
            return False
        self._looked_at[intent.intent_id] = head
        rows = map(self._store.request, intent.request_ids)
        return all(self._has_ended(row) for row in rows if row is not None)

    def _look_for_receipt(self, intent: Intent) -> bool:
        # Newest first: replacements are the likelier ones.
        for attempt in reversed(intent.attempts):
            receipt = self._rpc.receipt(attempt.hash)
            if receipt is None:
                continue
            block = self._rpc.block(receipt.block_number)
            # Of another block than the chain's it says nothing.
            if block is not None and block.hash == receipt.block_hash:
                self._mined(intent, attempt, receipt)
                return True
        return False

    def _mined(self, intent: Intent, attempt: Attempt, receipt: Receipt) -> None:
        answered = self._answered(intent, attempt, receipt)
        ends = {
            request_id: (RequestState.MINED, mined_note(attempt.hash, receipt.gas_used))
            if request_id in answered
            else self._unanswered(request_id, intent, attempt, receipt)
            for request_id in intent.request_ids
        }
        for request_id, (target, _) in list(ends.items()):
            row = self._store.request(request_id)
            if target is not RequestState.LOST or row is None:
                continue
            if self._claim(request_id, RequestState.PENDING):
                del ends[request_id]
            else:
                ends[request_id] = target, self._how_lost(row)
        in_vain = not attempt.cancels and not receipt.succeeded
        moved = {}
        with self._store.transaction():
            if not self._store.move_intent(intent, IntentState.MINED, receipt.block_number):
                # Another node that follows it has seen the receipt, or it was reorganised.
                return
            for request_id, (target, reason) in ends.items():
                # A nonce in vain says nothing while the request has another one on its way. Which
                # of them is the newer does not matter: a reorg brings an older one back.
                moved[request_id] = (
                    request_id in answered or self._store.live_intent(request_id) is None
                ) and self._move(
                    request_id, RequestState.PENDING, target, reason, receipt.block_number
                )
            if in_vain and any(target is RequestState.ACCEPTED for target, _ in ends.values()):
                self._store.refuse_job(intent.job_id, TransactionReverted().line())
        for request_id, (target, _) in ends.items():
            row = self._store.request(request_id)
            self._log.info(
                "request fulfilled" if request_id in answered else "transaction mined in vain",
                request=request_hex(request_id),
                state=target.value if moved[request_id] else None,
                tx=attempt.hash,
                block=receipt.block_number,
                gas=receipt.gas_used,
                seconds=None if row is None else round(self._clock() - row.seen_at, 3),
            )

    def _claim(self, request_id: int, source: RequestState) -> bool:
        """Whether a fulfilled request was answered by another transaction of this node.

        The watcher would tell by the event; its receipt may be known before that. The request is
        that transaction's from now on: see `Store.adopt`.
        """
        for intent in self._store.intents_naming(request_id):
            for attempt in intent.attempts:
                receipt = None if attempt.cancels else self._rpc.receipt(attempt.hash)
                if receipt is not None and self._oracle.outcome(receipt).get(request_id):
                    return self._store.adopt(intent, request_id, source)
        return False

    def _how_lost(self, row: RequestRow) -> str:
        """Whom the chain says that a request was fulfilled for, by a transaction not of this node."""
        cursor = self._store.cursor()
        with suppress(RpcRejected, RpcUnreachable):
            last = self._rpc.head().number
            first = max(row.request.block_number, last + 1 - (cursor.chunk if cursor else 1))
            for event in self._oracle.events(first, last):
                if isinstance(event, Ended) and event.request_id == row.request_id:
                    return event.reason(row.payee)
        return _OTHER_FIRST

    def _answered(self, intent: Intent, attempt: Attempt, receipt: Receipt) -> frozenset[int]:
        """The intent's requests that a mined transaction fulfilled."""
        if not receipt.succeeded or attempt.cancels:
            return frozenset()
        job = self._store.job(intent.job_id)
        if job is None or not _is_batch(job):
            return frozenset(intent.request_ids)
        outcome = self._oracle.outcome(receipt)
        if not outcome.keys() >= set(job.request_ids):
            # Taken for the truth, it would say that others were paid for what this node delivered.
            raise RpcUnreachable(
                f"the receipt of transaction 0x{attempt.hash.hex()} came without all of its events"
            )
        return frozenset(i for i in intent.request_ids if outcome[i])

    def _unanswered(
        self, request_id: int, intent: Intent, attempt: Attempt, receipt: Receipt
    ) -> tuple[RequestState, str]:
        """What becomes of a request that a mined transaction did not answer.

        Asked as of the transaction's block: an endpoint that lacks it knows neither of the rival
        nor of the top-up in it, and would have a good answer fail for no reason.
        """
        row = self._store.request(request_id)
        block = receipt.block_number
        at = block if self._head() - block < _STATE_BLOCKS else None
        status = self._oracle.status(request_id, at)
        late = row is not None and self._is_late(row)
        target, reason = _outcome(status, expired=late)
        if target is not RequestState.FAILED:
            return target, reason
        was_there = row is None or row.request.block_number < block
        if attempt.cancels or status is Status.UNKNOWN or not was_there:
            # Nothing was refused: the nonce made way, the request's block is reorganised, or a
            # reorg put the request behind its answer, which met none.
            return RequestState.PROVED, "its nonce was used up"
        job = self._store.job(intent.job_id)
        if job is not None and _is_batch(job):
            return RequestState.ACCEPTED, "left out of its batch"
        if row is not None and job is not None and self._was_topped_up(row, job, attempt, at):
            return RequestState.PROVED, "topped up while it was sent"
        mined = self._rpc.block(block)
        if row is not None and mined is not None and row.request.deadline < mined.timestamp:
            # A block that the watcher has not seen: it is taken for late once that is.
            return RequestState.PROVED, "its deadline passed in the block that it was mined in"
        return target, reason

    def _was_topped_up(
        self, row: RequestRow, job: Job, attempt: Attempt, block: int | None
    ) -> bool:
        """Whether a transaction named other gas money than the request has."""
        # A signed transaction holds its calldata as they are.
        return self._delivery(job, [row]).data not in attempt.raw or self._oracle.commitment(
            row.request_id, block
        ) != commitment_of(row.request)

    def _replace(self, intent: Intent, pending: Sequence[Intent]) -> bool:
        """Send the same nonce again for more, or only use it up.

        It is used up when the request has ended, or when it cannot pay the market's price while
        a request behind it could.
        """
        last = intent.attempts[-1]
        before, (base_fee, tip) = Fees(last.max_fee, last.priority_fee), self._market()
        rows = [row for row in map(self._store.request, intent.request_ids) if row is not None]
        waiting = [row for row in rows if not self._has_ended(row)]
        ended = not waiting
        if ended and self._look_for_receipt(intent):
            # What ended them is this very transaction, mined since its receipt was asked for.
            return True
        price, data, ceiling = None, None, intent.ceiling
        # Only a PENDING request has its proof: one that is mined again is decided on anew.
        live = [row for row in waiting if row.state is RequestState.PENDING]
        job = self._store.job(intent.job_id)
        if live and job is not None and job.state is JobState.PROVED:
            delivery = self._delivery(job, live)
            # A top-up pays for more, a request that has ended for nothing.
            ceiling = delivery.ceiling
            price, data = fees.bump(before, base_fee, tip, ceiling), delivery.data
        behind = max(
            (
                other.ceiling
                for other in pending
                if other.account == intent.account and other.nonce > intent.nonce
            ),
            default=0,
        )
        held_up = behind >= base_fee and (price is None or ceiling < base_fee)
        if ended or held_up:
            highest = max(ceiling, _WAY_FACTOR * behind)
            if ended and not last.cancels:
                # A transfer for an eighth more is cheaper than an answer in vain.
                highest = max(highest, fees.raised(last.max_fee))
            way = fees.bump(before, base_fee, tip, highest)
            if way is not None and way.max_fee >= base_fee:
                price, data = way, None
        if price is None:
            self._broadcast(intent.request_ids, last)
            return False
        attempt = self._sign(intent.nonce, intent.gas, price, data)
        with self._store.transaction(self._duty):
            self._store.add_attempt(intent.intent_id, attempt)
        if data is not None:
            event = "transaction stuck, replaced"
        else:
            event = "request ended, nonce used up" if ended else "paid too little, nonce used up"
        self._log.warning(
            event,
            **request_fields(intent.request_ids),
            nonce=intent.nonce,
            tx=attempt.hash,
            max_fee=price.max_fee,
        )
        self._broadcast(intent.request_ids, attempt)
        return True

    def _has_ended(self, row: RequestRow) -> bool:
        """Whether an answer could only be refused.

        An endpoint that does not know the request may be late or reorganising: alone that is
        no end.
        """
        if self._is_late(row):
            return True
        status = self._oracle.status(row.request_id)
        if status is Status.UNKNOWN:
            return row.state is RequestState.ORPHANED
        return status is not Status.OPEN

    def _displace(self, intent: Intent, reason: str) -> None:
        with self._store.transaction():
            if not self._store.move_intent(intent, IntentState.DISPLACED):
                return
            for request_id in intent.request_ids:
                self._store.move(
                    request_id,
                    RequestState.PENDING,
                    RequestState.PROVED,
                    reason,
                )
        self._log.warning(
            "transaction displaced",
            **request_fields(intent.request_ids),
            nonce=intent.nonce,
            reason=reason,
        )

    # --- a mined transaction ---

    def _settle(self, intent: Intent) -> bool:
        cursor = self._store.cursor()
        mined = intent.mined_block
        # Nothing is final in a block that the watcher has not read: it would not miss it in a reorg.
        if cursor is None or mined is None or cursor.block < mined:
            return False
        if cursor.head - self._confirmations < mined:
            return False
        receipts = ((attempt, self._rpc.receipt(attempt.hash)) for attempt in intent.attempts)
        found = next(
            ((a, r) for a, r in receipts if r is not None and r.block_number == mined), None
        )
        if found is None:
            # Which nonce is the newer does not matter: an older one that was given up may have
            # answered a request.
            unanswered = [
                request_id
                for request_id in intent.request_ids
                if not self._is_answered_by_another(intent, request_id)
            ]
            with self._store.transaction():
                if not self._store.move_intent(intent, IntentState.PENDING):
                    return True
                for request_id in unanswered:
                    self._store.move(
                        request_id, RequestState.MINED, RequestState.PENDING, "reorganised"
                    )
            self._log.warning("transaction left the chain", **request_fields(intent.request_ids))
            return True
        # Only these: another nonce may answer a request that this one was in vain for.
        answered = self._answered(intent, *found)
        settled = self._settled(intent, *found, answered=len(answered))
        with self._store.transaction():
            if not self._store.move_intent(intent, IntentState.FINAL, mined):
                return True
            self._store.settle(settled)
            final = [
                request_id
                for request_id in intent.request_ids
                if request_id in answered
                and self._store.move(request_id, RequestState.MINED, RequestState.FINAL)
            ]
        for request_id in final:
            self._log.info("request final", request=request_hex(request_id))
        return True

    def _is_answered_by_another(self, intent: Intent, request_id: int) -> bool:
        """Whether a mined transaction of another nonce of this node fulfilled a request."""
        mined = (IntentState.MINED, IntentState.FINAL)
        for other in self._store.intents_naming(request_id):
            if other.intent_id == intent.intent_id or other.state not in mined:
                continue
            for attempt in other.attempts:
                receipt = None if attempt.cancels else self._rpc.receipt(attempt.hash)
                if receipt is not None and self._oracle.outcome(receipt).get(request_id):
                    return True
        return False

    def _settled(
        self, intent: Intent, attempt: Attempt, receipt: Receipt, answered: int
    ) -> Settled:
        """What to count of a final transaction."""
        if attempt.cancels:
            result = "cancelled"
        else:
            result = "fulfilled" if receipt.succeeded else "reverted"
        fees_, refunds = self._oracle.income(receipt, self._payee)
        row = self._store.request(intent.request_ids[0]) if intent.request_ids else None
        in_ether = row is None or self._model(row.request.model_id).token == ZERO_ADDRESS
        return Settled(
            result=result,
            gas=receipt.gas_used,
            cost=receipt.gas_used * receipt.gas_price,
            fees=fees_ if in_ether else 0,
            refunds=refunds,
            model_id=None if row is None else row.request.model_id,
            requests=answered,
        )

    # --- shared ---

    def _broadcast(self, request_ids: Sequence[int], attempt: Attempt) -> None:
        try:
            self._rpc.send_raw(attempt.raw)
        except RpcRejected as error:
            if not any(words in error.message.lower() for words in _ALREADY):
                self._log.warning(
                    "transaction not taken",
                    **request_fields(request_ids),
                    tx=attempt.hash,
                    code=error.code,
                    detail=error.message,
                )
                self._refused_at[attempt.hash] = self._head()
                return
        except RpcUnreachable as error:
            self._log.warning(
                "transaction sent, outcome unknown",
                **request_fields(request_ids),
                tx=attempt.hash,
                code=error.code,
                detail=error.message,
            )
            return
        self._store.set_broadcast(attempt.hash)

    def _sign(self, nonce: int, gas: int, price: Fees, data: bytes | None) -> Attempt:
        """Sign a call of the oracle, or a transfer of nothing to oneself for no data."""
        signed = self._signer.sign(
            Unsigned(
                chain_id=self._rpc.chain_id,
                nonce=nonce,
                to=self._signer.address if data is None else self._oracle.address,
                data=data or b"",
                gas=_TRANSFER_GAS if data is None else gas,
                fees=price,
            )
        )
        return Attempt(
            hash=signed.hash,
            raw=signed.raw,
            max_fee=price.max_fee,
            priority_fee=price.priority_fee,
            cancels=data is None,
            broadcast_at=None,
            created_at=self._clock(),
        )

    def _model(self, model_id: int) -> RegisteredModel:
        if model_id not in self._models:
            model = self._registry.model(model_id)
            if model is None:
                raise ValueError(f"model {model_id} of a proved request is not registered")
            self._models[model_id] = model
        return self._models[model_id]

    def _base_fee(self) -> int:
        cursor = self._store.cursor()
        return 0 if cursor is None else cursor.head_base_fee

    def _market(self) -> tuple[int, int]:
        """Base fee of the block to come and the usual tip (wei per gas), as of this step."""
        if self._prices is None:
            base_fee, tip = self._base_fee(), self._priority_fee
            try:
                history = self._rpc.fee_history(_FEE_BLOCKS, _FEE_PERCENTILE)
            except RpcRejected:
                # Not every endpoint has this method: the last block's price and its suggestion do.
                history = None
            if history is not None:
                base_fee = history.base_fees[-1]
                tip = fees.usual_tip(history) if tip is None else tip
            self._prices = base_fee, self._rpc.priority_fee() if tip is None else tip
        return self._prices

    def _is_late(self, row: RequestRow) -> bool:
        """Whether the deadline has passed by the chain's newest block; a clock here ends nothing."""
        cursor = self._store.cursor()
        return cursor is not None and cursor.has_passed(row.request.deadline)

    def _head(self) -> int:
        cursor = self._store.cursor()
        return cursor.head if cursor else 0

    def _move(
        self,
        request_id: int,
        source: RequestState,
        target: RequestState,
        reason: str,
        block: int | None = None,
    ) -> bool:
        """Take a request on, and out of its batch if it is to be proved alone.

        The chain ended a LOST or CANCELLED one in ``block`` or before, by default its head.
        """
        if target is RequestState.ACCEPTED:
            moved = self._store.take_out(request_id, source, reason)
        elif target in (RequestState.LOST, RequestState.CANCELLED):
            moved = self._store.end(request_id, source, target, reason, block or self._head())
        else:
            moved = self._store.move(request_id, source, target, reason)
        # Mined is what was wanted: "request fulfilled" says it, with the hash.
        if moved and reason and target is not RequestState.MINED:
            self._log.warning(f"request {target}", request=request_hex(request_id), reason=reason)
        return moved


def _is_batch(job: Job) -> bool:
    """Whether a proof names several requests, which is another call of the contract."""
    return len(job.request_ids) > 1


def _outcome(status: Status, *, expired: bool) -> tuple[RequestState, str]:
    """What became of a request whose answer was not accepted."""
    if status is Status.FULFILLED:
        return RequestState.LOST, _OTHER_FIRST
    if status is Status.REFUNDED:
        return RequestState.CANCELLED, "refunded"
    if expired:
        return RequestState.EXPIRED, "deadline passed"
    return RequestState.FAILED, TransactionReverted().line()
