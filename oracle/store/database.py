"""What the ledger needs of a database: named statements, transactions, rows by name.

Two engines know the same statements (``queries.sql``); where their SQL differs, an engine's own
file says it in its words. In both, a transaction takes the one write lock at once, so that a read
inside it cannot be overtaken, whoever else writes: another thread, another node, the operator.
One connection per thread.
"""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import SecretStr

from oracle.errors import StoreError, StoreMismatch, StoreOutdated

#: Seconds to wait for another's transaction.
BUSY_TIMEOUT = 10.0

#: A file of SQLite, or the URL of a PostgreSQL database, which may hold a password.
Location = Path | SecretStr


class Row(Protocol):
    """A row, by the names of its columns."""

    def __getitem__(self, name: str, /) -> Any: ...


class Database(ABC):
    """A database with named statements.

    Args:
        place: what errors call it; without secrets.
        statements: SQL by name; a value's name has a colon before it.
        read_only: look without a lock and without a change.

    Attributes:
        exclusive: whether no other node can have it open.
    """

    exclusive: ClassVar[bool]
    #: What the engine raises.
    error: ClassVar[type[Exception]]

    def __init__(self, place: str, statements: Mapping[str, str], *, read_only: bool) -> None:
        self.place = place
        self.read_only = read_only
        self._statements: dict[str, str] = {}
        self.define(statements)
        self._local = threading.local()
        self._connections: list[Any] = []
        self._guard = threading.Lock()

    def define(self, statements: Mapping[str, str]) -> None:
        """Know more statements, for tools that look at the ledger in their own way."""
        self._statements |= {name: self._words(text) for name, text in statements.items()}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Inside another transaction of the same thread it joins that one."""
        connection = self._connection()
        if self._in_transaction(connection):
            yield
            return
        with self._errors():
            self._begin(connection)
        try:
            yield
            with self._errors():
                connection.commit()
        except BaseException:
            self._abandon(connection)
            raise

    def run(self, name: str, /, **values: Any) -> int:
        """Run a statement; the number of rows it changed."""
        with self.transaction():
            return int(self._execute(name, values).rowcount)

    def insert(self, name: str, /, **values: Any) -> int:
        """Run an insert that returns the new row's ``id``."""
        with self.transaction():
            return int(self._execute(name, values).fetchall()[0]["id"])

    def rows(self, name: str, /, **values: Any) -> Sequence[Row]:
        """All rows of a query."""
        found: Sequence[Row] = self._execute(name, values).fetchall()
        return found

    def row(self, name: str, /, **values: Any) -> Row | None:
        """The first row of a query."""
        found: Row | None = self._execute(name, values).fetchone()
        return found

    def close(self) -> None:
        """Close every thread's connection. No thread may use it now."""
        with self._guard:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    def raw(self) -> Any:
        """This thread's connection, for what is said in no statement: see `oracle.store.move`."""
        return self._connection()

    # --- what the engines do in their own way ---

    def common_clock(self) -> float | None:
        """Seconds since the epoch, the same for all who have it open; None: only one may."""
        return None

    def storable(self, value: Any) -> Any:
        """A value as the engine can keep it."""
        return value

    def _words(self, statement: str) -> str:
        """A statement as the engine's driver reads it."""
        return statement

    @abstractmethod
    def _connect(self) -> Any:
        """A new connection."""

    @abstractmethod
    def _is_usable(self, connection: Any) -> bool:
        """Whether a connection that worked before may still work."""

    @abstractmethod
    def _in_transaction(self, connection: Any) -> bool:
        """Whether a transaction is open."""

    @abstractmethod
    def _begin(self, connection: Any) -> None:
        """Open a transaction and take the write lock."""

    def _execute(self, name: str, values: Mapping[str, Any]) -> Any:
        with self._errors():
            return self._connection().execute(self._statements[name], values)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What the engine refuses (disk full, locked, a constraint) as an error of the tree."""
        try:
            yield
        except self.error as error:
            raise StoreError(f"{self.place}: {error}") from error

    def _abandon(self, connection: Any) -> None:
        """Roll back, or close a connection that cannot even do that."""
        try:
            connection.rollback()
        except self.error:
            connection.close()

    def _connection(self) -> Any:
        found = getattr(self._local, "connection", None)
        if found is not None and self._is_usable(found):
            return found
        connection = self._connect()
        self._local.connection = connection
        with self._guard:
            if found in self._connections:
                self._connections.remove(found)
            self._connections.append(connection)
        return connection


def open_database(
    location: Location, *, read_only: bool = False, operator: bool = False
) -> Database:
    """Open the database of a configuration's ``store``.

    Args:
        location: a file, created with its schema when missing; or the URL of a PostgreSQL database.
        read_only: look without locking, for status commands beside a running node.
        operator: change rows beside a running node: no lock of its own, no migration.

    Raises:
        StoreLocked: another node holds the file.
        StoreMissing: no node has made it yet, and this is none.
        StoreMismatch: another version wrote it; StoreOutdated, if an older one did.
        StoreError: it cannot be opened.
    """
    if isinstance(location, Path):
        from oracle.store.sqlite import SqliteDatabase

        return SqliteDatabase(location, read_only=read_only, operator=operator)
    try:
        from oracle.store.postgres import PostgresDatabase
    except ImportError as error:
        raise StoreError(
            f"the store is a PostgreSQL database, and its driver is missing ({error})",
            remedy="Run: pip install 'oracle[postgres]'",
        ) from error
    return PostgresDatabase(location, read_only=read_only, operator=operator)


def pending_migrations(
    place: str, version: int, migrations: Sequence[str], *, node: bool
) -> Sequence[tuple[int, str]]:
    """Numbers and files of the migrations that a database lacks.

    Raises:
        StoreMismatch: a newer program wrote it.
        StoreOutdated: an older one did, and only a node may migrate it.
    """
    if version > len(migrations):
        raise StoreMismatch(
            f"{place} has schema version {version}, this program {len(migrations)}",
            remedy="Use the program version that wrote it",
        )
    if version < len(migrations) and not node:
        raise StoreOutdated(
            f"{place} has schema version {version}, this program {len(migrations)}",
            remedy="Start the node of this version once; it brings the store up to date",
        )
    return list(enumerate(migrations[version:], start=version + 1))


def sql(name: str) -> str:
    """The text of a file of statements."""
    return files("oracle.store").joinpath(name).read_text()


def named_statements(text: str) -> dict[str, str]:
    """Statements by name; one belongs to the ``-- name:`` line above it."""
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))
