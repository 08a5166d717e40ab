"""A real PgBouncer in transaction mode before the tests' PostgreSQL, as hosted databases have one.

From Debian (`scripts/test_tools.sh`). It listens on a Unix socket only and ends with the tests.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psycopg
from pydantic import SecretStr

from tests.patience import PATIENCE
from tests.postgres import PostgresServer, end_with_parent, in_memory

_PORT = 6432


class PgBouncer:
    """A pooler with as few sessions as make each client meet the others', until `close`."""

    def __init__(
        self, server: PostgresServer, *, sessions: int = 2, mode: str = "transaction"
    ) -> None:
        self._server = server
        self._folder = Path(tempfile.mkdtemp(prefix="pgb", dir=in_memory()))
        self._folder.chmod(0o755)
        if server.user:
            shutil.chown(self._folder, server.user["user"], server.user["group"])
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "missing: pgbouncer. Install it: apt-get install pgbouncer"
        settings = self._folder / "pgbouncer.ini"
        settings.write_text(
            f"""[databases]
* = host={server.folder} user=oracle
[pgbouncer]
listen_addr =
listen_port = {_PORT}
unix_socket_dir = {self._folder}
auth_type = any
pool_mode = {mode}
default_pool_size = {sessions}
max_client_conn = 200
"""
        )
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, settings],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - one call, which allocates nothing
                **server.user,
            )
        self._wait()

    def url(self, database: str) -> SecretStr:
        """The URL of a database of the server, through the pooler."""
        return SecretStr(f"postgresql://oracle@/{database}?host={self._folder}&port={_PORT}")

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """Another program's connection through the pooler."""
        return psycopg.connect(
            self.url(database).get_secret_value(), autocommit=True, prepare_threshold=None
        )

    def close(self) -> None:
        """Stop it and delete its folder."""
        # It keeps nothing; a signal to end may be ignored where this runs in the background.
        self._process.kill()
        self._process.wait(PATIENCE)
        shutil.rmtree(self._folder)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Hang: connections stay open, and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            if (self._folder / f".s.PGSQL.{_PORT}").exists():
                return
            time.sleep(0.02)
        log = (self._folder / "log").read_text()
        self._process.kill()
        raise RuntimeError(f"PgBouncer did not start: {log}")
