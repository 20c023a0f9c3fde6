"""A catalog in PostgreSQL of which no question goes on for ever: a server that hangs still takes what it is sent."""

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
"""The catalog property that says how long one statement may take."""


class BoundedSqlCatalog(SqlCatalog):
    """As pyiceberg's, which waits without end; `timeout-seconds` says for how long this one does. Its driver is one of `DRIVERS`."""

    def _init_catalog(self) -> None:
        seconds = float(self.properties.get(TIMEOUT, ANSWER_SECONDS))
        connect = DRIVERS[self.engine.driver](seconds)

        @event.listens_for(self.engine, "do_connect")
        def bounded(dialect: Any, record: Any, args: Any, options: dict[str, Any]) -> Any:
            return connect(*args, **options)

        super()._init_catalog()


def _psycopg2(seconds: float) -> Callable[..., Any]:
    """What connects by psycopg2, to a server whose every statement takes so long at most."""
    # Here and not above: the driver is an extra.
    import psycopg2  # type: ignore[import-untyped]  # noqa: PLC0415
    from psycopg2.extensions import connection, cursor  # type: ignore[import-untyped]  # noqa: PLC0415

    class BoundedCursor(cursor):  # type: ignore[misc]
        def execute(self, *args: Any, **options: Any) -> Any:
            with _bounded(self.connection, seconds, psycopg2.OperationalError):
                return super().execute(*args, **options)

        def executemany(self, *args: Any, **options: Any) -> Any:
            with _bounded(self.connection, seconds, psycopg2.OperationalError):
                return super().executemany(*args, **options)

    class BoundedConnection(connection):  # type: ignore[misc]
        def cursor(self, *args: Any, **options: Any) -> Any:
            return super().cursor(*args, **{"cursor_factory": BoundedCursor, **options})

        def commit(self) -> None:
            with _bounded(self, seconds, psycopg2.OperationalError):
                super().commit()

        def rollback(self) -> None:
            with _bounded(self, seconds, psycopg2.OperationalError):
                super().rollback()

    return functools.partial(psycopg2.connect, connection_factory=BoundedConnection)


def _psycopg(seconds: float) -> Callable[..., Any]:
    """The same by psycopg 3, all of whose waiting is done by one method of the connection."""
    psycopg: Any = import_module("psycopg")

    class BoundedConnection(psycopg.Connection):  # type: ignore[misc]
        def wait(self, *args: Any, **options: Any) -> Any:
            with _bounded(self, seconds, psycopg.OperationalError):
                return super().wait(*args, **options)

    connect: Callable[..., Any] = BoundedConnection.connect
    return connect


DRIVERS = {"psycopg2": _psycopg2, "psycopg": _psycopg}
"""The drivers whose statements are bounded, by their names in addresses."""


@contextmanager
def _bounded(connection: Any, seconds: float, kind: type[Exception]) -> Iterator[None]:
    """Hang up on a server that does not answer in time, and tell so; `kind` is what the driver raises then."""
    late = threading.Event()
    timer = threading.Timer(seconds, _hang_up, (connection.fileno(), late))
    timer.daemon = True
    timer.start()
    try:
        yield
    except kind as error:
        if late.is_set():
            raise kind(f"it did not answer in {seconds:g} seconds") from error
        raise
    finally:
        timer.cancel()


def _hang_up(number: int, late: threading.Event) -> None:
    """End both directions of a connection, which wakes who waits for it."""
    late.set()
    with suppress(OSError), socket.socket(fileno=os.dup(number)) as wire:
        wire.shutdown(socket.SHUT_RDWR)
