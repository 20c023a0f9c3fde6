"""The rows of tables as a policy shows them, stored before anything that a user wrote reads them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from featurestore.compiler.expressions import resolve
from featurestore.compiler.query import Query
from featurestore.compiler.relations import Handle
from featurestore.compiler.row_policy import RowPolicy
from featurestore.engine.rereadable import Rereadable
from featurestore.engine.session import Relation, Session
from featurestore.errors import Forbidden
from featurestore.lakehouse import tables
from featurestore.lakehouse.datasets import SnapshotStream, open_snapshot
from featurestore.lakehouse.granted import Granted
from featurestore.records.runtime import Runtime


def add_visible_rows(session: Session, name: str, granted: Granted, snapshot_id: int | None, policy: RowPolicy) -> Handle:
    """Store the rows of a snapshot that a policy shows as a temporary table of the session, under the names that they have there.

    Raises: Forbidden if the policy masks a column that the table no longer has under that name.
    """
    raw = session.add(f"{name}_raw", relation_of(granted, snapshot_id))
    return session.create_table(name, _visible_rows(raw, session.schema(raw), granted, snapshot_id, policy))


def relation_of(granted: Granted, snapshot_id: int | None, schema_id: int | None = None) -> Relation:
    """All rows of a snapshot, as a relation that can be read repeatedly."""
    rows = open_snapshot(granted, snapshot_id, schema_id)
    return Rereadable(rows.schema, rows.read) if isinstance(rows, SnapshotStream) else rows


@contextmanager
def open_visible_rows(runtime: Runtime, granted: Granted, snapshot_id: int | None, policy: RowPolicy) -> Iterator[pa.RecordBatchReader]:
    """The rows of a snapshot that a policy shows, in their order, as a stream that is valid within the context."""
    with runtime.engine.session() as session:
        yield session.batches(add_visible_rows(session, "visible", granted, snapshot_id, policy))


def _visible_rows(raw: Handle, types: dict[str, str], granted: Granted, snapshot_id: int | None, policy: RowPolicy) -> Query:
    """The query of visible rows. Policies name the columns of the current schema, which a snapshot may have under other names."""
    current = tables.names_by_id(granted.table, None)
    at = tables.names_by_id(granted.table, snapshot_id)
    columns = [(current.get(id, name), name) for id, name in at.items()]
    for mask, _ in policy.masks:
        if resolve(mask, {*dict(columns), *current.values()}) is None:
            raise Forbidden(
                f"the policy of {granted.name} masks the column {mask}, which the table does not have any more: whether it was renamed is"
                " not known, so nothing is shown; ask an administrator to apply the policy again",
                table=granted.name,
            )
    bound = policy.bind({name: types[stored] for name, stored in columns})
    return bound.visible_rows(raw, columns)
