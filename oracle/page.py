"""The node's live page: three static files and one JSON document that they show.

``GET /api/state`` answers a `PageState`, field for field: times are seconds since the epoch, ids,
hashes and addresses hex text, wei decimal text. It comes from the store and from memory, never
from the chain, so that a page left open costs no endpoint a call; it is gathered at most twice a
second however many look. Nothing is written.

Texts in it may come from model files, from the chain, or from an endpoint's error. They are data:
the page sets them as text, and secrets are masked here as in the log.
"""

from __future__ import annotations

import dataclasses
import re
import statistics
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from oracle import __version__
from oracle.circuits.bundle import Bundle, SizedCircuit
from oracle.circuits.row import TensorInfo
from oracle.circuits.srs import ceremony_pins
from oracle.config import NodeConfig
from oracle.health import Clock, Health
from oracle.log import request_hex, secretless
from oracle.services.http import Page, Query, Response
from oracle.store.ledger import Store
from oracle.store.records import ProverStep, Sighting
from oracle.store.states import RequestState
from oracle.types import RegisteredModel

#: Requests and errors that are shown.
_REQUESTS = 25
_ERRORS = 12
#: The prover's load: seconds in a bar, and how many bars.
BAR_SECONDS = 10
BARS = 60
#: Proofs that the load is made from at most; a node that makes more is shown for less long.
_STEPS = 10_000
#: Seconds for which a gathered state holds.
_STATE_AGE = 0.5
#: Proofs that a model's usual time is taken from.
_PROOFS = 20
#: Longest text of a name or a reason.
_TEXT = 300

_R = RequestState
#: Where a request is on its way, in order, and the states that this means.
STAGES: Mapping[str, tuple[RequestState, ...]] = {
    "seen": (_R.SEEN, _R.ACCEPTED),
    "proving": (_R.QUEUED, _R.RUNNING),
    "sending": (_R.PROVED, _R.PENDING),
    "done": (_R.MINED, _R.FINAL),
    "other": (_R.SKIPPED, _R.FAILED, _R.EXPIRED, _R.LOST, _R.CANCELLED, _R.ORPHANED),
}
#: Ends that an operator wants to hear of, and the code of one that gives no other.
_BAD_ENDS = {_R.FAILED: "FAILED", _R.EXPIRED: "EXPIRED", _R.SKIPPED: "SKIPPED"}

#: As errors and as reasons to skip a request have it.
_CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*|[a-z][a-z0-9]*(_[a-z0-9]+)*")

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the way and how many requests are in it."""

    name: str
    amount: int
    #: The same by state; states without any are left out.
    states: dict[str, int]


@dataclass(frozen=True, slots=True)
class RequestLine:
    """A request."""

    id: str
    stage: str
    state: str
    reason: str
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
class CircuitLine:
    """A model's circuit for some number of rows."""

    rows: int
    #: Of the verifier's call, measured when the model was built.
    verify_gas: int
    #: Seconds, measured when the model was built, and the median of this node's last proofs.
    prove_seconds: float
    usual_seconds: float | None
    memory_bytes: int
    proof_bytes: int
    logrows: int


@dataclass(frozen=True, slots=True)
class Check:
    """Something about a model that this node looked at when it started."""

    name: str
    ok: bool


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a served model. The publisher's words and figures, but for `checks`."""

    model_id: int
    name: str
    #: Names and shapes, as ``float_input 1 x 4``.
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    #: Numbers in a row's input and output.
    input_length: int
    output_length: int
    labels: tuple[str, ...]
    objective: str
    reveal: str
    #: Over held-back samples, against the float model.
    label_agreement: float | None
    max_abs_error: float
    #: Price of one row in the smallest unit of ``token``, the zero address being ETH.
    fee: str
    token: str
    circuits: tuple[CircuitLine, ...]
    verifier: str
    #: By what they are of.
    hashes: dict[str, str]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the prover is and was."""

    workers: int
    running: int
    queued: int
    bar_seconds: int
    #: Share of the workers' time, oldest first; the last bar ends now.
    bars: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """Something that went wrong."""

    at: float
    code: str
    detail: str
    #: The service, or the request's id.
    where: str


@dataclass(frozen=True, slots=True)
class PageState:
    """All that the page shows."""

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
    requests: tuple[RequestLine, ...]
    models: tuple[ModelCard, ...]
    load: Load
    errors: tuple[ErrorLine, ...]


def card(bundle: Bundle, registered: RegisteredModel) -> ModelCard:
    """The card of a bundle that was checked against the registry."""
    spec, origin, measures = bundle.spec, bundle.origin, bundle.measures
    pinned = {sized.circuit.srs_hash for sized in bundle.circuits} <= set(ceremony_pins().values())
    return ModelCard(
        model_id=registered.model_id,
        name=_text(bundle.name),
        inputs=tuple(map(_shape, origin.inputs)),
        outputs=tuple(map(_shape, origin.outputs)),
        input_length=spec.input.length,
        output_length=spec.output.length,
        labels=tuple(map(_text, origin.labels)),
        objective=_text(origin.objective),
        reveal=_text(origin.reveal),
        label_agreement=measures.label_agreement,
        max_abs_error=measures.max_abs_error,
        fee=str(registered.fee),
        token=registered.token,
        circuits=tuple(map(_circuit, bundle.circuits)),
        verifier=registered.verifier,
        hashes={
            "bundle": f"0x{bundle.bundle_id}",
            "publisher's file": _hex(origin.file_hash),
            "model as proved": _hex(spec.onnx_hash),
            "settings": _hex(spec.settings_hash),
            "verifying key": _hex(spec.vk_hash),
            "SRS": _hex(spec.srs_hash),
            "verifier code": _hex(spec.verifier_code_hash),
        },
        # A node with a false one of the first two does not start.
        checks=(
            Check("files match their hashes", ok=True),
            Check("verifier on chain has the bundle's code", ok=True),
            Check("SRS of the public ceremony", ok=True)
            if pinned
            else Check("unsafe SRS: its maker can forge proofs", ok=False),
        ),
    )


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
        self._names = {card.model_id: card.name for card in cards}
        self._account = account
        self._clock = clock
        self._lock = threading.Lock()
        self._answer: tuple[float, Response] | None = None

    def pages(self) -> dict[str, Page]:
        """The page's files and its state, by path."""
        return {
            **{path: _static(name, kind) for path, (name, kind) in _FILES.items()},
            "/api/state": self._state_page,
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
            wrong={name: _text(text) for name, text in self._health.alive().items() if text},
            stages=self._stages(),
            requests=tuple(map(self._line, self._store.sightings(_REQUESTS))),
            models=tuple(map(self._with_times, self._cards)),
            load=self._load(now),
            errors=self._errors(now),
        )

    def _state_page(self, _: Query) -> Response:
        with self._lock:
            if self._answer is None or time.monotonic() - self._answer[0] > _STATE_AGE:
                response = Response.of_json(dataclasses.asdict(self.state()))
                self._answer = (time.monotonic(), response)
            return self._answer[1]

    def _stages(self) -> tuple[Stage, ...]:
        counts = self._store.counts()
        found = (
            (name, {state.value: counts[state] for state in states if state in counts})
            for name, states in STAGES.items()
        )
        return tuple(Stage(name, sum(states.values()), states) for name, states in found)

    def _line(self, seen: Sighting) -> RequestLine:
        transaction = None if seen.transaction is None else _hex(seen.transaction)
        explorer = self._config.explorer_url
        return RequestLine(
            id=request_hex(seen.request_id),
            stage=next(name for name, states in STAGES.items() if seen.state in states),
            state=seen.state.value,
            # A request that was answered says with what, which has its own fields here.
            reason="" if seen.gas is not None else _text(seen.reason),
            model_id=seen.model_id,
            model=self._names.get(seen.model_id),
            seen_at=seen.seen_at,
            updated_at=seen.updated_at,
            prove_seconds=seen.prove_seconds,
            rows=seen.rows,
            gas=seen.gas,
            transaction=transaction,
            link=f"{explorer.rstrip('/')}/tx/{transaction}" if explorer and transaction else None,
        )

    def _with_times(self, model: ModelCard) -> ModelCard:
        bundle_id = model.hashes["bundle"].removeprefix("0x")

        def usual(circuit: CircuitLine) -> CircuitLine:
            times = self._store.prove_times(bundle_id, circuit.rows, _PROOFS)
            seconds = statistics.median(times) if times else None
            return dataclasses.replace(circuit, usual_seconds=seconds)

        return dataclasses.replace(model, circuits=tuple(map(usual, model.circuits)))

    def _load(self, now: float) -> Load:
        work, workers = self._store.workload(), self._config.workers
        # From twice as long ago: a proof that runs all through the first bars began before them.
        steps = self._store.prover_steps(now - 2 * BARS * BAR_SECONDS, _STEPS)
        return Load(workers, work.running, work.queued, BAR_SECONDS, busy(steps, now, workers))

    def _errors(self, now: float) -> tuple[ErrorLine, ...]:
        found = [
            ErrorLine(now - age, code, _text(detail), watched.name)
            for watched in self._health.watched
            for age, code, detail in watched.pulse.recent()
        ]
        services = {watched.name for watched in self._health.watched}
        found += [
            ErrorLine(trouble.since, trouble.code, _text(trouble.detail), trouble.subject)
            for trouble in self._store.troubles()
            if trouble.subject not in services
        ]
        for state, code in _BAD_ENDS.items():
            found += [
                _ended(at, reason, code, request_hex(request_id))
                for request_id, at, reason in self._store.ended_so(state, _ERRORS)
            ]
        return tuple(sorted(found, key=lambda line: -line.at)[:_ERRORS])


def busy(steps: Iterable[ProverStep], now: float, workers: int) -> tuple[float, ...]:
    """Share of the workers' time that went into proofs, bar by bar up to ``now``.

    A proof that has no end yet runs until now. Shares are 0 to 1.
    """
    begun: dict[str, float] = {}
    spans: list[tuple[float, float]] = []
    for step in steps:
        if step.state is RequestState.RUNNING:
            begun.setdefault(step.job_id, step.at)
        elif step.job_id in begun:
            spans.append((begun.pop(step.job_id), step.at))
    spans += [(at, now) for at in begun.values()]
    first = now - BARS * BAR_SECONDS
    seconds = [0.0] * BARS
    for start, end in spans:
        for index in range(
            max(0, int((start - first) // BAR_SECONDS)),
            min(BARS, int((end - first) // BAR_SECONDS) + 1),
        ):
            left = first + index * BAR_SECONDS
            seconds[index] += max(0.0, min(end, left + BAR_SECONDS) - max(start, left))
    return tuple(min(1.0, round(each / BAR_SECONDS / workers, 3)) for each in seconds)


def _ended(at: float, reason: str, code: str, where: str) -> ErrorLine:
    """A request's bad end; most reasons begin with their own code."""
    head, colon, detail = reason.partition(": ")
    if colon and _CODE.fullmatch(head):
        return ErrorLine(at, head, _text(detail), where)
    return ErrorLine(at, code, _text(reason), where)


def _circuit(sized: SizedCircuit) -> CircuitLine:
    measures = sized.measures
    return CircuitLine(
        rows=sized.size,
        verify_gas=measures.verify_gas,
        prove_seconds=measures.prove_seconds,
        usual_seconds=None,
        memory_bytes=measures.prove_memory_bytes,
        proof_bytes=measures.proof_bytes,
        logrows=measures.logrows,
    )


def _static(name: str, content_type: str) -> Page:
    response = Response(files("oracle").joinpath("site", name).read_bytes(), 200, content_type)
    return lambda _: response


def _shape(tensor: TensorInfo) -> str:
    return _text(f"{tensor.name} {' by '.join(map(str, tensor.shape))}")


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"


def _text(value: str) -> str:
    return secretless(value)[:_TEXT]
