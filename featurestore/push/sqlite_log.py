"""The log of pushed events in one SQLite file, which all processes of a home folder share. Each append is synced to the disk."""

import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featurestore import private
from featurestore.dsl.source import ACKNOWLEDGED
from featurestore.errors import Busy, FeatureStoreError, NotReady
from featurestore.push.event_log import Acknowledged, StreamStatus, Tail, log_is_full, log_was_replaced, lost, trimmed
from featurestore.push.lot import Lot, join, without
from featurestore.values import times

FORMAT = 1
"""The format of the file, in SQLite's `user_version`."""
WAIT_SECONDS = 10
"""How long a method waits for another process that writes to the file."""
WAL_PAGES = 4096
"""Pages of SQLite's log of changes from which an append moves them into the database."""
FORGOTTEN_AT_ONCE = 5000
"""Ids that are forgotten in one transaction, which others wait for."""
RECENT = 60_000_000
_TABLES = f"""
CREATE TABLE IF NOT EXISTS log (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS streams (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last INTEGER NOT NULL DEFAULT 0, at INTEGER NOT NULL DEFAULT 0,
    newest INTEGER NOT NULL DEFAULT 0, rows INTEGER NOT NULL DEFAULT 0, trimmed INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0, refusal TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS lots (
    stream INTEGER NOT NULL, offset INTEGER NOT NULL, at INTEGER NOT NULL, rows INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (stream, offset)
);
CREATE TABLE IF NOT EXISTS ids (stream INTEGER NOT NULL, id BLOB NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (stream, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ids_at ON ids (stream, at);
PRAGMA user_version = {FORMAT};
"""
_ADD_STREAM = "INSERT INTO streams (name) VALUES (?) ON CONFLICT DO NOTHING"
_ADD_ID = "INSERT INTO ids (stream, id, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_ADD_LOT = "INSERT INTO lots (stream, offset, at, rows, body) VALUES (?, ?, ?, ?, ?)"
_ADVANCE = "UPDATE streams SET last = ?, at = ?, newest = max(newest, ?), rows = rows + ? WHERE number = ?"
_READ = "SELECT offset, at, rows, body FROM lots WHERE stream = ? AND offset > ? AND offset <= ? ORDER BY offset"
_FORGET = "DELETE FROM ids WHERE (stream, id) IN (SELECT stream, id FROM ids WHERE stream = ? AND at < ? LIMIT ?)"


class SqliteLog:
    """An event log in a file; see `EventLog`. Readers do not wait for the disk as writers do."""

    def __init__(self, path: Path, limit: int, remembers: int) -> None:
        """`limit` is in bytes; `remembers` is for how long ids are remembered, in microseconds. Raises: NotReady."""
        self._path, self._limit, self._remembers = path, limit, remembers
        try:
            private.make_folder(path.parent)
            private.make_file(path)
            self._writer, self._reader = self._connect(), self._connect()
            found = path.stat()
        except (OSError, sqlite3.Error) as error:
            raise NotReady(f"the push log {path} cannot be opened: {error}; check the settings push_log and home") from error
        self._file = (found.st_dev, found.st_ino)
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._id = self._make_id()

    def append(self, stream: str, lots: Sequence[Lot]) -> list[Acknowledged]:
        """Add lots in one transaction, which is on the disk when this returns. Raises: as `EventLog`; Busy if others write all the time."""
        with self._write() as connection:
            connection.execute(_ADD_STREAM, (stream,))
            row = connection.execute("SELECT number, last, at FROM streams WHERE name = ?", (stream,)).fetchone()
            number, last, before = (int(value) for value in row)
            # The clock may have been set back, or be that of another process.
            at = max(times.now(), before)
            done: list[Acknowledged] = []
            for lot in lots:
                known = self._known(connection, number, lot, at)
                new = without(lot, known)
                if new is not None:
                    last += 1
                    connection.execute(_ADD_LOT, (number, last, at, new.rows, new.body))
                    connection.execute(_ADVANCE, (last, at, new.newest, new.rows, number))
                done.append(Acknowledged(last, at, 0 if new is None else new.rows, len(known)))
        return done

    def read(self, stream: str, after: int, rows: int) -> Tail | None:
        """The lots after an offset, as of one state of the file. Raises: as `EventLog`."""
        with self._read() as connection:
            found = connection.execute("SELECT number, last, trimmed FROM streams WHERE name = ?", (stream,)).fetchone()
            number, last, kept = (0, 0, 0) if found is None else (int(value) for value in found)
            if after > last:
                raise lost(stream, after, last)
            if after < kept:
                raise trimmed(stream, after, kept)
            lots: list[tuple[int, int, bytes]] = []
            total = 0
            for offset, at, count, body in connection.execute(_READ, (number, after, last)):
                lots.append((offset, at, body))
                total += count
                if total >= rows:
                    break
        if not lots:
            return None
        return Tail(join([(body, at) for _, at, body in lots], ACKNOWLEDGED), lots[0][0], lots[-1][0])

    def last(self, stream: str) -> int:
        """The offset of the last lot; 0 if there was none. Raises: as `EventLog`."""
        with self._read() as connection:
            found = connection.execute("SELECT last FROM streams WHERE name = ?", (stream,)).fetchone()
        return 0 if found is None else int(found[0])

    def status(self, stream: str, after: int = 0) -> StreamStatus:
        """What the log has seen of a stream. Raises: as `EventLog`."""
        with self._read() as connection:
            query = "SELECT last, at, newest, rows, refused, refusal, number FROM streams WHERE name = ?"
            found = connection.execute(query, (stream,)).fetchone()
            if found is None:
                return StreamStatus()
            last, at, newest, rows, refused, refusal, number = found
            query = "SELECT coalesce(sum(rows), 0) FROM lots WHERE stream = ? AND at > ?"
            (recent,) = connection.execute(query, (number, times.now() - RECENT)).fetchone()
            query = "SELECT coalesce(sum(rows), 0), coalesce(min(at), 0) FROM lots WHERE stream = ? AND offset > ?"
            waiting, oldest = connection.execute(query, (number, after)).fetchone()
        return StreamStatus(last, at, newest, rows, recent, waiting, oldest, refused, refusal)

    def refuse(self, stream: str, rows: int, reason: str) -> None:
        """Count rows that were refused. Raises: as `EventLog`."""
        with self._write() as connection:
            connection.execute(_ADD_STREAM, (stream,))
            connection.execute("UPDATE streams SET refused = refused + ?, refusal = ? WHERE name = ?", (rows, reason, stream))

    def trim(self, stream: str, through: int, older_than: int) -> None:
        """Drop copied lots and ids that need not be remembered. Raises: as `EventLog`."""
        with self._read() as connection:
            found = connection.execute("SELECT number, trimmed FROM streams WHERE name = ?", (stream,)).fetchone()
            if found is None:
                return
            number = int(found[0])
            query = "SELECT max(offset) FROM lots WHERE stream = ? AND offset <= ? AND at < ?"
            (until,) = connection.execute(query, (number, through, older_than)).fetchone()
        if until is not None:
            with self._write() as connection:
                connection.execute("DELETE FROM lots WHERE stream = ? AND offset <= ?", (number, until))
                connection.execute("UPDATE streams SET trimmed = max(trimmed, ?) WHERE number = ?", (until, number))
            with self._writing, self._translated():
                # What was trimmed is neither in the database nor in the log of its changes then.
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._forget(number, times.now() - self._remembers)

    def drop(self, stream: str) -> None:
        """Forget a stream. Raises: as `EventLog`."""
        with self._read() as connection:
            found = connection.execute("SELECT number FROM streams WHERE name = ?", (stream,)).fetchone()
        if found is None:
            return
        self._forget(found[0], times.LAST)
        with self._write() as connection:
            connection.execute("DELETE FROM lots WHERE stream = ?", found)
            connection.execute("DELETE FROM streams WHERE number = ?", found)

    def identity(self) -> str:
        """The id of the file."""
        return self._id

    def close(self) -> None:
        """Close the file."""
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()

    def _known(self, connection: sqlite3.Connection, stream: int, lot: Lot, at: int) -> set[int]:
        """Remember the ids of a lot. Returns the positions of those that were remembered before."""
        ids = enumerate(lot.ids or ())
        return {position for position, id in ids if connection.execute(_ADD_ID, (stream, id, at)).rowcount == 0}

    def _forget(self, stream: int, before: int) -> None:
        forgotten = FORGOTTEN_AT_ONCE
        while forgotten == FORGOTTEN_AT_ONCE:
            with self._write() as connection:
                forgotten = connection.execute(_FORGET, (stream, before, FORGOTTEN_AT_ONCE)).rowcount

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._writing, self._translated():
            connection = self._writer
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._refuse_another_file()
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with self._reading, self._translated():
            self._refuse_another_file()
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                self._reader.execute("ROLLBACK")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._store_error(error) from error

    def _store_error(self, error: sqlite3.Error) -> FeatureStoreError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Busy(
                f"other processes have been writing to the push log {self._path} for {WAIT_SECONDS} seconds; nothing was added, try again"
            )
        if code == sqlite3.SQLITE_FULL:
            return log_is_full(str(self._path))
        return NotReady(f"the push log {self._path} cannot be used: {error}; check the disk that it is on")

    def _refuse_another_file(self) -> None:
        """Raise NotReady if the file was removed or replaced since it was opened: what is written to it now would be lost."""
        try:
            found = os.stat(self._path)
        except OSError as error:
            raise NotReady(f"the push log {self._path} is gone ({error.strerror}); restore it, and start again") from error
        if (found.st_dev, found.st_ino) != self._file:
            raise log_was_replaced(str(self._path))

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _configure(self, connection: sqlite3.Connection) -> None:
        (format,) = connection.execute("PRAGMA user_version").fetchone()
        if format > FORMAT:
            raise NotReady(
                f"the push log {self._path} has format {format}, of a newer release of featurestore; this one reads up to {FORMAT}"
            )
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON").fetchall()
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}").fetchall()
        (page,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute(f"PRAGMA max_page_count = {max(self._limit // page, 64)}").fetchall()
        if format < FORMAT:
            connection.executescript(_TABLES)

    def _make_id(self) -> str:
        with self._write() as connection:
            row: tuple[Any, ...] | None = connection.execute("SELECT id FROM log").fetchone()
            if row is None:
                row = (uuid.uuid4().hex,)
                connection.execute("INSERT INTO log (id) VALUES (?)", row)
        return str(row[0])
