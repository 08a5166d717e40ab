"""PostgreSQL: secrets, start-up of several nodes, what the server does to a session."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from oracle.errors import StoreError, StoreMismatch
from oracle.store.ledger import Store
from oracle.store.running import is_running
from oracle.store.states import RequestState
from tests.patience import PATIENCE
from tests.postgres import PostgresServer

from .makers import make_request, make_store

PASSWORD = "p%40ss-w0rd"


@pytest.fixture
def url(postgres: PostgresServer) -> SecretStr:
    return postgres.fresh()


@pytest.fixture
def guarded(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server with a user that needs a password."""
    with postgres.connect() as connection:
        connection.execute("CREATE ROLE guarded LOGIN PASSWORD 'p@ss-w0rd'")
    yield postgres
    with postgres.connect() as connection:
        connection.execute("DROP OWNED BY guarded")
        connection.execute("DROP ROLE guarded")


def test_running__is_what_the_nodes_themselves_say(url: SecretStr) -> None:
    node = make_store(url)
    beside = make_store(url)
    assert not is_running(beside, url)
    node.join(name="one", account="0xa", payee="0xa", workers=1, lease=30)
    assert is_running(beside, url)
    node.leave()
    assert not is_running(beside, url)
    node.close()
    beside.close()


def test_leases__run_by_the_servers_clock(url: SecretStr) -> None:
    # Of machines whose clocks are centuries apart.
    nodes = [make_store(url, clock=lambda now=now: now) for now in (0.0, 1e10)]
    for node, payee in zip(nodes, ("0xa", "0xb"), strict=True):
        node.join(name=payee, account=payee, payee=payee, workers=1, lease=3600)
    assert nodes[0].has_duty("read")
    for node in nodes:
        node.take_over()
        assert {member.name for member in node.members()} == {"0xa", "0xb"}
        assert node.has_rivals()
        assert all(abs(member.expires_at - time.time() - 3600) < 600 for member in node.members())
    assert not nodes[1].has_duty("read")
    for node in nodes:
        node.close()


def test_password__in_the_url__opens_the_store(guarded: PostgresServer) -> None:
    make_store(guarded.fresh("guarded", PASSWORD)).close()


def test_password__in_a_file__opens_the_store(
    guarded: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pgpass"
    file.write_text("*:*:*:guarded:p@ss-w0rd\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    make_store(guarded.fresh("guarded")).close()


def test_password__wrong__is_in_no_error(guarded: PostgresServer) -> None:
    url = guarded.fresh("guarded", "wr0ng-s3cret")
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        make_store(url)
    assert "guarded@" in caught.value.line()
    assert "Check the store's URL" in caught.value.line()
    everything = "".join(map(repr, (caught.value, caught.value.__cause__, url)))
    assert "wr0ng-s3cret" not in everything + caught.value.line()


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cr%zz@host/db", "postgresql://me:s3cret@[::1/db?nonsense=s3cret"]
)
def test_url__not_valid__is_an_error_without_it(url: str) -> None:
    with pytest.raises(StoreError, match="URL is not valid") as caught:
        make_store(SecretStr(url))
    assert "s3cr" not in caught.value.line()
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://oracle:p/SEKRIT@127.0.0.1:1/oracle",
        "postgresql://oracle:p@SEKRIT@127.0.0.1:1/oracle",
        "postgresql://oracle:p?SEKRIT@127.0.0.1:1/oracle",
        "postgresql://oracle:p#SEKRIT@127.0.0.1:1/oracle",
        "postgresql://oracle:SEKRIT/127.0.0.1/oracle",
    ],
)
def test_password__not_escaped__is_refused_and_in_no_error(url: str) -> None:
    """Parts of it would be taken for a host, a port or a database, which errors name."""
    with pytest.raises(StoreError, match="URL is not valid") as caught:
        make_store(SecretStr(url))
    assert "special characters as %XX" in caught.value.line()
    everything = caught.value.line() + repr(caught.value.__cause__)
    assert "SEKRIT" not in everything
    assert "127.0.0.1" not in everything


def test_driver__missing__says_what_to_install(
    url: SecretStr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "oracle.store.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError) as caught:
        make_store(url)
    assert "pip install 'oracle[postgres]'" in caught.value.line()


def test_server__down__is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        make_store(SecretStr(f"postgresql://me@/db?host={tmp_path}"))
    assert "\n" not in caught.value.line()


def test_open__nodes_start_together_on_an_empty_database__it_is_made_once(url: SecretStr) -> None:
    start = threading.Barrier(4)
    made: list[Store] = []

    def open_it() -> None:
        start.wait()
        made.append(make_store(url))

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(made[0]._db.rows("owner")) == 1
    assert made[0].add_request(make_request())
    assert [store.counts() for store in made] == [{RequestState.SEEN: 1}] * 4
    for store in made:
        store.close()


@pytest.mark.parametrize("access", ["read_only", "operator"])
def test_open__nothing_there__only_a_node_makes_it(url: SecretStr, access: str) -> None:
    with pytest.raises(StoreError, match="holds no store") as caught:
        make_store(url, **{access: True})
    assert "Start the node once" in caught.value.line()


def test_open__newer_schema__is_refused(url: SecretStr) -> None:
    store = make_store(url)
    store._db._connection().execute("INSERT INTO migrations VALUES (99)")
    store.close()
    with pytest.raises(StoreMismatch, match="99"):
        make_store(url)


def test_transaction__another_node_writes__waits_for_it(url: SecretStr) -> None:
    first, second = make_store(url), make_store(url)
    done = threading.Event()

    def write() -> None:
        second.add_request(make_request(8))
        done.set()

    writer = threading.Thread(target=write)
    with first.transaction():
        assert first.request(8) is None
        writer.start()
        _wait_for_a_waiter(first)
        assert not done.is_set()
        # What was read in the transaction still holds.
        assert first.request(8) is None
    writer.join()
    assert first.request(8) is not None
    # Another oracle's store in the same database waits for nobody.
    for store in (first, second):
        store.close()


def test_transaction__of_another_store_in_the_same_database__is_not_waited_for(
    postgres: PostgresServer,
) -> None:
    first, second = make_store(postgres.fresh()), make_store(postgres.fresh())
    with first.transaction():
        assert second.add_request(make_request())
    for store in (first, second):
        store.close()


def test_session__ended_by_the_server__is_made_anew(
    url: SecretStr, postgres: PostgresServer
) -> None:
    store = make_store(url)
    pid = store._db._connection().info.backend_pid
    with postgres.connect() as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
    with pytest.raises(StoreError), store.transaction():
        store.add_request(make_request())
    assert store.add_request(make_request())
    # No thread keeps what does not work.
    assert len(store._db._connections) == 1
    store.close()


def test_text__with_a_nul__is_kept_without_it(url: SecretStr) -> None:
    store = make_store(url)
    store.add_request(make_request())
    assert store.move(7, RequestState.SEEN, RequestState.SKIPPED, "revert: a\0b")
    row = store.request(7)
    assert row is not None
    assert row.reason == "revert: a\ufffdb"
    store.close()


def _wait_for_a_waiter(store: Store) -> None:
    """Until another session waits for the write lock."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = store._db._connection().execute(
            "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        )
        if found.fetchone()["n"]:
            return
        time.sleep(0.005)
    raise AssertionError("nobody waits")
