"""Gives queued jobs to the prover and keeps what comes back.

Invariant: a RUNNING job holds a lease in the store; capacity is what leases leave over, so it
cannot leak. A proof is in the store before anything else happens with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from oracle import tensor
from oracle.errors import OracleError, ProverCrashed, ProverMemory, ProverUnavailable
from oracle.log import request_fields, request_hex
from oracle.policy import ServedModel
from oracle.prover.base import Prover
from oracle.store.ledger import Store
from oracle.store.records import Job
from oracle.types import Proof, ProofJob

#: Starts of a job whose errors may pass.
MAX_ATTEMPTS = 3
#: Seconds before the second start; doubles with each.
RETRY_DELAY = 2.0
#: Most seconds between two starts while this machine can start nothing.
_LONGEST_DELAY = 60.0
#: What one more try gets after running out of memory.
_MEMORY_FACTOR = 2
#: Seconds that a lease outlives the prover's own deadline.
_LEASE_MARGIN = 30.0


class Runner:
    """Runs proofs.

    Args:
        store: the ledger.
        prover: used from one thread.
        served: what this node can prove.
        payee: who the proofs name.
        workers: proofs at the same time.
        timeout: seconds for one proof.
        clock: seconds since the epoch.
        log: for a person.
    """

    def __init__(
        self,
        store: Store,
        prover: Prover,
        served: Sequence[ServedModel],
        *,
        payee: str,
        workers: int,
        timeout: float,
        clock: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._prover = prover
        self._served = {model.bundle_id: model for model in served}
        self._payee = payee
        self._workers = workers
        self._timeout = timeout
        self._clock = clock
        self._log = log
        # What the prover was given and has not answered.
        self._started: set[str] = set()
        # While nothing can start: when to try again, and how long to wait after that.
        self._resume_at = float("-inf")
        self._delay = RETRY_DELAY
        self._taking = True

    def step(self) -> bool:
        """Collect finished proofs and start new ones; False when nothing changed."""
        worked = self._stop_unwanted()
        for outcome in self._prover.poll():
            self._started.discard(outcome.job_id)
            self._finish(outcome.job_id, outcome.result)
            worked = True
        while (job := self._claim()) is not None:
            worked |= self._start(job)
        return worked

    def stop_taking(self) -> None:
        """Start no more proofs; those that run are finished."""
        self._taking = False

    @property
    def busy(self) -> bool:
        """Whether a proof is being made."""
        return self._store.live_leases(self._clock()) > 0

    def _claim(self) -> Job | None:
        """The job to start now; None without one, or without room for it.

        The oldest job waits for the memory that it needs: were later ones let past it, it might
        never get it.
        """
        now = self._clock()
        # A clock that was set back must not keep it waiting for longer than it was to wait.
        if not self._taking or 0 < self._resume_at - now <= _LONGEST_DELAY:
            return None
        if self._prover.capacity() <= 0:
            return None
        if self._store.live_leases(now) >= self._workers:
            return None
        return self._store.claim_job(
            now,
            self._timeout + _LEASE_MARGIN,
            # Another node may serve what this one does not.
            self._served if self._store.is_shared else None,
            fits=lambda memory_bytes: self._prover.capacity(memory_bytes) > 0,
        )

    def _stop_unwanted(self) -> bool:
        cancelled = self._store.cancel_unwanted_jobs()
        for job_id in cancelled:
            self._prover.cancel(job_id)
            self._log.info("proof stopped, nobody waits for it", job=job_id)
        lapsed = self._store.lapsed_leases(self._clock())
        for job in lapsed:
            self._prover.cancel(job.job_id)
            self._finish(job.job_id, ProverCrashed("nothing was heard of the proof in its time"))
        return bool(cancelled or lapsed) | self._stop_taken()

    def _stop_taken(self) -> bool:
        """Stop proofs that are no more this node's: ended, cancelled, or given to another."""
        taken = self._started - self._store.running_here() if self._started else set()
        for job_id in taken:
            self._prover.cancel(job_id)
            self._started.discard(job_id)
        return bool(taken)

    def _start(self, job: Job) -> bool:
        """Give a job to the prover; False when this machine can start nothing now."""
        requests = [row.request for row in self._store.requests_in_proof(job.job_id)]
        served = self._served.get(job.bundle_id)
        circuit = served.circuit(job.size) if served else None
        if served is None or circuit is None:
            self._store.fail_job(job.job_id, "NO_BUNDLE: the bundle is not configured any more")
            return True
        spec = served.spec
        rows = [row for r in requests for row in tensor.rows(r.input, spec.input, spec.codec)]
        key = requests[0].key
        statement = ProofJob(
            job_id=job.job_id,
            circuit=circuit.circuit,
            inputs=tensor.pad(rows, circuit.size),
            tag=tensor.tag(
                key.chain_id,
                key.oracle,
                [request.key.request_id for request in requests],
                self._payee,
                spec.tag,
            ),
            timeout=self._timeout,
            memory_bytes=job.memory_bytes,
        )
        self._log.info(
            "proving",
            **request_fields(job.request_ids),
            job=job.job_id,
            rows=len(rows),
            attempt=job.attempts,
        )
        try:
            self._prover.submit(statement)
        except ProverUnavailable as error:
            self._wait_to_start(job, error)
            return False
        except OracleError as error:
            self._finish(job.job_id, error)
        else:
            self._started.add(job.job_id)
            self._delay = RETRY_DELAY
        return True

    def _wait_to_start(self, job: Job, error: ProverUnavailable) -> None:
        """Put a job back uncounted: the fault is the machine's and meets every job alike."""
        self._store.requeue_job(
            job.job_id,
            error=error.line(),
            attempts=job.attempts - 1,
            memory_bytes=job.memory_bytes,
        )
        self._resume_at = self._clock() + self._delay
        self._log.error(
            "no proof can start", code=error.code, detail=error.message, in_=self._delay
        )
        self._delay = min(2 * self._delay, _LONGEST_DELAY)

    def _finish(self, job_id: str, result: Proof | OracleError) -> None:
        if isinstance(result, Proof):
            self._keep(result)
        else:
            self._retry_or_fail(job_id, result)

    def _keep(self, proof: Proof) -> None:
        if not self._store.finish_job(proof):
            return
        total = proof.witness_seconds + proof.prove_seconds + proof.verify_seconds
        for row in self._store.requests_of(proof.job_id):
            self._log.info(
                "proved",
                request=request_hex(row.request_id),
                job=proof.job_id,
                proving_seconds=round(total, 3),
                witness_seconds=round(proof.witness_seconds, 3),
                prove_seconds=round(proof.prove_seconds, 3),
                verify_seconds=round(proof.verify_seconds, 3),
                memory_mb=proof.peak_memory_bytes >> 20,
            )

    def _retry_or_fail(self, job_id: str, error: OracleError) -> None:
        job = self._store.job(job_id)
        if job is None or job_id not in self._store.running_here():
            # Cancelled, or given to another node, while the error was on its way.
            return
        memory = job.memory_bytes
        if isinstance(error, ProverMemory):
            served = self._served.get(job.bundle_id)
            circuit = served.circuit(job.size) if served else None
            again = circuit is not None and memory < circuit.memory_bytes * _MEMORY_FACTOR
            memory *= _MEMORY_FACTOR
        else:
            again = error.transient and job.attempts < MAX_ATTEMPTS
        if again:
            delay = RETRY_DELAY * 2 ** (job.attempts - 1)
            self._store.requeue_job(
                job_id,
                error=error.line(),
                attempts=job.attempts,
                memory_bytes=memory,
                not_before=self._clock() + delay,
            )
            self._log.warning("proof failed, trying again", job=job_id, code=error.code, in_=delay)
        else:
            self._store.fail_job(job_id, error.line())
            self._log.error("proof failed", job=job_id, code=error.code, detail=error.message)
