"""A PostgreSQL catalog with a time limit for each statement: keepalives do not notice a server that hangs."""

import functools
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy import event

ANSWER_SECONDS = 60.0
TIMEOUT = "timeout-seconds"
"""The catalog property with the time limit of one statement, in seconds."""


class BoundedSqlCatalog(SqlCatalog):
    """pyiceberg's SqlCatalog with a time limit, `timeout-seconds`, for each statement. Its driver must be one of `DRIVERS`."""

    def _init_catalog(self) -> None:
        seconds = float(self.properties.get(TIMEOUT, ANSWER_SECONDS))
        connect = DRIVERS[self.engine.driver](seconds)

        @event.listens_for(self.engine, "do_connect")
        def connect_with_limit(dialect: Any, record: Any, args: Any, options: dict[str, Any]) -> Any:
            return connect(*args, **options)

        super()._init_catalog()


def _psycopg2(seconds: float) -> Callable[..., Any]:
    """psycopg2's `connect`, with a limit of `seconds` for each statement."""
    # Imported here: the driver is an optional extra.
    import psycopg2  # type: ignore[import-untyped]  # noqa: PLC0415
    from psycopg2.extensions import connection, cursor  # type: ignore[import-untyped]  # noqa: PLC0415

    class BoundedCursor(cursor):  # type: ignore[misc]
        def execute(self, *args: Any, **options: Any) -> Any:
            with _time_limit(self.connection, seconds, psycopg2.OperationalError):
                return super().execute(*args, **options)

        def executemany(self, *args: Any, **options: Any) -> Any:
            with _time_limit(self.connection, seconds, psycopg2.OperationalError):
                return super().executemany(*args, **options)

    class BoundedConnection(connection):  # type: ignore[misc]
        def cursor(self, *args: Any, **options: Any) -> Any:
            return super().cursor(*args, **{"cursor_factory": BoundedCursor, **options})

        def commit(self) -> None:
            with _time_limit(self, seconds, psycopg2.OperationalError):
                super().commit()

        def rollback(self) -> None:
            with _time_limit(self, seconds, psycopg2.OperationalError):
                super().rollback()

    return functools.partial(psycopg2.connect, connection_factory=BoundedConnection)


def _psycopg(seconds: float) -> Callable[..., Any]:
    """psycopg 3's `connect`, with a limit of `seconds` for each statement; its connection waits in a single method."""
    psycopg: Any = import_module("psycopg")

    class BoundedConnection(psycopg.Connection):  # type: ignore[misc]
        def wait(self, *args: Any, **options: Any) -> Any:
            with _time_limit(self, seconds, psycopg.OperationalError):
                return super().wait(*args, **options)

    connect: Callable[..., Any] = BoundedConnection.connect
    return connect


DRIVERS = {"psycopg2": _psycopg2, "psycopg": _psycopg}
"""The drivers with a time limit, by their names in SQLAlchemy URLs."""


@contextmanager
def _time_limit(connection: Any, seconds: float, error_type: type[Exception]) -> Iterator[None]:
    """Shut the connection down if the server does not answer in time; `error_type` is what the driver raises then."""
    late = threading.Event()
    timer = threading.Timer(seconds, _hang_up, (connection.fileno(), late))
    timer.daemon = True
    timer.start()
    try:
        yield
    except error_type as error:
        if late.is_set():
            raise error_type(f"it did not answer in {seconds:g} seconds") from error
        raise
    finally:
        timer.cancel()


def _hang_up(number: int, late: threading.Event) -> None:
    """Shut down both directions of a connection, which wakes up the thread that waits for it."""
    late.set()
    with suppress(OSError), socket.socket(fileno=os.dup(number)) as wire:
        wire.shutdown(socket.SHUT_RDWR)
