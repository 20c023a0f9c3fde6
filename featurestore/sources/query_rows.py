"""Run a user's SELECT over tables in a session that can read only those tables, and no files."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import NamedTuple

import pyarrow as pa

from featurestore.compiler.query import Tree
from featurestore.compiler.relations import Handle
from featurestore.compiler.row_policy import OPEN, RowPolicy
from featurestore.compiler.typed_columns import without_rows
from featurestore.engine.rereadable import Rereadable
from featurestore.engine.session import Relation, Session
from featurestore.engine.watch import current, use_watch
from featurestore.lakehouse.granted import Granted
from featurestore.records.runtime import Runtime
from featurestore.sources.policy_rows import add_visible_rows, relation_of
from featurestore.sources.query import add_query
from featurestore.values.table_names import is_in

QUERY = "query"
"""The name of the query's view in its session."""


class TableAt(NamedTuple):
    """A table with the snapshot and the schema to read; None means no rows, and the schema of the snapshot."""

    granted: Granted
    snapshot_id: int | None
    schema_id: int | None


@contextmanager
def open_query(
    runtime: Runtime, tree: Tree, at: Mapping[str, TableAt], what: str, policies: Mapping[str, RowPolicy] = MappingProxyType({})
) -> Iterator[pa.RecordBatchReader]:
    """The rows of a checked query over these tables, as a stream that is valid within the context.

    Of tables with a policy, the query sees what the policy shows, which is stored first: no condition of the query, and no error of one,
    depends on what is hidden. Raises: RequestError naming `what` and every unknown column; NotFound for an expired snapshot.
    """
    with runtime.engine.session() as session:
        open_tables = {name: table_at for name, table_at in at.items() if policies.get(name, OPEN).is_open}
        added = _add_relations(session, _relations(open_tables))
        for index, name in enumerate(name for name in at if name not in open_tables):
            granted, snapshot_id, _ = at[name]
            may_lack = is_in(granted.name, runtime.settings.features_namespace)
            added[name] = add_visible_rows(session, f"visible_{index}", granted, snapshot_id, policies[name], may_lack=may_lack)
        yield session.batches(add_query(session, QUERY, tree, added, what))


def query_rows(runtime: Runtime, tree: Tree, at: Mapping[str, TableAt], what: str) -> Rereadable:
    """The rows of a checked query, which can be read several times. Raises: as `open_query`."""
    relations, watch = _relations(at), current()
    with runtime.engine.session() as session:
        schema = session.batches(without_rows(_add_tables(session, tree, relations, what))).schema

    def batches() -> Iterator[pa.RecordBatch]:
        # Called in a thread of the engine, which does not have the caller's watch.
        with ExitStack() as stack:
            with use_watch(watch):
                session = stack.enter_context(runtime.engine.session())
            yield from session.batches(_add_tables(session, tree, relations, what))

    return Rereadable(schema, batches)


def query_columns(runtime: Runtime, tree: Tree, at: Mapping[str, TableAt], what: str) -> dict[str, str]:
    """The columns of a checked query and their DuckDB types.

    Raises: as `open_query`; TypeMismatch for a column with a type that Arrow cannot represent exactly.
    """
    with runtime.engine.brief() as session:
        rows = _add_tables(session, tree, _relations({name: table_at._replace(snapshot_id=None) for name, table_at in at.items()}), what)
        # Raises TypeMismatch.
        session.batches(without_rows(rows))
        return session.schema(rows)


def _relations(at: Mapping[str, TableAt]) -> dict[str, Relation]:
    return {name: relation_of(*table_at) for name, table_at in at.items()}


def _add_tables(session: Session, tree: Tree, relations: Mapping[str, Relation], what: str) -> Handle:
    return add_query(session, QUERY, tree, _add_relations(session, relations), what)


def _add_relations(session: Session, relations: Mapping[str, Relation]) -> dict[str, Handle]:
    return {table: session.add(f"table_{index}", relation) for index, (table, relation) in enumerate(relations.items())}
