"""/api/requests and /api/request: filters, pages, hostile addresses, and what a look costs."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import quote

import pytest

from oracle.page.query import MOST
from oracle.store.states import RequestState
from tests.node.world import World
from tests.ops.busy import add, fill
from tests.ops.test_page import call, page, served

OUTPUTS = ((1, 2), (300, -300))


def ask(world: World, path: str, **query: str) -> tuple[int, Any]:
    response = page(world).pages()[path](query)
    text = response.body.decode()
    return response.status, json.loads(text) if response.status == 200 else text


def listed(world: World, **query: str) -> Any:
    status, found = ask(world, "/api/requests", **query)
    assert status == 200, found
    return found


def test_requests__no_filter__are_a_page_of_the_newest(world: World) -> None:
    ids = fill(world, 60, OUTPUTS)
    found = listed(world)
    assert [int(line["id"], 16) for line in found["requests"]] == ids[:-26:-1]
    assert (found["limit"], found["newer"], found["ahead"]) == (25, None, 0)
    second = listed(world, at=found["older"])
    assert [int(line["id"], 16) for line in second["requests"]] == ids[-26:-51:-1]
    assert (second["newer"], second["ahead"]) == (found["requests"][0]["at"], 25)
    last = listed(world, at=second["older"])
    assert (len(last["requests"]), last["older"]) == (10, None)
    # Fewer newer ones than a page: the newest page has no place of its own, and follows the node.
    assert listed(world, at=found["requests"][3]["at"])["newer"] == ""


def test_requests__each_stage_state_model_and_id__are_found(world: World) -> None:
    ids = fill(world, 120, OUTPUTS)
    states = {request_id: world.state(request_id) for request_id in ids}
    for query, wanted in (
        ({"stage": "proving"}, {"queued", "running"}),
        ({"state": "skipped"}, {"skipped"}),
        ({"stage": "other", "state": "failed"}, {"failed"}),
    ):
        lines = listed(world, limit="200", **query)["requests"]
        expected = [each for each in reversed(ids) if states[each] in wanted]
        assert [int(line["id"], 16) for line in lines] == expected
        assert expected
    of_77 = listed(world, model="77", limit="200")["requests"]
    assert {line["model_id"] for line in of_77} == {77}
    assert len(of_77) == sum(world.row(each).request.model_id == 77 for each in ids)
    for name in (f"{ids[7]:#066x}", f"{ids[7]:064x}"[:9], str(ids[7])[:20]):
        assert [int(line["id"], 16) for line in listed(world, id=name)["requests"]] == [ids[7]]


HOSTILE = [
    {"stage": "nowhere"},
    {"state": "<script>"},
    {"state": "final", "stage": "seen"},
    {"model": "-1"},
    {"model": "9" * 5000},
    {"model": "٣"},
    {"model": "1e3"},
    {"id": "0xZZ"},
    {"id": "'; DROP TABLE requests; --"},
    {"id": "0"},
    {"at": "1-2"},
    {"at": "99999999999999999999-0-0x1"},
    {"at": "9999999999999999999-0-0x1"},
    {"at": "1-2-0x1\n"},
    {"limit": "0"},
    {"limit": str(MOST + 1)},
    {"limit": "-5"},
    {"limit": ""},
    {"x" * 300: "1"},
    {"state": "a\nERROR b\x00\u202e"},
]


@pytest.mark.parametrize("query", HOSTILE, ids=range(len(HOSTILE)))
def test_requests__hostile_query__is_one_clear_line(world: World, query: dict[str, str]) -> None:
    add(world, 5, RequestState.SEEN)
    status, text = ask(world, "/api/requests", **query)
    assert status == 400
    assert text.count("\n") == 1
    assert text.isascii()
    assert len(text) < 500
    assert ". " in text, "what is wrong, and what to write"


def test_requests__hostile_addresses_over_http__never_crash(world: World) -> None:
    chance = random.Random(3)
    fill(world, 5, OUTPUTS)
    names = ("stage", "state", "model", "id", "at", "limit", "request", "", "%00")
    with served(world, page(world).pages()) as port:
        for _ in range(60):
            value = "".join(
                chr(chance.choice((0, 10, 37, 38, 48, 57, 97, 120, 960))) for _ in range(9)
            )
            address = f"/api/requests?{chance.choice(names)}={quote(value)}%ff&limit=2"
            assert call(port, path=address)[0] in (200, 400), address
            assert call(port, path=f"/api/request?id={quote(value)}")[0] == 400
    assert not [line for line in world.events() if line.get("code") == "CRASH"]


@pytest.mark.parametrize("query", [{}, {"id": "0x1"}, {"id": "0x" + "f" * 65}, {"x": "y"}])
def test_request__not_named_whole__is_refused(world: World, query: dict[str, str]) -> None:
    assert ask(world, "/api/request", **query)[0] == 400


def test_request__unknown__says_where_else_to_ask(world: World) -> None:
    status, text = ask(world, "/api/request", id="0x" + "1" * 64)
    assert (status, "oracle why" in text) == (404, True)


REASONS = {
    RequestState.SKIPPED: ("fee_low: too little", "underfunded"),
    RequestState.FAILED: ("PROVER_MEMORY: killed", "proof_failing"),
    RequestState.CANCELLED: ("refunded", "refunded"),
    RequestState.LOST: ("another node was first", "answered"),
    RequestState.EXPIRED: ("deadline passed", "deadline_passed"),
    RequestState.FINAL: ("", "answered"),
    RequestState.MINED: ("", "answered"),
    RequestState.PENDING: ("", "delivering"),
    RequestState.PROVED: ("", "delivering"),
    RequestState.RUNNING: ("", "proving"),
    RequestState.QUEUED: ("", "proving"),
    RequestState.ACCEPTED: ("", "proving"),
    RequestState.SEEN: ("", "node_behind"),
    RequestState.ORPHANED: ("reorganised", "reorganised"),
}


@pytest.mark.parametrize("state", RequestState)
def test_request__each_state__says_why_by_the_ledger_alone(
    world: World, state: RequestState
) -> None:
    """Contract developers, live page (4): each request leads to its `why`."""
    reason, cause = REASONS[state]
    before = RequestState.SEEN if state is RequestState.ORPHANED else state
    add(world, 0xABC, before, reason=reason)
    if state is RequestState.ORPHANED:
        world.store.move(0xABC, before, state, reason)
    calls = len(world.endpoint.calls)
    status, found = ask(world, "/api/request", id=f"{0xABC:#066x}")
    assert status == 200
    assert len(world.endpoint.calls) == calls, "no chain is asked"
    why = found["why"]
    assert why["cause"] == cause
    assert why["explanation"]
    assert why["commands"][0] == f"oracle why {0xABC:#066x} --config node.toml"
    assert [step["what"] for step in why["steps"]] == world.trail(0xABC)
    if reason:
        assert why["steps"][-1]["detail"] == reason


def test_request__answered__has_whole_ids_and_its_transaction(world: World) -> None:
    """Contract developers, live page (3): whole ids."""
    add(world, 2**255 + 7, RequestState.FINAL)
    _, found = ask(world, "/api/request", id=f"{2**255 + 7:#066x}")
    assert (found["line"]["id"], found["decimal"]) == (f"{2**255 + 7:#066x}", str(2**255 + 7))
    mined = next(step for step in found["why"]["steps"] if step["what"] == "mined")
    assert mined["transaction"] == found["line"]["transaction"]
    assert found["account"] == world.row(2**255 + 7).request.account


def looked_at(world: World, amount: int) -> dict[str, int]:
    """Steps of the database's machine that each look takes, with so many requests of every state."""
    chance, states = random.Random(1), list(RequestState)
    connection = world.store._db._connection()
    rows = [
        (f"0x{chance.getrandbits(256):064x}".replace("0x0", "0x1"), chance.choice(states), index)
        for index in range(amount)
    ]
    with world.store.transaction():
        connection.executemany(
            "INSERT INTO requests (request_id, state, account, model_id, input, callback_contract,"
            " callback_gas, callback_data, refund_to, deadline, expires_at, fee, gas_money,"
            " block_number, block_hash, transaction_hash, log_index, seen_at, updated_at)"
            " VALUES (?, ?, 'a', '1', x'', 'c', '0', x'', 'r', '9', 9, '0', '0', ?, x'', x'', 0, 1, 1)",
            rows,
        )
        connection.executemany(
            "INSERT INTO history VALUES (?, 1, ?, '')", [(each[0], each[1]) for each in rows]
        )
        connection.executemany(
            "INSERT INTO jobs (job_id, bundle_id, state, memory_bytes, created_at)"
            " VALUES (?, 'b', 'queued', 1, 1)",
            [(each[0],) for each in rows],
        )
    middle = f"{amount // 2}-0-{rows[amount // 2][0]}"
    live = page(world)
    taken: dict[str, int] = {}

    def look(name: str, path: str, **query: str) -> None:
        steps = []
        connection.set_progress_handler(lambda: steps.append(1), 10)
        assert live.pages()[path](query).status == 200, (name, query)
        connection.set_progress_handler(None, 0)
        taken[name] = len(steps)

    look("state", "/api/state")
    look("newest", "/api/requests")
    look("middle", "/api/requests", at=middle)
    look("a state", "/api/requests", state="final", at=middle)
    look("a stage", "/api/requests", stage="other", at=middle)
    look("a model", "/api/requests", model="1", at=middle)
    look("a model's state", "/api/requests", model="1", state="lost", at=middle)
    look("no such model", "/api/requests", model="2")
    look("an id", "/api/requests", id=rows[5][0][:10])
    look("a decimal id", "/api/requests", id=str(int(rows[5][0], 16))[:12])
    look("one", "/api/request", id=f"0x{rows[5][0][2:]:0>64}")
    return taken


def test_looks__ten_times_the_requests__cost_no_more(make_world: Any) -> None:
    few, many = (looked_at(make_world(), amount) for amount in (2_000, 20_000))
    for name, steps in many.items():
        assert steps <= 1.3 * few[name] + 20, (name, few[name], steps)
    assert max(many.values()) < 10_000, "a hundred thousand steps"
