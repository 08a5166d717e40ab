"""Moves the ledger from a SQLite file to a PostgreSQL database, whole.

Invariants: the file is only read, and no node works on it meanwhile. The database gets everything in
one transaction, and keeps it only if what is there then is what the file holds, row by row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from oracle.errors import StoreError, StoreMismatch, StoreMissing
from oracle.store.database import Database, open_database
from oracle.store.ledger import Store
from oracle.store.sqlite import SqliteDatabase, lock_file

# Every name that is put into a statement is one of these, or a column that both sides have.

#: In an order in which every row's parents come first. Not those in which a node says that it lives
#: (`_OF_NODES`): it does not. `state_counts` is kept by the database itself.
_TABLES = (
    *("owner", "cursor", "blocks", "jobs", "requests", "top_ups", "job_requests"),
    *("intents", "intent_requests", "transactions", "history", "totals", "earnings"),
)
_OF_NODES = ("nodes", "duties", "troubles")
_COUNTS = "state_counts"
#: Tables whose order of insertion is a column of its own there.
_IN_ORDER = ("jobs", "transactions", "history")
#: Columns that PostgreSQL numbers.
_NUMBERED = {
    **dict.fromkeys(_IN_ORDER, "rowid"),
    "top_ups": "top_up_id",
    "intents": "intent_id",
}
_PAGE = 1_000
#: Sums of hashes stay below this.
_MODULUS = 2**256


@dataclass
class _Content:
    """How many rows, and the sum of their hashes: the same for the same rows in any order."""

    rows: int = 0
    digest: int = field(default=0, repr=False)

    def add(self, row: Sequence[Any]) -> None:
        self.rows += 1
        digest = hashlib.sha256(repr(tuple(row)).encode()).digest()
        self.digest = (self.digest + int.from_bytes(digest, "big")) % _MODULUS


def move(source: Path, target: SecretStr, chain_id: int, oracle: str) -> dict[str, int]:
    """Copy a store's rows into an empty database.

    Args:
        source: the SQLite file; it stays as it is.
        target: the database's URL.
        chain_id: the chain that the store belongs to.
        oracle: the contract that it belongs to.

    Returns:
        The rows of each table.

    Raises:
        StoreMissing: there is no such file, or it holds no store yet.
        StoreLocked: a node works on it.
        StoreMismatch: another version wrote it, or it is another oracle's.
        StoreError: the database is not empty or cannot be used, or differs after all.
    """
    if not source.exists():
        raise StoreMissing(f"{source} does not exist", remedy="Name the node's store in node.toml")
    with lock_file(source):
        old = SqliteDatabase(source, read_only=True)
        try:
            Store(old, chain_id, oracle, lambda: 0.0)
            # One look at all of it, whatever the operator changes meanwhile.
            old.raw().execute("BEGIN")
            if old.row("owner") is None:
                raise StoreMissing(f"{source} holds no store", remedy="There is nothing to move")
            new = open_database(target)
            try:
                return _copy(old, new)
            finally:
                new.close()
        finally:
            old.close()


def _copy(old: Database, new: Database) -> dict[str, int]:
    columns = _columns(old, new)
    with new.transaction():
        _require_empty(new)
        try:
            contents = {name: _fill(old, new, name, columns[name]) for name in _TABLES}
            for name, column in _NUMBERED.items():
                # Where it goes on counting; an empty table begins at 1.
                new.raw().execute(
                    f"SELECT setval(pg_get_serial_sequence('{name}', '{column}'), "  # noqa: S608
                    f'max("{column}")) FROM "{name}" HAVING max("{column}") IS NOT NULL'
                )
            _compare(old, new, columns, contents)
        except new.error as error:
            raise StoreError(f"{new.place}: {error}") from error
    return {name: content.rows for name, content in contents.items()}


def _columns(old: Database, new: Database) -> Mapping[str, Sequence[str]]:
    """The columns of each table, which must be the same in both.

    Raises:
        StoreMismatch: they are not: one of them was changed by hand.
    """
    there: dict[str, set[str]] = {}
    for row in new.raw().execute(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = current_schema()"
    ):
        there.setdefault(row["table_name"], set()).add(row["column_name"])
    names = {
        row["name"]
        for row in old.raw().execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not row["name"].startswith("sqlite_")
    }
    here = {
        name: [row["name"] for row in old.raw().execute(f'PRAGMA table_info("{name}")')]
        for name in names
    }
    for name in _IN_ORDER:
        here.get(name, []).insert(0, "rowid")
    known = {*_TABLES, *_OF_NODES, _COUNTS}
    for name in sorted(known | names):
        if name not in known or set(here.get(name, ())) != there.get(name, set()):
            raise StoreMismatch(
                f"the table {name} of {old.place} is not that of {new.place}",
                remedy="Use stores that only this program has changed",
            )
    return here


def _require_empty(new: Database) -> None:
    for name in (*_TABLES, *_OF_NODES):
        found = new.raw().execute(f'SELECT 1 FROM "{name}" LIMIT 1')  # noqa: S608
        if found.fetchone() is not None:
            raise StoreError(
                f"{new.place} is not empty: its table {name} has rows",
                remedy="Name an empty database, or another schema with ALTER ROLE ... SET "
                "search_path",
            )


def _fill(old: Database, new: Database, name: str, columns: Sequence[str]) -> _Content:
    """Copy a table; what was given to the database."""
    content = _Content()
    with (
        new.raw().cursor() as cursor,
        cursor.copy(f'COPY "{name}" ({_quoted(columns)}) FROM STDIN') as copy,
    ):
        for row in _rows(old, name, columns):
            storable = [new.storable(value) for value in row]
            content.add(storable)
            copy.write_row(storable)
    return content


def _compare(
    old: Database,
    new: Database,
    columns: Mapping[str, Sequence[str]],
    contents: Mapping[str, _Content],
) -> None:
    """Refuse what the database has if it is not what the file holds."""
    for name in _TABLES:
        found = _Content()
        with new.raw().cursor(name="moved") as cursor:
            cursor.itersize = _PAGE
            cursor.execute(f'SELECT {_quoted(columns[name])} FROM "{name}"')  # noqa: S608
            for row in cursor:
                found.add([row[column] for column in columns[name]])
        if found != contents[name]:
            raise StoreError(
                f"the table {name} of {new.place} is not what was written to it "
                f"({found.rows} rows of {contents[name].rows})",
                remedy="Nothing was kept. Look at triggers and types of that database",
            )
    counts = [
        {row["state"]: row["amount"] for row in each.rows("count_states")} for each in (old, new)
    ]
    if counts[0] != counts[1]:
        raise StoreError(
            f"{new.place} counts its requests otherwise than {old.place}",
            remedy="Nothing was kept. Look at the triggers of that database",
        )


def _rows(old: Database, name: str, columns: Sequence[str]) -> Iterator[Iterable[Any]]:
    cursor = old.raw().execute(f'SELECT {_quoted(columns)} FROM "{name}"')  # noqa: S608
    while page := cursor.fetchmany(_PAGE):
        yield from (tuple(row) for row in page)


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)
