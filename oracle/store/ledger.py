"""The node's memory: what was seen, decided, proved and sent. Services talk through it alone.

Every change of state is one guarded statement (``WHERE state = ?``): of two callers only one
succeeds, and each step lands in the history with its time.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from oracle.errors import StoreMismatch
from oracle.store.database import Database
from oracle.store.records import (
    Attempt,
    Cursor,
    Intent,
    Job,
    ProverStep,
    RequestRow,
    Settled,
    Sighting,
    Step,
    Workload,
    read_mined_note,
)
from oracle.store.states import (
    INTENT_STEPS,
    REQUEST_STEPS,
    UNSENT,
    IntentState,
    JobState,
    RequestState,
)
from oracle.store.totals import ANSWER_BOUNDS, OWN_BOUNDS, PROOF_BOUNDS, Totals
from oracle.types import Proof, Request, RequestKey

_MAX_INT64 = 2**63 - 1

#: A place in the chain: block number and log index.
Place = tuple[int, int]
#: Before everything.
START: Place = (-1, -1)


class Store:
    """The ledger of one node on one chain and oracle contract.

    Args:
        database: an open database.
        chain_id: the chain it belongs to.
        oracle: the contract it belongs to, a checksum address.
        clock: seconds since the epoch.

    Raises:
        StoreMismatch: the database belongs to another chain or contract.
    """

    def __init__(
        self, database: Database, chain_id: int, oracle: str, clock: Callable[[], float]
    ) -> None:
        self._db = database
        self._chain_id = chain_id
        self._oracle = oracle
        self._clock = clock
        self._totals = Totals(database)
        owner = database.row("owner")
        if owner is None:
            if not database.read_only:
                database.run("own", chain_id=chain_id, oracle=oracle)
        elif (owner["chain_id"], owner["oracle"]) != (chain_id, oracle):
            raise StoreMismatch(
                f"the store belongs to oracle {owner['oracle']} on chain {owner['chain_id']}",
                remedy="Use another store path for another oracle",
            )

    @classmethod
    def open(
        cls,
        path: Path,
        chain_id: int,
        oracle: str,
        clock: Callable[[], float],
        *,
        read_only: bool = False,
    ) -> Store:
        """Open or create the store at ``path``. Errors as in `Database` and `Store`."""
        database = Database(path, read_only=read_only)
        try:
            return cls(database, chain_id, oracle, clock)
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """Close the database. No thread may use the store now."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Several changes as one."""
        with self._db.transaction():
            yield

    # --- the chain as read so far ---

    def cursor(self) -> Cursor | None:
        """Where reading stands; None before the first start."""
        row = self._db.row("cursor")
        if row is None:
            return None
        return Cursor(
            block=row["block"],
            chunk=row["chunk"],
            head=row["head"],
            head_timestamp=row["head_timestamp"],
            head_base_fee=int(row["head_base_fee"]),
            block_timestamp=row["block_timestamp"],
        )

    def start_cursor(self, block: int, chunk: int) -> None:
        """Begin reading after ``block``. Only for a new store."""
        self._db.run("start_cursor", block=block, chunk=chunk)

    def set_head(self, number: int, timestamp: int, base_fee: int) -> None:
        """Remember the chain's head."""
        self._db.run("set_head", number=number, timestamp=timestamp, base_fee=str(base_fee))

    def set_chunk(self, chunk: int) -> None:
        """Remember how many blocks a log query may cover."""
        self._db.run("set_chunk", chunk=chunk)

    def advance(self, block: int, hashes: Iterable[tuple[int, bytes]], timestamp: int = 0) -> None:
        """Move the cursor to ``block``, made at ``timestamp``; keep the hashes of blocks up to it."""
        with self.transaction():
            for number, block_hash in hashes:
                self._db.run("put_block", number=number, hash=block_hash)
            self._db.run("set_cursor", block=block, timestamp=timestamp)

    def block_hash(self, number: int) -> bytes | None:
        """The hash under which a block was read."""
        row = self._db.row("block_hash", number=number)
        return None if row is None else bytes(row["hash"])

    def known_blocks(self, last: int) -> list[tuple[int, bytes]]:
        """Numbers and hashes of kept blocks up to ``last``, newest first."""
        return [(row["number"], row["hash"]) for row in self._db.rows("known_blocks", last=last)]

    def rewind(self, ancestor: int) -> list[int]:
        """Forget what was read after block ``ancestor``; the ids of the orphaned requests.

        Requests made after it become ORPHANED, ends seen after it are undone, and transactions
        mined after it are pending again. Proofs stay.
        """
        with self.transaction():
            for row in self._requests("ended_after_block", block=ancestor):
                self.move(row.request_id, row.state, RequestState.SEEN, "its end was reorganised")
            for intent in self._intents("intents_mined_after", block=ancestor):
                self.move_intent(intent, IntentState.PENDING)
                self._db.run("forget_broadcast", intent_id=intent.intent_id)
                for request_id in intent.request_ids:
                    for state in (RequestState.MINED, RequestState.FINAL):
                        self.move(request_id, state, RequestState.PENDING, "reorganised")
            orphaned = [
                row.request_id
                for row in self._requests("requests_after_block", block=ancestor)
                if self.move(row.request_id, row.state, RequestState.ORPHANED, "reorganised")
            ]
            self._db.run("undo_top_ups", number=ancestor)
            self._db.run("drop_top_ups_after", number=ancestor)
            self._db.run("drop_blocks_after", number=ancestor)
            self._db.run("set_cursor", block=ancestor, timestamp=0)
        return orphaned

    # --- requests ---

    def add_request(self, request: Request) -> bool:
        """Record a request as SEEN; False when it is known and not orphaned."""
        with self.transaction():
            added = self._db.run(
                "put_request",
                request_id=hex(request.key.request_id),
                account=request.account,
                model_id=str(request.model_id),
                input=request.input,
                callback_contract=request.callback_contract,
                callback_gas=str(request.callback_gas),
                callback_data=request.callback_data,
                refund_to=request.refund_to,
                deadline=str(request.deadline),
                expires_at=min(request.deadline, _MAX_INT64),
                fee=str(request.fee),
                gas_money=str(request.gas_money),
                gas_units=str(request.gas_units),
                protocol_bps=request.protocol_bps,
                block_number=request.block_number,
                block_hash=request.block_hash,
                transaction_hash=request.transaction_hash,
                log_index=request.log_index,
                now=self._clock(),
            )
            if added:
                self._note(request.key.request_id, RequestState.SEEN, "")
                self._totals.add("request_steps", RequestState.SEEN)
        return bool(added)

    def top_up(self, request_id: int, gas_money: int, block: int) -> None:
        """Record the gas money (wei) that a request has since ``block``, if it is known."""
        with self.transaction():
            self._db.run("put_top_up", request_id=hex(request_id), block=block)
            self._db.run("set_gas_money", request_id=hex(request_id), gas_money=str(gas_money))

    def request(self, request_id: int) -> RequestRow | None:
        """One request."""
        return next(iter(self._requests("request", request_id=hex(request_id))), None)

    def requests(self, state: RequestState, limit: int = 100) -> list[RequestRow]:
        """The oldest requests in a state, in chain order."""
        return self._requests("requests_in_state", state=state, limit=limit)

    def sendable(self, least: int, after: Place, limit: int) -> list[RequestRow]:
        """PROVED requests in chain order, without those known to pay less than ``least``.

        Args:
            least: wei per gas.
            after: block and log index that they must lie behind.
            limit: most rows.
        """
        block, log_index = after
        return self._requests(
            "sendable", least=min(least, _MAX_INT64), block=block, log_index=log_index, limit=limit
        )

    def set_ceiling(self, request_id: int, ceiling: int) -> None:
        """Remember what a request pays (wei per gas), for `sendable`."""
        self._db.run("set_ceiling", request_id=hex(request_id), ceiling=min(ceiling, _MAX_INT64))

    def skipped_for(self, codes: Iterable[str], after: Place, limit: int) -> list[RequestRow]:
        """Skipped requests that still have time and whose reason is one of ``codes``.

        Args:
            codes: what their reasons begin with.
            after: block and log index that they must lie behind, in chain order.
            limit: most rows.
        """
        block, log_index = after
        return self._requests(
            "skipped_for",
            codes=json.dumps(sorted(codes)),
            now=self._clock(),
            block=block,
            log_index=log_index,
            limit=limit,
        )

    def requests_of(self, job_id: str) -> list[RequestRow]:
        """The requests that a job is to answer, in chain order; not those that left its batch."""
        return self._requests("requests_of_job", job_id=job_id)

    def requests_in_proof(self, job_id: str) -> list[RequestRow]:
        """The requests that a job's proof names, in the order of its tag."""
        return self._requests("requests_in_proof", job_id=job_id)

    def recent(self, limit: int) -> list[RequestRow]:
        """The newest requests, newest first."""
        return self._requests("recent_requests", limit=limit)

    def expired(self, now: float, limit: int = 100) -> list[RequestRow]:
        """Unsent requests whose deadline has passed."""
        return self._requests("expired", now=now, limit=limit)

    def open_of(self, account: str) -> int:
        """How many accepted requests of an account are not answered yet."""
        row = self._db.row("open_of_account", account=account)
        return int(row["amount"]) if row else 0

    def counts(self) -> dict[RequestState, int]:
        """Number of requests by state; states without any are left out."""
        return {RequestState(r["state"]): r["amount"] for r in self._db.rows("count_states")}

    def history(self, request_id: int) -> list[Step]:
        """Every step of a request, oldest first."""
        return [
            Step(row["at"], RequestState(row["state"]), row["reason"])
            for row in self._db.rows("history", request_id=hex(request_id))
        ]

    def move(
        self, request_id: int, source: RequestState, target: RequestState, reason: str = ""
    ) -> bool:
        """Take a request from one state to the next; False when it is not in ``source`` any more.

        Raises:
            ValueError: the step is not in the table of `oracle.store.states`.
        """
        if target not in REQUEST_STEPS[source]:
            raise ValueError(f"no step from {source} to {target}")
        with self.transaction():
            moved = self._db.run(
                "move_request",
                request_id=hex(request_id),
                source=source,
                target=target,
                reason=reason,
                now=self._clock(),
            )
            if moved:
                self._note(request_id, target, reason)
                self._count_step(request_id, source, target, reason)
        return bool(moved)

    def end_unsent(self, request_id: int, target: RequestState, reason: str, block: int) -> bool:
        """The chain ended a request in ``block``; True when the node had not sent an answer."""
        with self.transaction():
            row = self.request(request_id)
            if row is None or row.state not in (
                *UNSENT,
                RequestState.FAILED,
                RequestState.EXPIRED,
            ):
                return False
            return self.end(request_id, row.state, target, reason, block)

    def end(
        self,
        request_id: int,
        source: RequestState,
        target: RequestState,
        reason: str,
        block: int,
    ) -> bool:
        """As `move`; a reorg of ``block``, in which the chain ended the request, takes it back."""
        with self.transaction():
            moved = self.move(request_id, source, target, reason)
            if moved:
                self._db.run("set_ended", request_id=hex(request_id), block=block)
        return moved

    def reconsider(self, codes: Iterable[str]) -> int:
        """Give requests that still have time another decision; how many.

        Those that were skipped, and those that failed with one of ``codes``.
        """
        values = {"now": self._clock(), "codes": json.dumps(sorted(codes))}
        with self.transaction():
            self._db.run("note_reconsidered", **values)
            return self._db.run("reconsider", **values)

    # --- jobs ---

    def enqueue(
        self,
        request_ids: Sequence[int],
        job_id: str,
        bundle_id: str,
        *,
        size: int,
        memory_bytes: int,
    ) -> bool:
        """Give ACCEPTED requests their job, new or known; False when one is not ACCEPTED any more.

        A job that is already proved takes its request straight to PROVED.

        Args:
            request_ids: what the proof will name, in the order of its tag.
            job_id: the hash of what it will state.
            bundle_id: whose circuit proves it.
            size: rows of the circuit.
            memory_bytes: the prover's cap.
        """
        with self.transaction():
            found = [self.request(request_id) for request_id in request_ids]
            rows = [row for row in found if row and row.state is RequestState.ACCEPTED]
            if len(rows) < len(request_ids):
                return False
            job = self.job(job_id)
            if job is None:
                self._db.run(
                    "put_job",
                    job_id=job_id,
                    bundle_id=bundle_id,
                    size=size,
                    memory_bytes=memory_bytes,
                    # A batch has lost nothing by waiting: its place is its oldest request's.
                    now=min(row.updated_at for row in rows),
                )
            else:
                self._db.run(
                    "renew_job", job_id=job_id, memory_bytes=memory_bytes, now=self._clock()
                )
            for position, request_id in enumerate(request_ids):
                self._db.run(
                    "put_job_request",
                    job_id=job_id,
                    position=position,
                    request_id=hex(request_id),
                )
                if job is not None and job.state is JobState.PROVED:
                    self.attach(request_id, RequestState.ACCEPTED, job_id)
                    continue
                self._db.run("set_job", request_id=hex(request_id), job_id=job_id)
                self.move(request_id, RequestState.ACCEPTED, RequestState.QUEUED)
                if job is not None and job.state is JobState.RUNNING:
                    self.move(request_id, RequestState.QUEUED, RequestState.RUNNING)
        return True

    def attach(self, request_id: int, source: RequestState, job_id: str) -> bool:
        """Take a request to PROVED by a finished proof that names it; False if not in ``source``."""
        with self.transaction():
            moved = self.move(request_id, source, RequestState.PROVED, "proved before")
            if moved:
                self._db.run("set_job", request_id=hex(request_id), job_id=job_id)
        return moved

    def reusable_proofs(self) -> list[Job]:
        """Finished proofs of several requests that name an ACCEPTED one which may be joined."""
        return self._jobs("reusable_proofs")

    def open_batches(self, limit: int) -> list[Job]:
        """Jobs for several requests that are not answered for good yet, oldest first."""
        return self._jobs("open_batches", limit=limit)

    def take_out(self, request_id: int, source: RequestState, reason: str) -> bool:
        """Give a request that its batch could not answer another decision: a proof of its own."""
        with self.transaction():
            moved = self.move(request_id, source, RequestState.ACCEPTED, reason)
            if moved:
                self._db.run("set_alone", request_id=hex(request_id))
        return moved

    def refuse_job(self, job_id: str, reason: str) -> None:
        """The contract refused a finished proof of several: each is proved alone."""
        with self.transaction():
            self._db.run("refuse_job", job_id=job_id, error=reason)
            for row in self.requests_of(job_id):
                self.take_out(row.request_id, RequestState.PROVED, reason)

    def job(self, job_id: str) -> Job | None:
        """One job."""
        return next(iter(self._jobs("job", job_id=job_id)), None)

    def claim_job(self, now: float, lease: float) -> Job | None:
        """Start the oldest job that is due, for ``lease`` seconds; None when there is none."""
        with self.transaction():
            row = self._db.row("next_job", now=now)
            if row is None:
                return None
            self._db.run("start_job", job_id=row["job_id"], lease_until=now + lease)
            self._move_requests(row["job_id"], RequestState.QUEUED, RequestState.RUNNING)
            return self.job(row["job_id"])

    def live_leases(self, now: float) -> int:
        """Jobs that hold a unit of the prover's capacity."""
        row = self._db.row("live_leases", now=now)
        return int(row["amount"]) if row else 0

    def requeue_job(
        self,
        job_id: str,
        *,
        error: str,
        attempts: int,
        memory_bytes: int,
        not_before: float = 0,
    ) -> bool:
        """Put a RUNNING job back for another try not before a time."""
        with self.transaction():
            moved = self._db.run(
                "requeue_job",
                job_id=job_id,
                error=error,
                attempts=attempts,
                memory_bytes=memory_bytes,
                not_before=not_before,
            )
            if moved:
                self._move_requests(job_id, RequestState.RUNNING, RequestState.QUEUED, error)
                self._totals.add("proofs", f"retried:{_code(error)}")
        return bool(moved)

    def recover(self) -> int:
        """At a start: requeue the jobs that ran when the node died, and count no broadcast as done.

        Returns:
            the number of jobs.
        """
        with self.transaction():
            jobs = self._jobs("running_jobs")
            for job in jobs:
                # The interrupted start was not the job's fault and is not counted.
                self.requeue_job(
                    job.job_id,
                    error="the node was restarted",
                    attempts=job.attempts - 1,
                    memory_bytes=job.memory_bytes,
                )
            self._db.run("forget_broadcasts")
        return len(jobs)

    def lapsed_leases(self, now: float) -> list[Job]:
        """RUNNING jobs of which nothing was heard in their time."""
        return self._jobs("lapsed_leases", now=now)

    def backlog(self, before: float = math.inf) -> int:
        """Jobs that are not proved yet, of those whose requests were accepted by a time."""
        row = self._db.row("backlog", before=before)
        return int(row["amount"]) if row else 0

    def finish_job(self, proof: Proof) -> bool:
        """Keep a proof and take its requests to PROVED; False when nobody waits for it."""
        with self.transaction():
            seconds = proof.witness_seconds + proof.prove_seconds + proof.verify_seconds
            moved = self._db.run(
                "finish_job",
                job_id=proof.job_id,
                proof=proof.proof,
                outputs=json.dumps([str(v) for v in proof.outputs]),
                prove_time=seconds,
            )
            if moved:
                self._totals.add("proofs", "proved:")
                self._totals.observe("proof_seconds", seconds, PROOF_BOUNDS)
                self._move_requests(proof.job_id, RequestState.RUNNING, RequestState.PROVED)
        return bool(moved)

    def fail_job(self, job_id: str, error: str) -> bool:
        """Give a RUNNING job and its request up; of several, each is proved alone."""
        with self.transaction():
            job = self.job(job_id)
            moved = self._db.run("fail_job", job_id=job_id, error=error)
            if moved:
                self._totals.add("proofs", f"failed:{_code(error)}")
            if moved and job is not None and len(job.request_ids) > 1:
                for row in self.requests_of(job_id):
                    self.take_out(row.request_id, RequestState.RUNNING, error)
            elif moved:
                self._move_requests(job_id, RequestState.RUNNING, RequestState.FAILED, error)
        return bool(moved)

    def cancel_unwanted_jobs(self) -> list[str]:
        """Cancel jobs whose requests all ended; the ids of those that were RUNNING."""
        if not self._db.rows("unwanted_jobs"):
            return []
        with self.transaction():
            rows = self._db.rows("unwanted_jobs")
            for row in rows:
                self._db.run("cancel_job", job_id=row["job_id"])
                self._totals.add("proofs", "cancelled:")
        return [row["job_id"] for row in rows if row["state"] == JobState.RUNNING]

    def prove_times(self, bundle_id: str, size: int, limit: int = 50) -> list[float]:
        """Seconds of the last proofs of a bundle's circuit on this machine."""
        rows = self._db.rows("prove_times", bundle_id=bundle_id, size=size, limit=limit)
        return [row["prove_time"] for row in rows]

    # --- transactions ---

    def next_nonce(self, account: str, chain_nonce: int) -> int:
        """The first nonce that neither the chain nor the ledger has used."""
        row = self._db.row("last_nonce", account=account)
        last = -1 if row is None or row["nonce"] is None else int(row["nonce"])
        return max(chain_nonce, last + 1)

    def add_intent(
        self,
        request_ids: Sequence[int],
        attempt: Attempt,
        *,
        job_id: str,
        account: str,
        nonce: int,
        gas: int,
        ceiling: int,
    ) -> bool:
        """Take PROVED requests to PENDING with their signed transaction, which was not sent yet.

        False when one is not PROVED any more; nothing is stored then.
        """
        with self.transaction():
            rows = [self.request(request_id) for request_id in request_ids]
            if not all(row and row.state is RequestState.PROVED for row in rows):
                return False
            intent_id = self._db.insert(
                "put_intent",
                job_id=job_id,
                account=account,
                nonce=nonce,
                gas=gas,
                ceiling=str(ceiling),
                now=self._clock(),
            )
            for request_id in request_ids:
                self.move(request_id, RequestState.PROVED, RequestState.PENDING)
                self._db.run("put_intent_request", intent_id=intent_id, request_id=hex(request_id))
            self.add_attempt(intent_id, attempt)
        return True

    def add_attempt(self, intent_id: int, attempt: Attempt) -> None:
        """Store a signed transaction of an intent before it is broadcast."""
        self._db.run(
            "put_transaction",
            hash=attempt.hash,
            intent_id=intent_id,
            raw=attempt.raw,
            max_fee=str(attempt.max_fee),
            priority_fee=str(attempt.priority_fee),
            cancels=attempt.cancels,
            now=attempt.created_at,
        )

    def set_broadcast(self, transaction_hash: bytes) -> None:
        """An endpoint took the transaction."""
        self._db.run("set_broadcast", hash=transaction_hash, now=self._clock())

    def intents(self, state: IntentState) -> list[Intent]:
        """Intents in a state, by nonce."""
        return self._intents("intents_in_state", state=state)

    def live_intent(self, request_id: int) -> Intent | None:
        """The intent that may still answer a request."""
        return next(iter(self._intents("live_intent", request_id=hex(request_id))), None)

    def is_newest(self, intent: Intent, request_id: int) -> bool:
        """Whether no later nonce was given to one of the intent's requests."""
        row = self._db.row("newest_intent", request_id=hex(request_id))
        return row is not None and row["intent_id"] == intent.intent_id

    def move_intent(
        self, intent: Intent, target: IntentState, mined_block: int | None = None
    ) -> bool:
        """Take an intent to its next state; False when it has moved meanwhile.

        Raises:
            ValueError: the step is not in the table of `oracle.store.states`.
        """
        if target not in INTENT_STEPS[intent.state]:
            raise ValueError(f"no step from {intent.state} to {target}")
        with self.transaction():
            moved = self._db.run(
                "move_intent",
                intent_id=intent.intent_id,
                source=intent.state,
                target=target,
                mined_block=mined_block,
            )
            if moved and target is IntentState.DISPLACED:
                self._totals.add("transactions", "displaced")
        return bool(moved)

    def settle(self, settled: Settled) -> None:
        """Count what a transaction that is now final did. In the transaction that makes it so."""
        self._totals.add("transactions", settled.result)
        self._totals.add("gas_used", "", settled.gas)
        self._totals.add("wei_spent", "", settled.cost)
        self._totals.add("wei_earned", "fee", settled.fees)
        self._totals.add("wei_earned", "gas", settled.refunds)

    # --- how it is going ---

    def totals(self) -> Mapping[str, Mapping[str, float]]:
        """What was counted, by name and label: see `oracle.store.totals`."""
        return self._totals.read()

    def workload(self) -> Workload:
        """What there is to do."""
        queued, running = (
            self._db.row("count_jobs", state=state) for state in (JobState.QUEUED, JobState.RUNNING)
        )
        request = self._db.row("oldest_open_request")
        transaction = self._db.row("oldest_pending_intent")
        return Workload(
            queued=queued["amount"] if queued else 0,
            running=running["amount"] if running else 0,
            oldest_request=request["since"] if request else None,
            oldest_transaction=transaction["since"] if transaction else None,
        )

    def missing_nonces(self, account: str, chain_nonce: int) -> int:
        """Nonces between the chain's next one and the ledger's last that no transaction has.

        The ledger's transactions behind a missing one cannot be mined.
        """
        row = self._db.row("nonces_from", account=account, nonce=chain_nonce)
        if row is None or row["last"] is None:
            return 0
        return int(row["last"]) + 1 - chain_nonce - int(row["amount"])

    def prover_trouble(self, code: str, last: int) -> str | None:
        """Why proofs do not get made: none can start, or the last ones all failed.

        Args:
            code: of the error with which a job waits that could not be started.
            last: how many must have failed in a row.
        """
        waiting = self._db.row("job_that_cannot_start", code=f"{code}:%")
        if waiting is not None:
            return str(waiting["error"])
        failed = self._db.rows("last_jobs", state=JobState.FAILED, limit=last)
        proved = self._db.row("last_jobs", state=JobState.PROVED, limit=1)
        since = proved["created_at"] if proved else -math.inf
        in_a_row = [row["error"] for row in failed if row["created_at"] > since]
        return str(in_a_row[0]) if len(in_a_row) >= last else None

    def sightings(self, limit: int) -> list[Sighting]:
        """The newest requests for an onlooker, newest first."""
        return [_sighting(row) for row in self._db.rows("sightings", limit=limit)]

    def ended_so(self, state: RequestState, limit: int) -> list[tuple[int, float, str]]:
        """The newest requests that ended so, newest first: id, when, why."""
        rows = self._db.rows("ended_so", state=state, limit=limit)
        return [(int(row["request_id"], 16), row["updated_at"], row["reason"]) for row in rows]

    def prover_steps(self, since: float, limit: int) -> list[ProverStep]:
        """Beginnings and ends of proofs since a time, oldest first; at most the newest ``limit``."""
        rows = self._db.rows("prover_steps", since=since, limit=limit)
        return [
            ProverStep(row["job_id"], row["at"], RequestState(row["state"]))
            for row in reversed(rows)
        ]

    def check_writable(self) -> None:
        """Write something that nobody reads. It must differ: SQLite writes no equal value.

        Raises:
            StoreError: the disk is full, the file cannot be written, the database is gone.
        """
        self._totals.add("write_probes")

    # --- housekeeping ---

    def trim(self, *, blocks_before: int, rows_before: float) -> int:
        """Delete old block hashes, and requests that ended before a time; rows deleted."""
        with self.transaction():
            return self._db.run("trim_blocks", before=blocks_before) + sum(
                self._db.run(name, before=rows_before)
                for name in ("trim_intents", "trim_requests", "trim_jobs", "trim_history")
            )

    # --- rows to values ---

    def _note(self, request_id: int, target: RequestState, reason: str) -> None:
        self._db.run(
            "note", request_id=hex(request_id), target=target, reason=reason, now=self._clock()
        )

    def _count_step(
        self, request_id: int, source: RequestState, target: RequestState, reason: str
    ) -> None:
        self._totals.add("request_steps", target)
        if source is RequestState.SEEN and target is RequestState.ACCEPTED:
            self._totals.add("decisions", "accepted")
        elif source is RequestState.SEEN and target is RequestState.SKIPPED:
            self._totals.add("decisions", _code(reason))
        elif target is RequestState.MINED:
            row = self._db.row("answer_times", request_id=hex(request_id))
            if row is not None:
                seconds = self._clock() - row["seen_at"]
                own = max(0.0, seconds - (row["prove_time"] or 0.0))
                self._totals.observe("answer_seconds", seconds, ANSWER_BOUNDS)
                self._totals.observe("own_seconds", own, OWN_BOUNDS)

    def _move_requests(
        self, job_id: str, source: RequestState, target: RequestState, reason: str = ""
    ) -> None:
        for row in self.requests_of(job_id):
            self.move(row.request_id, source, target, reason)

    def _requests(self, query: str, **values: object) -> list[RequestRow]:
        return [self._request_row(row) for row in self._db.rows(query, **values)]

    def _request_row(self, row: sqlite3.Row) -> RequestRow:
        return RequestRow(
            request=Request(
                key=RequestKey(self._chain_id, self._oracle, int(row["request_id"], 16)),
                account=row["account"],
                model_id=int(row["model_id"]),
                input=row["input"],
                callback_contract=row["callback_contract"],
                callback_gas=int(row["callback_gas"]),
                callback_data=row["callback_data"],
                refund_to=row["refund_to"],
                deadline=int(row["deadline"]),
                fee=int(row["fee"]),
                gas_money=int(row["gas_money"]),
                gas_units=int(row["gas_units"]),
                protocol_bps=row["protocol_bps"],
                block_number=row["block_number"],
                block_hash=row["block_hash"],
                transaction_hash=row["transaction_hash"],
                log_index=row["log_index"],
            ),
            state=RequestState(row["state"]),
            reason=row["reason"],
            job_id=row["job_id"],
            alone=bool(row["alone"]),
            seen_at=row["seen_at"],
            updated_at=row["updated_at"],
        )

    def _intents(self, query: str, **values: object) -> list[Intent]:
        return [
            Intent(
                intent_id=row["intent_id"],
                job_id=row["job_id"],
                request_ids=self._ids("ids_of_intent", intent_id=row["intent_id"]),
                account=row["account"],
                nonce=row["nonce"],
                state=IntentState(row["state"]),
                gas=row["gas"],
                ceiling=int(row["ceiling"]),
                mined_block=row["mined_block"],
                attempts=self._attempts(row["intent_id"]),
            )
            for row in self._db.rows(query, **values)
        ]

    def _attempts(self, intent_id: int) -> tuple[Attempt, ...]:
        return tuple(
            Attempt(
                hash=row["hash"],
                raw=row["raw"],
                max_fee=int(row["max_fee"]),
                priority_fee=int(row["priority_fee"]),
                cancels=bool(row["cancels"]),
                broadcast_at=row["broadcast_at"],
                created_at=row["created_at"],
            )
            for row in self._db.rows("transactions_of", intent_id=intent_id)
        )

    def _jobs(self, query: str, **values: object) -> list[Job]:
        return [self._job(row) for row in self._db.rows(query, **values)]

    def _job(self, row: sqlite3.Row) -> Job:
        outputs = row["outputs"]
        return Job(
            job_id=row["job_id"],
            bundle_id=row["bundle_id"],
            size=row["size"],
            request_ids=self._ids("ids_of_job", job_id=row["job_id"]),
            state=JobState(row["state"]),
            attempts=row["attempts"],
            memory_bytes=row["memory_bytes"],
            error=row["error"],
            proof=row["proof"],
            outputs=None if outputs is None else tuple(int(v) for v in json.loads(outputs)),
        )

    def _ids(self, query: str, **values: object) -> tuple[int, ...]:
        return tuple(int(row["request_id"], 16) for row in self._db.rows(query, **values))


def _code(reason: str) -> str:
    """The stable code that a reason begins with; empty for words alone."""
    code, colon, _ = reason.partition(":")
    return code if colon and " " not in code else ""


def _sighting(row: sqlite3.Row) -> Sighting:
    mined = read_mined_note(row["mined"] or "")
    is_answered = row["state"] in (RequestState.MINED, RequestState.FINAL) and mined is not None
    transaction, gas = mined if is_answered and mined else (row["sent"], None)
    return Sighting(
        request_id=int(row["request_id"], 16),
        model_id=int(row["model_id"]),
        state=RequestState(row["state"]),
        reason=row["reason"],
        seen_at=row["seen_at"],
        updated_at=row["updated_at"],
        prove_seconds=row["prove_time"],
        rows=row["size"],
        gas=gas,
        transaction=None if transaction is None else bytes(transaction),
    )
