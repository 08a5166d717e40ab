"""SQLite as the store uses it: on disk, write-ahead log, every commit synced.

A file lock keeps a second node out; the operator's commands come in beside the one that runs.
"""

from __future__ import annotations

import fcntl
import sqlite3
from pathlib import Path
from typing import IO

from oracle.errors import StoreError, StoreLocked, StoreMissing
from oracle.store.database import (
    BUSY_TIMEOUT,
    Database,
    named_statements,
    pending_migrations,
    sql,
)

#: Schema files in order; each runs once. SQLite's ``user_version`` counts those that ran.
MIGRATIONS = (
    "schema_0001.sql",
    "schema_0002.sql",
    "schema_0003.sql",
    "schema_0004.sql",
    "schema_0005.sql",
    "schema_0006.sql",
    "schema_0007.sql",
    "schema_0008.sql",
    "schema_0009.sql",
)
_REMEDY = "Set store to a file that this user may write, on a disk with room"


class SqliteDatabase(Database):
    """A database file. Arguments and errors as in `oracle.store.database.open_database`."""

    exclusive = True
    error = sqlite3.Error

    def __init__(self, path: Path, *, read_only: bool = False, operator: bool = False) -> None:
        statements = named_statements(sql("queries.sql")) | named_statements(
            sql("queries_sqlite.sql")
        )
        super().__init__(str(path), statements, read_only=read_only)
        self._path = path
        self._is_node = not (read_only or operator)
        self._lock_file: IO[bytes] | None = None
        if self._is_node:
            self._lock_file = lock_file(path)
        elif not path.exists():
            raise StoreMissing(f"{path} does not exist", remedy="Start the node once")
        try:
            self._migrate()
        except sqlite3.Error as error:
            self.close()
            raise StoreError(f"{path} cannot be opened ({error})", remedy=_REMEDY) from error
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Close every thread's connection and let the next node in. No thread may use it now."""
        super().close()
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self.read_only else "rwc" if self._is_node else "rw"
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            # Each thread uses its own; only `close` touches them all.
            check_same_thread=False,
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        if not self.read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            # WAL's default may lose the last commits at a power cut: a signed transaction's bytes
            # must be on disk before it is sent.
            connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _is_usable(self, connection: sqlite3.Connection) -> bool:  # noqa: ARG002
        return True

    def _in_transaction(self, connection: sqlite3.Connection) -> bool:
        return connection.in_transaction

    def _begin(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")

    def _migrate(self) -> None:
        connection = self._connection()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        missing = pending_migrations(self.place, version, MIGRATIONS, node=self._is_node)
        for number, name in missing:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{sql(name)}\nPRAGMA user_version = {number};\nCOMMIT;"
            )


def lock_file(path: Path) -> IO[bytes]:
    """The lock of a node on its store, held until the file is closed.

    Raises:
        StoreLocked: a node has it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock").open("ab")
    except OSError as error:
        raise StoreError(f"{path} cannot be opened ({error.strerror})", remedy=_REMEDY) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StoreLocked(
            f"{path} is in use by another node", remedy="Stop that node or use another store"
        ) from None
    return file
