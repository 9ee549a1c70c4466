"""
A Postgres of the tests' own: in a temporary folder, on a unix socket, run by an ordinary user.

    with PostgresServer() as server:
        url = server.database()      # a new, empty one

It refuses to run as root, so as root it is started as `nobody`. Nothing is durable here, unless asked for: it is as
fast as it can be.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Self

import pytest

from rlmwatch import clock

DEADLINE_S = 30.0
POLL_S = 0.05
OWNER = "rlmwatch"


def binary(name: str) -> str | None:
    """Return where a program of the server is: on the path, or where Debian puts it."""
    newest_first = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return shutil.which(name) or next((str(found) for found in newest_first), None)


def why_not() -> str | None:
    """Return why there can be no server here; None where there can."""
    if binary("postgres") is None or binary("initdb") is None:
        return "no Postgres on this machine (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "runs as root, as which Postgres does not, and there is no setpriv"
    try:
        import procrastinate  # noqa: F401
        import psycopg  # noqa: F401
    except ImportError:
        return "the extra `cluster` is not installed"
    return None


class PostgresServer:
    """The server; a context manager. *durable* makes it as slow as a real one, for measurements."""

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        self._folder = Path(tempfile.mkdtemp(prefix="rlmwatch-pg-", dir="/tmp"))  # a socket's path is short
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        self._as: tuple[str, ...] = ()
        if os.geteuid() == 0:
            import pwd

            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
            setpriv = shutil.which("setpriv") or "setpriv"
            self._as = (setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
        data = self._folder / "data"
        subprocess.run(
            [*self._as, str(binary("initdb")), "-D", str(data), "-A", "trust", "-U", OWNER, "-E", "UTF8",
             "--locale=C.UTF-8", "--no-sync"],
            check=True, capture_output=True, cwd="/", timeout=120,
        )  # fmt: skip
        self.start()
        return self

    def start(self) -> None:
        """Start it (again), and wait until it takes connections."""
        settings = {"listen_addresses": "", "unix_socket_directories": str(self._folder), "max_connections": "200"}
        if not self._durable:
            settings |= dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "off")
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as, str(binary("postgres")), "-D", str(self._folder / "data"), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            )  # fmt: skip
        self._until_up()

    def stop(self) -> None:
        """End it at once: clients lose their connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(DEADLINE_S)
            self._process = None

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def database(self, template: str | None = None) -> str:
        """Make a new database, a copy of *template* (a URL of ours) where there is one, and return its URL."""
        name = f"t{next(self._numbers)}"
        like = "" if template is None else f" TEMPLATE {template.split('/')[3].split('?')[0]} STRATEGY FILE_COPY"
        with self._connect() as connection:
            connection.execute(f"CREATE DATABASE {name}{like}".encode())
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://{OWNER}@/{name}?host={self._folder}"

    def _connect(self):
        import psycopg

        return psycopg.connect(self.url("postgres"), autocommit=True)

    def _until_up(self) -> None:
        import psycopg

        until = clock.monotonic() + DEADLINE_S
        while True:
            with suppress(psycopg.OperationalError), self._connect():
                return
            assert self._process is not None
            if self._process.poll() is not None or clock.monotonic() > until:
                raise AssertionError((self._folder / "log").read_text())
            sleep(POLL_S)


@pytest.fixture(scope="session")
def postgres():
    """A server for all tests that want one; skipped, with the reason, where there can be none."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with PostgresServer() as server:
        yield server
