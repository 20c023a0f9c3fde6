"""Publishing: what a feature table gained since the online store last saw it goes there, newest row per key.

Of a key that rows were deleted of, the newest one that is left is looked for in the table; if there is none, the key goes.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import replace as with_changes
from typing import TypeAlias

import pyarrow as pa

from featurestore.compiler import newest_rows
from featurestore.compiler.log_diff import DELETED, LIVE_COLUMNS
from featurestore.compiler.query import Query, columns_of
from featurestore.compiler.relations import Handle, IcebergFiles
from featurestore.dsl.view import FeatureView
from featurestore.engine.results import count
from featurestore.engine.session import Relation, Session
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.tables import Table
from featurestore.online.store import Cursor, Edition
from featurestore.records import feature_table, online_tables
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime

FEW_ROWS = 500_000
"""Of so many, to see whether each key has one row takes less than to choose among them."""
FEW_KEYS = 200_000
"""Where more keys than that lost rows, all keys are published."""

Log: TypeAlias = Callable[[Sequence[str]], Relation]
"""What gives these columns of the rows of a log, anew at each call: files can be read twice, a stream cannot."""


OnRows: TypeAlias = Callable[[int], None]
"""Called with the number of rows that were read for a publish since the last call."""


@dataclass(frozen=True)
class KeyFilter:
    """The keys of a relation (SEMI), or all others (ANTI)."""

    which: newest_rows.Which
    keys: Handle


class TableReader:
    """Reads what an online table lacks of a feature table, into an edition."""

    def __init__(self, runtime: Runtime, on_rows: OnRows | None = None) -> None:
        self._runtime, self._on_rows = runtime, on_rows

    def look(self, name: str, table: Table | None = None) -> tuple[Table, Cursor, Cursor | None]:
        """The feature table, its cursor, and that of the online table; `table` is the feature table as it was a moment ago."""
        # Before the table is loaded: what was published until then is of a state of the table that is not newer.
        online = self._runtime.online.cursor(name)
        if table is None or _is_behind(table, online):
            table = tables.load(self._runtime.catalog, self._runtime.features_table(name))
        return table, online_tables.cursor_of(table), online

    def must_replace(self, table: Table, name: str, online: Cursor | None) -> bool:
        """Whether the online table is not what was published: absent, of another feature table, or with too few rows."""
        return online is None or online_tables.is_foreign(online, table) or bool(self._runtime.online.incomplete([name]))

    def read(
        self,
        edition: Edition,
        applied: Applied,
        view: FeatureView,
        table: Table,
        cursor: Cursor,
        since: Cursor | None,
        replace: bool,
        given: Session | None = None,
    ) -> None:
        """Read the rows that are to be published, and add them to the edition; with `replace`, all rows.

        `given` is a session that may read the table's files and whose content nobody needs; without it, one is opened.
        """
        snapshot_id, columns, keys = cursor.snapshot_id, list(applied.columns), tuple(view.entity.keys)
        deletions = snapshot_id is not None and DELETED in tables.schema_of(table, snapshot_id).column_names
        whole = _planned_once(lambda columns: scans.scan_snapshot(table, snapshot_id, columns=columns))
        with self._runtime.engine.session(data_folders(table)) if given is None else nullcontext(given) as session:
            if given is not None:
                session.clear()
            log = None if since is None or replace else _appended(table, since.snapshot_id, snapshot_id)
            deleted = _store_deleted_keys(session, log, keys) if log is not None and deletions else None
            removed = None
            if log is None or (deleted is not None and count(session, deleted) > FEW_KEYS):
                log, query = None, newest(session, whole, keys, columns, deletions)
            elif deleted is None or not count(session, deleted):
                query = newest(session, log, keys, columns, deletions)
            else:
                removed = session.batches(deleted).read_all()
                others = newest(session, log, keys, columns, deletions, KeyFilter("ANTI", deleted))
                appended = session.create_table("__fs_newest_appended", others)
                left = newest(session, whole, keys, columns, deletions, KeyFilter("SEMI", deleted))
                query = newest_rows.both_in_key_order(appended, left, keys, columns)
            rows = self._observed(session.batches(query))
            edition.add(applied.table, rows, keys=keys, cursor=cursor, since=since, replace=log is None, removed=removed)

    def _observed(self, rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
        on_rows = self._on_rows
        if on_rows is None:
            return rows

        def batches() -> Iterable[pa.RecordBatch]:
            for batch in rows:
                yield batch
                on_rows(batch.num_rows)

        return pa.RecordBatchReader.from_batches(rows.schema, batches())


def _is_behind(table: Table, held: Cursor | None) -> bool:
    """Whether the online store holds a later state of the table than the handle shows: another run was published meanwhile."""
    if held is None:
        return False
    if held.snapshot_id is not None and table.snapshot_by_id(held.snapshot_id) is None:
        return True
    through = feature_table.state_of(table.properties).through
    return held.materialized_through is not None and (through is None or held.materialized_through > through)


def _appended(table: Table, since: int | None, until: int | None) -> Log | None:
    """What was appended between two snapshots; None where rows were otherwise changed, or nothing tells."""
    if since is None or until is None or not (found := scans.read_changes(table, since, until)).appended:
        return None

    def read(columns: Sequence[str] | None) -> Relation:
        rows = scans.read_changes(table, since, until, columns=columns).relation
        assert rows is not None
        return rows

    return _planned_once(read, found.relation)


def _planned_once(read: Callable[[Sequence[str] | None], Relation], planned: "Relation | None" = None) -> Log:
    """A log whose files are planned once, for all columns, and read again with others; a stream is opened anew by `read`."""

    def log(columns: Sequence[str]) -> Relation:
        nonlocal planned
        planned = planned or read(None)
        known = {column.name: column for column in planned.columns} if isinstance(planned, IcebergFiles) else {}
        if isinstance(planned, IcebergFiles) and known.keys() >= set(columns):
            return with_changes(planned, columns=tuple(known[name] for name in columns))
        return read(columns)

    return log


def _store_deleted_keys(session: Session, log: Log, keys: Sequence[str]) -> Handle:
    """The distinct keys that have tombstones in a log, in a table of the session."""
    narrow = session.add("__fs_narrow", log([*keys, DELETED]))
    return session.create_table("__fs_deleted_keys", newest_rows.deleted_keys(narrow, keys))


def newest(
    session: Session, log: Log, keys: Sequence[str], columns: Sequence[str], deletions: bool, only: KeyFilter | None = None
) -> Query:
    """A query of the newest row of every key that is not deleted, in the order of the keys, which is the order that loads fastest.

    `only`: of these keys. The log is read twice: keys and times first, and then all columns of the rows that were found; see
    `newest_rows.newest_rows`.
    """
    relation = log(columns)
    if isinstance(relation, IcebergFiles) and not deletions and relation.rows <= FEW_ROWS:
        wide = session.add("__fs_log", relation)
        if not count(session, newest_rows.repeated_key(wide, keys)):
            return columns_of(wide, columns, keys)
    narrow = session.add("__fs_narrow", log([*keys, *(LIVE_COLUMNS if deletions else LIVE_COLUMNS[:2])]))
    wide = session.add("__fs_log", log(columns))
    rows = narrow if only is None else newest_rows.rows_of_keys(narrow, keys, only.keys, only.which)
    return newest_rows.newest_rows(rows, wide, keys, columns, deletions)
