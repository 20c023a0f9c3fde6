"""A catalog in PostgreSQL of which no question goes on for ever: a server that hangs still takes what it is sent."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy import event

ANSWER_SECONDS = 60.0
TIMEOUT = "timeout-seconds"
"""The catalog property that says how long one statement may take."""


class BoundedSqlCatalog(SqlCatalog):
    """As pyiceberg's, which waits without end; `timeout-seconds` says for how long this one does."""

    def _init_catalog(self) -> None:
        seconds = float(self.properties.get(TIMEOUT, ANSWER_SECONDS))

        @event.listens_for(self.engine, "do_connect")
        def bounded(dialect: Any, record: Any, args: Any, options: dict[str, Any]) -> None:
            options["connection_factory"] = _connections(seconds)

        super()._init_catalog()


def _connections(seconds: float) -> Any:
    """The class of psycopg2's connections whose statements take so long at most."""
    # Here and not above: the driver is an extra.
    from psycopg2 import OperationalError  # type: ignore[import-untyped]  # noqa: PLC0415
    from psycopg2.extensions import connection, cursor  # type: ignore[import-untyped]  # noqa: PLC0415

    @contextmanager
    def bounded(of: Any) -> Iterator[None]:
        late = threading.Event()
        timer = threading.Timer(seconds, _hang_up, (of.fileno(), late))
        timer.daemon = True
        timer.start()
        try:
            yield
        except OperationalError as error:
            if late.is_set():
                raise OperationalError(f"it did not answer in {seconds:g} seconds") from error
            raise
        finally:
            timer.cancel()

    class BoundedCursor(cursor):  # type: ignore[misc]
        def execute(self, *args: Any, **options: Any) -> Any:
            with bounded(self.connection):
                return super().execute(*args, **options)

        def executemany(self, *args: Any, **options: Any) -> Any:
            with bounded(self.connection):
                return super().executemany(*args, **options)

    class BoundedConnection(connection):  # type: ignore[misc]
        def cursor(self, *args: Any, **options: Any) -> Any:
            return super().cursor(*args, **{"cursor_factory": BoundedCursor, **options})

        def commit(self) -> None:
            with bounded(self):
                super().commit()

        def rollback(self) -> None:
            with bounded(self):
                super().rollback()

    return BoundedConnection


def _hang_up(number: int, late: threading.Event) -> None:
    """End both directions of a connection, which wakes who waits for it."""
    late.set()
    with suppress(OSError), socket.socket(fileno=os.dup(number)) as wire:
        wire.shutdown(socket.SHUT_RDWR)
