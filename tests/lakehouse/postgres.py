"""A PostgreSQL server for tests: a running one, else one started here, else the tests are skipped."""

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

INSTALL = "no PostgreSQL: apt-get install postgresql, or put its bin/ folder (initdb, pg_ctl) on the PATH"


@contextmanager
def server() -> Iterator[str]:
    """The SQLAlchemy address of a database."""
    for address in (
        f"postgresql+psycopg2://{getpass.getuser()}@127.0.0.1:5432/test",
        "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres",
    ):
        if _answers(address):
            yield address
            return
    with own_server() as started:
        yield started.address


class OwnServer:
    """A PostgreSQL server of a test's own, which it may restart."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._programs, self._user = folder, _programs(), "postgres" if os.geteuid() == 0 else None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"postgresql+psycopg2://postgres@127.0.0.1:{self._port}/postgres"
        if self._user is not None:
            # The server refuses to run as root.
            shutil.chown(folder, self._user)
        self._run("initdb", "--auth=trust", "--username=postgres", "-D", folder / "data")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} -c fsync=off"
        self._run("pg_ctl", "-D", self._folder / "data", "-w", "-l", self._folder / "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop it as a crash would: what is not committed is lost."""
        self._run("pg_ctl", "-D", self._folder / "data", "-w", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str | Path) -> None:
        # Not its output: the server would keep a pipe open.
        command = [self._programs / program, *arguments]
        subprocess.run(command, check=True, user=self._user, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """A server with its data in a temporary folder: those of pytest are closed to the user that it runs as."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as data:
        server = OwnServer(Path(data))
        try:
            yield server
        finally:
            server.stop()


def _programs() -> Path:
    """The folder of initdb and pg_ctl: that on PATH, or else where Debian's packages have it."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders or not (folders[-1] / "initdb").exists():
        pytest.skip(INSTALL)
    return folders[-1]


@contextmanager
def schema(address: str) -> Iterator[str]:
    """The address of a fresh schema, dropped afterwards."""
    name = f"fs_{uuid.uuid4().hex}"
    _run(address, f"CREATE SCHEMA {name}")
    try:
        yield f"{address}?options=-csearch_path%3D{name}"
    finally:
        _run(address, f"DROP SCHEMA {name} CASCADE")


def _answers(address: str) -> bool:
    try:
        _run(f"{address}?connect_timeout=2", "SELECT 1")
    except OperationalError:
        return False
    return True


def _run(address: str, statement: str) -> None:
    engine = create_engine(address, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()
