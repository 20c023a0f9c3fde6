"""The tables of logged predictions: a row for each prediction, with typed columns for keys, request fields, features and result."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from featurestore.errors import NotFound
from featurestore.lakehouse import tables, tags
from featurestore.lakehouse.casting import cast_batches
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of
from featurestore.pipelines.maintenance.retention import INFERENCE_TAG
from featurestore.records.runtime import Runtime

if TYPE_CHECKING:
    from featurestore.models.stamps.stamp import Stamp

logger = logger_of(__name__)

MOMENT = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("row_number", pa.int32()),
        ("arm", pa.string()),
        ("shadow", pa.bool_()),
        ("predicted_at", MOMENT),
        ("model", pa.string()),
        ("version", pa.string()),
        ("model_id", pa.string()),
        ("run_id", pa.string()),
        ("training_set", pa.string()),
        ("as_of", MOMENT),
        ("overridden", pa.list_(pa.string())),
        ("parameters", pa.string()),
        ("snapshots", pa.string()),
        ("statuses", pa.string()),
        ("edition", pa.int64()),
        ("policies_digest", pa.string()),
    ]
)
"""The columns of every inference table; those of the values are added beside them."""
EARLY = ("entity", "request", "features")
"""Columns of tables of early releases, which held values as JSON, as their `prediction` did; they are NULL in new rows."""
PREDICTION = "prediction"


@dataclass(frozen=True)
class LoggedModel:
    """A version of a model whose predictions are logged. `columns` are the keys, request fields and features of its rows in order, each
    with its DuckDB type; None for a derived feature, whose type the lookup says.
    """

    name: str
    version: str | None
    model_id: str | None
    run_id: str | None
    training_set: str
    columns: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class PredictionRows:
    """Rows to be logged: the columns of SCHEMA that say something of them, and the values by name, each with a value for each row."""

    facts: Mapping[str, pa.Array | pa.ChunkedArray]
    values: Mapping[str, pa.Array | pa.ChunkedArray]


def logged_model(stamp: "Stamp", metadata: Any, name: str, version: str | None) -> LoggedModel:
    """The version of a model with this stamp; `metadata` is MLflow's, which has the ids of model and run."""
    plan = stamp.plan
    keys = {column: sql_type for use in plan.uses for (_, column), sql_type in zip(use.keys, use.key_types, strict=True)}
    looked_up = {name: sql_type for use in plan.uses for (_, name), sql_type in zip(use.features, use.feature_types, strict=True)}
    types = {**keys, **dict(plan.request), **looked_up}
    names = dict.fromkeys([*plan.entity_columns, *dict(plan.request), *stamp.features])
    columns = tuple((column, types.get(column)) for column in names)
    return LoggedModel(name, version, metadata.model_id, metadata.run_id, stamp.training_set, columns)


def inference_table(runtime: Runtime, model: str) -> str:
    """The table with the logged predictions of a model; characters that a table name cannot have are _."""
    return f"{runtime.settings.inference_namespace}.{re.sub(r'[^A-Za-z0-9_]', '_', model)}"


def open_table(runtime: Runtime, identifier: str) -> Table:
    """A table of logged predictions with the columns of SCHEMA; it is created if there is none."""
    table = tables.create_if_absent(runtime.catalog, identifier, SCHEMA, month_of="predicted_at")
    tables.add_missing_columns(table, list(SCHEMA))
    return table


def facts_of(model: LoggedModel, count: int) -> dict[str, pa.Array]:
    """The columns that say which model predicted, for so many rows."""
    return {name: repeat_value(getattr(model, name), count) for name in ("version", "model_id", "run_id", "training_set")} | {
        "model": repeat_value(model.name, count)
    }


def stored_rows(table: Table, parts: Sequence[PredictionRows], *, keep_dictionaries: bool = False) -> pa.Table:
    """The rows as the table stores them, part after part; the table then has all their columns. `keep_dictionaries` is as in
    `cast_batches`.
    """
    columns = [{**part.facts, **_value_columns(table, part.values)} for part in parts]
    schema = tables.arrow_schema(table)
    batches: list[pa.RecordBatch] = []
    for part in columns:
        count = len(part["request_id"])
        rows = pa.table({field.name: part[field.name] if field.name in part else pa.nulls(count, field.type) for field in schema})
        batches += list(cast_batches(rows.to_reader(), schema, table.name, keep_dictionaries=keep_dictionaries))
    return pa.Table.from_batches(batches, batches[0].schema if batches else schema)


def keep_snapshots(runtime: Runtime, snapshots: Mapping[str, int | None]) -> None:
    """Tag the snapshots that logged predictions name, by feature table, so that they do not expire."""
    for name, snapshot in snapshots.items():
        if snapshot is None:
            continue
        try:
            tags.set_tag(tables.load(runtime.catalog, runtime.features_table(name)), f"{INFERENCE_TAG}{snapshot}", snapshot)
        except NotFound as error:
            logger.warning("predictions name a snapshot that has expired, and cannot be replayed: %s", error)


def snapshots_text(snapshots: Mapping[str, int | None]) -> str:
    """The snapshots by feature table as the column `snapshots` has them."""
    texts = {table: None if snapshot is None else str(snapshot) for table, snapshot in snapshots.items()}
    return json.dumps(texts, separators=(",", ":"))


def _value_columns(table: Table, values: Mapping[str, pa.Array | pa.ChunkedArray]) -> dict[str, Any]:
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


def repeat_value(value: Any, count: int, arrow_type: pa.DataType | None = None) -> pa.Array:
    """A column with the same value, by default a text, in each of so many rows. A text is a dictionary, of which Parquet files are written
    in half of the time.
    """
    if arrow_type is None and value is not None:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([value], pa.string()))
    return pa.repeat(pa.scalar(value, arrow_type or pa.string()), count)
