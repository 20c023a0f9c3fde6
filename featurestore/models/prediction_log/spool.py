"""The spool: predictions that wait to be logged, in a SQLite database that all processes of a home folder share, or in memory."""

import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from featurestore import private
from featurestore.errors import NotReady
from featurestore.masking import logger_of
from featurestore.values import times

logger = logger_of(__name__)

FOLDER, FILE = "predictions", "spool.db"
WAIT_SECONDS = 0.5
"""How long a prediction waits for another process that writes to the file, before it is dropped."""
FORMAT = 1
"""The format of the file, in SQLite's `user_version`. Files of format 1 from before it was recorded have 0."""
LARGE_WAL = 4 << 20
"""Bytes of SQLite's log of changes from which they are moved into the database; requests do not do it, since that waits for the disk."""
REMOVED_AT_ONCE = 500
"""Requests removed in one transaction, which others wait for."""
_TABLES = """
CREATE TABLE IF NOT EXISTS spool (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS layouts (id INTEGER PRIMARY KEY, document TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS pins (id INTEGER PRIMARY KEY, document TEXT NOT NULL UNIQUE, kept INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, destination TEXT NOT NULL, rows INTEGER NOT NULL, body BLOB NOT NULL
);
"""
_ADD_LAYOUT = "INSERT INTO layouts (document) VALUES (?) ON CONFLICT DO NOTHING"
_ADD_REQUEST = "INSERT INTO requests (at, destination, rows, body) VALUES (?, ?, ?, ?)"
_ADD_PINS = "INSERT INTO pins (document) VALUES (?) ON CONFLICT DO NOTHING"


class Waiting(NamedTuple):
    """A request whose predictions wait: its number in the spool, which is never used twice, and its encoded rows."""

    number: int
    rows: int
    body: bytes


@dataclass(frozen=True)
class Backlog:
    """The requests and rows that wait for a table, when the oldest of them came (microseconds), and the number of the newest."""

    table: str
    requests: int
    rows: int
    oldest: int
    newest: int


class Spool:
    """The predictions that wait. May be used from several threads; a file also from several processes.

    `layouts` and `pins` are documents that many requests share: the columns of a model's rows, and the snapshots that they name.
    """

    def __init__(self, path: Path | None, limit: int, sync: bool = False) -> None:
        """`path` None: in memory. `limit` is in bytes. `sync`: what is put is on the disk before `put` returns. Raises: NotReady."""
        self._path, self._limit, self._sync = path, limit, sync
        self._lock = threading.Lock()
        self._patience = WAIT_SECONDS
        if path is not None:
            private.make_folder(path.parent)
            private.make_file(path)
        self._connection = self._open()
        self.id = self._read_id()

    def put(self, table: str, at: int, rows: int, body: bytes, *, wait: bool = True) -> bool:
        """Add the rows of a request for a table of predictions. Without `wait`, False if somebody else uses the spool: nothing was added.

        Raises: sqlite3.Error if they do not fit, or another process holds the file for too long.
        """
        if not self._lock.acquire(blocking=wait):
            return False
        try:
            self._be_patient(WAIT_SECONDS if wait else 0)
            self._connection.execute(_ADD_REQUEST, (at, table, rows, body))
        except sqlite3.OperationalError as error:
            # The lower byte is the kind; the others say more of it.
            if not wait and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                return False
            raise
        else:
            return True
        finally:
            self._lock.release()

    def layout(self, document: str) -> int:
        """The number of a layout, which is added if it is new."""
        return self._number(document, _ADD_LAYOUT, "SELECT id FROM layouts WHERE document = ?")

    def pins(self, document: str) -> int:
        """The number of a set of snapshots, which is added if it is new."""
        return self._number(document, _ADD_PINS, "SELECT id FROM pins WHERE document = ?")

    def layouts(self) -> dict[int, str]:
        """All layouts by their numbers."""
        return dict(self._query("SELECT id, document FROM layouts"))

    def all_pins(self) -> dict[int, str]:
        """All sets of snapshots by their numbers."""
        return dict(self._query("SELECT id, document FROM pins"))

    def pins_to_keep(self) -> list[tuple[int, str]]:
        """The sets of snapshots that are not known to be kept yet."""
        return list(self._query("SELECT id, document FROM pins WHERE kept = 0"))

    def mark_kept(self, id: int) -> None:
        """Note that the snapshots of a set do not expire any more."""
        with self._patiently() as connection:
            connection.execute("UPDATE pins SET kept = 1 WHERE id = ?", (id,))

    def backlog(self) -> list[Backlog]:
        """What waits, by table."""
        query = "SELECT destination, count(*), sum(rows), min(at), max(number) FROM requests GROUP BY destination"
        return [Backlog(*row) for row in self._query(query)]

    def age(self) -> tuple[int, int] | None:
        """When the oldest request came (microseconds), and about how many wait, at little cost; None if none waits."""
        first = next(self._query("SELECT number, at FROM requests ORDER BY number LIMIT 1"), None)
        last = next(self._query("SELECT number FROM requests ORDER BY number DESC LIMIT 1"), None)
        return None if first is None or last is None else (int(first[1]), int(last[0]) - int(first[0]) + 1)

    def read(self, table: str, after: int, rows: int) -> list[Waiting]:
        """The requests for a table after this number, in order, until they have so many rows; at least one."""
        waiting: list[Waiting] = []
        total = 0
        query = "SELECT number, rows, body FROM requests WHERE destination = ? AND number > ? ORDER BY number LIMIT ?"
        for number, count, body in self._query(query, (table, after, rows)):
            total += count
            if waiting and total > rows:
                break
            waiting.append(Waiting(number, count, body))
        return waiting

    def remove(self, table: str, until: int) -> None:
        """Remove the requests for a table up to this number."""
        query = "DELETE FROM requests WHERE number IN (SELECT number FROM requests WHERE destination = ? AND number <= ? LIMIT ?)"
        removed = REMOVED_AT_ONCE
        while removed == REMOVED_AT_ONCE:
            with self._patiently() as connection:
                removed = connection.execute(query, (table, until, REMOVED_AT_ONCE)).rowcount
        self._trim_log()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _trim_log(self) -> None:
        """Move the changes in SQLite's log into the database, if they are many; readers and writers need not wait."""
        changes = None if self._path is None else self._path.with_name(f"{self._path.name}-wal")
        if changes is not None and changes.exists() and changes.stat().st_size >= LARGE_WAL:
            with self._patiently() as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    @contextmanager
    def _patiently(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for the block; another process that writes to the file is waited for."""
        with self._lock:
            self._be_patient(WAIT_SECONDS)
            yield self._connection

    def _be_patient(self, seconds: float) -> None:
        """Set how long SQLite waits for another process. Only if that changes: it takes as long as to add a request."""
        if seconds != self._patience:
            self._connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}").fetchall()
            self._patience = seconds

    def _number(self, document: str, add: str, find: str) -> int:
        with self._patiently() as connection:
            connection.execute(add, (document,))
            return int(connection.execute(find, (document,)).fetchone()[0])

    def _query(self, query: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        with self._patiently() as connection:
            return iter(connection.execute(query, values).fetchall())

    def _read_id(self) -> str:
        with self._patiently() as connection, self._transaction():
            row = connection.execute("SELECT id FROM spool").fetchone()
            if row is None:
                row = (uuid.uuid4().hex,)
                connection.execute("INSERT INTO spool (id) VALUES (?)", row)
        return str(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if self._path is None or isinstance(error, sqlite3.OperationalError):
                raise NotReady(f"the predictions that wait to be logged cannot be stored: {error}") from error
            aside = self._path.with_name(f"{FILE}.damaged-{times.now()}")
            self._path.rename(aside)
            logger.error("%s is damaged (%s): it was moved to %s, and the predictions in it are not logged", self._path, error, aside)
            private.make_file(self._path)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            ":memory:" if self._path is None else self._path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._check_format(connection)
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_format(self, connection: sqlite3.Connection) -> None:
        """Raises: NotReady for a file of a newer release; nothing in it was changed."""
        (format,) = connection.execute("PRAGMA user_version").fetchone()
        if format > FORMAT:
            raise NotReady(
                f"{self._path} has predictions in format {format}, of a newer release of featurestore; this one reads up to {FORMAT}: start"
                " a server of that release, which logs them, or move the file away"
            )

    def _configure(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._sync else 'NORMAL'}")
        connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
        (page,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute(f"PRAGMA max_page_count = {max(self._limit // page, 64)}").fetchall()
        connection.executescript(f"{_TABLES}PRAGMA user_version = {FORMAT};")
