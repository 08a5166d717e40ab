"""What the node's page is told: its shape, and that hostile text stays text."""

from __future__ import annotations

import dataclasses
import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from oracle.errors import RpcUnreachable
from oracle.page import BAR_SECONDS, BARS, STAGES, CircuitLine, LivePage, ModelCard, busy
from oracle.page.query import read_page
from oracle.services.http import HttpService, Page, Response
from oracle.store.records import ProverStep, Trouble
from oracle.store.states import RequestState
from oracle.types import Codec
from tests.e2e.browser import Browser
from tests.node.world import World, spec
from tests.ops.busy import fill
from tests.patience import PATIENCE

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def card(world: World, **changes: Any) -> ModelCard:
    values: dict[str, Any] = {
        "model_id": world.model_id,
        "name": "swap",
        "inputs": ("x 2",),
        "outputs": ("y 2",),
        "input": spec().input,
        "output": spec().output,
        "codec": Codec.PACKED,
        "labels": (),
        "objective": "gas",
        "reveal": "all",
        "label_agreement": 0.97,
        "max_abs_error": 0.01,
        "fee": "1",
        "token": "0x" + "0" * 40,
        "circuits": (CircuitLine(1, 500_000, 1.0, None, 1 << 28, 3000, 14),),
        "verifier": "0x" + "1" * 40,
        "hashes": {"bundle": "0x" + "b" * 64},
        "checks": (),
    }
    return ModelCard(**(values | changes))


def page(world: World, *cards: ModelCard) -> LivePage:
    node = world.node
    return LivePage(
        node._parts.config,
        node._store,
        node.health,
        cards or (card(world),),
        node._parts.signer.address,
        world.clock,
    )


@contextmanager
def served(world: World, pages: dict[str, Page]) -> Iterator[int]:
    with HttpService("127.0.0.1", 0, pages, world.node._log) as service:
        yield service.port


def call(
    port: int, method: str = "GET", path: str = "/", body: bytes | None = None, **headers: str
) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def test_state__request_answered__has_its_proof_its_gas_and_its_transaction(
    make_world: Callable[..., World],
) -> None:
    world = make_world(explorer_url="https://explorer.example/")
    request_id = world.ask()
    world.settle()
    live = page(world)
    state = live.state()
    (line,) = live.requests.page(read_page({}), world.clock.now).requests
    assert int(line.id, 16) == request_id
    assert (line.stage, line.model, line.reason) == ("done", "swap", "")
    assert line.answer == "0.008, 0.004", "the two inputs the other way round, at a scale of 8 bits"
    assert line.prove_seconds is not None
    assert line.transaction is not None
    receipt = world.node._parts.rpc.receipt(bytes.fromhex(line.transaction[2:]))
    assert receipt is not None
    assert line.gas == receipt.gas_used
    assert line.link == f"https://explorer.example/tx/{line.transaction}"
    assert {stage.name: stage.amount for stage in state.stages}["done"] == 1
    assert state.models[0].circuits[0].usual_seconds == line.prove_seconds


def test_stages__every_state__is_in_exactly_one() -> None:
    listed = [state for states in STAGES.values() for state in states]
    assert sorted(listed) == sorted(RequestState)


def test_api__is_the_dataclass_as_json(world: World) -> None:
    request_id = world.ask()
    world.settle()
    live = page(world)
    for path, asked, value in (
        ("requests", {}, live.requests.page(read_page({}), world.clock.now)),
        (
            "request",
            {"id": f"{request_id:#066x}"},
            live.requests.details(request_id, world.clock.now),
        ),
    ):
        told = live.pages()[f"/api/{path}"](asked)
        assert json.loads(told.body) == json.loads(json.dumps(dataclasses.asdict(value)))
    response = live.pages()["/api/state"]({})
    assert json.loads(response.body) == json.loads(json.dumps(dataclasses.asdict(live.state())))


def test_errors__a_service_and_a_request__have_their_codes_and_no_secret(world: World) -> None:
    world.ask(model_id=77)
    world.settle()
    (watched, *_) = world.node.health.watched
    watched.pulse.failed(RpcUnreachable.code, "http://me:s3cret@host/KEY is away")
    found = {line.code: line for line in page(world).state().errors}
    assert found[RpcUnreachable.code].where == watched.name
    assert "s3cret" not in found[RpcUnreachable.code].detail
    assert "KEY" not in found[RpcUnreachable.code].detail
    assert len(found) == 2, "the request that was skipped is there with its own code"


def test_errors__an_endpoint_in_trouble__is_among_them(world: World) -> None:
    trouble = Trouble("endpoint 1 (http://a)", "RPC_UNCERTAIN", "Must be authenticated!", 5.0)
    world.store.set_troubles([trouble])
    (line,) = page(world).state().errors
    assert (line.where, line.code, line.at) == (trouble.subject, trouble.code, trouble.since)


def test_state__nothing_read_yet__is_no_block_below_the_first(world: World) -> None:
    world.store.start_cursor(-1, 10)
    assert page(world).state().block is None


def test_errors__the_same_again__is_one_line_with_its_number(world: World) -> None:
    """Repeated errors are grouped: operators' page when busy."""
    ids = [world.ask(model_id=77) for _ in range(30)]
    world.settle()
    (watched, *_) = world.node.health.watched
    for _ in range(3):
        watched.pulse.failed(RpcUnreachable.code, "endpoint 1 is away")
        world.clock.now += 10
    found = {line.code: line for line in page(world).state().errors}
    service, skipped = found.pop(RpcUnreachable.code), found.popitem()[1]
    assert (service.count, service.state) == (3, "")
    assert 0 < service.since < service.at
    assert (skipped.count, skipped.state) == (30, "skipped")
    assert int(skipped.where, 16) in ids
    assert found == {}


def test_errors__more_ends_than_are_looked_at__stay_bounded(world: World) -> None:
    fill(world, 600, [(1, 2)], fates=(RequestState.SKIPPED, RequestState.FAILED))
    lines = page(world).state().errors
    assert sum(line.count for line in lines) == 200
    assert len(lines) <= 12


def test_load__proof_over_two_bars__fills_each_by_its_seconds() -> None:
    now = 10_000.0
    steps = [
        ProverStep("a", now - 15, RequestState.RUNNING),
        ProverStep("a", now - 5, RequestState.PROVED),
        ProverStep("b", now - 5, RequestState.RUNNING),
    ]
    bars = busy(steps, now, workers=1)
    assert len(bars) == BARS
    assert bars[-2:] == (0.5, 1.0)
    assert not any(bars[:-2])
    assert busy(steps, now, workers=2)[-1] == 0.5


def test_load__batch__counts_its_proof_once() -> None:
    steps = [ProverStep("a", 0.0, RequestState.RUNNING)] * 3
    steps += [ProverStep("a", BAR_SECONDS / 2, RequestState.PROVED)] * 3
    assert busy(steps, BAR_SECONDS, workers=1)[-1] == 0.5


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "a@127.0.0.1.evil.example"])
def test_host__of_another_site__is_refused(world: World, host: str) -> None:
    with served(world, page(world).pages()) as port:
        status, _, body = call(port, path="/api/state", Host=host)
    assert status == 403
    assert b"http_names" in body


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:80", "10.0.0.7:9464", "NODE"])
def test_host__number_localhost_or_configured__is_answered(world: World, host: str) -> None:
    pages = page(world).pages()
    with HttpService("127.0.0.1", 0, pages, world.node._log, names=("node",)) as service:
        assert call(service.port, Host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_method__other_than_get_and_head__is_refused(world: World, method: str) -> None:
    with served(world, page(world).pages()) as port:
        status, headers, _ = call(port, method, "/api/state", b"x")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_get__with_a_body__is_refused(world: World) -> None:
    with served(world, page(world).pages()) as port:
        assert call(port, "GET", "/api/state", b"x")[0] == 400


def test_answers__let_a_browser_load_nothing_from_elsewhere(world: World) -> None:
    with served(world, page(world).pages()) as port:
        for path in (*page(world).pages(), "/nowhere"):
            policy = call(port, path=path)[1]["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy


def test_files__name_nothing_outside_and_make_no_element_from_text() -> None:
    texts = {each.name: each.read_text() for each in files("oracle").joinpath("site").iterdir()}
    for name, text in texts.items():
        outside = text.replace("http://www.w3.org/2000/svg", "")
        assert "//" not in outside.replace("// ", "").replace("//\n", ""), name
    scripts = [text for name, text in texts.items() if name.endswith(".js")]
    assert len(scripts) > 1
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert not any(way in text for text in scripts)


def test_files__each_one__is_served(world: World) -> None:
    names = {each.name for each in files("oracle").joinpath("site").iterdir()}
    assert {f"/{name}" for name in names} - set(page(world).pages()) == {"/index.html"}


def test_policy__what_a_page_would_break__is_stopped_and_heard(
    world: World, tmp_path: Path
) -> None:
    """That no complaint means something: this browser does hear them."""
    html = b"<!doctype html><link rel=icon href=data:,><script>alert(1)</script>"
    pages: dict[str, Page] = {"/": lambda _: Response(html, 200, "text/html")}
    with closing(Browser(tmp_path)) as browser, served(world, pages) as port:
        browser.open(f"http://127.0.0.1:{port}/")
        browser.wait_for("document.readyState === 'complete'")
        assert any("Content Security Policy" in each for each in browser.complaints)


def test_state__many_look__is_gathered_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    live = page(world)
    calls = []
    real = live.state
    monkeypatch.setattr(live, "state", lambda: calls.append(1) or real())
    look = live.pages()["/api/state"]
    assert look({}) is look({})
    assert calls == [1]
