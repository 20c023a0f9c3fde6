"""A PostgreSQL server for tests: a running one, else one started here, else the tests are skipped."""

import getpass
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

INSTALL = "no PostgreSQL: apt-get install postgresql, or put its bin/ folder (initdb, pg_ctl) on the PATH"


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The SQLAlchemy address of a database."""
    for address in (
        f"postgresql+psycopg2://{getpass.getuser()}@127.0.0.1:5432/test",
        "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres",
    ):
        if _answers(address):
            yield address
            return
    if shutil.which("initdb") is None or shutil.which("pg_ctl") is None or os.geteuid() == 0:
        pytest.skip(INSTALL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "postgres"
    subprocess.run(["initdb", "--auth=trust", "--username=postgres", "-D", data], check=True, capture_output=True)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    subprocess.run(["pg_ctl", "-D", data, "-w", "-l", folder / "postgres.log", "-o", options, "start"], check=True, capture_output=True)
    try:
        yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(["pg_ctl", "-D", data, "-m", "immediate", "stop"], check=True, capture_output=True)


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
