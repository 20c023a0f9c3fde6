"""The log of pushed events in a PostgreSQL database, which several machines share; often the catalog's own."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from featurestore.dsl.source import ACKNOWLEDGED
from featurestore.errors import FeatureStoreError, MissingExtra, NotReady, OutOfResources, RequestError
from featurestore.lakehouse.catalog import POSTGRES_TIMEOUTS
from featurestore.lakehouse.postgres import DRIVERS
from featurestore.push.event_log import Acknowledged, StreamStatus, Tail, log_is_full, log_was_replaced, lost, trimmed
from featurestore.push.lot import Lot, join, without
from featurestore.redaction import without_secrets
from featurestore.values import times

SECONDS = 30.0
"""How long a statement may take."""
POOL = 4
RECENT = 60_000_000
FORGOTTEN_AT_ONCE = 5000
PAGE = 500
"""Lots that a read fetches at once."""
_TABLES = """
SELECT pg_advisory_xact_lock(7310579);
CREATE TABLE IF NOT EXISTS featurestore_push_log (id text NOT NULL);
CREATE TABLE IF NOT EXISTS featurestore_push_streams (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, last bigint NOT NULL DEFAULT 0,
    at bigint NOT NULL DEFAULT 0, newest bigint NOT NULL DEFAULT -9223372036854775808, rows bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0, trimmed bigint NOT NULL DEFAULT 0, refused bigint NOT NULL DEFAULT 0, refusal text NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS featurestore_push_lots (
    stream bigint NOT NULL, number bigint NOT NULL, at bigint NOT NULL, rows bigint NOT NULL, body bytea NOT NULL,
    PRIMARY KEY (stream, number)
);
CREATE TABLE IF NOT EXISTS featurestore_push_ids (stream bigint NOT NULL, id bytea NOT NULL, at bigint NOT NULL, PRIMARY KEY (stream, id));
CREATE INDEX IF NOT EXISTS featurestore_push_ids_at ON featurestore_push_ids (stream, at);
INSERT INTO featurestore_push_log (id) SELECT :id WHERE NOT EXISTS (SELECT FROM featurestore_push_log)
"""
_NOW = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
_ADD_STREAM = text("INSERT INTO featurestore_push_streams (name) VALUES (:name) ON CONFLICT DO NOTHING")
_STREAM = text("SELECT number, last, at, trimmed FROM featurestore_push_streams WHERE name = :name")
_LOCKED = text(f"SELECT number, last, greatest(at, {_NOW}) FROM featurestore_push_streams WHERE name = :name FOR UPDATE")
_BYTES = text("SELECT coalesce(sum(bytes), 0) FROM featurestore_push_streams")
_ADD_IDS = text(
    "INSERT INTO featurestore_push_ids (stream, id, at) SELECT :stream, unnest(CAST(:ids AS bytea[])), :at"
    " ON CONFLICT DO NOTHING RETURNING id"
)
_ADD_LOT = text("INSERT INTO featurestore_push_lots (stream, number, at, rows, body) VALUES (:stream, :number, :at, :rows, :body)")
_ADVANCE = text(
    "UPDATE featurestore_push_streams SET last = :last, at = :at, newest = greatest(newest, :newest), rows = rows + :rows,"
    " bytes = bytes + :bytes WHERE number = :stream"
)
_READ = text(
    "SELECT number, at, rows, body FROM featurestore_push_lots WHERE stream = :stream AND number > :after ORDER BY number LIMIT :page"
)
_STATUS = text(
    "SELECT s.last, s.at, s.newest, s.rows, s.refused, s.refusal, coalesce(sum(l.rows) FILTER (WHERE l.at > :recent), 0),"
    " coalesce(sum(l.rows) FILTER (WHERE l.number > :after), 0), coalesce(min(l.at) FILTER (WHERE l.number > :after), 0)"
    " FROM featurestore_push_streams s LEFT JOIN featurestore_push_lots l ON l.stream = s.number WHERE s.name = :name GROUP BY s.number"
)
_REFUSE = text("UPDATE featurestore_push_streams SET refused = refused + :rows, refusal = :reason WHERE name = :name")
_UNTIL = text("SELECT max(number) FROM featurestore_push_lots WHERE stream = :stream AND number <= :through AND at < :older")
_TRIM = text(
    "WITH gone AS (DELETE FROM featurestore_push_lots WHERE stream = :stream AND number <= :until RETURNING length(body) AS size)"
    " UPDATE featurestore_push_streams SET trimmed = greatest(trimmed, :until),"
    " bytes = greatest(0, bytes - (SELECT coalesce(sum(size), 0) FROM gone)) WHERE number = :stream"
)
_FORGET = text(
    "DELETE FROM featurestore_push_ids WHERE stream = :stream AND id IN"
    " (SELECT id FROM featurestore_push_ids WHERE stream = :stream AND at < :before LIMIT :most)"
)


class PostgresLog:
    """An event log in a database; see `EventLog`. Appends to one stream wait for one another, so that readers see offsets in order."""

    def __init__(self, address: str, limit: int, remembers: int) -> None:
        """`limit` is in bytes; `remembers` is for how long ids are remembered, in microseconds.

        Raises: NotReady if it cannot be reached, or does not sync commits to its disk; RequestError; MissingExtra.
        """
        self._shown, self._limit, self._remembers = without_secrets(address), limit, remembers
        self._engine = _open_engine(address, self._shown)
        try:
            self._id = self._make()
        except BaseException:
            self._engine.dispose()
            raise

    def append(self, stream: str, lots: Sequence[Lot]) -> list[Acknowledged]:
        """Add lots in one transaction, which is on the server's disk when this returns. Raises: as `EventLog`."""
        with self._write() as connection:
            if connection.execute(_BYTES).scalar_one() + sum(len(lot.body) for lot in lots) > self._limit:
                raise log_is_full(self._shown)
            connection.execute(_ADD_STREAM, {"name": stream})
            number, last, at = connection.execute(_LOCKED, {"name": stream}).one()
            done: list[Acknowledged] = []
            for lot in lots:
                known = _known(connection, number, lot, at)
                new = without(lot, known)
                if new is not None:
                    last += 1
                    row = {"stream": number, "number": last, "at": at, "rows": new.rows, "body": new.body}
                    connection.execute(_ADD_LOT, row)
                    size = {"stream": number, "last": last, "at": at, "newest": new.newest, "rows": new.rows, "bytes": len(new.body)}
                    connection.execute(_ADVANCE, size)
                done.append(Acknowledged(last, at, 0 if new is None else new.rows, len(known)))
        return done

    def read(self, stream: str, after: int, rows: int) -> Tail | None:
        """The lots after an offset, as of one state of the database. Raises: as `EventLog`."""
        lots: list[tuple[int, int, bytes]] = []
        total = 0
        with self._read() as connection:
            found = connection.execute(_STREAM, {"name": stream}).one_or_none()
            number, last, _, kept = (0, 0, 0, 0) if found is None else found
            if after > last:
                raise lost(stream, after, last)
            if after < kept:
                raise trimmed(stream, after, kept)
            position = after
            while total < rows and position < last:
                page = connection.execute(_READ, {"stream": number, "after": position, "page": PAGE}).all()
                for offset, at, count, body in page:
                    if total < rows:
                        lots.append((offset, at, bytes(body)))
                        total += count
                if len(page) < PAGE:
                    break
                position = page[-1][0]
        if not lots:
            return None
        return Tail(join([(body, at) for _, at, body in lots], ACKNOWLEDGED), lots[0][0], lots[-1][0])

    def last(self, stream: str) -> int:
        """The offset of the last lot; 0 if there was none. Raises: as `EventLog`."""
        with self._read() as connection:
            found = connection.execute(_STREAM, {"name": stream}).one_or_none()
        return 0 if found is None else int(found[1])

    def status(self, stream: str, after: int = 0) -> StreamStatus:
        """What the log has seen of a stream. Raises: as `EventLog`."""
        with self._read() as connection:
            values = {"name": stream, "after": after, "recent": times.now() - RECENT}
            found = connection.execute(_STATUS, values).one_or_none()
        if found is None:
            return StreamStatus()
        last, at, newest, rows, refused, refusal, recent, waiting, oldest = found
        return StreamStatus(last, at, newest if last else 0, rows, int(recent), int(waiting), oldest, refused, refusal)

    def refuse(self, stream: str, rows: int, reason: str) -> None:
        """Count rows that were refused. Raises: as `EventLog`."""
        with self._write() as connection:
            connection.execute(_ADD_STREAM, {"name": stream})
            connection.execute(_REFUSE, {"name": stream, "rows": rows, "reason": reason})

    def trim(self, stream: str, through: int, older_than: int) -> None:
        """Drop copied lots and ids that need not be remembered. Raises: as `EventLog`."""
        with self._write() as connection:
            found = connection.execute(_STREAM, {"name": stream}).one_or_none()
            if found is None:
                return
            values = {"stream": found[0], "through": through, "older": older_than}
            until = connection.execute(_UNTIL, values).scalar_one()
            if until is not None:
                connection.execute(_TRIM, {"stream": found[0], "until": until})
        self._forget(found[0], times.now() - self._remembers)

    def drop(self, stream: str) -> None:
        """Forget a stream. Raises: as `EventLog`."""
        with self._read() as connection:
            found = connection.execute(_STREAM, {"name": stream}).one_or_none()
        if found is None:
            return
        self._forget(found[0], times.LAST)
        with self._write() as connection:
            connection.execute(text("DELETE FROM featurestore_push_lots WHERE stream = :stream"), {"stream": found[0]})
            connection.execute(text("DELETE FROM featurestore_push_streams WHERE number = :stream"), {"stream": found[0]})

    def identity(self) -> str:
        """The id of the log's tables."""
        return self._id

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _forget(self, stream: int, before: int) -> None:
        forgotten = FORGOTTEN_AT_ONCE
        while forgotten == FORGOTTEN_AT_ONCE:
            with self._write() as connection:
                done = connection.execute(_FORGET, {"stream": stream, "before": before, "most": FORGOTTEN_AT_ONCE})
                forgotten = done.rowcount

    def _make(self) -> str:
        with self._translated(), self._engine.begin() as connection:
            if connection.execute(text("SHOW fsync")).scalar_one() != "on":
                raise NotReady(
                    f"the push log {self._shown} does not sync what it commits to its disk: set fsync = on there, and restart it"
                )
            for statement in _TABLES.split(";\n"):
                connection.execute(text(statement), {"id": uuid.uuid4().hex} if ":id" in statement else {})
            return str(connection.execute(text("SELECT id FROM featurestore_push_log")).scalar_one())

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._translated(), self._engine.begin() as connection:
            # Whatever the database, or the user's settings there, says: an acknowledgement means that it is on the disk.
            if connection.execute(text("SHOW synchronous_commit")).scalar_one() == "off":
                connection.execute(text("SET LOCAL synchronous_commit = on"))
            self._check_id(connection)
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._translated(), self._engine.connect() as connection, connection.begin():
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            self._check_id(connection)
            yield connection

    def _check_id(self, connection: Connection) -> None:
        if connection.execute(text("SELECT id FROM featurestore_push_log")).scalar_one_or_none() != self._id:
            raise log_was_replaced(self._shown)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise self._store_error(error) from error

    def _store_error(self, error: SQLAlchemyError) -> FeatureStoreError:
        state = getattr(error.orig, "pgcode", None) or getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
        reason = str(getattr(error, "orig", None) or error).strip()[:300]
        if state in ("53100", "53200"):
            return OutOfResources(f"the push log {self._shown} is out of memory or disk; nothing was added", resource="disk", reason=reason)
        if state == "42P01":
            return log_was_replaced(self._shown)
        return NotReady(
            f"the push log {self._shown} does not answer: look whether it runs, and at push_log. Whether the rows of this push are"
            " in it is not known: push them again, which counts rows with a known id once",
            reason=reason,
        )


def _known(connection: Connection, stream: int, lot: Lot, at: int) -> set[int]:
    """Remember the ids of a lot. Returns the positions of those that were remembered before."""
    if not lot.ids:
        return set()
    added = connection.execute(_ADD_IDS, {"stream": stream, "ids": list(lot.ids), "at": at}).scalars()
    new = {bytes(id) for id in added}
    return {position for position, id in enumerate(lot.ids) if id not in new}


def _open_engine(address: str, shown: str) -> Engine:
    url = make_url(address)
    driver = url.get_driver_name()
    if driver not in DRIVERS:
        raise RequestError(f"the push log {shown} has the driver {driver}; use one of {', '.join(DRIVERS)}", field="push_log")
    try:
        url.get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "psycopg2", "postgres", f"the push log {shown}") from error
    bounded = url.update_query_dict({name: value for name, value in POSTGRES_TIMEOUTS.items() if name not in url.query})
    engine = create_engine(bounded, pool_size=POOL, max_overflow=POOL, pool_timeout=SECONDS, pool_pre_ping=True)
    connect = DRIVERS[driver](SECONDS)

    @event.listens_for(engine, "do_connect")
    def connect_with_limit(dialect: Any, record: Any, args: Any, options: dict[str, Any]) -> Any:
        return connect(*args, **options)

    return engine
