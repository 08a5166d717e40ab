"""Requests as the page shows them: a line in a table, and all that is known of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from oracle import tensor
from oracle.config import NodeConfig
from oracle.errors import OracleError, RequestUnknown
from oracle.log import request_hex
from oracle.page.answer import Answer, answer_of, short_answer
from oracle.page.card import ModelCard
from oracle.page.query import Asked, written
from oracle.page.stages import stage_of
from oracle.page.texts import hexed, shown
from oracle.store.ledger import Store
from oracle.store.records import RequestRow, Sighting, read_mined_note
from oracle.types import ZERO_ADDRESS
from oracle.why import NodeView, Step
from oracle.why.by_ledger import by_ledger
from oracle.why.life import node_steps

#: Steps of a request that are told, the newest.
_STEPS = 100


@dataclass(frozen=True, slots=True)
class RequestLine:
    """A request."""

    id: str
    #: Where a page begins whose first request it is.
    at: str
    stage: str
    state: str
    reason: str
    #: What was delivered, in a few words; None before that.
    answer: str | None
    #: The registry's number, and the model's name if this node serves it.
    model_id: int
    model: str | None
    seen_at: float
    updated_at: float
    #: Seconds of its proof.
    prove_seconds: float | None
    #: Rows of that proof's circuit: above 1 it may answer several requests.
    rows: int | None
    #: Of the transaction that answered it.
    gas: int | None
    transaction: str | None
    #: The transaction at the configured explorer.
    link: str | None


@dataclass(frozen=True, slots=True)
class RequestPage:
    """A page of requests, newest first."""

    now: float
    requests: tuple[RequestLine, ...]
    limit: int
    #: Where the pages of older and of newer ones begin; ``newer`` is empty where it is the newest
    #: page, None where nothing is newer, as ``older`` is where nothing is older.
    older: str | None
    newer: str | None
    #: How many requests are newer than this page, ``limit`` at most.
    ahead: int


@dataclass(frozen=True, slots=True)
class Why:
    """Why a request stands where it stands, by this node's ledger; words as `oracle why` has them."""

    cause: str
    explanation: str
    remedy: str
    #: The first asks the chain as well.
    commands: tuple[str, ...]
    #: Oldest first.
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class RequestDetails:
    """All that is known of a request."""

    now: float
    line: RequestLine
    #: Its id in decimal, as some explorers have it.
    decimal: str
    why: Why
    answer: Answer | None
    #: Why there is no answer to be shown, where one was delivered.
    unread: str
    #: Real values, by row; empty where the model is not served.
    input: tuple[tuple[float, ...], ...]
    account: str
    #: Empty where nobody is called back.
    callback: str
    #: Whom the proof names; empty until the request is accepted.
    payee: str
    deadline: int
    fee: str
    gas_money: str
    block: int
    #: The transaction that asked.
    asked_in: str
    #: The proof's name in the store and in the log.
    job: str


class Requests:
    """Reads requests for the page.

    Args:
        config: the node's.
        store: the ledger.
        cards: of the models that it serves, by the registry's number.
        account: who sends.
    """

    def __init__(
        self, config: NodeConfig, store: Store, cards: Mapping[int, ModelCard], account: str
    ) -> None:
        self._store = store
        self._cards = cards
        self._explorer = (config.explorer_url or "").rstrip("/")
        self._node = NodeView(
            store=store,
            is_running=True,
            account=account,
            min_balance=config.min_balance,
            confirmations=config.confirmations,
            subsidy=config.subsidy_per_request,
        )

    def page(self, asked: Asked, now: float) -> RequestPage:
        """A page of them.

        Raises:
            UsageError: as `oracle.store.pages.Pages.turn`.
        """
        turned = self._store.pages.turn(asked.wanted, asked.at, asked.limit)
        newer = None if turned.ahead == 0 else ""
        return RequestPage(
            now=now,
            requests=tuple(map(self._line, turned.sightings)),
            limit=asked.limit,
            older=None if turned.older is None else written(turned.older),
            newer=newer if turned.newer is None else written(turned.newer),
            ahead=turned.ahead,
        )

    def details(self, request_id: int, now: float) -> RequestDetails:
        """One of them.

        Raises:
            RequestUnknown: the store has none such.
        """
        row = self._store.request(request_id)
        seen = self._store.pages.sightings([hex(request_id)])
        if row is None or not seen:
            raise RequestUnknown(
                f"the store has no request {request_hex(request_id)}",
                remedy="It may be older than what is kept: oracle why asks the chain",
            )
        answer, unread = self._answer(seen[0])
        return RequestDetails(
            now=now,
            line=self._line(seen[0]),
            decimal=str(request_id),
            why=self._why(row),
            answer=answer,
            unread=unread,
            input=self._input(row),
            account=row.request.account,
            callback=_unless_zero(row.request.callback_contract),
            payee=row.payee,
            deadline=row.request.deadline,
            fee=str(row.request.fee),
            gas_money=str(row.request.gas_money),
            block=row.request.block_number,
            asked_in=hexed(row.request.transaction_hash),
            job=row.job_id or "",
        )

    def _line(self, seen: Sighting) -> RequestLine:
        transaction = None if seen.transaction is None else hexed(seen.transaction)
        card = self._cards.get(seen.model_id)
        return RequestLine(
            id=request_hex(seen.request_id),
            at=written((*seen.place, hex(seen.request_id))),
            stage=stage_of(seen.state),
            state=seen.state.value,
            # A request that was answered says with what, which has its own fields here.
            reason="" if seen.gas is not None else shown(seen.reason),
            answer=short_answer(seen, card),
            model_id=seen.model_id,
            model=None if card is None else card.name,
            seen_at=seen.seen_at,
            updated_at=seen.updated_at,
            prove_seconds=seen.prove_seconds,
            rows=seen.rows,
            gas=seen.gas,
            transaction=transaction,
            link=f"{self._explorer}/tx/{transaction}" if self._explorer and transaction else None,
        )

    def _why(self, row: RequestRow) -> Why:
        verdict = by_ledger(self._node, row)
        steps = node_steps(self._node, row.request_id)[-_STEPS:]
        ask = f"oracle why {request_hex(row.request_id)} --config node.toml"
        return Why(
            cause=verdict.cause.value,
            explanation=shown(verdict.explanation),
            remedy=shown(verdict.remedy),
            commands=(ask, *verdict.commands),
            steps=tuple(map(_told, steps)),
        )

    def _answer(self, seen: Sighting) -> tuple[Answer | None, str]:
        """The answer, or why none is shown although one was delivered."""
        card = self._cards.get(seen.model_id)
        if stage_of(seen.state) != "done":
            return None, ""
        if card is None:
            return None, "This node does not serve the model now and cannot read its answer"
        try:
            answer = answer_of(seen, card)
        except OracleError as error:
            return None, shown(error.line())
        return answer, "" if answer else "The store keeps no proof of it any more"

    def _input(self, row: RequestRow) -> tuple[tuple[float, ...], ...]:
        card = self._cards.get(row.request.model_id)
        if card is None:
            return ()
        try:
            rows = tensor.rows(row.request.input, card.input, card.codec)
        except OracleError:
            # The node skipped it for that, and its reason says so.
            return ()
        scale = card.input.scale
        return tuple(tuple(tensor.dequantize(each, scale) for each in row) for row in rows)


def _told(step: Step) -> Step:
    """A step as it may be shown; the transaction that answered is named, not masked."""
    mined = read_mined_note(step.detail)
    if mined is not None:
        return replace(step, detail=f"used {mined[1]} gas", transaction=hexed(mined[0]))
    return replace(step, detail=shown(step.detail))


def _unless_zero(address: str) -> str:
    return "" if address == ZERO_ADDRESS else address
