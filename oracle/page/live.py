"""The page's answers by path, each gathered at most twice a second."""

from __future__ import annotations

import dataclasses
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from oracle import __version__
from oracle.config import NodeConfig
from oracle.errors import RequestUnknown, UsageError
from oracle.health import Clock, Health
from oracle.page import query
from oracle.page.card import CircuitLine, ModelCard
from oracle.page.load import Load, load
from oracle.page.requests import RequestDetails, RequestPage, Requests
from oracle.page.stages import Stage, stages
from oracle.page.texts import shown
from oracle.page.troubles import ErrorLine, errors
from oracle.services.http import Page, Query, Response
from oracle.store.ledger import Store

#: Seconds for which a gathered answer holds, and how many different ones are kept.
_AGE = 0.5
_KEPT = 32
#: Proofs that a model's usual time is taken from.
_PROOFS = 20

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FILES = (
    *("index.html", "page.css", "requests.css", "icon.svg"),
    *("page.js", "panels.js", "requests.js", "details.js", "address.js", "copy.js", "elements.js"),
)


@dataclass(frozen=True, slots=True)
class PageState:
    """How the node is."""

    version: str
    now: float
    chain_id: int
    oracle: str
    account: str
    #: The newest block known and the last one read; None before the first look.
    head: int | None
    block: int | None
    #: Whether nothing is sent.
    dry_run: bool
    #: What /livez would complain of.
    wrong: dict[str, str]
    stages: tuple[Stage, ...]
    models: tuple[ModelCard, ...]
    load: Load
    errors: tuple[ErrorLine, ...]


class LivePage:
    """Gathers what the page shows.

    Args:
        config: the node's.
        store: the ledger.
        health: the node's own opinion.
        cards: of the models that it serves.
        account: who sends.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        config: NodeConfig,
        store: Store,
        health: Health,
        cards: Sequence[ModelCard],
        account: str,
        clock: Clock,
    ) -> None:
        self._config = config
        self._store = store
        self._health = health
        self._cards = tuple(cards)
        self._account = account
        self._clock = clock
        by_id = {card.model_id: card for card in cards}
        self.requests = Requests(config, store, by_id, account)
        self._lock = threading.Lock()
        self._kept: dict[object, tuple[float, Response]] = {}

    def pages(self) -> dict[str, Page]:
        """The page's files and documents, by path."""
        return {
            "/": _static("index.html"),
            **{f"/{name}": _static(name) for name in _FILES if name != "index.html"},
            "/api/state": self._state_page,
            "/api/requests": self._requests_page,
            "/api/request": self._request_page,
        }

    def state(self) -> PageState:
        """What is to be shown now.

        Raises:
            StoreError: the store cannot be read.
        """
        now, cursor = self._clock(), self._store.cursor()
        return PageState(
            version=__version__,
            now=now,
            chain_id=self._config.chain_id,
            oracle=self._config.oracle,
            account=self._account,
            head=cursor.head if cursor else None,
            block=cursor.block if cursor and cursor.block >= self._config.start_block else None,
            dry_run=self._config.dry_run,
            wrong={name: shown(text) for name, text in self._health.alive().items() if text},
            stages=stages(self._store.counts()),
            models=tuple(map(self._with_times, self._cards)),
            load=load(self._store, now, self._config.workers),
            errors=errors(self._store, self._health, now),
        )

    def _state_page(self, _: Query) -> Response:
        return self._fresh("", lambda: _json(self.state()))

    def _requests_page(self, asked: Query) -> Response:
        try:
            page = query.read_page(asked)
            return self._fresh(page, lambda: _json(self.requests.page(page, self._clock())))
        except UsageError as error:
            return _refused(error)

    def _request_page(self, asked: Query) -> Response:
        try:
            name = query.read_one(asked)
            return self._fresh(name, lambda: _json(self.requests.details(name, self._clock())))
        except UsageError as error:
            return _refused(error)

    def _fresh(self, key: object, gather: Callable[[], Response]) -> Response:
        """An answer that is not too old; one is gathered at a time."""
        with self._lock:
            now = time.monotonic()
            self._kept = {name: kept for name, kept in self._kept.items() if now - kept[0] <= _AGE}
            if key not in self._kept:
                while len(self._kept) >= _KEPT:
                    del self._kept[next(iter(self._kept))]
                response = gather()
                self._kept[key] = (time.monotonic(), response)
            return self._kept[key][1]

    def _with_times(self, model: ModelCard) -> ModelCard:
        bundle_id = model.hashes["bundle"].removeprefix("0x")

        def usual(circuit: CircuitLine) -> CircuitLine:
            times = self._store.prove_times(bundle_id, circuit.rows, _PROOFS)
            seconds = statistics.median(times) if times else None
            return dataclasses.replace(circuit, usual_seconds=seconds)

        return dataclasses.replace(model, circuits=tuple(map(usual, model.circuits)))


def _json(document: PageState | RequestPage | RequestDetails) -> Response:
    return Response.of_json(dataclasses.asdict(document))


def _refused(error: UsageError) -> Response:
    status = 404 if isinstance(error, RequestUnknown) else 400
    return Response(error.line().encode() + b"\n", status)


def _static(name: str) -> Page:
    content = files("oracle").joinpath("site", name).read_bytes()
    response = Response(content, 200, _TYPES[name.rpartition(".")[2]])
    return lambda _: response
