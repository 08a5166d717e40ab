"""Decides which requests are worth a proof, joins those that are cheaper together, queues them.

Invariants: nothing is spent on a request before `oracle.policy` has said yes, and every no is
stored with its reason. What a proof names is fixed when it is queued. A request that a batch could
not answer is never joined again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from oracle import fees, tensor
from oracle.batching import Limits, plan
from oracle.chain.contracts import RegistryContract, code_hash
from oracle.chain.input_ranges import is_foreign_checker
from oracle.chain.registration import circuits_of
from oracle.chain.rpc import Rpc
from oracle.errors import ModelUnsupported
from oracle.log import request_fields, request_hex
from oracle.machine import available_memory, free_disk
from oracle.policy import (
    PASSING,
    Means,
    Reason,
    ServedModel,
    Situation,
    Skip,
    Terms,
    common_sizes,
    decide,
    fitting,
    p95,
    same_circuit,
)
from oracle.store.ledger import START, Store
from oracle.store.records import Cursor, RequestRow
from oracle.store.states import RequestState
from oracle.types import RegisteredModel

#: Seconds for which a look at balance, disk and memory holds.
_MEANS_AGE = 10.0
#: Seconds between two looks at requests that were skipped for a reason that may pass, and how
#: many of them one look takes: the cost does not grow with their number.
_RECONSIDER_INTERVAL = 60.0
_RECONSIDER_BATCH = 100
#: Refusals of one node that another node of the same store may not share.
_OWN = frozenset({Reason.NO_BUNDLE, Reason.REQUESTER_REFUSED})
#: Refusals by the operator's own terms: new ones may end them.
_BY_TERMS = frozenset({Reason.INCOME_LOW, Reason.REQUESTER_REFUSED})
#: Most new requests to look at in a step; beside nodes of other payees, jobs of each worker's that
#: are enough.
_LOOK = 100
_STOCK = 2
#: Most accepted requests to look at in a step. More than that do not wait for others.
_PAGE = 1_000


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
        limits: what may be joined.
        terms: what the operator asks of a request and keeps in reserve.
        folders: whose disks must keep room.
        clock: seconds since the epoch; deadlines are measured by the chain's.
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
        limits: Limits,
        terms: Terms,
        folders: Sequence[Path],
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
        self._limits = limits
        self._terms = terms
        self._folders = tuple(folders)
        self._clock = clock
        self._log = log
        # Registered models and verifier code never change: one look is enough, if all was there.
        self._models: dict[int, tuple[RegisteredModel, Mapping[int, bytes]]] = {}
        self._means = Means(0, 0, 0)
        self._means_at = float("-inf")
        self._scarce = False
        # A start has just looked at them all.
        self._reconsidered_at = clock()
        self._reconsidered_to = START
        # Whether refusals for the operator's terms are yet to be looked at by new ones.
        self._has_new_terms = False
        # Base fee as of the last step, whether it fell since those that pay too little were looked
        # at, and how far that look came.
        self._base_fee = 0
        self._is_cheaper = False
        self._cheaper_to = START

    def take_terms(self, terms: Terms) -> None:
        """Decide by other terms from now on, also what was refused by the old ones."""
        self._terms = terms
        self._has_new_terms = True
        self._reconsidered_to = START
        self._reconsidered_at = self._means_at = float("-inf")

    def step(self) -> bool:
        """Decide on what is new; False when there was nothing to decide."""
        cursor = self._store.cursor()
        if cursor is None or cursor.block < cursor.head - self._confirmations:
            # An old request may have ended in blocks that are not read yet.
            return False
        self._reconsider_prices(cursor)
        self._reconsider(cursor)
        seen = self._store.requests(RequestState.SEEN, self._share())
        if seen:
            self._look_at_means()
            if self._scarce and self._store.is_shared:
                # Another node may have what this one lacks: left to it.
                seen = []
        for row in seen:
            self._decide(row, cursor)
        queued = self._queue(self._store.accepted(_PAGE), cursor)
        return bool(seen) or queued

    def _share(self) -> int:
        """How many requests to look at: what nodes of other payees could prove is left to them."""
        if not self._store.is_shared or not self._store.has_rivals():
            return _LOOK
        return min(_LOOK, max(0, _STOCK * self._all_workers() - self._store.backlog()))

    def _all_workers(self) -> int:
        """Proofs at the same time of all nodes that share this one's jobs."""
        return max(self._workers, self._store.workers()) if self._store.is_shared else self._workers

    def _reconsider(self, cursor: Cursor) -> None:
        """Take back refusals that time has ended: the queue is shorter, a disk has room again.

        A request that would be refused again stays as it is, so that its history does not grow.
        """
        if 0 <= self._clock() - self._reconsidered_at < _RECONSIDER_INTERVAL:
            return
        self._reconsidered_at = self._clock()
        self._look_at_means()
        codes = PASSING | _OWN if self._store.is_shared else PASSING
        if self._has_new_terms:
            codes |= _BY_TERMS
        rows = self._store.skipped_for(codes, self._reconsidered_to, _RECONSIDER_BATCH)
        is_full = len(rows) == _RECONSIDER_BATCH
        self._reconsidered_to = rows[-1].place if is_full else START
        self._has_new_terms &= is_full
        self._take_back(rows, cursor)

    def _reconsider_prices(self, cursor: Cursor) -> None:
        """Take back what pays for its gas by now, as soon as the base fee fell.

        A look now and then could meet the same hour of a price that swings each time, and leave a
        request alone that could have been answered in between.
        """
        self._is_cheaper |= cursor.head_base_fee < self._base_fee
        self._base_fee = cursor.head_base_fee
        if not self._is_cheaper:
            return
        rows = self._store.skipped_for(
            {Reason.FEE_LOW},
            self._cheaper_to,
            _RECONSIDER_BATCH,
            least=fees.least(cursor.head_base_fee),
        )
        if rows:
            self._look_at_means()
        self._take_back(rows, cursor)
        self._is_cheaper = len(rows) == _RECONSIDER_BATCH
        self._cheaper_to = rows[-1].place if self._is_cheaper else START

    def _take_back(self, rows: Sequence[RequestRow], cursor: Cursor) -> None:
        for row in rows:
            skip = self._refusal(row, cursor)
            if skip is None:
                self._store.move(
                    row.request_id, RequestState.SKIPPED, RequestState.SEEN, "looked at again"
                )
            elif skip.reason is Reason.FEE_LOW:
                self._note_ceiling(row)

    def _note_ceiling(self, row: RequestRow) -> None:
        """Remember at which price a request pays for its gas."""
        model, _ = self._model(row.request.model_id)
        if model is not None:
            ceiling = fees.ceiling(row.request, model, self._terms.subsidy)
            self._store.set_ceiling(row.request_id, ceiling)

    def _look_at_means(self) -> None:
        if 0 <= self._clock() - self._means_at < _MEANS_AGE:
            return
        self._means = Means(
            balance=self._rpc.balance(self._account),
            disk=min(map(free_disk, self._folders)),
            memory=available_memory(),
        )
        self._means_at = self._clock()
        means, reserve = self._means, self._terms.reserve
        scarce = (
            means.balance < reserve.balance
            or means.disk < reserve.disk
            or means.memory < reserve.memory
        )
        if scarce != self._scarce:
            self._log.warning(
                "too little left, taking nothing" if scarce else "enough is left again",
                account=self._account,
                wei=means.balance,
                disk_mb=means.disk >> 20,
                memory_mb=means.memory >> 20,
            )
        self._scarce = scarce

    def _refusal(self, row: RequestRow, cursor: Cursor) -> Skip | None:
        try:
            return decide(row.request, self._situation(row, cursor))
        except ModelUnsupported as error:
            return Skip(Reason.MODEL_UNSUPPORTED, error.message)

    def _decide(self, row: RequestRow, cursor: Cursor) -> None:
        skip = self._refusal(row, cursor)
        if skip is None:
            self._store.accept(row.request_id)
        elif self._store.move(row.request_id, RequestState.SEEN, RequestState.SKIPPED, str(skip)):
            if skip.reason is Reason.FEE_LOW:
                self._note_ceiling(row)
            self._log.info(
                "request skipped",
                request=request_hex(row.request_id),
                reason=skip.reason.value,
                detail=skip.detail,
            )

    def _situation(self, row: RequestRow, cursor: Cursor) -> Situation:
        model, code_hashes = self._model(row.request.model_id)
        served = self._serving(model)
        return Situation(
            model=model,
            code_hashes=code_hashes,
            served=served,
            now=cursor.head_timestamp,
            clock=self._clock(),
            expected_seconds=self._expected_seconds(served) if served else {},
            margin_seconds=self._margin_seconds,
            base_fee=cursor.head_base_fee,
            terms=self._terms,
            means=self._means,
            open_of_account=self._open_of(row.request.account),
        )

    def _open_of(self, account: str) -> int:
        return self._store.open_of(account) if self._terms.max_open_per_account else 0

    # --- jobs ---

    def _queue(self, accepted: Sequence[RequestRow], cursor: Cursor) -> bool:
        """Give accepted requests their jobs, all but those that wait for others."""
        if not accepted:
            return False
        reused = self._reuse(accepted)
        by_model: dict[int, list[RequestRow]] = {}
        for row in accepted:
            if row.request_id not in reused:
                by_model.setdefault(row.request.model_id, []).append(row)
        plans = [
            plan(
                rows,
                self._situation(rows[0], cursor),
                self._limits,
                # More than a page must not wait: nobody would look at those behind it.
                hold=len(accepted) < _PAGE and self._is_behind_others(rows),
            )
            for rows in by_model.values()
        ]
        jobs = [batch for each in plans for batch in each.batches]
        jobs += [(row,) for each in plans for row in each.alone]
        taken = [self._enqueue(rows) for rows in sorted(jobs, key=lambda job: job[0].place)]
        return bool(reused) or any(taken)

    def _is_behind_others(self, rows: Sequence[RequestRow]) -> bool:
        """Whether jobs that are older than the requests keep every worker busy."""
        oldest = min(row.updated_at for row in rows)
        return self._store.backlog(before=oldest) >= self._all_workers()

    def _reuse(self, accepted: Sequence[RequestRow]) -> set[int]:
        """Give requests mined again the finished proof that names them among others; their ids.

        In one transaction: whoever sends the proof sees them together.
        """
        found: set[int] = set()
        for job in self._store.reusable_proofs():
            rows = self._store.requests_in_proof(job.job_id)
            served = self._serving(self._model(rows[0].request.model_id)[0])
            if served is None or job.job_id != self._job_id(rows, served):
                continue
            with self._store.transaction():
                found |= {
                    row.request_id
                    for row in rows
                    if not row.alone
                    and self._store.attach(row.request_id, RequestState.ACCEPTED, job.job_id)
                }
        return found & {row.request_id for row in accepted}

    def _enqueue(self, rows: Sequence[RequestRow]) -> bool:
        """Queue the proof of one request, or of several single-row requests of one model.

        False leaves them accepted, to be tried again: an endpoint that is behind, or lies, is no
        reason to give up what was accepted.
        """
        model, code_hashes = self._model(rows[0].request.model_id)
        if model is None:
            return False
        served = self._serving(model)
        if served is None:
            self._fail(rows, "the bundle is gone")
            return True
        spec = served.spec
        inputs = [tensor.rows(row.request.input, spec.input, spec.codec) for row in rows]
        circuit = fitting(model, served, sum(map(len, inputs)), code_hashes)
        if isinstance(circuit, Skip):
            if circuit.reason in PASSING:
                return False
            self._fail(rows, str(circuit))
            return True
        ids = [row.request_id for row in rows]
        job_id = self._job_id(rows, served)
        if not self._store.enqueue(
            ids, job_id, served.bundle_id, size=circuit.size, memory_bytes=circuit.memory_bytes
        ):
            return False
        for request_id in ids:
            self._log.info(
                "request accepted",
                request=request_hex(request_id),
                model=served.name,
                job=job_id,
            )
        if len(ids) > 1:
            self._log.info(
                "requests joined",
                **request_fields(ids),
                model=served.name,
                size=circuit.size,
                job=job_id,
            )
        return True

    def _fail(self, rows: Sequence[RequestRow], reason: str) -> None:
        for row in rows:
            self._store.move(row.request_id, RequestState.ACCEPTED, RequestState.FAILED, reason)

    def _model(self, model_id: int) -> tuple[RegisteredModel | None, Mapping[int, bytes]]:
        if model_id not in self._models:
            model = self._registry.model(model_id)
            if model is None:
                return None, {}
            sizes = (1, *(batch.size for batch in model.spec.batches))
            verifiers = (model.verifier, *model.batch_verifiers)
            hashes = {
                size: code_hash(self._rpc, verifier)
                for size, verifier in zip(sizes, verifiers, strict=True)
            }
            registered = {v.size: v.verifier_code_hash for v in circuits_of(model.spec)}
            # Either may be an endpoint that lacks the newest blocks.
            if hashes != registered or is_foreign_checker(model):
                return model, hashes
            self._models[model_id] = (model, hashes)
        return self._models[model_id]

    def _serving(self, model: RegisteredModel | None) -> ServedModel | None:
        """The bundle of a model; of several the one that has most of its batch sizes."""
        if model is None:
            return None
        spec = model.spec
        return max(
            (served for served in self._served if same_circuit(spec, served.spec)),
            key=lambda served: len(common_sizes(spec, served.spec)),
            default=None,
        )

    def _expected_seconds(self, served: ServedModel) -> dict[int, float]:
        queue = 1 + self._store.backlog() / self._all_workers()
        return {
            circuit.size: queue
            * p95(self._store.prove_times(served.bundle_id, circuit.size), circuit.prove_seconds)
            for circuit in served.circuits
        }

    def _job_id(self, rows: Sequence[RequestRow], served: ServedModel) -> str:
        """The hash of what the proof will state: the same statement has the same job."""
        key = rows[0].request.key
        statement = (
            key.chain_id,
            key.oracle,
            [row.request_id for row in rows],
            self._payee,
            served.bundle_id,
            ",".join(row.request.input.hex() for row in rows),
        )
        return hashlib.sha256(repr(statement).encode()).hexdigest()[:32]
