"""Sends proofs: the only writer of its account.

Invariants: a transaction's bytes are in the store before they are sent; a nonce is given to one
request only; an error after sending means *unknown*, and only a receipt or the account's nonce
says what happened. A request never pays more than its ceiling, and never holds up one that can
pay: its nonce is used up at the market's price then, and it waits for a lower one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from oracle import fees, tensor
from oracle.chain.contracts import OracleContract, RegistryContract, Status
from oracle.chain.rpc import Receipt, Rpc
from oracle.chain.signer import Fees, Signer, Unsigned
from oracle.errors import RpcRejected, RpcUnreachable, TransactionReverted
from oracle.log import request_hex
from oracle.store.ledger import START, Store
from oracle.store.records import Attempt, Intent, RequestRow
from oracle.store.states import IntentState, RequestState
from oracle.types import RegisteredModel

#: What endpoints say to bytes that they hold already.
_ALREADY = ("already known", "known transaction", "already imported", "already in mempool")
#: Gas of a transfer without data, which uses up a nonce.
_TRANSFER_GAS = 21_000
#: Most new transactions in a step.
_BATCH = 20
#: What using up a nonce may cost per gas, as a multiple of what a request behind it pays: a
#: transfer takes less than a thirtieth of a fulfilment's gas, so that stays a small share of it.
_WAY_FACTOR = 2


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
        priority_fee: tip in wei per gas; None asks the endpoint.
        stuck_seconds: after that long a transaction is replaced.
        clock: seconds since the epoch.
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
        self._stuck_seconds = stuck_seconds
        self._clock = clock
        self._log = log
        self._models: dict[int, RegisteredModel] = {}
        self._opened_to = START

    def step(self) -> bool:
        """Take every transaction one step on; False when nothing changed."""
        worked, refusal = False, None
        proved = self._store.sendable(fees.least(self._base_fee()), self._opened_to, _BATCH)
        # A full page may be one of requests that wait: the next step looks behind it.
        self._opened_to = proved[-1].place if len(proved) == _BATCH else START
        for row in proved:
            try:
                worked |= self._open(row)
            except RpcRejected as error:
                # One request that the endpoint cannot handle must not hold up the others.
                refusal = error
        pending = self._store.intents(IntentState.PENDING)
        for intent in pending:
            worked |= self._follow(intent, pending)
        for intent in self._store.intents(IntentState.MINED):
            worked |= self._settle(intent)
        if refusal is not None and not worked:
            raise refusal
        return worked

    # --- a new transaction ---

    def _open(self, row: RequestRow) -> bool:
        if self._store.live_intent(row.request_id) is not None:
            # Mined again after a reorg while its first transaction still waits.
            return self._store.move(row.request_id, RequestState.PROVED, RequestState.PENDING)
        model = self._model(row.request.model_id)
        data = self._calldata(row)
        gas = fees.gas_limit(row.request, data)
        base_fee, ceiling = self._base_fee(), fees.ceiling(row.request, model)
        price = fees.first(base_fee, self._tip(), ceiling)
        if price is None:
            self._store.set_ceiling(row.request_id, ceiling)
            self._log.warning(
                "waiting for a lower base fee",
                request=request_hex(row.request_id),
                base_fee=base_fee,
                pays=ceiling,
            )
            return False
        try:
            self._oracle.simulate(data, self._signer.address, gas)
        except TransactionReverted as error:
            return self._refused(row, error)
        nonce = self._store.next_nonce(self._signer.address, self._rpc.nonce(self._signer.address))
        attempt = self._sign(nonce, gas, price, data)
        if not self._store.add_intent(
            row.request_id,
            attempt,
            account=self._signer.address,
            nonce=nonce,
            gas=gas,
            ceiling=ceiling,
        ):
            return True
        self._log.info(
            "transaction signed",
            request=request_hex(row.request_id),
            nonce=nonce,
            tx=attempt.hash,
            max_fee=price.max_fee,
        )
        self._broadcast(row.request_id, attempt)
        return True

    def _refused(self, row: RequestRow, error: TransactionReverted) -> bool:
        """The simulation reverted: end the request, or wait if the chain is about to change."""
        if error.name == "NotOpen":
            status = self._oracle.status(row.request_id)
            if status in (Status.UNKNOWN, Status.OPEN):
                # Its block is being reorganised; the watcher will tell.
                return False
        else:
            status = Status.OPEN
        target, reason = _outcome(status, expired=error.name == "DeadlinePassed")
        if target is RequestState.FAILED:
            reason = error.line()
        self._end(row.request_id, RequestState.PROVED, target, reason)
        return True

    # --- a transaction on its way ---

    def _follow(self, intent: Intent, pending: Sequence[Intent]) -> bool:
        if self._look_for_receipt(intent):
            return True
        last = intent.attempts[-1]
        if last.broadcast_at is None:
            self._broadcast(intent.request_id, last)
            if self._look_for_receipt(intent):
                return True
        # A transaction that no endpoint takes is stuck too: underpriced, or its nonce is used.
        if self._clock() - max(last.created_at, last.broadcast_at or 0) < self._stuck_seconds:
            return False
        if self._rpc.nonce(intent.account) <= intent.nonce:
            return self._replace(intent, pending)
        # Asked for again: it may have been mined between the two questions.
        if not self._look_for_receipt(intent):
            self._displace(intent)
        return True

    def _look_for_receipt(self, intent: Intent) -> bool:
        # Newest first: replacements are the likelier ones.
        for attempt in reversed(intent.attempts):
            receipt = self._rpc.receipt(attempt.hash)
            if receipt is not None:
                self._mined(intent, attempt, receipt)
                return True
        return False

    def _mined(self, intent: Intent, attempt: Attempt, receipt: Receipt) -> None:
        fulfilled = _fulfils(attempt, receipt)
        row = self._store.request(intent.request_id)
        if fulfilled:
            target, reason = RequestState.MINED, ""
        else:
            status = self._oracle.status(intent.request_id)
            late = row is not None and row.request.deadline < self._clock()
            target, reason = _outcome(status, expired=late)
            if target is RequestState.FAILED and (attempt.cancels or status is Status.UNKNOWN):
                # Nothing was refused: the nonce made way, or the request's block is reorganised.
                target, reason = RequestState.PROVED, "its nonce was used up"
        with self._store.transaction():
            self._store.move_intent(intent, IntentState.MINED, receipt.block_number)
            # An earlier nonce in vain says nothing about the one that the request has now.
            moved = (fulfilled or self._store.is_newest(intent)) and self._store.move(
                intent.request_id, RequestState.PENDING, target, reason
            )
        self._log.info(
            "request fulfilled" if fulfilled else "transaction mined in vain",
            request=request_hex(intent.request_id),
            state=target.value if moved else None,
            tx=attempt.hash,
            block=receipt.block_number,
            gas=receipt.gas_used,
            seconds=None if row is None else round(self._clock() - row.seen_at, 3),
        )

    def _replace(self, intent: Intent, pending: Sequence[Intent]) -> bool:
        """Send the same nonce again for more, or only use it up.

        It is used up when the request has ended, or when it cannot pay the market's price while
        a request behind it could.
        """
        last = intent.attempts[-1]
        before, base_fee, tip = Fees(last.max_fee, last.priority_fee), self._base_fee(), self._tip()
        row = self._store.request(intent.request_id)
        ended = row is None or self._has_ended(row)
        price, data = None, None
        # Only a PENDING request has its proof: one that is mined again is decided on anew.
        if row is not None and row.state is RequestState.PENDING and not ended:
            price = fees.bump(before, base_fee, tip, intent.ceiling)
            data = self._calldata(row)
        behind = max((other.ceiling for other in pending if other.nonce > intent.nonce), default=0)
        held_up = behind >= base_fee and (price is None or intent.ceiling < base_fee)
        if ended or held_up:
            way = fees.bump(before, base_fee, tip, max(intent.ceiling, _WAY_FACTOR * behind))
            if way is not None and way.max_fee >= base_fee:
                price, data = way, None
        if price is None:
            self._broadcast(intent.request_id, last)
            return False
        attempt = self._sign(intent.nonce, intent.gas, price, data)
        self._store.add_attempt(intent.intent_id, attempt)
        if data is not None:
            event = "transaction stuck, replaced"
        else:
            event = "request ended, nonce used up" if ended else "paid too little, nonce used up"
        self._log.warning(
            event,
            request=request_hex(intent.request_id),
            nonce=intent.nonce,
            tx=attempt.hash,
            max_fee=price.max_fee,
        )
        self._broadcast(intent.request_id, attempt)
        return True

    def _has_ended(self, row: RequestRow) -> bool:
        """Whether an answer could only be refused.

        An endpoint that does not know the request may be late or reorganising: alone that is
        no end.
        """
        if row.request.deadline < self._clock():
            return True
        status = self._oracle.status(row.request_id)
        if status is Status.UNKNOWN:
            return row.state is RequestState.ORPHANED
        return status is not Status.OPEN

    def _displace(self, intent: Intent) -> None:
        with self._store.transaction():
            self._store.move_intent(intent, IntentState.DISPLACED)
            self._store.move(
                intent.request_id,
                RequestState.PENDING,
                RequestState.PROVED,
                f"nonce {intent.nonce} was used by another sender",
            )
        self._log.warning(
            "nonce used by another sender of this account",
            request=request_hex(intent.request_id),
            nonce=intent.nonce,
        )

    # --- a mined transaction ---

    def _settle(self, intent: Intent) -> bool:
        cursor = self._store.cursor()
        mined = intent.mined_block
        if cursor is None or mined is None or cursor.head - self._confirmations < mined:
            return False
        receipts = ((attempt, self._rpc.receipt(attempt.hash)) for attempt in intent.attempts)
        found = next(
            ((a, r) for a, r in receipts if r is not None and r.block_number == mined), None
        )
        if found is None:
            with self._store.transaction():
                self._store.move_intent(intent, IntentState.PENDING)
                if self._store.is_newest(intent):
                    self._store.move(
                        intent.request_id, RequestState.MINED, RequestState.PENDING, "reorganised"
                    )
            self._log.warning("transaction left the chain", request=request_hex(intent.request_id))
            return True
        with self._store.transaction():
            self._store.move_intent(intent, IntentState.FINAL, mined)
            # A nonce that was only used up may be older than the one that answers the request.
            final = _fulfils(*found) and self._store.move(
                intent.request_id, RequestState.MINED, RequestState.FINAL
            )
        if final:
            self._log.info("request final", request=request_hex(intent.request_id))
        return True

    # --- shared ---

    def _broadcast(self, request_id: int, attempt: Attempt) -> None:
        try:
            self._rpc.send_raw(attempt.raw)
        except RpcRejected as error:
            if not any(words in error.message.lower() for words in _ALREADY):
                self._log.warning(
                    "transaction not taken",
                    request=request_hex(request_id),
                    tx=attempt.hash,
                    code=error.code,
                    detail=error.message,
                )
                return
        except RpcUnreachable as error:
            self._log.warning(
                "transaction sent, outcome unknown",
                request=request_hex(request_id),
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

    def _calldata(self, row: RequestRow) -> bytes:
        job = self._store.job(row.job_id or "")
        if job is None or job.proof is None or job.outputs is None:
            raise ValueError(f"request {row.request_id:#x} is PROVED without a proof")
        return self._oracle.fulfill_calldata(
            row.request, self._payee, [tensor.to_field(v) for v in job.outputs], job.proof
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

    def _tip(self) -> int:
        return self._rpc.priority_fee() if self._priority_fee is None else self._priority_fee

    def _end(
        self, request_id: int, source: RequestState, target: RequestState, reason: str
    ) -> None:
        if self._store.move(request_id, source, target, reason):
            self._log.warning(f"request {target}", request=request_hex(request_id), reason=reason)


def _fulfils(attempt: Attempt, receipt: Receipt) -> bool:
    return receipt.succeeded and not attempt.cancels


def _outcome(status: Status, *, expired: bool) -> tuple[RequestState, str]:
    """What became of a request whose answer was not accepted."""
    if status is Status.FULFILLED:
        return RequestState.LOST, "another node was first"
    if status is Status.REFUNDED:
        return RequestState.CANCELLED, "refunded"
    if expired:
        return RequestState.EXPIRED, "deadline passed"
    return RequestState.FAILED, TransactionReverted().line()
