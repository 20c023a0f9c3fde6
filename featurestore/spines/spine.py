"""A spine: the rows to train or score on, with converted times and keys, read in batches by the join."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.errors import RequestError, brief, near
from featurestore.spines.columns import as_key, as_time, as_value, storable
from featurestore.spines.spool import Spool


@dataclass(frozen=True)
class SpineRows:
    """Rows of a spine in memory. `table` has the caller's columns in order, with the timestamp in UTC microseconds; `keys` and `request`
    are the columns that the join reads, by their name in the request, converted to their types.
    """

    table: pa.Table
    timestamp: str
    keys: dict[str, pa.ChunkedArray]
    request: dict[str, pa.ChunkedArray]

    @property
    def times(self) -> pa.ChunkedArray:
        """The rows' times."""
        return self.table.column(self.table.schema.get_field_index(self.timestamp))

    def times_of(self, use: ViewUse) -> pa.ChunkedArray:
        """The times as of which a view is looked up."""
        return self.times if use.time is None else self.table.column(self.table.schema.get_field_index(use.time))

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self.table.num_rows)

    def slice(self, start: int, rows: int) -> "SpineRows":
        """At most `rows` rows, starting at row number `start`."""
        keys, request = ({name: column.slice(start, rows) for name, column in columns.items()} for columns in (self.keys, self.request))
        return SpineRows(self.table.slice(start, rows), self.timestamp, keys, request)


@dataclass(frozen=True)
class Spine:
    """All rows of a spine, in order, in memory or in a file. `plan` is the service that they are converted for.

    `origin` says where the rows were read, as JSON values: the `table` and its `snapshot_id`, or the `sql` with the snapshots of its
    `tables`; None for rows of the caller's and of files.
    """

    plan: ServicePlan
    timestamp: str
    source: SpineRows | Spool
    origin: Mapping[str, Any] | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns, without metadata of the library that they came from."""
        return self.source.schema if isinstance(self.source, Spool) else self.source.table.schema

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.source.rows

    @property
    def key_columns(self) -> list[str]:
        """The key columns that the join reads."""
        return list(dict.fromkeys(name for use in self.plan.uses for _, name in use.keys))

    @cached_property
    def ends(self) -> tuple[int, int] | None:
        """The first and the last time in microseconds; None if all times are NULL."""
        return self.ends_of(self.timestamp)

    def ends_of(self, time: str) -> tuple[int, int] | None:
        """As `ends`, for another column of times."""
        index = self.schema.get_field_index(time)
        ends = [end for table in self.tables() if (end := _ends(table.column(index))) is not None]
        return (min(first for first, _ in ends), max(last for _, last in ends)) if ends else None

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows in order, in one or several tables; each call reads again, and calls must not overlap."""
        if isinstance(self.source, Spool):
            yield from self.source.tables()
        else:
            yield self.source.table

    def read(self) -> pa.RecordBatchReader:
        """Stream the rows in order; each call reads again, as `tables`."""
        return pa.RecordBatchReader.from_batches(self.schema, (batch for table in self.tables() for batch in table.to_batches()))

    def pieces(self, rows: int) -> Iterator[SpineRows]:
        """Yield the rows in order, `rows` at a time, or one empty batch if there are none; as `tables`."""
        if isinstance(self.source, SpineRows):
            for start in range(0, max(self.rows, 1), rows):
                yield self.source.slice(start, rows) if rows < self.rows else self.source
            return
        waiting: list[pa.Table] = []
        for table in self.source.tables():
            waiting.append(table)
            while sum(batch.num_rows for batch in waiting) >= rows:
                whole = pa.concat_tables(waiting)
                yield fit_rows(whole.slice(0, rows), self.plan, self.timestamp)
                waiting = [whole.slice(rows)]
        rest = pa.concat_tables([self.schema.empty_table(), *waiting])
        if rest.num_rows or not self.rows:
            yield fit_rows(rest, self.plan, self.timestamp)


def spine_in_memory(rows: SpineRows, plan: ServicePlan) -> Spine:
    """A spine of rows in memory."""
    return Spine(plan, rows.timestamp, rows)


def fit_rows(table: pa.Table, plan: ServicePlan, timestamp: str) -> SpineRows:
    """Convert rows for a service. Raises: RequestError and TypeMismatch naming a column that is missing, misnamed or of a wrong type."""
    _check_names(table.schema.names, plan, timestamp)
    columns: list[pa.ChunkedArray] = []
    times = {timestamp, *plan.times}
    for field, column in zip(table.schema, table.columns, strict=True):
        columns.append(as_time(column, field.name) if field.name in times else storable(column, field.name))
    keys: dict[str, pa.ChunkedArray] = {}
    for use in plan.uses:
        for (_, name), sql_type in zip(use.keys, use.key_types, strict=True):
            keys[name] = as_key(columns[table.schema.names.index(name)], name, sql_type)
    request = {name: as_value(columns[table.schema.names.index(name)], name, sql_type) for name, sql_type in plan.request}
    return SpineRows(pa.Table.from_arrays(columns, names=table.schema.names), timestamp, keys, request)


def _check_names(names: Sequence[str], plan: ServicePlan, timestamp: str) -> None:
    if len(set(names)) < len(names):
        repeated = next(name for name in names if list(names).count(name) > 1)
        raise RequestError(f"the spine has two columns called '{repeated}'; rename one")
    if any(not name or "\0" in name for name in names):
        raise RequestError("the spine has a column without a name, or with a NUL in it; rename it")
    for time in (timestamp, *plan.times):
        if time not in names:
            raise RequestError(f"the spine has no timestamp column {brief(time)}{near(time, names)}", field=time)
    for column in plan.entity_columns:
        if column not in names:
            raise RequestError(
                f"the spine has no key column '{column}', which service {plan.service} needs{near(column, names)}", field=column
            )
    for column, sql_type in plan.request:
        if column not in names:
            raise RequestError(
                f"the spine has no column '{column}' ({sql_type}), a request field of service {plan.service}{near(column, names)}",
                field=column,
            )
    for column in plan.feature_names:
        if column in names:
            raise RequestError(
                f"the spine has a column '{column}', and so has service {plan.service} a feature; rename the spine's", field=column
            )
    for column in names:
        if column.startswith("__fs_"):
            raise RequestError(f"the spine's column '{column}' begins with __fs_, which is reserved; rename it", field=column)


def _ends(times: pa.ChunkedArray) -> tuple[int, int] | None:
    ends = pc.min_max(times)
    first, last = ends["min"].cast(pa.int64()).as_py(), ends["max"].cast(pa.int64()).as_py()
    return None if first is None else (first, last)
