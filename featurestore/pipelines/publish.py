"""Publishing: what a feature table gained since the online store last saw it goes there, newest row per key."""

from featurestore.compiler.expressions import quoted
from featurestore.dsl.view import FeatureView
from featurestore.lakehouse import scans, tables
from featurestore.online.store import Cursor
from featurestore.pipelines import feature_table
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.registry import Applied


def publish(parts: Parts, applied: Applied, view: FeatureView) -> int:
    """Bring the online store to the table's current snapshot and watermark; returns the rows written.

    The online store remembers which snapshot it holds, so a run that died between append and publish is finished by
    the next one, and an online store that was lost is filled anew.
    """
    table = tables.load(parts.catalog, parts.features_table(applied.table))
    snapshot_id = tables.current_snapshot_id(table)
    cursor = Cursor(snapshot_id, feature_table.state(table.properties).through)
    held = parts.online.cursor(applied.table)
    if held == cursor:
        return 0
    columns = list(applied.columns)
    keys = tuple(view.entity.keys)
    with parts.engine.session() as session:
        appended = None
        if held is not None and snapshot_id is not None and held.snapshot_id is not None:
            changes = scans.changes(table, held.snapshot_id, snapshot_id, columns=columns)
            appended = changes.relation if changes.appended else None
        session.add("__fs_log", appended if appended is not None else scans.scan(table, snapshot_id, columns=columns))
        newest = (
            f"SELECT * FROM __fs_log QUALIFY row_number() OVER (PARTITION BY {', '.join(map(quoted, keys))}"
            " ORDER BY feature_timestamp DESC, created_timestamp DESC NULLS LAST) = 1"
        )
        return parts.online.publish(applied.table, session.batches(newest), keys=keys, cursor=cursor, replace=appended is None)
