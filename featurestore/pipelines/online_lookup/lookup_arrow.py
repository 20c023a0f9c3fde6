"""The Arrow form of looked-up features: a column for each feature, with the type that a point-in-time join gives it."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from featurestore.spines.columns import plain_arrow_type
from featurestore.values.arrow_types import ARROW_TYPES, arrow_type
from featurestore.values.value_types import ZONED

STATUS, TIMESTAMP = "__fs_status.", "__fs_timestamp."
"""Prefixes of the columns with the status and the feature timestamp of a view, before its label. No feature begins like this."""
METADATA = b"featurestore"
"""The key of the schema's metadata under which the rest of the answer is, as JSON."""
NULL = '"NULL"'
"""DuckDB's name of the type of an expression that is always NULL."""
_DERIVED_TYPES = {**ARROW_TYPES, "UUID": pa.string(), "HUGEINT": pa.decimal128(38, 0), NULL: pa.null()}


def feature_columns(
    names: Sequence[str], types: Sequence[str | None], derived_types: Sequence[str], rows: Sequence[Sequence[Any]]
) -> dict[str, pa.Array]:
    """The features as Arrow arrays by name. `types` are None for derived features; their types are `derived_types`, if there are rows."""
    derived = iter(derived_types)
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    arrays: dict[str, pa.Array] = {}
    for name, sql_type, values in zip(names, types, columns, strict=True):
        shown = next(derived, NULL) if sql_type is None else sql_type
        target = plain_arrow_type(shown) if sql_type is not None else arrow_type(shown, _DERIVED_TYPES)
        arrays[name] = pa.array(_with_text_uuids(values, shown), target)
    return arrays


def view_columns(status: Mapping[str, Sequence[str]], timestamps: Mapping[str, Sequence[int | None]]) -> dict[str, pa.Array]:
    """The status and the feature timestamp of each entity in each view, by the names of their columns."""
    columns = {f"{STATUS}{label}": pa.array(states, pa.string()) for label, states in status.items()}
    return columns | {f"{TIMESTAMP}{label}": pa.array(moments, ARROW_TYPES[ZONED]) for label, moments in timestamps.items()}


def write_stream(columns: Mapping[str, pa.Array], head: Mapping[str, Any]) -> bytes:
    """An Arrow IPC stream of one batch, with `head` in the metadata of its schema."""
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    batch = batch.replace_schema_metadata({METADATA: orjson.dumps(head)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _with_text_uuids(value: Any, sql_type: str) -> Any:
    """Values with UUIDs as text, also in lists."""
    if sql_type.removesuffix("[]") == sql_type:
        return [None if item is None else str(item) for item in value] if sql_type == "UUID" else value
    return [None if item is None else _with_text_uuids(item, sql_type[:-2]) for item in value] if "UUID" in sql_type else value
