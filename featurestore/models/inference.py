"""The inference log: a row for each prediction, with typed columns for keys, request fields, features and result."""

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.lakehouse import tables, tags, writes
from featurestore.lakehouse.table import Table
from featurestore.models.bundle import Native
from featurestore.models.features import FeatureRows
from featurestore.models.values import sql_types_of, to_arrow, to_list
from featurestore.store import FeatureStore
from featurestore.values import times

MOMENT = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("predicted_at", MOMENT),
        ("model", pa.string()),
        ("version", pa.string()),
        ("model_id", pa.string()),
        ("run_id", pa.string()),
        ("training_set", pa.string()),
        ("as_of", MOMENT),
        ("overridden", pa.list_(pa.string())),
        ("snapshots", pa.string()),
    ]
)
"""The columns of every inference table; those of the values are added beside them."""
EARLY = ("entity", "request", "features")
"""Columns of tables of early releases, which held values as JSON, as their `prediction` did; they are NULL in new rows."""
PREDICTION = "prediction"
TAG = "inference-"
"""The prefix of the tags of snapshots that rows name."""


def record_predictions(
    store: FeatureStore,
    native: Native,
    model: tuple[str, str | None],
    features: FeatureRows,
    predictions: pa.ChunkedArray,
    batch: str | None,
) -> None:
    """Append a row for each prediction to `<inference namespace>.<model>`; concurrent writers do not conflict.

    `model` is its name and version. A `batch` that is already in the table is not added again. The snapshots that the rows name are tagged
    first, so that they never expire. Characters of the model's name that a table name cannot have become _.
    """
    name, version = model
    identifier = f"{store.settings.inference_namespace}.{re.sub(r'[^A-Za-z0-9_]', '_', name)}"
    table = tables.create_if_absent(store.catalog, identifier, SCHEMA, month_of="predicted_at")
    tables.add_missing_columns(table, list(SCHEMA))
    _keep_snapshots(store, features.snapshots)
    stamp, count, now = native.stamp, len(predictions), times.now()
    snapshots = {table: None if snapshot is None else str(snapshot) for table, snapshot in features.snapshots.items()}
    rows: dict[str, Any] = {
        "request_id": _request_ids(count),
        "predicted_at": pa.repeat(pa.scalar(now, MOMENT), count),
        "model": _repeat(name, count),
        "version": _repeat(version, count),
        "model_id": _repeat(native.model.metadata.model_id, count),
        "run_id": _repeat(native.model.metadata.run_id, count),
        "training_set": _repeat(stamp.training_set, count),
        "as_of": pa.repeat(pa.scalar(now, MOMENT), count) if features.as_of is None else features.as_of,
        "overridden": _overridden(features, count),
        "snapshots": _repeat(json.dumps(snapshots, separators=(",", ":")), count),
    }
    rows |= _value_columns(table, {**_values(native, features), PREDICTION: plain_values(predictions)})
    for field in tables.arrow_schema(table):
        rows.setdefault(field.name, pa.nulls(count, field.type))
    writes.append_retrying(table, pa.table(rows).to_reader(), summary={"featurestore.action": "score"}, once=batch)


def _keep_snapshots(store: FeatureStore, snapshots: Mapping[str, int | None]) -> None:
    for name, snapshot in snapshots.items():
        if snapshot is not None:
            tags.set_tag(tables.load(store.catalog, f"{store.settings.features_namespace}.{name}"), f"{TAG}{snapshot}", snapshot)


def _values(native: Native, features: FeatureRows) -> dict[str, pa.Array | pa.ChunkedArray]:
    plan, sql_types = native.stamp.plan, sql_types_of(native.stamp.plan)
    names = dict.fromkeys([*plan.entity_columns, *dict(plan.request), *native.stamp.features])
    return {name: plain_values(to_arrow(features.columns[name], sql_types.get(name))) for name in names}


def _value_columns(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by the names of their columns, which the table then has.

    A value has the column of its name; value_<name> if the log itself has a column of that name; <name>_<type> if the column has another
    type, as after a change of the view or of the model.
    """
    while True:
        known = {field.name: field.type for field in tables.arrow_schema(table)}
        columns = {column_of(name, array.type, known): array for name, array in values.items()}
        missing = [pa.field(name, array.type) for name, array in columns.items() if name not in known]
        if not missing:
            return columns
        # Another writer may have added one of the names with another type meanwhile.
        tables.add_missing_columns(table, missing)


def column_of(name: str, arrow_type: pa.DataType, known: Mapping[str, pa.DataType]) -> str:
    """The column of a value with this name and type in a table that has the columns `known`."""
    reserved = {*SCHEMA.names, *EARLY, *([PREDICTION] if EARLY[0] in known and known[EARLY[0]] == pa.string() else [])}
    column = f"value_{name}" if name in reserved else name
    if known.get(column, arrow_type) == arrow_type:
        return column
    return f"{column}_{re.sub(r'[^a-z0-9]+', '_', str(arrow_type).lower()).strip('_')}"


def plain_values(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The values with the type of the column that they get; what Iceberg has no type for as JSON text."""
    if pa.types.is_null(values.type):
        return values.cast(pa.string())
    if pa.types.is_struct(values.type):
        return pa.array([None if value is None else json.dumps(value, default=str) for value in values.to_pylist()], pa.string())
    plain = tables.stored_type(values.type)
    return values if plain == values.type else values.cast(plain)


def _overridden(features: FeatureRows, count: int) -> pa.Array:
    """The features that the caller sent instead of the looked-up ones, for each row."""
    if not features.sent:
        # A second faster for a million rows than to repeat an empty list.
        return pa.ListArray.from_arrays(pa.array(np.zeros(count + 1, np.int32)), pa.array([], pa.string()))
    names = sorted(features.sent)
    columns = [to_list(features.sent[name]) for name in names]
    rows = [[name for name, column in zip(names, columns, strict=True) if column[row] is not None] for row in range(count)]
    return pa.array(rows, pa.list_(pa.string()))


def _request_ids(count: int) -> pa.Array:
    """An id for each row: one of the call and the number of the row, so that the ids of a file are near one another."""
    numbers = pa.array(range(count), pa.int64()).cast(pa.string())
    return pc.binary_join_element_wise(uuid.uuid4().hex, numbers, "-")


def _repeat(value: str | None, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), count)
