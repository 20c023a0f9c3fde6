"""Erase what the spool of predictions still has of rows that are logged: SQLite keeps the bytes of removed rows in its files."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from featurestore.values.humanize import format_plural

SPOOL = "predictions/spool.db"
"""The file of predictions that wait to be logged, in the home folder."""
DAMAGED = "predictions/spool.db.damaged-*"
"""Files that were moved aside because they could not be read."""
WAIT_SECONDS = 5.0


def waiting_rows(home: Path) -> int | None:
    """How many rows of predictions wait to be logged; None if the file cannot be read."""
    if not (home / SPOOL).exists():
        return 0
    try:
        with closing(_connect(home)) as connection:
            return int(connection.execute("SELECT coalesce(sum(rows), 0) FROM requests").fetchone()[0])
    except sqlite3.DatabaseError:
        return None


def erase_spool(home: Path, waiting: int | None, dry_run: bool) -> Iterator[str]:
    """Write the file again without removed rows, and yield what remains: `waiting` rows, as counted before tables were rewritten."""
    for path in sorted(home.glob(DAMAGED)):
        yield f"{path.relative_to(home)}: predictions that were not logged; delete the file"
    if waiting:
        yield f"{SPOOL}: {format_plural(waiting, 'row')} of predictions, which wait to be logged; erase again when they are"
    elif waiting is None or not (dry_run or _rewrite(home)):
        yield f"{SPOOL}: predictions that waited to be logged; the file is in use or damaged: erase again, or stop servers and delete it"


def _rewrite(home: Path) -> bool:
    """Whether the file was written again, or there is none."""
    if not (home / SPOOL).exists():
        return True
    try:
        with closing(_connect(home)) as connection:
            connection.execute("VACUUM")
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy
    except sqlite3.DatabaseError:
        return False


def _connect(home: Path) -> sqlite3.Connection:
    return sqlite3.connect(home / SPOOL, timeout=WAIT_SECONDS, isolation_level=None)
