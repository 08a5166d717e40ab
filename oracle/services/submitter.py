"""Sends proofs: the only writer of its account.

Invariants: a transaction's bytes are in the store before they are sent; a nonce is given to one
request only; an error after sending means *unknown*, and only a receipt or the account's nonce
says what happened.
"""

from __future__ import annotations

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from oracle import fees, tensor
from oracle.chain.contracts import OracleContract, RegistryContract, Status
from oracle.chain.rpc import Receipt, Rpc
from oracle.chain.signer import Fees, Signer, Unsigned
from oracle.errors import RpcRejected, RpcUnreachable, TransactionReverted
from oracle.log import request_hex
from oracle.store.ledger import Store
from oracle.store.records import Attempt, Intent, RequestRow
from oracle.store.states import IntentState, RequestState
from oracle.types import RegisteredModel

#: What endpoints say to bytes that they hold already.
_ALREADY = ("already known", "known transaction", "already imported", "already in mempool")
#: Gas of a transfer without data, which uses up a nonce.
_TRANSFER_GAS = 21_000
_BATCH = 20


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
        self._priced_out: set[int] = set()

    def step(self) -> bool:
        """Take every transaction one step on; False when nothing changed."""
        proved = self._store.requests(RequestState.PROVED, _BATCH)
        self._priced_out &= {row.request_id for row in proved}
        worked, refusal = False, None
        for row in proved:
            try:
                worked |= self._open(row)
            except RpcRejected as error:
                # One request that the endpoint cannot handle must not hold up the others.
                refusal = error
        for intent in self._store.intents(IntentState.PENDING):
            worked |= self._follow(intent)
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
        try:
            self._oracle.simulate(data, self._signer.address, gas)
        except TransactionReverted as error:
            return self._refused(row, error)
        base_fee, tip = self._prices()
        ceiling = fees.ceiling(row.request, model)
        price = fees.first(base_fee, tip, ceiling)
        if price is None:
            self._wait_for_price(row.request_id, base_fee, ceiling)
            return False
        self._priced_out.discard(row.request_id)
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

    def _wait_for_price(self, request_id: int, base_fee: int, ceiling: int) -> None:
        if request_id not in self._priced_out:
            self._priced_out.add(request_id)
            self._log.warning(
                "waiting for a lower base fee",
                request=request_hex(request_id),
                base_fee=base_fee,
                pays=ceiling,
            )

    # --- a transaction on its way ---

    def _follow(self, intent: Intent) -> bool:
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
            return self._replace(intent)
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
        fulfilled = receipt.succeeded and not attempt.cancels
        row = self._store.request(intent.request_id)
        if fulfilled:
            target, reason = RequestState.MINED, ""
        else:
            target, reason = _outcome(
                self._oracle.status(intent.request_id),
                expired=row is not None and row.request.deadline < self._clock(),
            )
        with self._store.transaction():
            self._store.move_intent(intent, IntentState.MINED, receipt.block_number)
            moved = self._store.move(intent.request_id, RequestState.PENDING, target, reason)
        self._log.info(
            "request fulfilled" if fulfilled else "transaction mined in vain",
            request=request_hex(intent.request_id),
            state=target.value if moved else None,
            tx=attempt.hash,
            block=receipt.block_number,
            gas=receipt.gas_used,
            seconds=None if row is None else round(self._clock() - row.seen_at, 3),
        )

    def _replace(self, intent: Intent) -> bool:
        """Send the same nonce again for more, or only use it up when the request has ended."""
        last = intent.attempts[-1]
        row = self._store.request(intent.request_id)
        alive = (
            row is not None
            and row.request.deadline >= self._clock()
            and self._oracle.status(intent.request_id) is Status.OPEN
        )
        base_fee, tip = self._prices()
        price = fees.bump(Fees(last.max_fee, last.priority_fee), base_fee, tip, intent.ceiling)
        if price is None:
            self._broadcast(intent.request_id, last)
            return False
        data = self._calldata(row) if alive and row is not None else None
        attempt = self._sign(intent.nonce, intent.gas, price, data)
        self._store.add_attempt(intent.intent_id, attempt)
        self._log.warning(
            "transaction stuck, replaced" if data else "request ended, nonce used up",
            request=request_hex(intent.request_id),
            nonce=intent.nonce,
            tx=attempt.hash,
            max_fee=price.max_fee,
        )
        self._broadcast(intent.request_id, attempt)
        return True

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
        receipts = (self._rpc.receipt(attempt.hash) for attempt in intent.attempts)
        if not any(r is not None and r.block_number == mined for r in receipts):
            with self._store.transaction():
                self._store.move_intent(intent, IntentState.PENDING)
                self._store.move(
                    intent.request_id, RequestState.MINED, RequestState.PENDING, "reorganised"
                )
            self._log.warning("transaction left the chain", request=request_hex(intent.request_id))
            return True
        with self._store.transaction():
            self._store.move_intent(intent, IntentState.FINAL, mined)
            final = self._store.move(intent.request_id, RequestState.MINED, RequestState.FINAL)
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

    def _prices(self) -> tuple[int, int]:
        """Base fee and tip (wei per gas)."""
        cursor = self._store.cursor()
        base_fee = 0 if cursor is None else cursor.head_base_fee
        tip = self._rpc.priority_fee() if self._priority_fee is None else self._priority_fee
        return base_fee, tip

    def _end(
        self, request_id: int, source: RequestState, target: RequestState, reason: str
    ) -> None:
        if self._store.move(request_id, source, target, reason):
            self._log.warning(f"request {target}", request=request_hex(request_id), reason=reason)


def _outcome(status: Status, *, expired: bool) -> tuple[RequestState, str]:
    """What became of a request whose answer was not accepted."""
    if status is Status.FULFILLED:
        return RequestState.LOST, "another node was first"
    if status is Status.REFUNDED:
        return RequestState.CANCELLED, "refunded"
    if expired:
        return RequestState.EXPIRED, "deadline passed"
    return RequestState.FAILED, TransactionReverted().line()
