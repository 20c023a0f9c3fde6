"""Publish what was appended to a feature table since its last publish: the newest row per key.

If rows of a key were deleted, the newest remaining row is read from the whole table; if none remains, the key is deleted online.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from featurestore.compiler import newest_rows
from featurestore.compiler.features import feature_names
from featurestore.compiler.log_diff import DELETED, LIVE_COLUMNS
from featurestore.compiler.query import Query, columns_of
from featurestore.compiler.relations import Handle, IcebergFiles
from featurestore.dsl.view import FeatureView
from featurestore.engine.results import count
from featurestore.engine.session import Relation, Session
from featurestore.lakehouse import compaction, scans, tables
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table
from featurestore.online.ahead import ahead_of, goes_with
from featurestore.online.store import Cursor, Edition
from featurestore.pipelines.materialization.changes_ahead import compute_rows_ahead, has_rows_ahead
from featurestore.pipelines.materialization.finished import AppendedRows
from featurestore.records import feature_table, online_tables
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime

FEW_ROWS = 500_000
"""Up to this many rows, checking whether each key has only one row is faster than searching for the newest row of each key."""
FEW_KEYS = 200_000
"""If rows of more keys than this were deleted, all keys are published."""

Log: TypeAlias = Callable[[Sequence[str]], Relation]
"""A function that opens these columns of a log. It is called for each pass, since a stream can be read only once."""


OnRows: TypeAlias = Callable[[int], None]
"""Called with the number of rows that a publish has read since the last call."""


@dataclass(frozen=True)
class KeyFilter:
    """The keys of a relation (SEMI), or all others (ANTI)."""

    which: newest_rows.Which
    keys: Handle


class TableReader:
    """Reads the rows of a feature table that its online table lacks, and adds them to an edition."""

    def __init__(self, runtime: Runtime, on_rows: OnRows | None = None) -> None:
        self._runtime, self._on_rows = runtime, on_rows

    def load_cursors(self, name: str, table: Table | None = None) -> tuple[Table, Cursor, Cursor | None]:
        """The feature table, its cursor, and the cursor of the online table.

        `table` is the feature table if it was just loaded; it is loaded again only if the online table is ahead of it.
        """
        # Read before the table is loaded, so that the online cursor is never ahead of the table.
        online = self._runtime.online.cursor(name)
        if table is None or _is_behind(table, online):
            table = tables.load(self._runtime.catalog, self._runtime.features_table(name))
        cursor = online_tables.cursor_of(table)
        return table, cursor if online is None else dataclasses.replace(cursor, pushed=online.pushed), online

    def must_replace(self, table: Table, applied: Applied, view: FeatureView, online: Cursor | None) -> bool:
        """Whether the online table must be rewritten: it is absent, of another feature table or other columns, or lacks rows."""
        if online is None or online_tables.is_foreign(online, table) or self._runtime.online.incomplete([applied.table]):
            return True
        (stored,) = self._runtime.online.read([(applied.table, [])])
        return bool(stored.columns) and set(stored.columns) != set(feature_names(view))

    def lacks_rows_ahead(self, applied: Applied, view: FeatureView, online: Cursor | None) -> bool:
        """Whether the online store has no rows ahead that go with the newest rows of this cursor, and should have them."""
        return has_rows_ahead(view) and not goes_with(self._runtime.online.cursor(ahead_of(applied.table)), online)

    def read(
        self,
        edition: Edition,
        applied: Applied,
        view: FeatureView,
        table: Table,
        cursor: Cursor,
        since: Cursor | None,
        replace: bool,
        session: Session | None = None,
        known: AppendedRows | None = None,
    ) -> None:
        """Read the rows to publish, and add them to the edition; with `replace`, the rows of all keys.

        `session` is a session that may read the table's files; its tables are dropped. Without it, a new one is opened. `known` are the
        rows of the table's last commit.
        """
        snapshot_id, columns, keys = cursor.snapshot_id, list(applied.columns), tuple(view.entity.keys)
        deletions = snapshot_id is not None and tables.has_column(table, snapshot_id, DELETED)
        granted = self._runtime.operator.grant(table)
        whole = _plan_once(lambda columns: scans.scan_snapshot(granted, snapshot_id, columns=columns))
        if session is not None:
            session.clear()
        with self._runtime.engine.session(data_folders(granted)) if session is None else nullcontext(session) as session:
            log = None if since is None or replace else _open_appended(granted, since.snapshot_id, snapshot_id, known)
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
                remaining = newest(session, whole, keys, columns, deletions, KeyFilter("SEMI", deleted))
                query = newest_rows.both_in_key_order(appended, remaining, keys, columns)
            if log is None or removed is not None:
                # Some rows will be older than those of events that were pushed since, which a step brings again.
                cursor = dataclasses.replace(cursor, pushed=None)
            rows = self._report_rows(session.batches(query))
            edition.add(applied.table, rows, keys=keys, cursor=cursor, since=_at_any_offset(since), replace=log is None, removed=removed)

    def read_ahead(
        self, edition: Edition, applied: Applied, view: FeatureView, table: Table, cursor: Cursor, session: Session | None = None
    ) -> None:
        """Compute the rows ahead of the cursor's watermark, and add them to the edition in place of those that are online.

        `session` may read the files of the view's source; its tables are dropped. Without rows ahead, because the source has changed
        since the last run, lookups say from the watermark on that rows are stale.
        """
        name, through = ahead_of(applied.table), cursor.materialized_through
        if through is None:
            return
        since = _at_any_offset(self._runtime.online.cursor(name))
        if session is not None:
            session.clear()
        with compute_rows_ahead(self._runtime, session, applied, view, table, through) as computed:
            if computed is not None:
                rows, cursor = computed.session.batches(computed.query), dataclasses.replace(cursor, pushed=computed.pushed)
                edition.add(name, rows, keys=tuple(view.entity.keys), cursor=cursor, since=since, replace=True)

    def _report_rows(self, rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
        on_rows = self._on_rows
        if on_rows is None:
            return rows

        def batches() -> Iterable[pa.RecordBatch]:
            for batch in rows:
                yield batch
                on_rows(batch.num_rows)

        return pa.RecordBatchReader.from_batches(rows.schema, batches())


def _at_any_offset(since: Cursor | None) -> Cursor | None:
    """What a publish expects: events that steps bring online meanwhile do not hold it up, and the next step brings them again."""
    return None if since is None else dataclasses.replace(since, pushed=None)


def _is_behind(table: Table, online: Cursor | None) -> bool:
    """Whether the online table has a later state than the loaded feature table: another run was published meanwhile."""
    if online is None:
        return False
    if online.snapshot_id is not None and online.snapshot_id not in table.snapshot_ids:
        return True
    through = feature_table.state_of(table.properties).through
    return online.materialized_through is not None and (through is None or online.materialized_through > through)


def _open_appended(granted: Granted, since: int | None, until: int | None, known: AppendedRows | None) -> Log | None:
    """The rows that were appended between two snapshots; None if rows were changed in another way, or if that is unknown."""
    if since is None or until is None:
        return None
    planned: Relation | None
    if (
        known is not None
        and known.rows is not None
        and known.before == since
        and compaction.only_rewritten(granted.table, known.snapshot_id, until)
    ):
        planned = known.rows
    elif (changes := scans.read_changes(granted, since, until)).appended:
        planned = changes.relation
    else:
        return None

    def read(columns: Sequence[str] | None) -> Relation:
        rows = scans.read_changes(granted, since, until, columns=columns).relation
        assert rows is not None
        return rows

    return _plan_once(read, planned)


def _plan_once(read: Callable[[Sequence[str] | None], Relation], planned: "Relation | None" = None) -> Log:
    """A log whose scan is planned once, with all columns; later reads reuse the plan with fewer. A stream is opened by `read` each time."""

    def log(columns: Sequence[str]) -> Relation:
        nonlocal planned
        planned = planned or read(None)
        known = {column.name: column for column in planned.columns} if isinstance(planned, IcebergFiles) else {}
        if isinstance(planned, IcebergFiles) and known.keys() >= set(columns):
            return dataclasses.replace(planned, columns=tuple(known[name] for name in columns))
        return read(columns)

    return log


def _store_deleted_keys(session: Session, log: Log, keys: Sequence[str]) -> Handle:
    """Copy the distinct keys that have tombstones in a log to a table of the session."""
    narrow = session.add("__fs_narrow", log([*keys, DELETED]))
    return session.create_table("__fs_deleted_keys", newest_rows.deleted_keys(narrow, keys))


def newest(
    session: Session, log: Log, keys: Sequence[str], columns: Sequence[str], deletions: bool, only: KeyFilter | None = None
) -> Query:
    """A query of the newest row of each key that is not deleted, ordered by key, since ascending keys load fastest.

    `only` selects keys. The log is read twice: first keys and times, then all columns of the newest rows; see
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
