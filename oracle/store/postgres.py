"""PostgreSQL as the store uses it: several nodes on one queue. The only import of psycopg.

A transaction takes one advisory lock first, as a SQLite transaction takes the file's: the ledger
is correct on both for the same reason. Transactions are short, and none waits for anything but
the database; a node that stops inside one is thrown out by the server.

Nothing outlives a transaction: no prepared statement, no setting, no lock. Behind a pooler (PgBouncer
in transaction mode, and those of its kind) each may run in another session, and a session that was
left changed is somebody else's next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from pydantic import SecretStr

from oracle.errors import StoreError, StoreMissing
from oracle.store.database import (
    BUSY_TIMEOUT,
    Database,
    named_statements,
    pending_migrations,
    sql,
)

#: Schema files in order; each runs once. The table ``migrations`` counts those that ran.
MIGRATIONS = (
    "postgres_0001.sql",
    "postgres_0002.sql",
    "postgres_0003.sql",
    "postgres_0004.sql",
    "postgres_0005.sql",
    "postgres_0006.sql",
)
#: Seconds to wait for a connection.
_CONNECT_TIMEOUT = 10
#: Of each transaction. A node that is cut off in one loses it, and with it the lock, in about a minute.
_SETTINGS = {
    "lock_timeout": f"{int(BUSY_TIMEOUT)}s",
    "idle_in_transaction_session_timeout": f"{int(BUSY_TIMEOUT)}s",
    "synchronous_commit": "on",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "client_min_messages": "warning",
}
_SET_LOCAL = "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in _SETTINGS.items())
_REMEDY = (
    "Check the store's URL, the server, and that this user may create tables there; a pooler before it "
    "needs pool_mode = transaction or session"
)
#: One lock for each schema, so that one database may hold the stores of several oracles.
_WRITE_LOCK = "pg_advisory_xact_lock(hashtextextended('oracle.store.' || current_schema(), 0))"
_CLOCK = "SELECT extract(epoch FROM clock_timestamp()) AS now"
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")


class PostgresDatabase(Database):
    """A PostgreSQL database. Arguments and errors as in `oracle.store.database.open_database`."""

    exclusive = False
    error = psycopg.Error

    def __init__(self, url: SecretStr, *, read_only: bool = False, operator: bool = False) -> None:
        statements = named_statements(sql("queries.sql")) | named_statements(
            sql("queries_postgres.sql")
        )
        super().__init__(_place(url), statements, read_only=read_only)
        self._url = url
        self._is_node = not (read_only or operator)
        try:
            self._migrate()
        except psycopg.Error as error:
            self.close()
            raise StoreError(f"{self.place} cannot be used ({error})", remedy=_REMEDY) from error
        except StoreError as error:
            self.close()
            if type(error) is StoreError and not error.remedy:
                raise StoreError(error.message, remedy=_REMEDY) from error
            raise

    def common_clock(self) -> float:
        """The server's clock: those of the nodes' machines may be hours apart."""
        with self._errors():
            row = self._connection().execute(_CLOCK).fetchone()
        return float(row["now"])

    def storable(self, value: Any) -> Any:
        """PostgreSQL's text holds no NUL; what a contract or an endpoint says may."""
        return value.replace("\0", "\ufffd") if isinstance(value, str) else value

    def _words(self, statement: str) -> str:
        return _PARAMETER.sub(r"%(\1)s", statement.replace("%", "%%"))

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            connection: psycopg.Connection[Any] = psycopg.connect(
                self._url.get_secret_value(),
                autocommit=True,
                # A prepared statement belongs to a session. By its name another session's may be run.
                prepare_threshold=None,
                connect_timeout=_CONNECT_TIMEOUT,
                application_name="oracle",
                row_factory=dict_row,
            )
        except psycopg.Error as error:
            raise StoreError(f"{self.place} cannot be reached ({error})", remedy=_REMEDY) from error
        return connection

    def _is_usable(self, connection: psycopg.Connection[Any]) -> bool:
        # A session that the server ended is only noticed by a statement that fails; then it closes.
        return not connection.closed

    def _in_transaction(self, connection: psycopg.Connection[Any]) -> bool:
        return connection.info.transaction_status is not TransactionStatus.IDLE

    def _begin(self, connection: psycopg.Connection[Any]) -> None:
        # In one message: it costs no more time than BEGIN alone. Who only looks waits for nobody.
        if self.read_only:
            connection.execute(f"BEGIN READ ONLY; {_SET_LOCAL}")
        else:
            connection.execute(f"BEGIN; {_SET_LOCAL}; SELECT {_WRITE_LOCK}")

    def _execute(self, name: str, values: Mapping[str, Any]) -> Any:
        storable = {key: self.storable(value) for key, value in values.items()}
        if not self.read_only:
            return super()._execute(name, storable)
        # That nothing is changed is a setting, too. All rows are here when the statement has run.
        with self.transaction():
            return super()._execute(name, storable)

    def _migrate(self) -> None:
        connection = self._connection()
        if not self._is_node:
            self._missing(connection)
            return
        # Two nodes may start on an empty database together: the write lock lets one through.
        with self.transaction():
            for number, name in self._missing(connection):
                connection.execute(sql(name))
                connection.execute("INSERT INTO migrations (number) VALUES (%s)", (number,))

    def _missing(self, connection: psycopg.Connection[Any]) -> Any:
        known = connection.execute("SELECT to_regclass('migrations') AS known").fetchone()
        version = 0
        if known is not None and known["known"] is not None:
            row = connection.execute("SELECT coalesce(max(number), 0) AS n FROM migrations")
            version = row.fetchall()[0]["n"]
        elif not self._is_node:
            raise StoreMissing(f"{self.place} holds no store", remedy="Start the node once")
        return pending_migrations(self.place, version, MIGRATIONS, node=self._is_node)


def _place(url: SecretStr) -> str:
    """The database for a person: user, host, port and name, and nothing else of the URL."""
    _require_unambiguous(url)
    try:
        parts = conninfo_to_dict(url.get_secret_value())
    except psycopg.ProgrammingError:
        # The driver's message quotes parts of the URL, and a password may be one of them.
        raise _not_valid() from None
    if not re.fullmatch(r"[0-9,]*", str(parts.get("port") or "")):
        raise _not_valid()
    user = f"{parts['user']}@" if parts.get("user") else ""
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"postgresql://{user}{parts.get('host') or ''}{port}/{parts.get('dbname') or ''}"


def _require_unambiguous(url: SecretStr) -> None:
    """Refuse what the driver would read otherwise than its author: parts of a password are shown then.

    Unescaped, a / or an @ in a password makes the rest of it a host, a port or a database.
    """
    text = url.get_secret_value()
    authority, *_ = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)
    if text.count("@") > 1 or ("@" in text and "@" not in authority):
        raise _not_valid()


def _not_valid() -> StoreError:
    return StoreError(
        "the store's URL is not valid",
        remedy="Write store as postgresql://USER@HOST:PORT/DATABASE, special characters as %XX",
    )


def without_password(url: SecretStr) -> str:
    """The URL as it may be shown.

    Raises:
        StoreError: it is none.
    """
    _require_unambiguous(url)
    parts = urlsplit(url.get_secret_value())
    user, at, host = parts.netloc.rpartition("@")
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "password"]
    return urlunsplit(
        parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}", query=urlencode(query))
    )
