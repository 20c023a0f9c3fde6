"""A spine is the rows to train or score on, as an Arrow table with its time and keys made regular."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import RequestError, near
from featurestore.pipelines.spine_columns import as_key, as_time, as_value, storable


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


def fitted(table: pa.Table, plan: ServicePlan, timestamp: str) -> Spine:
    """These rows as the spine of a service. Raises: RequestError and TypeMismatch naming the column that is missing,
    misnamed or of a wrong type.
    """
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


def time_range(times: pa.ChunkedArray) -> tuple[int, int] | None:
    """The first and the last time in microseconds; None when there is no time at all."""
    ends = pc.min_max(times)
    first, last = ends["min"].cast(pa.int64()).as_py(), ends["max"].cast(pa.int64()).as_py()
    return None if first is None else (first, last)
