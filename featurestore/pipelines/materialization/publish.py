"""Publishing: what a feature table gained since the online store last saw it goes there, newest row per key.

Of a key that rows were deleted of, the newest one that is left is looked for in the table; if there is none, the key goes.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from featurestore.compiler import newest_rows
from featurestore.compiler.log_diff import DELETED, LIVE_COLUMNS
from featurestore.compiler.query import Query, columns_of
from featurestore.compiler.relations import Handle, IcebergFiles
from featurestore.dsl.view import FeatureView
from featurestore.engine.results import count
from featurestore.engine.session import Relation, Session
from featurestore.errors import CommitConflict
from featurestore.lakehouse import commits, scans, tables
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.tables import Table
from featurestore.online.store import Cursor
from featurestore.records import feature_table, stored_definition
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime
from featurestore.values.result import SNAPSHOT_ID, Result

ATTEMPTS = 4
"""How often a publish looks again when the online store has changed under it."""
FEW_ROWS = 500_000
"""Of so many, to see whether each key has one row takes less than to choose among them."""
FEW_KEYS = 200_000
"""Where more keys than that lost rows, all keys are published."""

Log: TypeAlias = Callable[[Sequence[str]], Relation]
"""What gives these columns of the rows of a log, anew at each call: files can be read twice, a stream cannot."""


@dataclass(frozen=True)
class KeyFilter:
    """The keys of a relation (SEMI), or all others (ANTI)."""

    which: newest_rows.Which
    keys: Handle


@dataclass(frozen=True)
class Published:
    """The snapshot that the online store now holds, None while the table has no rows, and how many rows were written for it."""

    snapshot_id: int | None
    rows: int = 0


@dataclass(frozen=True, eq=False)
class Publication(Result):
    """What was published of one version of a view: `rows` were written, and the online store now has the table at `snapshot_id`.

    `snapshot_id` is None for a view that was never materialized, or has no rows.
    """

    view: str
    table: str
    rows: int
    snapshot_id: int | None = field(metadata=SNAPSHOT_ID)


def publish_views(runtime: Runtime, versions: Iterable[Applied], full: bool) -> list[Publication]:
    """Publish each version by itself, one after the other; one that was never materialized has nothing to publish.

    Raises: as `publish`.
    """
    done = []
    for applied in versions:
        view = stored_definition.checked_stored_view(applied.name, applied.version, applied.document, applied.columns)
        table = tables.load(runtime.catalog, runtime.features_table(applied.table))
        filled = feature_table.state_of(table.properties).through is not None
        published = publish(runtime, applied, view, full, table=table) if filled else Published(None)
        done.append(Publication(applied.name, applied.table, published.rows, published.snapshot_id))
    return done


def publish(
    runtime: Runtime,
    applied: Applied,
    view: FeatureView,
    full: bool = False,
    session: Session | None = None,
    table: Table | None = None,
) -> Published:
    """Bring the online store to the table's current snapshot and watermark; with `full`, put all rows in the place of those it has.

    The online store remembers which snapshot it holds, so a run that died between append and publish is finished by
    the next one, and an online store that was lost is filled anew, also when that happens between the look and the write.
    `session` is one that may read the table's files and whose content nobody needs, and `table` the table as it was a moment ago;
    what is not given, or when a publish is tried again, is opened for it. Raises: CommitConflict when others publish the table, or
    empty it, all the time.
    """

    def attempt() -> Published:
        return _publish(runtime, applied, view, full, session, table)

    def recover(conflict: CommitConflict) -> None:
        nonlocal session, table
        session = table = None

    name = runtime.features_table(applied.table)
    return commits.retry(name, attempt, undone="its newest rows are not online", attempts=ATTEMPTS, recover=recover)


def _publish(runtime: Runtime, applied: Applied, view: FeatureView, full: bool, given: Session | None, table: Table | None) -> Published:
    # Before the table is loaded: what was published until then is of a state of the table that is not newer.
    held = runtime.online.cursor(applied.table)
    if table is None or _is_behind(table, held):
        table = tables.load(runtime.catalog, runtime.features_table(applied.table))
    snapshot_id = tables.current_snapshot_id(table)
    cursor = Cursor(snapshot_id, feature_table.state_of(table.properties).through)
    if held == cursor and not full:
        return Published(snapshot_id)
    columns, keys = list(applied.columns), tuple(view.entity.keys)
    deletions = snapshot_id is not None and DELETED in tables.schema_of(table, snapshot_id).column_names

    whole = _planned_once(lambda columns: scans.scan_snapshot(table, snapshot_id, columns=columns))
    with runtime.engine.session(data_folders(table)) if given is None else nullcontext(given) as session:
        if given is not None:
            session.clear()
        log = None if held is None or full else _appended(table, held.snapshot_id, snapshot_id)
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
        rows = session.batches(query)
        written = runtime.online.publish(applied.table, rows, keys=keys, cursor=cursor, since=held, replace=log is None, removed=removed)
    return Published(snapshot_id, written)


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
            return replace(planned, columns=tuple(known[name] for name in columns))
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
