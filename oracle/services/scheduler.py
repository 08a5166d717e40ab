"""Decides which requests are worth a proof, and queues those.

Invariant: nothing is spent on a request before `oracle.policy` has said yes, and every no is
stored with its reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from oracle.chain.contracts import RegistryContract, code_hash
from oracle.chain.rpc import Rpc
from oracle.errors import ModelUnsupported
from oracle.log import request_hex
from oracle.policy import (
    PASSING,
    Reason,
    ServedModel,
    Situation,
    Skip,
    decide,
    p95,
    same_circuit,
)
from oracle.store.ledger import START, Store
from oracle.store.records import Cursor, RequestRow
from oracle.store.states import RequestState
from oracle.types import RegisteredModel

#: Seconds for which a look at the balance holds.
_BALANCE_AGE = 10.0
#: Seconds between two looks at requests that were skipped for a reason that may pass, and how
#: many of them one look takes: the cost does not grow with their number.
_RECONSIDER_INTERVAL = 60.0
_RECONSIDER_BATCH = 100


class Scheduler:
    """Takes or skips what the watcher saw.

    Args:
        store: the ledger.
        rpc: the chain, for the verifiers' code and the balance.
        registry: the registered models.
        served: what this node can prove.
        account: who pays for gas.
        payee: who the proofs name.
        workers: proofs at the same time.
        confirmations: the watcher's.
        margin_seconds: time to keep between proof and deadline.
        min_balance: wei below which nothing new is taken.
        min_income: wei of the model fee below which a request is skipped.
        clock: seconds since the epoch.
        log: for a person.
    """

    def __init__(
        self,
        store: Store,
        rpc: Rpc,
        registry: RegistryContract,
        served: Sequence[ServedModel],
        *,
        account: str,
        payee: str,
        workers: int,
        confirmations: int,
        margin_seconds: float,
        min_balance: int,
        min_income: int,
        clock: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._rpc = rpc
        self._registry = registry
        self._served = served
        self._account = account
        self._payee = payee
        self._workers = workers
        self._confirmations = confirmations
        self._margin_seconds = margin_seconds
        self._min_balance = min_balance
        self._min_income = min_income
        self._clock = clock
        self._log = log
        # Registered models and verifier code never change: one look a process is enough.
        self._models: dict[int, tuple[RegisteredModel, bytes]] = {}
        self._funded = True
        self._balance_at = float("-inf")
        # A start has just looked at them all.
        self._reconsidered_at = clock()
        self._reconsidered_to = START

    def step(self) -> bool:
        """Decide on what is new; False when there was nothing to decide."""
        cursor = self._store.cursor()
        if cursor is None or cursor.block < cursor.head - self._confirmations:
            # An old request may have ended in blocks that are not read yet.
            return False
        self._reconsider(cursor)
        seen = self._store.requests(RequestState.SEEN)
        if seen and not self._has_funds():
            seen = []
        for row in seen:
            self._decide(row, cursor)
        accepted = self._store.requests(RequestState.ACCEPTED)
        for row in accepted:
            self._enqueue(row)
        return bool(seen or accepted)

    def _reconsider(self, cursor: Cursor) -> None:
        """Take back refusals that time has ended: the fee covers the gas now, the queue is shorter.

        A request that would be refused again stays as it is, so that its history does not grow.
        """
        if self._clock() - self._reconsidered_at < _RECONSIDER_INTERVAL:
            return
        self._reconsidered_at = self._clock()
        rows = self._store.skipped_for(PASSING, self._reconsidered_to, _RECONSIDER_BATCH)
        self._reconsidered_to = rows[-1].place if len(rows) == _RECONSIDER_BATCH else START
        for row in rows:
            if decide(row.request, self._situation(row, cursor)) is None:
                self._store.move(
                    row.request_id, RequestState.SKIPPED, RequestState.SEEN, "looked at again"
                )

    def _has_funds(self) -> bool:
        if self._clock() - self._balance_at >= _BALANCE_AGE:
            balance = self._rpc.balance(self._account)
            self._balance_at = self._clock()
            funded = balance >= self._min_balance
            if funded != self._funded:
                self._log.warning(
                    "balance is enough again" if funded else "balance too low, taking nothing",
                    account=self._account,
                    wei=balance,
                    needed=self._min_balance,
                )
            self._funded = funded
        return self._funded

    def _decide(self, row: RequestRow, cursor: Cursor) -> None:
        try:
            skip = decide(row.request, self._situation(row, cursor))
        except ModelUnsupported as error:
            skip = Skip(Reason.MODEL_UNSUPPORTED, error.message)
        if skip is None:
            self._store.move(row.request_id, RequestState.SEEN, RequestState.ACCEPTED)
        elif self._store.move(row.request_id, RequestState.SEEN, RequestState.SKIPPED, str(skip)):
            self._log.info(
                "request skipped",
                request=request_hex(row.request_id),
                reason=skip.reason.value,
                detail=skip.detail,
            )

    def _situation(self, row: RequestRow, cursor: Cursor) -> Situation:
        model, verifier_code = self._model(row.request.model_id)
        served = self._serving(model)
        return Situation(
            model=model,
            verifier_code_hash=verifier_code,
            served=served,
            now=max(self._clock(), cursor.head_timestamp),
            expected_seconds=self._expected_seconds(served) if served else 0,
            margin_seconds=self._margin_seconds,
            base_fee=cursor.head_base_fee,
            min_income=self._min_income,
        )

    def _enqueue(self, row: RequestRow) -> None:
        model, _ = self._model(row.request.model_id)
        served = self._serving(model)
        if served is None:
            self._store.move(
                row.request_id, RequestState.ACCEPTED, RequestState.FAILED, "the bundle is gone"
            )
            return
        job_id = self._job_id(row, served)
        if self._store.enqueue(row.request_id, job_id, served.bundle_id, served.memory_bytes):
            self._log.info(
                "request accepted",
                request=request_hex(row.request_id),
                model=served.name,
                job=job_id,
            )

    def _model(self, model_id: int) -> tuple[RegisteredModel | None, bytes]:
        if model_id not in self._models:
            model = self._registry.model(model_id)
            if model is None:
                return None, b""
            self._models[model_id] = (model, code_hash(self._rpc, model.verifier))
        return self._models[model_id]

    def _serving(self, model: RegisteredModel | None) -> ServedModel | None:
        if model is None:
            return None
        return next((s for s in self._served if same_circuit(model.spec, s.spec)), None)

    def _expected_seconds(self, served: ServedModel) -> float:
        one = p95(self._store.prove_times(served.bundle_id), served.prove_seconds)
        return one * (1 + self._store.backlog() / self._workers)

    def _job_id(self, row: RequestRow, served: ServedModel) -> str:
        """The hash of what the proof will state: the same statement has the same job."""
        key = row.request.key
        statement = (
            key.chain_id,
            key.oracle,
            [key.request_id],
            self._payee,
            served.bundle_id,
            row.request.input.hex(),
        )
        return hashlib.sha256(repr(statement).encode()).hexdigest()[:32]
