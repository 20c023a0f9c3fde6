"""The rows of tables as a policy shows them, stored before anything that a user wrote reads them."""

from collections.abc import Iterator, Mapping, Sequence
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
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime
from featurestore.values.table_names import is_in


def add_visible_rows(
    session: Session, name: str, granted: Granted, snapshot_id: int | None, policy: RowPolicy, *, may_lack: bool
) -> Handle:
    """Store the rows of a snapshot that a policy shows as a temporary table of the session, under the names that they have there.

    `may_lack` as in `policy_columns`. Raises: Forbidden if the policy masks a column that the table no longer has under that name.
    """
    raw = session.add(f"{name}_raw", relation_of(granted, snapshot_id))
    columns = policy_columns(granted.table, tables.names_by_id(granted.table, snapshot_id), policy, granted.name, may_lack=may_lack)
    return session.create_table(name, visible_rows(raw, session.schema(raw), columns, policy))


def relation_of(granted: Granted, snapshot_id: int | None, schema_id: int | None = None) -> Relation:
    """All rows of a snapshot, as a relation that can be read repeatedly."""
    rows = open_snapshot(granted, snapshot_id, schema_id)
    return Rereadable(rows.schema, rows.read) if isinstance(rows, SnapshotStream) else rows


@contextmanager
def open_visible_rows(runtime: Runtime, granted: Granted, snapshot_id: int | None, policy: RowPolicy) -> Iterator[pa.RecordBatchReader]:
    """The rows of a snapshot that a policy shows, in their order, as a stream that is valid within the context."""
    with runtime.engine.session() as session:
        may_lack = is_in(granted.name, runtime.settings.features_namespace)
        yield session.batches(add_visible_rows(session, "visible", granted, snapshot_id, policy, may_lack=may_lack))


def policy_columns(
    table: Table, stored: Mapping[int, str], policy: RowPolicy, shown: str, *, may_lack: bool = False
) -> list[tuple[str, str]]:
    """The columns `stored`, by field id: the name of each in policies, and its own. Policies name the columns of the current schema, which
    a snapshot may have under other names; a column that was dropped is called as it was last.

    Raises: Forbidden, calling the table `shown`, if a column is masked that it does not have any more, or another one has its name now; a
    view `may_lack` one, since its versions have different features.
    """
    current = tables.last_names_by_id(table)
    columns = [(current.get(id, name), name) for id, name in stored.items()]
    known = {*dict(columns), *tables.names_by_id(table, None).values()}
    for mask, _ in policy.masks:
        if not may_lack and resolve(mask, known) is None:
            raise Forbidden(
                f"the policy of {shown} masks the column {mask}, which the table does not have any more: whether it was renamed is"
                " not known, so nothing is shown; ask an administrator to apply the policy again",
                table=shown,
            )
    ruled, ever = policy.ruled, tables.all_names_by_id(table)
    for id in stored:
        if current[id].lower() not in ruled and any(name.lower() in ruled for name in ever[id]):
            raise Forbidden(
                f"the column {current[id]} of {shown} was renamed, and its policy still names what it was called before. Whether it means"
                " this column is not known, so nothing is shown; ask an administrator to apply the policy again with a mask of"
                f" {current[id]} too, which may be the column itself",
                table=shown,
            )
    return columns


def visible_rows(raw: Handle, types: Mapping[str, str], columns: Sequence[tuple[str, str]], policy: RowPolicy) -> Query:
    """The query of the rows that a policy shows, with the columns of `policy_columns` and the types of the relation `raw`."""
    return policy.bind({name: types[stored] for name, stored in columns}).visible_rows(raw, columns)
