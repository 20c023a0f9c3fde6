"""Publishing: what a feature table gained since the online store last saw it goes there, newest row per key.

Of a key that rows were deleted of, the newest one that is left is looked for in the table; if there is none, the key goes.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from featurestore.compiler.expressions import quoted
from featurestore.compiler.log_diff import CREATED_OR_YEAR_1, DELETED, LIVE_COLUMNS, YEAR_1, live_rows
from featurestore.compiler.relations import IcebergFiles
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Relation, Session
from featurestore.errors import CommitConflict
from featurestore.lakehouse import commits, scans, tables
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.tables import Table
from featurestore.online.store import Cursor
from featurestore.pipelines.materialization.compute import count
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
_NARROW, _WIDE, _TOUCHED, _CAME = "__fs_narrow", "__fs_log", "__fs_touched", "__fs_came"


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
        view = stored_definition.checked_view(applied.name, applied.version, applied.document, applied.columns)
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
        touched = _make_touched(session, log, keys) if log is not None and deletions else 0
        removed = None
        if log is None or touched > FEW_KEYS:
            log, select = None, newest(session, whole, keys, columns, deletions)
        elif not touched:
            select = newest(session, log, keys, columns, deletions)
        else:
            removed = session.batches(f"SELECT * FROM {_TOUCHED}").read_all()
            came = newest(session, log, keys, columns, deletions, "ANTI")
            session.run(f"CREATE TEMP TABLE {_CAME} AS {came}")
            left = newest(session, whole, keys, columns, deletions, "SEMI")
            select = f"SELECT * FROM (SELECT * FROM {_CAME} UNION ALL ({left})) ORDER BY {_list(keys)}"
        rows = session.batches(select)
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


def _make_touched(session: Session, log: Log, keys: Sequence[str]) -> int:
    """Make the table of the keys that a log has tombstones of; returns how many there are."""
    session.add(_NARROW, log([*keys, DELETED]))
    session.run(f"CREATE TEMP TABLE {_TOUCHED} AS SELECT DISTINCT {_list(keys)} FROM {_NARROW} WHERE {DELETED}")
    return count(session, _TOUCHED)


def newest(session: Session, log: Log, keys: Sequence[str], columns: Sequence[str], deletions: bool, touched: str | None = None) -> str:
    """A SELECT of the newest row of every key that is not deleted, in the order of the keys, which is the order that loads fastest.

    `touched`: SEMI for the keys in the table of those alone, ANTI for all others. The log is read twice: keys and times alone, and
    then what was found in them, which leaves most row groups out: the engine hashes an aggregate, but not a table of the same
    rows, whose size it cannot compare with that of files. (`arg_max` of whole rows, in one pass, makes -0.0 of them 0.0.)
    """
    relation = log(columns)
    if isinstance(relation, IcebergFiles) and not deletions and relation.rows <= FEW_ROWS:
        session.add(_WIDE, relation)
        if not count(session, f"(SELECT 1 FROM {_WIDE} GROUP BY {_list(keys)} HAVING count(*) > 1 LIMIT 1)"):
            return f"SELECT {_list(columns)} FROM {_WIDE} ORDER BY {_list(keys)}"
    session.add(_NARROW, log([*keys, *(LIVE_COLUMNS if deletions else LIVE_COLUMNS[:2])]))
    rows = f"(SELECT * FROM {_NARROW} {touched} JOIN {_TOUCHED} USING ({_list(keys)}))" if touched else _NARROW
    versions = live_rows(keys, rows) if deletions else f"SELECT * REPLACE ({CREATED_OR_YEAR_1} AS created_timestamp) FROM {rows}"
    time = "struct_pack(feature := feature_timestamp, created := created_timestamp)"
    found = f"SELECT {_list(keys)}, max({time}) AS __fs_at FROM ({versions}) GROUP BY {_list(keys)}"
    newest = f"(SELECT {_list(keys)}, __fs_at.feature AS __fs_feature, __fs_at.created AS __fs_created FROM ({found}))"
    session.add(_WIDE, log(columns))
    same = " AND ".join(f"l.{quoted(key)} = n.{quoted(key)}" for key in keys)
    at = f"l.feature_timestamp = n.__fs_feature AND coalesce(l.created_timestamp, {YEAR_1}) = n.__fs_created"
    wide = ", ".join(f"l.{quoted(column)}" for column in columns)
    return f"SELECT {wide} FROM {_WIDE} l SEMI JOIN {newest} n ON {same} AND {at} ORDER BY {_list(keys)}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(quoted, names))
