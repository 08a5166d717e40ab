"""`oracle node move-store`: a SQLite store becomes a PostgreSQL store, whole or not at all."""

from __future__ import annotations

import json
import sqlite3
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result
from eth_utils.address import to_checksum_address
from psycopg.rows import dict_row
from pydantic import SecretStr
from typer.testing import CliRunner

from oracle.cli.node import app
from oracle.errors import (
    OracleError,
    StoreError,
    StoreLocked,
    StoreMismatch,
    StoreMissing,
    StoreOutdated,
    UsageError,
)
from oracle.store.move import _IN_ORDER, _OF_NODES, _TABLES, move
from oracle.store.records import Settled
from oracle.store.sqlite import MIGRATIONS
from oracle.store.states import IntentState, JobState, RequestState
from tests.node.world import World
from tests.pgbouncer import PgBouncer
from tests.postgres import PostgresServer

from .makers import ACCOUNT, BIG, CHAIN, ORACLE, force_state, make_attempt, make_request, make_store

OTHER = "0x" + "0B" * 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A store with a row of every kind, and what is hard to keep."""
    path = tmp_path / "node.db"
    store = make_store(path)
    store.join(name="one", account=ACCOUNT, payee=ACCOUNT, workers=1, lease=30)
    store.start_cursor(4, 100)
    store.set_head(9, 1_700_000_000, BIG)
    store.advance(7, [(number, bytes([number] * 32)) for number in range(5, 8)], 1_699_999_999)
    for number, state in enumerate(RequestState, start=1):
        reason = 'a "word", \u00e9\U0001f600, \\N\ttab\nand line'
        request = make_request(
            BIG - number, log_index=number, deadline=2**64 - 1, input=bytes(range(256))
        )
        store.add_request(request)
        assert store.accept(request.key.request_id)
        assert store.enqueue(
            [request.key.request_id], f"job{number}", "bundle", size=1, memory_bytes=2**40
        )
        force_state(store, request.key.request_id, state)
        store.top_up(request.key.request_id, BIG - 1, 6)
        store._note(request.key.request_id, state, reason)
    jobs = [f"job{number}" for number in range(1, 1 + len(JobState))]
    for job_id, state in zip(jobs, JobState, strict=True):
        store._db._connection().execute(
            "UPDATE jobs SET state = ?, proof = ?, outputs = ?, prove_time = ?, error = ? "
            "WHERE job_id = ?",
            (state, b"\x00\xff" * 500, "[1]", 0.1 + 0.2, "with a NUL: \0", job_id),
        )
    for nonce, intent_state in enumerate(IntentState):
        intent_id = store._db.insert(
            *("put_intent",),
            job_id=f"job{nonce + 1}",
            account=ACCOUNT,
            nonce=nonce,
            gas=10**6,
            ceiling=str(BIG),
            now=1e9 + 1 / 3,
        )
        for copy in range(2):
            attempt = make_attempt(bytes([nonce, copy] * 16), max_fee=10**30 + copy)
            store.add_attempt(intent_id, attempt)
        store._db.run("put_intent_request", intent_id=intent_id, request_id=hex(BIG - 1))
        store._db._connection().execute(
            "UPDATE intents SET state = ? WHERE intent_id = ?", (intent_state, intent_id)
        )
    store._totals.add("wei_spent", "", 2**70)
    for result, cost in (("fulfilled", 2**70), ("reverted", 1), ("fulfilled", 10**9 + 7)):
        store._earnings.add(
            Settled(result, 21_000, cost, cost // 3, 5, model_id=2, requests=1), 1e9
        )
    # What was deleted leaves holes in the order of insertion.
    store._db._connection().execute("DELETE FROM history WHERE rowid % 5 = 0")
    store.close()
    return path


@pytest.fixture
def url(postgres: PostgresServer) -> SecretStr:
    return postgres.fresh()


def rows_of_file(path: Path, table: str) -> list[dict[str, Any]]:
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        number = "rowid, " if table in _IN_ORDER else ""
        found = connection.execute(f"SELECT {number}* FROM {table}").fetchall()
    return sorted(map(dict, found), key=repr)


def rows_of_database(url: SecretStr, table: str) -> list[dict[str, Any]]:
    with psycopg.connect(url.get_secret_value(), row_factory=dict_row) as connection:
        return connection.execute(f"SELECT * FROM {table}").fetchall()


def in_order(rows: list[dict[str, Any]], columns: list[str]) -> list[dict[str, Any]]:
    return sorted(({name: row[name] for name in columns} for row in rows), key=repr)


def is_empty(url: SecretStr) -> bool:
    with psycopg.connect(url.get_secret_value()) as connection:
        known = connection.execute("SELECT to_regclass('requests')").fetchone()
    return known == (None,) or not any(rows_of_database(url, name) for name in _TABLES)


def test_move__every_state_and_kind__is_the_same_row_by_row(source: Path, url: SecretStr) -> None:
    before = source.read_bytes()
    moved = move(source, url, CHAIN, ORACLE)
    for table in _TABLES:
        wanted = rows_of_file(source, table)
        assert wanted, f"no row of {table} is tried"
        for row in wanted:
            for name, value in row.items():
                row[name] = value.replace("\0", "\ufffd") if isinstance(value, str) else value
        columns = list(wanted[0])
        assert in_order(rows_of_database(url, table), columns) == in_order(wanted, columns)
        assert moved[table] == len(wanted)
    for table in _OF_NODES:
        assert rows_of_database(url, table) == []
    assert source.read_bytes() == before


def test_move__tables__are_all_that_the_file_has(source: Path) -> None:
    """A table of a migration to come must be moved, or said to be left."""
    with sqlite3.connect(source) as connection:
        found = {
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
    assert found - {"sqlite_sequence"} == {*_TABLES, *_OF_NODES, "state_counts"}


def test_moved_store__answers_as_the_file_did_and_counts_on(source: Path, url: SecretStr) -> None:
    move(source, url, CHAIN, ORACLE)
    old, new = make_store(source), make_store(url)
    assert new.counts() == old.counts()
    assert new.totals() == old.totals()
    assert new.cursor() == old.cursor()
    assert [row.request_id for row in new.recent(99)] == [row.request_id for row in old.recent(99)]
    for row in old.recent(99):
        assert new.request(row.request_id) == row
        assert new.history(row.request_id) == old.history(row.request_id)
    for state in IntentState:
        assert new.intents(state) == old.intents(state)
    new.join(name="one", account=ACCOUNT, payee=ACCOUNT, workers=1, lease=30)
    # No node of the file's is taken for a living one.
    assert [member.name for member in new.members()] == ["one"]
    assert new.add_request(make_request(77, log_index=99))
    assert new.accept(77)
    assert new.enqueue([77], "new", "bundle", size=1, memory_bytes=1)
    force_state(new, 77, RequestState.PROVED)
    assert new.add_intent(
        [77], make_attempt(b"n" * 32), job_id="new", account=ACCOUNT, nonce=99, gas=1, ceiling=1
    )
    assert new.counts()[RequestState.PENDING] == old.counts()[RequestState.PENDING] + 1
    old.close()
    new.close()


@pytest.mark.parametrize("pooled", [False, True])
def test_moved_store__a_node_goes_on_with_it__each_request_is_answered_once(
    tmp_path: Path, postgres: PostgresServer, pooled: bool
) -> None:
    world = World(tmp_path / "old")
    done = [world.ask(1, 1), world.ask(2, 2)]
    world.settle()
    world.chain.automine = False
    sent = world.ask(3, 3)
    world.chain.mine()
    world.settle()
    assert world.state(sent) == "pending"
    world.prover.held = True
    waiting = [world.ask(4, 4), world.ask(5, 5)]
    # The transaction that was sent stays in the pool.
    kept, world.chain.mempool = (
        [t for t in world.chain.mempool if hasattr(t, "hash")],
        [t for t in world.chain.mempool if not hasattr(t, "hash")],
    )
    world.chain.mine()
    world.chain.mempool = kept
    world.settle()
    assert {world.state(each) for each in waiting} <= {"running", "queued"}
    world.die()
    if pooled:
        with PgBouncer(postgres) as pooler:
            check_it_goes_on(
                tmp_path, world, pooler.url(postgres.fresh_database()), [sent], done, waiting
            )
    else:
        check_it_goes_on(tmp_path, world, postgres.fresh(), [sent], done, waiting)


def check_it_goes_on(
    tmp_path: Path,
    world: World,
    url: SecretStr,
    sent: list[int],
    done: list[int],
    waiting: list[int],
) -> None:
    config = world.node._parts.config
    assert isinstance(config.store, Path)
    move(config.store, url, config.chain_id, config.oracle)
    after = World(tmp_path / "new", {"store": url}, beside=world)
    assert [after.state(each) for each in done] == ["final"] * 2
    assert [after.state(each) for each in sent] == ["pending"]
    world.chain.automine = True
    world.chain.mine()
    after.settle()
    everything = [*done, *sent, *waiting]
    assert [after.state(each) for each in everything] == ["final"] * 5
    assert [world.chain.fulfilments(each) for each in everything] == [1] * 5
    assert after.trail(sent[0])[-3:] == ["pending", "mined", "final"]
    after.die()


# --- refused, and nothing kept ---


def test_move__node_works_on_the_file__is_refused(source: Path, url: SecretStr) -> None:
    node = make_store(source)
    with pytest.raises(StoreLocked, match="in use by another node"):
        move(source, url, CHAIN, ORACLE)
    node.close()
    assert is_empty(url)


def test_move__operator_looks_at_the_file__is_no_hindrance(source: Path, url: SecretStr) -> None:
    beside = make_store(source, operator=True)
    move(source, url, CHAIN, ORACLE)
    beside.close()


def test_move__database_has_a_store__is_refused_and_stays(source: Path, url: SecretStr) -> None:
    other = make_store(url)
    other.add_request(make_request(5))
    with pytest.raises(StoreError, match="is not empty") as caught:
        move(source, url, CHAIN, ORACLE)
    assert "Name an empty database" in caught.value.line()
    assert [row.request_id for row in other.recent(9)] == [5]
    other.close()


def test_move__twice__the_second_is_refused(source: Path, url: SecretStr) -> None:
    move(source, url, CHAIN, ORACLE)
    before = {name: rows_of_database(url, name) for name in _TABLES}
    with pytest.raises(StoreError, match="is not empty"):
        move(source, url, CHAIN, ORACLE)
    assert {name: rows_of_database(url, name) for name in _TABLES} == before


@pytest.mark.parametrize(
    ("version", "error"), [(len(MIGRATIONS) - 1, StoreOutdated), (99, StoreMismatch)]
)
def test_move__file_of_another_version__is_refused(
    source: Path, url: SecretStr, version: int, error: type[OracleError]
) -> None:
    with sqlite3.connect(source) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(error, match="schema version"):
        move(source, url, CHAIN, ORACLE)
    assert is_empty(url)


@pytest.mark.parametrize(("chain_id", "oracle"), [(1, ORACLE), (CHAIN, OTHER)])
def test_move__store_of_another_oracle__is_refused(
    source: Path, url: SecretStr, chain_id: int, oracle: str
) -> None:
    with pytest.raises(StoreMismatch, match="belongs to"):
        move(source, url, chain_id, oracle)
    assert is_empty(url)


def test_move__no_file__is_refused_and_none_is_made(tmp_path: Path, url: SecretStr) -> None:
    with pytest.raises(StoreMissing):
        move(tmp_path / "none.db", url, CHAIN, ORACLE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change", ["ALTER TABLE requests ADD COLUMN note TEXT", "CREATE TABLE notes (text TEXT)"]
)
def test_move__file_was_changed_by_hand__is_refused(
    source: Path, url: SecretStr, change: str
) -> None:
    with sqlite3.connect(source) as connection:
        connection.execute(change)
    with pytest.raises(StoreMismatch, match="is not that of"):
        move(source, url, CHAIN, ORACLE)
    assert is_empty(url)


@pytest.mark.parametrize("body", ["NEW.reason := NEW.reason || '!'; RETURN NEW;", "RETURN NULL;"])
def test_move__database_keeps_something_else__keeps_nothing(
    source: Path, url: SecretStr, body: str
) -> None:
    make_store(url).close()
    with psycopg.connect(url.get_secret_value()) as connection:
        connection.execute("DELETE FROM owner")
        connection.execute(
            f"CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
        )
        connection.execute(
            "CREATE TRIGGER meddle BEFORE INSERT ON history FOR EACH ROW EXECUTE FUNCTION meddle()"
        )
    with pytest.raises(StoreError, match=r"table history .* is not what was written"):
        move(source, url, CHAIN, ORACLE)
    assert is_empty(url)


def test_move__database_ends_the_session__is_an_error_of_the_tree_and_keeps_nothing(
    source: Path, url: SecretStr
) -> None:
    make_store(url).close()
    with psycopg.connect(url.get_secret_value()) as connection:
        connection.execute("DELETE FROM owner")
        connection.execute(
            "CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER leave BEFORE INSERT ON history FOR EACH ROW EXECUTE FUNCTION leave()"
        )
    with pytest.raises(StoreError):
        move(source, url, CHAIN, ORACLE)
    assert is_empty(url)


# --- the command ---


@pytest.fixture
def command(source: Path, tmp_path: Path) -> Callable[..., Result]:
    # A configuration's address is a checksummed one.
    with sqlite3.connect(source) as connection:
        connection.execute("UPDATE owner SET oracle = ?", (to_checksum_address(ORACLE),))
    config = tmp_path / "node.toml"
    config.write_text(
        f'chain_id = {CHAIN}\nrpc_urls = ["http://fake"]\noracle = "{ORACLE}"\n'
        f'bundles = ["bundle"]\nstore = "{source}"\nwork_dir = "jobs"\nkey_file = "key"\n'
    )

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["move-store", *arguments, "--config", str(config)])

    return run


def test_command__ends_with_the_line_for_the_configuration(
    command: Callable[..., Result], url: SecretStr
) -> None:
    result = command(url.get_secret_value())
    assert result.exit_code == 0, result.exception
    last = result.stdout.splitlines()[-1]
    location = SecretStr(tomllib.loads(last)["store"])
    store = make_store(location, oracle=to_checksum_address(ORACLE))
    assert store.counts()
    store.close()
    assert f"{len(RequestState):>9}  requests" in result.stdout


def test_command__password_in_the_url__is_not_shown(
    command: Callable[..., Result], postgres: PostgresServer
) -> None:
    url = postgres.fresh(password="s3cr%40t").get_secret_value()
    report = json.loads(command(url, "--json").stdout)
    assert "s3cr" not in json.dumps(report)
    assert report["store"].startswith("postgresql://oracle@/postgres?")
    again = command(url)
    assert isinstance(again.exception, StoreError)
    assert "s3cr" not in again.stdout + again.exception.line()


@pytest.mark.parametrize("target", ["node2.db", "mysql://me@db/store"])
def test_command__target_is_no_postgresql__is_refused(
    command: Callable[..., Result], target: str
) -> None:
    result = command(target)
    assert isinstance(result.exception, UsageError)
    assert "postgresql://USER@HOST" in result.exception.line()


def test_command__store_is_postgresql_already__is_refused(
    command: Callable[..., Result], tmp_path: Path, url: SecretStr
) -> None:
    config = tmp_path / "node.toml"
    text = config.read_text()
    config.write_text(text.replace(str(tmp_path / "node.db"), url.get_secret_value()))
    result = command(url.get_secret_value())
    assert isinstance(result.exception, UsageError)
