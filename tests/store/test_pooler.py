"""Operators D8: behind PgBouncer in transaction mode, each transaction may have another session."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from oracle.errors import StoreError
from oracle.store.ledger import Store
from oracle.store.postgres import _SETTINGS
from oracle.store.states import RequestState
from tests.node.world import World
from tests.patience import PATIENCE
from tests.pgbouncer import PgBouncer
from tests.postgres import PostgresServer

from .makers import make_request, make_store

#: More than the uses after which the driver would prepare a statement.
ROUNDS = 30


@pytest.fixture(scope="module")
def pooler(postgres: PostgresServer) -> Iterator[PgBouncer]:
    with PgBouncer(postgres) as running:
        yield running


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    return postgres.fresh_database()


@pytest.fixture
def url(pooler: PgBouncer, database: str) -> SecretStr:
    return pooler.url(database)


def test_pooler__several_nodes_and_threads__run_their_own_statements(url: SecretStr) -> None:
    """Each begins with other ones, so that the names of prepared ones would mean another each."""
    nodes = [make_store(url) for _ in range(3)]
    together = threading.Barrier(6)

    def work(number: int) -> list[int]:
        store = nodes[number % 3]
        together.wait()
        found = []
        for i in range(ROUNDS):
            request_id = 1 + number * ROUNDS + i
            if number % 2:
                store.counts()
            assert store.add_request(make_request(request_id, log_index=request_id))
            row = store.request(request_id)
            assert row is not None
            assert store.move(request_id, RequestState.SEEN, RequestState.SKIPPED, f"x: {number}")
            found.append(row.request_id)
        return found

    with ThreadPoolExecutor(6) as threads:
        found = [each for ids in threads.map(work, range(6)) for each in ids]
    assert sorted(found) == list(range(1, 1 + 6 * ROUNDS))
    assert nodes[0].counts() == {RequestState.SKIPPED: 6 * ROUNDS}
    for row in nodes[0].recent(6 * ROUNDS):
        assert row.reason == f"x: {(row.request_id - 1) // ROUNDS}"
    for node in nodes:
        node.close()


def test_pooler__two_nodes__requests_are_answered_once_each(tmp_path: Path, url: SecretStr) -> None:
    world = World(tmp_path / "a", {"store": url})
    second = World(tmp_path / "b", {"store": url}, beside=world)
    ids = [world.ask(i, i + 1) for i in range(ROUNDS)]
    for _ in range(3):
        world.settle()
        second.settle()
    assert {world.state(each) for each in ids} == {"final"}
    assert [world.chain.fulfilments(each) for each in ids] == [1] * ROUNDS
    for each in (world, second):
        assert not [line for line in each.events() if line["level"] in ("warning", "error")]
        each.die()


def test_pooler__only_one_node_has_a_duty(url: SecretStr) -> None:
    first, second = make_store(url), make_store(url)
    for name, node in (("one", first), ("two", second)):
        node.join(name=name, account=name, payee=name, workers=1, lease=30)
    taken = [node.has_duty("watch") for node in (first, second)] * 2
    assert taken == [True, False] * 2
    first.leave()
    assert second.has_duty("watch")
    first.close()
    second.close()


def shown(store: Store, name: str) -> str:
    (row,) = store._db._connection().execute(f"SHOW {name}").fetchall()
    return str(row[name])


def test_pooler__settings__hold_in_each_transaction_and_in_no_other_clients(
    url: SecretStr, pooler: PgBouncer, database: str, postgres: PostgresServer
) -> None:
    with postgres.connect() as direct:
        before = {n: direct.execute(f"SHOW {n}").fetchall() for n in _SETTINGS}
    store = make_store(url)
    names = ("lock_timeout", "idle_in_transaction_session_timeout", "synchronous_commit")
    with pooler.connect(database) as stranger:
        for _ in range(5):
            with store.transaction():
                assert {name: shown(store, name) for name in names} == {
                    name: _SETTINGS[name] for name in names
                }
            after = {n: stranger.execute(f"SHOW {n}").fetchall() for n in _SETTINGS}
            assert after == before
    store.close()


def test_pooler__who_only_looks__changes_nothing_and_keeps_nobody_from_writing(
    url: SecretStr,
) -> None:
    node = make_store(url)
    onlooker = make_store(url, read_only=True)
    for request_id in range(1, ROUNDS):
        assert node.add_request(make_request(request_id, log_index=request_id))
        assert onlooker.counts() == {RequestState.SEEN: request_id}
        with pytest.raises(StoreError, match="read-only"):
            onlooker.move(request_id, RequestState.SEEN, RequestState.SKIPPED)
    assert node.counts() == {RequestState.SEEN: ROUNDS - 1}
    # Beside a transaction of a node's, too: for that it need not wait.
    with node.transaction():
        assert onlooker.counts() == {RequestState.SEEN: ROUNDS - 1}
    onlooker.close()
    node.close()


def test_pooler__hangs__metrics_and_readyz_answer_and_the_next_ask_waits_for_nothing(
    tmp_path: Path, postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oracle.health._STORE_SECONDS", 0.5)
    monkeypatch.setattr("oracle.node._PAGE_SECONDS", 0.5)
    with PgBouncer(postgres) as pooler:
        world = World(tmp_path, {"store": pooler.url(database)})
        world.settle()
        pages = world.node.pages()
        assert b"oracle_node_cursor_block" in pages["/metrics"]({}).body
        assert not world.node.health.ready()["store"]
        with pooler.stopped():
            body = pages["/metrics"]({}).body
            assert b"oracle_node_cursor_block" not in body
            assert b'oracle_node_ready{check="store"} 0.0' in body
            answer = pages["/readyz"]({})
            assert answer.status == 503
            assert "has not answered" in json.loads(answer.body)["wrong"]["store"]
            with pytest.raises(StoreError, match="has not answered"):
                pages["/api/state"]({})
        deadline = time.monotonic() + PATIENCE
        while world.node.health.ready()["store"]:
            assert time.monotonic() < deadline, "it was never ready again"
        assert b"oracle_node_cursor_block" in pages["/metrics"]({}).body
        world.die()


def test_pooler__pools_single_statements__is_refused_in_one_line(
    postgres: PostgresServer, database: str
) -> None:
    with (
        PgBouncer(postgres, mode="statement") as pooler,
        pytest.raises(StoreError) as caught,
    ):
        make_store(pooler.url(database))
    line = caught.value.line()
    assert "\n" not in line
    assert "transaction" in line
    assert "pool_mode" in line
