"""A spine is the rows to train or score on: whatever the caller has, read into Arrow with its time and keys made regular."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.expressions import SqlProblem, parse_query, query_problems, query_tables, render_query
from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import NotFound, RequestError, near
from featurestore.lakehouse import scans, tables
from featurestore.pipelines import frames
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.spine_columns import as_key, as_time, as_value, storable

TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Spine:
    """`table` has the caller's columns in order, its timestamp in UTC microseconds; `keys` and `request` are the
    columns the join reads, by their name in the request and fitted to their types; `source` says where rows came from.
    """

    table: pa.Table
    timestamp: str
    keys: dict[str, pa.ChunkedArray]
    request: dict[str, pa.ChunkedArray]

    @property
    def times(self) -> pa.ChunkedArray:
        """The rows' times."""
        return self.table.column(self.table.schema.get_field_index(self.timestamp))


def read(parts: Parts, given: Any, plan: ServicePlan, timestamp: str) -> Spine:
    """The spine of a service. Raises: RequestError and TypeMismatch naming the column that is missing, misnamed or of
    a wrong type; NotFound for a file or table that does not exist.
    """
    table = rows_of(parts, given)
    _check_names(table.schema.names, plan, timestamp)
    columns: list[pa.ChunkedArray] = []
    for field, column in zip(table.schema, table.columns, strict=True):
        columns.append(as_time(column, field.name) if field.name == timestamp else storable(column, field.name))
    keys: dict[str, pa.ChunkedArray] = {}
    for use in plan.uses:
        for (_, name), kind in zip(use.keys, use.key_types, strict=True):
            keys[name] = as_key(columns[table.schema.names.index(name)], name, kind)
    request = {name: as_value(columns[table.schema.names.index(name)], name, kind) for name, kind in plan.request}
    return Spine(pa.Table.from_arrays(columns, names=table.schema.names), timestamp, keys, request)


def _check_names(names: Sequence[str], plan: ServicePlan, timestamp: str) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise RequestError(f"the spine has two columns called '{twice}'; rename one")
    if timestamp not in names:
        raise RequestError(f"the spine has no timestamp column '{timestamp}'{near(timestamp, names)}", field=timestamp)
    for column in plan.entity_columns:
        if column not in names:
            raise RequestError(
                f"the spine has no key column '{column}', which service {plan.service} needs{near(column, names)}", field=column
            )
    for column, kind in plan.request:
        if column not in names:
            raise RequestError(
                f"the spine has no column '{column}' ({kind}), a request field of service {plan.service}{near(column, names)}", field=column
            )
    for column in plan.feature_names:
        if column in names:
            raise RequestError(
                f"the spine has a column '{column}', and so has service {plan.service} a feature; rename the spine's", field=column
            )
    for column in names:
        if column.startswith("__fs_"):
            raise RequestError(f"the spine's column '{column}' begins with __fs_, which is the store's own; rename it", field=column)


def rows_of(parts: Parts, given: Any) -> pa.Table:
    """A spine as the caller has it, as one table: a frame, Arrow, a list of dicts, a path, an Iceberg table or SQL."""
    table = frames.in_memory(given)
    return _named(parts, os.fspath(given).strip()) if table is None else table


def _named(parts: Parts, text: str) -> pa.Table:
    if text.startswith("iceberg:"):
        name, _, snapshot = text.removeprefix("iceberg:").partition("@")
        table = tables.load(parts.catalog, name)
        with parts.engine.session() as session:
            session.add("spine", scans.scan(table, _snapshot_id(table, snapshot)))
            return session.batches("SELECT * FROM spine").read_all()
    if frames.is_query(text):
        try:
            tree = parse_query(text)
            relations = {name: f"spine_{index}" for index, name in enumerate(query_tables(tree))}
        except SqlProblem as error:
            raise RequestError(f"the spine's SQL cannot be used: {error}") from error
        with parts.engine.session() as session:
            loaded = {name: tables.load(parts.catalog, name) for name in relations}
            unknown = query_problems(tree, {name: tables.arrow_schema(table).names for name, table in loaded.items()})
            if unknown:
                raise RequestError(f"the spine's SQL cannot be used: {'; '.join(unknown)}")
            for name, relation in relations.items():
                session.add(relation, scans.scan(loaded[name], tables.current_snapshot_id(loaded[name])))
            return session.batches(render_query(tree, relations)).read_all()
    return frames.of_files(text)


def _snapshot_id(table: tables.Table, text: str) -> int | None:
    if not text:
        return tables.current_snapshot_id(table)
    known = [str(snapshot) for snapshot in tables.snapshot_ids(table)]
    if text not in known:
        raise NotFound("snapshot", text, known, ".".join(table.name()))
    return int(text)


def time_range(times: pa.ChunkedArray) -> tuple[int, int] | None:
    """The first and the last time in microseconds; None when there is no time at all."""
    ends = pc.min_max(times)
    first, last = ends["min"].cast(pa.int64()).as_py(), ends["max"].cast(pa.int64()).as_py()
    return None if first is None else (first, last)
