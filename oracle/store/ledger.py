"""The node's memory: what was seen, decided, proved and sent. Services talk through it alone.

Every change of state is one guarded statement (``WHERE state = ?``): of two callers only one
succeeds, and each step lands in the history with its time.

Several nodes may share a store (not a SQLite file). Each says from time to time that it lives. A
request belongs to the payee whose node accepted it; the nodes of a payee share its jobs. What a
node held that is silent for its lease goes to the others, what only one may do is a *duty*.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date

from oracle.errors import DutyLost, StoreMismatch
from oracle.ids import read_id
from oracle.store.database import Database, Location, Row, open_database
from oracle.store.earnings import Earned, Earnings
from oracle.store.pages import Pages, transaction_of
from oracle.store.records import (
    Attempt,
    Cursor,
    ExportRow,
    Intent,
    Job,
    Member,
    ProverStep,
    RequestRow,
    Settled,
    Step,
    Trouble,
    Workload,
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
#: When the only node of a store expires: never.
_NEVER = 1e15
#: Requests that an event of the chain may end: no transaction of theirs is followed.
_ENDED_BY_CHAIN = (*UNSENT, RequestState.FAILED, RequestState.EXPIRED)
#: Those in which a transaction of this store's, but the one that is followed, may have answered it:
#: LOST too, for an endpoint may have denied the receipt by which it would have been known.
_MAY_BE_OURS = (*_ENDED_BY_CHAIN, RequestState.PENDING, RequestState.LOST)
#: Most seconds that a job may have to wait for its next start.
_LONGEST_WAIT = 600.0
#: Rows that one deletion takes from each table.
_PORTION = 1_000

#: A place in the chain: block number and log index.
Place = tuple[int, int]
#: Before everything.
START: Place = (-1, -1)


class Store:
    """The ledger of one node, or several, on one chain and oracle contract.

    Args:
        database: an open database.
        chain_id: the chain it belongs to.
        oracle: the contract it belongs to, a checksum address.
        clock: seconds since the epoch.
        common: the same for all nodes of a shared database, by which leases run; its own if left out.

    Raises:
        StoreMismatch: the database belongs to another chain or contract.
    """

    def __init__(
        self,
        database: Database,
        chain_id: int,
        oracle: str,
        clock: Callable[[], float],
        common: Callable[[], float] | None = None,
    ) -> None:
        self._db = database
        self._chain_id = chain_id
        self._oracle = oracle
        self._clock = clock
        self._common = common
        self._earnings = Earnings(database)
        self._totals = Totals(database)
        #: Requests as an onlooker sees them.
        self.pages = Pages(database)
        self._node_id = uuid.uuid4().hex
        self._payee = ""
        self._account = ""
        self._lease = 0.0
        owner = database.row("owner")
        if owner is None and not database.read_only:
            with database.transaction():
                # Asked again: another node may start on the same empty database.
                owner = database.row("owner")
                if owner is None:
                    database.run("own", chain_id=chain_id, oracle=oracle)
        if owner is not None and (owner["chain_id"], owner["oracle"]) != (chain_id, oracle):
            raise StoreMismatch(
                f"the store belongs to oracle {owner['oracle']} on chain {owner['chain_id']}",
                remedy="Use another store path for another oracle",
            )

    @classmethod
    def open(
        cls,
        location: Location,
        chain_id: int,
        oracle: str,
        clock: Callable[[], float],
        *,
        common: Callable[[], float] | None = None,
        read_only: bool = False,
        operator: bool = False,
    ) -> Store:
        """Open or create a store. More arguments and errors: `open_database`, `Store`."""
        database = open_database(location, read_only=read_only, operator=operator)
        try:
            return cls(database, chain_id, oracle, clock, common)
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """Close the database. No thread may use the store now."""
        self._db.close()

    @property
    def place(self) -> str:
        """Where it is, for a person."""
        return self._db.place

    @property
    def is_shared(self) -> bool:
        """Whether other nodes may have the store open too."""
        return not self._db.exclusive

    @contextmanager
    def transaction(self, duty: str | None = None) -> Iterator[None]:
        """Several changes as one; none if this node has lost ``duty``.

        Raises:
            DutyLost: it was silent for so long that another node has the duty.
        """
        with self._db.transaction():
            if duty is not None and self._holder(duty) != self._node_id:
                raise DutyLost(f"this node has lost the duty '{duty}'")
            yield

    # --- the nodes that share it ---

    def join(self, *, name: str, account: str, payee: str, workers: int, lease: float) -> None:
        """Work on this store from now on: before the first step.

        Args:
            name: for a person.
            account: who sends.
            payee: whom the proofs name.
            workers: proofs at the same time.
            lease: seconds of silence after which other nodes take over.
        """
        self._payee, self._account, self._lease = payee, account, lease
        with self.transaction():
            if not self.is_shared:
                self._db.run("only_node", node_id=self._node_id)
                self._db.run("adopt_requests", payee=payee)
                self._db.run("adopt_jobs", payee=payee)
            self._db.run(
                "join",
                node_id=self._node_id,
                name=name,
                account=account,
                payee=payee,
                workers=workers,
                expires_at=self._expiry(),
            )

    def beat(self) -> bool:
        """Say that this node lives; False when the others have given it up: `join` again."""
        return bool(self._db.run("beat", node_id=self._node_id, expires_at=self._expiry()))

    def leave(self) -> None:
        """Let the others take over at once."""
        self._db.run("leave", node_id=self._node_id)

    def members(self) -> list[Member]:
        """The living nodes."""
        return [
            Member(
                node_id=row["node_id"],
                name=row["name"],
                account=row["account"],
                payee=row["payee"],
                workers=row["workers"],
                expires_at=row["expires_at"],
            )
            for row in self._db.rows("living_nodes", now=self._lease_clock())
        ]

    def set_troubles(self, troubles: Sequence[Trouble]) -> None:
        """Say what stands in this node's way now; nothing else does any more."""
        with self.transaction():
            self._db.run("forget_troubles", node_id=self._node_id)
            for each in troubles:
                self._db.run(
                    "add_trouble",
                    node_id=self._node_id,
                    subject=each.subject,
                    code=each.code,
                    detail=each.detail,
                    since=each.since,
                )

    def troubles(self) -> list[Trouble]:
        """What stands in the living nodes' way, as they said last."""
        return [
            Trouble(row["subject"], row["code"], row["detail"], row["since"], row["name"])
            for row in self._db.rows("troubles", now=self._lease_clock())
        ]

    def workers(self) -> int:
        """Proofs that the living nodes of this node's payee make at the same time."""
        return sum(member.workers for member in self.members() if member.payee == self._payee)

    def has_rivals(self) -> bool:
        """Whether living nodes of another payee take requests too."""
        return any(member.payee != self._payee for member in self.members())

    def has_duty(self, duty: str) -> bool:
        """Whether this node does what only one does; takes the duty if nobody living has it."""
        holder = self._holder(duty)
        if holder is None:
            return bool(
                self._db.run("take_duty", duty=duty, node_id=self._node_id, now=self._lease_clock())
            )
        return holder == self._node_id

    def drop_duty(self, duty: str) -> None:
        """Leave a duty, if this node has it, to whoever takes it next."""
        self._db.run("drop_duty", duty=duty, node_id=self._node_id)

    def take_over(self) -> tuple[int, int]:
        """Free what nodes held that are gone.

        Their proofs are made again; requests for whose payee nobody works any more are decided on
        anew, unless their transaction is signed.

        Returns:
            the numbers of jobs and of requests.
        """
        now = self._lease_clock()
        with self.transaction():
            jobs = self._jobs("deserted_jobs", now=now)
            for job in jobs:
                # The interrupted start was not the job's fault and is not counted.
                self.requeue_job(
                    job.job_id,
                    error="its node stopped",
                    attempts=job.attempts - 1,
                    memory_bytes=job.memory_bytes,
                    node_id=job.node_id,
                )
            rows = self._requests("deserted_requests", now=now)
            for row in rows:
                self.move(row.request_id, row.state, RequestState.SEEN, "its node is gone")
            self._db.run("drop_dead_nodes", now=now)
            self._db.run("drop_duties")
        return len(jobs), len(rows)

    def _holder(self, duty: str) -> str | None:
        row = self._db.row("duty", duty=duty, now=self._lease_clock())
        return None if row is None else str(row["node_id"])

    def _expiry(self) -> float:
        return self._lease_clock() + self._lease if self.is_shared else _NEVER

    def _lease_clock(self) -> float:
        """Seconds since the epoch by the clock that all nodes of the store share."""
        if self._common is not None:
            return self._common()
        common = self._db.common_clock()
        return self._clock() if common is None else common

    def _chain_time(self) -> int:
        """Seconds since the epoch by the newest block: what deadlines are measured by."""
        cursor = self.cursor()
        return cursor.head_timestamp if cursor else 0

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

    def accept(self, request_id: int) -> bool:
        """Take a SEEN request for this node's payee; False when it is not SEEN any more."""
        with self.transaction():
            moved = self.move(request_id, RequestState.SEEN, RequestState.ACCEPTED)
            if moved:
                self._db.run("set_payee", request_id=hex(request_id), payee=self._payee)
        return moved

    def accepted(self, limit: int) -> list[RequestRow]:
        """The oldest ACCEPTED requests of this node's payee, in chain order."""
        return self._requests("accepted", payee=self._payee, limit=limit)

    def sendable(self, least: int, after: Place, limit: int) -> list[RequestRow]:
        """This payee's PROVED requests in chain order; not those known to pay less than ``least``.

        Args:
            least: wei per gas.
            after: block and log index that they must lie behind.
            limit: most rows.
        """
        block, log_index = after
        return self._requests(
            "sendable",
            payee=self._payee,
            least=min(least, _MAX_INT64),
            block=block,
            log_index=log_index,
            limit=limit,
        )

    def set_ceiling(self, request_id: int, ceiling: int) -> None:
        """Remember what a request pays (wei per gas), for `sendable` and `skipped_for`."""
        self._db.run("set_ceiling", request_id=hex(request_id), ceiling=min(ceiling, _MAX_INT64))

    def skipped_for(
        self, codes: Iterable[str], after: Place, limit: int, *, least: int = 0
    ) -> list[RequestRow]:
        """Skipped requests that still have time and whose reason is one of ``codes``.

        Args:
            codes: what their reasons begin with.
            after: block and log index that they must lie behind, in chain order.
            limit: most rows.
            least: wei per gas; those known to pay less are left out.
        """
        block, log_index = after
        return self._requests(
            "skipped_for",
            codes=json.dumps(sorted(codes)),
            least=min(least, _MAX_INT64),
            chain_time=self._chain_time(),
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

    def expired(self, limit: int = 100) -> list[RequestRow]:
        """Unsent requests whose deadline has passed in a block that was read.

        Such a block has its confirmations: a proof that is being made is given up for it.
        """
        cursor = self.cursor()
        chain_time = cursor.block_timestamp if cursor else 0
        return self._requests("expired", chain_time=chain_time, limit=limit)

    def expired_too_early(self, limit: int = 100) -> list[RequestRow]:
        """EXPIRED requests that the chain would still take an answer to."""
        return self._requests("expired_too_early", chain_time=self._chain_time(), limit=limit)

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

    def end_unsent(
        self,
        request_id: int,
        target: RequestState,
        reason: str,
        block: int,
        transaction_hash: bytes,
    ) -> bool:
        """The chain ended a request in a transaction of ``block``; True when that ended it here.

        A request that one of the store's own transactions answered is that one's: see `adopt`.
        """
        with self.transaction():
            row = self.request(request_id)
            if row is None:
                return False
            if target is RequestState.LOST and row.state in _MAY_BE_OURS:
                for intent in self.intents_naming(request_id):
                    if any(each.hash == transaction_hash for each in intent.attempts):
                        self.adopt(intent, request_id, row.state)
                        return False
            if row.state not in _ENDED_BY_CHAIN:
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
        values = {
            "now": self._clock(),
            "chain_time": self._chain_time(),
            "codes": json.dumps(sorted(codes)),
        }
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
            rows = [
                row
                for row in found
                if row and row.state is RequestState.ACCEPTED and row.payee == self._payee
            ]
            if len(rows) < len(request_ids):
                return False
            job = self.job(job_id)
            if job is None:
                self._db.run(
                    "put_job",
                    job_id=job_id,
                    bundle_id=bundle_id,
                    size=size,
                    payee=self._payee,
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
        """Take a request to PROVED by a finished proof that names it; False if not in ``source``.

        False also when another payee's node has accepted it meanwhile.
        """
        with self.transaction():
            row = self.request(request_id)
            if row is None or row.payee != self._payee:
                return False
            moved = self.move(request_id, source, RequestState.PROVED, "proved before")
            if moved:
                self._db.run("set_job", request_id=hex(request_id), job_id=job_id)
        return moved

    def reusable_proofs(self) -> list[Job]:
        """This payee's proofs of several requests that name an ACCEPTED one which may be joined."""
        return self._jobs("reusable_proofs", payee=self._payee)

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

    def claim_job(
        self,
        now: float,
        lease: float,
        bundles: Iterable[str] | None = None,
        *,
        fits: Callable[[int], bool] = lambda _: True,
    ) -> Job | None:
        """Start the oldest job of this payee that is due, for ``lease`` seconds.

        Args:
            now: seconds since the epoch.
            lease: how long the proof may take.
            bundles: those that this node serves; None for any.
            fits: whether there is room for a job with this cap on its memory (bytes).

        Returns:
            the job; None when there is none, or no room for the oldest.
        """
        of = None if bundles is None else json.dumps(sorted(bundles))
        with self.transaction():
            row = self._db.row(
                "next_job", now=now, latest=now + _LONGEST_WAIT, payee=self._payee, bundles=of
            )
            if row is None or not fits(row["memory_bytes"]):
                return None
            self._db.run(
                "start_job",
                job_id=row["job_id"],
                lease_until=now + lease,
                node_id=self._node_id,
            )
            self._move_requests(row["job_id"], RequestState.QUEUED, RequestState.RUNNING)
            return self.job(row["job_id"])

    def live_leases(self, now: float) -> int:
        """Jobs that hold a unit of this node's capacity."""
        row = self._db.row("live_leases", now=now, node_id=self._node_id)
        return int(row["amount"]) if row else 0

    def requeue_job(
        self,
        job_id: str,
        *,
        error: str,
        attempts: int,
        memory_bytes: int,
        not_before: float = 0,
        node_id: str | None = None,
    ) -> bool:
        """Put a RUNNING job back for another try not before a time.

        False when it does not run on node ``node_id``, by default this one.
        """
        with self.transaction():
            moved = self._db.run(
                "requeue_job",
                job_id=job_id,
                error=error,
                attempts=attempts,
                memory_bytes=memory_bytes,
                not_before=not_before,
                node_id=self._node_id if node_id is None else node_id,
            )
            if moved:
                self._move_requests(job_id, RequestState.RUNNING, RequestState.QUEUED, error)
                self._totals.add("proofs", f"retried:{_code(error)}")
        return bool(moved)

    def recover(self) -> tuple[int, int]:
        """At a start: `take_over`, and count no broadcast of this account as done."""
        with self.transaction():
            freed = self.take_over()
            self._db.run("forget_broadcasts", now=self._clock(), node_id=self._node_id)
        return freed

    def running_here(self) -> set[str]:
        """Ids of the jobs that this node is to run."""
        return {row["job_id"] for row in self._db.rows("running_here", node_id=self._node_id)}

    def lapsed_leases(self, now: float) -> list[Job]:
        """Jobs of this node of which nothing was heard in their time."""
        return self._jobs("lapsed_leases", now=now, node_id=self._node_id)

    def backlog(self, before: float = math.inf) -> int:
        """This payee's jobs that are not proved, of those whose requests were accepted by a time."""
        row = self._db.row("backlog", before=before, payee=self._payee)
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
        """Give a job that this node runs and its request up; of several, each is proved alone."""
        with self.transaction():
            job = self.job(job_id)
            moved = self._db.run("fail_job", job_id=job_id, error=error, node_id=self._node_id)
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

    def has_nonce(self, account: str, nonce: int) -> bool:
        """Whether a nonce was given to a transaction that may still count."""
        return self._db.row("has_nonce", account=account, nonce=nonce) is not None

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
            if not all(
                row and row.state is RequestState.PROVED and row.payee == self._payee
                for row in rows
            ):
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
            cancels=int(attempt.cancels),
            now=attempt.created_at,
        )

    def set_broadcast(self, transaction_hash: bytes) -> None:
        """An endpoint took the transaction."""
        self._db.run("set_broadcast", hash=transaction_hash, now=self._clock())

    def intents(self, state: IntentState) -> list[Intent]:
        """Intents in a state, by nonce."""
        return self._intents("intents_in_state", state=state)

    def intents_to_follow(self, state: IntentState) -> list[Intent]:
        """Intents of this node's account, and of accounts whose nodes are gone, by nonce."""
        return self._intents(
            "intents_to_follow", state=state, account=self._account, now=self._clock()
        )

    def live_intent(self, request_id: int) -> Intent | None:
        """The intent that may still answer a request."""
        return next(iter(self._intents("live_intent", request_id=hex(request_id))), None)

    def intents_naming(self, request_id: int) -> list[Intent]:
        """Intents whose proof names a request, whether sent for it or not, and given up or not."""
        return self._intents("intents_naming", request_id=hex(request_id))

    def adopt(self, intent: Intent, request_id: int, source: RequestState) -> bool:
        """Give a request to the intent that answered it, in whose state it is from now on.

        After a reorg other transactions may be mined than before, and a batch answers whatever its
        proof names. One that was given up is followed again: endpoints keep what they were sent.
        False when the request is not in ``source`` any more.
        """
        steps = [RequestState.PENDING, RequestState.MINED, RequestState.FINAL]
        with self.transaction():
            row = self.request(request_id)
            if row is None or row.state is not source:
                return False
            self._db.run("adopt_request", intent_id=intent.intent_id, request_id=hex(request_id))
            if intent.state is IntentState.DISPLACED:
                self._take_nonce_back(intent)
                target = RequestState.PENDING
            else:
                target = RequestState(intent.state.value)
            for step in steps[: steps.index(target) + 1]:
                if step is not source:
                    self.move(request_id, source, step, "another own transaction answered it")
                    source = step
        return True

    def _take_nonce_back(self, intent: Intent) -> None:
        """Follow a displaced intent again; whatever has its nonce by now is displaced in its place."""
        reason = f"nonce {intent.nonce} was used by an earlier transaction"
        holders = self._intents("intents_of_nonce", account=intent.account, nonce=intent.nonce)
        for holder in holders:
            if holder.state is not IntentState.PENDING:
                self.move_intent(holder, IntentState.PENDING)
            self.move_intent(replace(holder, state=IntentState.PENDING), IntentState.DISPLACED)
        self.move_intent(intent, IntentState.PENDING)
        for request_id in (each for holder in holders for each in holder.request_ids):
            for state in (RequestState.MINED, RequestState.FINAL):
                self.move(request_id, state, RequestState.PENDING, "reorganised")
            if self.live_intent(request_id) is None:
                self.move(request_id, RequestState.PENDING, RequestState.PROVED, reason)

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
        self._earnings.add(settled, self._clock())

    def earnings(self, first: date) -> Iterator[Earned]:
        """What final transactions cost and brought since a day."""
        return self._earnings.read(first)

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

    def count_jobs(self, state: JobState, most: int) -> int:
        """Jobs in a state, of any payee; no more than ``most`` are counted."""
        row = self._db.row("count_jobs_up_to", state=state, most=most)
        return int(row["amount"]) if row else 0

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

    # --- for the operator ---

    def find_requests(self, name: str) -> list[RequestRow]:
        """The request with an id, or those (ten at most) whose id begins so.

        Raises:
            UsageError: no id can be called so.
        """
        read = read_id(name)
        digits = f"{read:064x}" if isinstance(read, int) else read
        exact = self.request(int(digits, 16))
        if exact is not None:
            return [exact]
        # The store leaves leading zeros out, explorers write them.
        low = "0x" + (digits.lstrip("0") or "0")
        rows = self._requests("requests_by_prefix", low=low, high=low + "g", limit=10)
        whole = digits.startswith("0")
        return [row for row in rows if not whole or f"{row.request_id:064x}".startswith(digits)]

    def find_jobs(self, name: str) -> list[Job]:
        """The job with an id, or two whose ids begin so."""
        exact = self.job(name)
        if exact is not None:
            return [exact]
        return self._jobs("jobs_by_prefix", low=name, high=name + "g") if name else []

    def exported(self, last: ExportRow | None, since: float, limit: int) -> list[ExportRow]:
        """The requests behind ``last`` in chain order that moved since a time."""
        rows = self._db.rows(
            "exported",
            block=-1 if last is None else last.block,
            log_index=-1 if last is None else last.log_index,
            request_id="" if last is None else hex(last.request_id),
            since=since,
            limit=limit,
        )
        return [
            ExportRow(
                request_id=int(row["request_id"], 16),
                state=row["state"],
                reason=row["reason"],
                model_id=int(row["model_id"]),
                account=row["account"],
                block=row["block_number"],
                log_index=row["log_index"],
                fee=int(row["fee"]),
                gas_money=int(row["gas_money"]),
                deadline=int(row["deadline"]),
                seen_at=row["seen_at"],
                updated_at=row["updated_at"],
                payee=row["payee"],
                job=row["job_id"],
                proving_seconds=row["prove_time"],
                sender=row["sender"],
                nonce=row["nonce"],
                transaction=transaction_of(row, row["answer_hash"])[0],
                mined_block=row["mined_block"],
            )
            for row in rows
        ]

    # --- housekeeping ---

    def trim(self, *, blocks_before: int, rows_before: float, limit: int = _PORTION) -> int:
        """Delete old block hashes, and requests that ended before a time.

        Returns:
            the rows deleted, ``limit`` of each kind at most: call again while there are any.
        """
        with self.transaction():
            return self._db.run("trim_blocks", before=blocks_before) + sum(
                self._db.run(name, before=rows_before, limit=limit)
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

    def _request_row(self, row: Row) -> RequestRow:
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
            payee=row["payee"],
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

    def _job(self, row: Row) -> Job:
        outputs = row["outputs"]
        return Job(
            job_id=row["job_id"],
            bundle_id=row["bundle_id"],
            size=row["size"],
            request_ids=self._ids("ids_of_job", job_id=row["job_id"]),
            state=JobState(row["state"]),
            attempts=row["attempts"],
            memory_bytes=row["memory_bytes"],
            node_id=row["node_id"],
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
