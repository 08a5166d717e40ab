"""SQLite as the store uses it: on disk, write-ahead log, every commit synced, SQL in files.

One connection per thread. A transaction takes the write lock at once, so that a read inside it
cannot be overtaken. A file lock keeps a second node out.
"""

from __future__ import annotations

import fcntl
import re
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

from oracle.errors import StoreError, StoreLocked, StoreMismatch

#: Schema files in order; each runs once. SQLite's ``user_version`` counts those that ran.
_MIGRATIONS = ("schema_0001.sql", "schema_0002.sql", "schema_0003.sql", "schema_0005.sql")
#: Seconds to wait for another thread's transaction.
_BUSY_TIMEOUT = 10.0
_REMEDY = "Set store to a file that this user may write, on a disk with room"


class Database:
    """A database file with the named statements of ``queries.sql``.

    Args:
        path: the file; created with its schema when missing, unless ``read_only``.
        read_only: look without locking, for status commands beside a running node.

    Raises:
        StoreLocked: another node holds it.
        StoreMismatch: a newer version wrote it.
        StoreError: it cannot be opened.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self.read_only = read_only
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._queries = _named_statements(_sql("queries.sql"))
        self._lock_file: IO[bytes] | None = None
        if read_only:
            if not path.exists():
                raise StoreError(f"{path} does not exist", remedy="Start the node once")
        else:
            self._lock_file = _lock(path)
        try:
            self._migrate()
        except sqlite3.Error as error:
            self.close()
            raise StoreError(f"{path} cannot be opened ({error})", remedy=_REMEDY) from error
        except StoreError:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Inside another transaction of the same thread it joins that one."""
        connection = self._connection()
        if connection.in_transaction:
            yield
            return
        with self._errors():
            connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self._errors():
                connection.commit()
        except BaseException:
            connection.rollback()
            raise

    def run(self, name: str, /, **values: Any) -> int:
        """Run a statement; the number of rows it changed."""
        with self.transaction():
            return self._execute(name, values).rowcount

    def insert(self, name: str, /, **values: Any) -> int:
        """Run an insert; the new row's id."""
        with self.transaction():
            return self._execute(name, values).lastrowid or 0

    def rows(self, name: str, /, **values: Any) -> list[sqlite3.Row]:
        """All rows of a query."""
        return self._execute(name, values).fetchall()

    def row(self, name: str, /, **values: Any) -> sqlite3.Row | None:
        """The first row of a query."""
        found: sqlite3.Row | None = self._execute(name, values).fetchone()
        return found

    def _execute(self, name: str, values: Mapping[str, Any]) -> sqlite3.Cursor:
        with self._errors():
            return self._connection().execute(self._queries[name], values)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What SQLite refuses (disk full, locked, damaged, a constraint) as an error of the tree."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Close every thread's connection and let the next node in. No thread may use it now."""
        with self._guard:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is not None:
            return found
        mode = "ro" if self.read_only else "rwc"
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_TIMEOUT,
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
        self._local.connection = connection
        with self._guard:
            self._connections.append(connection)
        return connection

    def _migrate(self) -> None:
        connection = self._connection()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(_MIGRATIONS) or (self.read_only and version < len(_MIGRATIONS)):
            raise StoreMismatch(
                f"{self._path} has schema version {version}, this program {len(_MIGRATIONS)}",
                remedy="Use the program version that wrote it",
            )
        for number, name in enumerate(_MIGRATIONS[version:], start=version + 1):
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{_sql(name)}\nPRAGMA user_version = {number};\nCOMMIT;"
            )


def _lock(path: Path) -> IO[bytes]:
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


def _sql(name: str) -> str:
    return files("oracle.store").joinpath(name).read_text()


def _named_statements(text: str) -> Mapping[str, str]:
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))
