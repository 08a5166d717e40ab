"""In the submitter's place on a dry run: looks what would become of each proof, and sends nothing.

Nothing here can send: it has neither the account's key nor a way to the pool. A request that was
proved stays so, until it ends on the chain or its deadline passes; a node that sends, later on the
same store, answers those that are still open.
"""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from oracle import tensor
from oracle.chain.contracts import OracleContract
from oracle.errors import RpcRejected, TransactionReverted
from oracle.log import request_fields
from oracle.store.ledger import START, Store
from oracle.store.records import Job
from oracle.store.states import RequestState

#: Most proved requests that are looked at in a step.
_PAGE = 20


class Rehearsal:
    """Runs each delivery on the latest state, once.

    Args:
        store: where the proofs are.
        oracle: the contract.
        account: who would send.
        payee: who would be paid.
        log: for a person.
    """

    def __init__(
        self,
        store: Store,
        oracle: OracleContract,
        *,
        account: str,
        payee: str,
        log: FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._oracle = oracle
        self._account = account
        self._payee = payee
        self._log = log
        self._looked_to = START
        self._seen: set[str] = set()

    def step(self) -> bool:
        """Look at the next proofs; False when none is new."""
        proved = self._store.sendable(0, self._looked_to, _PAGE)
        is_full = len(proved) == _PAGE
        self._looked_to = proved[-1].place if is_full else START
        ids = dict.fromkeys(row.job_id for row in proved if row.job_id is not None)
        new = [job_id for job_id in ids if job_id not in self._seen]
        for job_id in new:
            job = self._store.job(job_id)
            if job is not None:
                self._look(job)
            self._seen.add(job_id)
        return bool(new) or is_full

    def _look(self, job: Job) -> None:
        rows = self._store.requests_of(job.job_id)
        requests = [row.request for row in rows if row.state is RequestState.PROVED]
        if not requests or job.proof is None or job.outputs is None:
            return
        outputs = [tensor.to_field(value) for value in job.outputs]
        if len(job.request_ids) == 1:
            data = self._oracle.fulfill_calldata(requests[0], self._payee, outputs, job.proof)
        else:
            named = [row.request for row in self._store.requests_in_proof(job.job_id)]
            data = self._oracle.fulfill_batch_calldata(named, self._payee, outputs, job.proof)
        fields = request_fields(tuple(request.key.request_id for request in requests))
        try:
            self._oracle.simulate(data, self._account)
        except (TransactionReverted, RpcRejected) as error:
            self._log.warning(
                "dry run: would be refused", **fields, code=error.code, detail=error.message
            )
        else:
            self._log.info("dry run: would be sent", **fields)
