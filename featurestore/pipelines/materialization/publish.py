"""Publishing: what a feature table gained since the online store last saw it goes there, newest row per key."""

from collections.abc import Sequence
from dataclasses import dataclass

from featurestore.compiler.expressions import quoted
from featurestore.compiler.relations import IcebergFiles
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Relation, Session
from featurestore.lakehouse import scans, tables
from featurestore.online.store import Cursor
from featurestore.pipelines import feature_table, times
from featurestore.pipelines.materialization.compute import count
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.registry import Applied

FEW_ROWS = 500_000
"""Of so many, to see whether each key has one row takes less than to choose among them."""


@dataclass(frozen=True)
class Published:
    """The snapshot that the online store now holds, None while the table has no rows, and how many rows were written for it."""

    snapshot_id: int | None
    rows: int = 0


def publish(parts: Parts, applied: Applied, view: FeatureView) -> Published:
    """Bring the online store to the table's current snapshot and watermark.

    The online store remembers which snapshot it holds, so a run that died between append and publish is finished by
    the next one, and an online store that was lost is filled anew.
    """
    table = tables.load(parts.catalog, parts.features_table(applied.table))
    snapshot_id = tables.current_snapshot_id(table)
    cursor = Cursor(snapshot_id, feature_table.state(table.properties).through)
    held = parts.online.cursor(applied.table)
    if held == cursor:
        return Published(snapshot_id)
    columns = list(applied.columns)
    keys = tuple(view.entity.keys)
    with parts.engine.session() as session:
        appended = None
        if held is not None and snapshot_id is not None and held.snapshot_id is not None:
            changes = scans.changes(table, held.snapshot_id, snapshot_id, columns=columns)
            appended = changes.relation if changes.appended else None
        log = appended if appended is not None else scans.scan(table, snapshot_id, columns=columns)
        session.add("__fs_log", log)
        newest = session.batches(_rows_to_publish(session, log, keys, columns))
        written = parts.online.publish(applied.table, newest, keys=keys, cursor=cursor, replace=appended is None)
    return Published(snapshot_id, written)


def _rows_to_publish(session: Session, log: Relation, keys: Sequence[str], columns: Sequence[str]) -> str:
    """The newest row of every key in the relation __fs_log; files can be looked at first, a stream is read once."""
    if not isinstance(log, IcebergFiles):
        return _newest("__fs_log", keys, columns)
    key_list = ", ".join(map(quoted, keys))
    if log.rows <= FEW_ROWS and not count(session, f"(SELECT 1 FROM __fs_log GROUP BY {key_list} HAVING count(*) > 1 LIMIT 1)"):
        return f"SELECT * FROM __fs_log ORDER BY {key_list}"
    return _newest(_of_newest_time("__fs_log", keys), keys, columns)


def _of_newest_time(log: str, keys: Sequence[str]) -> str:
    """The rows of the newest feature_timestamp of every key: the first of two passes reads the keys and times alone, and
    what it finds leaves most files out of the second."""
    key_list = ", ".join(map(quoted, keys))
    newest = f"SELECT {key_list}, max(feature_timestamp) AS feature_timestamp FROM {log} GROUP BY {key_list}"
    return f"(SELECT l.* FROM {log} l SEMI JOIN ({newest}) n USING ({key_list}, feature_timestamp))"


def _newest(log: str, keys: Sequence[str], columns: Sequence[str]) -> str:
    """The newest row of every key, in the order of the keys, which is the order that loads fastest.

    One pass that keeps a row per key, where a window function would sort the whole log. An unknown created time is the oldest.
    """
    key_list = ", ".join(map(quoted, keys))
    row = ", ".join(f"{quoted(column)} := {quoted(column)}" for column in columns if column not in keys)
    age = f"row(epoch_us(feature_timestamp), coalesce(epoch_us(created_timestamp), {times.FIRST}))"
    picked = f"SELECT {key_list}, arg_max(struct_pack({row}), {age}) AS __fs_row FROM {log} GROUP BY {key_list}"
    unpacked = ", ".join(quoted(column) if column in keys else f"__fs_row.{quoted(column)} AS {quoted(column)}" for column in columns)
    return f"SELECT {unpacked} FROM ({picked}) ORDER BY {key_list}"
