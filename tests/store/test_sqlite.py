"""The SQLite file: locks, damage, durability, and stores of former versions."""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files
from pathlib import Path

import pytest

from oracle.errors import StoreError, StoreLocked, StoreMismatch
from oracle.store.records import Cursor
from oracle.store.states import IntentState, RequestState

from .makers import ACCOUNT, BIG, CHAIN, ORACLE, make_store

#: Tables with a row for each request, or more.
GROWING = (
    *("blocks", "requests", "jobs", "job_requests", "intents", "intent_requests"),
    *("transactions", "history", "top_ups"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


def test_open__second_node__is_refused(path: Path) -> None:
    first = make_store(path)
    with pytest.raises(StoreLocked):
        make_store(path)
    first.close()
    make_store(path).close()


def test_open__read_only_without_a_database__says_so(path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        make_store(path, read_only=True)


def test_open__newer_schema__is_refused(path: Path) -> None:
    make_store(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreMismatch, match="99"):
        make_store(path)


def test_open__not_a_database__is_one_clear_line(path: Path) -> None:
    path.write_bytes(b"x" * 4096)
    with pytest.raises(StoreError, match="cannot be opened") as caught:
        make_store(path)
    assert "Set store" in caught.value.line()


def test_open__folder_in_place_of_the_file__says_what_to_set(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match="cannot be opened") as caught:
        make_store(path)
    assert "Set store" in caught.value.line()


def test_every_commit__is_synced(path: Path) -> None:
    for options in ({}, {"operator": True}):
        store = make_store(path, **options)
        connection = store._db._connection()
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        store.close()


def write_old(path: Path, version: int) -> sqlite3.Connection:
    """A store as a former version made it, without rows."""
    connection = sqlite3.connect(path)
    for number in range(1, version + 1):
        schema = files("oracle.store").joinpath(f"schema_000{number}.sql").read_text()
        connection.executescript(schema)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("INSERT INTO owner VALUES (?, ?)", (CHAIN, ORACLE))
    connection.execute(
        "INSERT INTO jobs (job_id, bundle_id, state, memory_bytes, proof, outputs, created_at) "
        "VALUES ('job', 'bundle', 'proved', 1, x'00', '[\"1\"]', 1)"
    )
    return connection


def test_migration__store_of_version_1__keeps_every_row_and_goes_on(path: Path) -> None:
    connection = write_old(path, 1)
    connection.execute("INSERT INTO cursor VALUES (9, 100, 12, 1000, '7')")
    connection.execute("INSERT INTO blocks VALUES (9, x'99')")
    for number, state, job in (
        (7, "pending", "'job'"),
        (8, "running", "'run'"),
        (9, "seen", "NULL"),
        (10, "skipped", "NULL"),
        (11, "accepted", "NULL"),
    ):
        if state == "running":
            connection.execute(
                "INSERT INTO jobs (job_id, bundle_id, state, attempts, memory_bytes, lease_until, "
                "created_at) VALUES ('run', 'bundle', 'running', 1, 1, 9e9, 1)"
            )
        connection.execute(
            f"INSERT INTO requests VALUES ('{number:#x}', '{state}', 'why', 'a', '1', x'01', 'c', "
            f"'0', x'', 'r', '2000', 2000, '{BIG}', '5', {number}, x'', x'', 0, {job}, NULL, NULL, "
            "1, 1)"
        )
        connection.execute(f"INSERT INTO history VALUES ('{number:#x}', 1, '{state}', 'why')")
    connection.execute(
        "INSERT INTO intents VALUES (3, '0x7', ?, 4, 'pending', 1, '1', NULL, 1)", (ACCOUNT,)
    )
    connection.execute("INSERT INTO transactions VALUES (x'aa', 3, x'bb', '1', '1', 0, NULL, 1)")
    connection.commit()
    connection.close()

    store = make_store(path)
    store.join(name="new", account=ACCOUNT, payee=ACCOUNT, workers=1, lease=30)
    assert store.recover() == (1, 0)
    assert store.cursor() == Cursor(9, 100, 12, 1000, 7)
    assert store.known_blocks(9) == [(9, b"\x99")]
    assert store.counts() == {
        RequestState(state): 1 for state in ("pending", "queued", "seen", "skipped", "accepted")
    }
    row = store.request(9)
    assert row is not None
    assert (row.request.fee, row.request.gas_units, row.request.input) == (BIG, 1, b"\x01")
    assert [step.reason for step in store.history(9)] == ["why"]
    (intent,) = store.intents_to_follow(IntentState.PENDING)
    assert (intent.nonce, intent.job_id, intent.request_ids) == (4, "job", (7,))
    assert store.next_nonce(ACCOUNT, 0) == 5
    # What was on its way is this node's.
    assert [row.request_id for row in store.accepted(9)] == [11]
    job = store.claim_job(1000, 60)
    assert job is not None
    assert (job.job_id, job.attempts, job.request_ids) == ("run", 1, (8,))
    assert store.accept(9)
    assert store.counts()[RequestState.ACCEPTED] == 2
    store.close()
    # Once is enough.
    make_store(path).close()


def test_migration__old_store__is_the_nodes_to_migrate(path: Path) -> None:
    write_old(path, 3).close()
    for options in ({"read_only": True}, {"operator": True}):
        with pytest.raises(StoreMismatch, match="has schema version 3") as caught:
            make_store(path, **options)
        assert "Start the node" in caught.value.line()
    make_store(path).close()
    make_store(path, operator=True).close()


def test_migration__store_of_version_2__keeps_its_transactions_and_proofs(path: Path) -> None:
    connection = write_old(path, 2)
    connection.execute(
        "INSERT INTO requests VALUES ('0x7', 'pending', '', 'a', '1', x'', 'c', '0', x'', 'r', "
        "'2000', 2000, '0', '0', 5, x'', x'', 0, 'job', NULL, NULL, 1, 1, '1', 0)"
    )
    connection.execute(
        "INSERT INTO intents VALUES (3, '0x7', ?, 0, 'pending', 1, '1', NULL, 1)", (ACCOUNT,)
    )
    connection.execute("INSERT INTO transactions VALUES (x'aa', 3, x'bb', '1', '1', 0, NULL, 1)")
    connection.commit()
    connection.close()
    store = make_store(path)
    (intent,) = store.intents(IntentState.PENDING)
    assert (intent.job_id, intent.request_ids) == ("job", (7,))
    assert [attempt.raw for attempt in intent.attempts] == [b"\xbb"]
    job = store.job("job")
    assert job is not None
    assert (job.size, job.request_ids) == (1, (7,))
    store.close()


def test_statements__none_reads_a_whole_table_that_grows(path: Path) -> None:
    store = make_store(path)
    connection = store._db._connection()
    for name, statement in store._db._statements.items():
        values = dict.fromkeys(re.findall(r":([a-z_]+)", statement))
        plan = [
            row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
        found = [line for line in plan if re.match(rf"SCAN ({'|'.join(GROWING)})\b", line)]
        # The newest are at the end of an index, and few are asked for.
        assert found == [] or name == "recent_requests", (name, plan)
        if name.startswith("trim_"):
            # By age, so that nothing is looked at in vain.
            assert any(re.search(r"(created_at|updated_at|at|rowid)<\?", line) for line in plan)
    store.close()
