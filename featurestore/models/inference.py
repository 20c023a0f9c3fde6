"""The inference log: a row for each prediction, with keys, request fields, features and result."""

import json
import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from featurestore.lakehouse import tables, writes
from featurestore.models import model_versions
from featurestore.models.features import FeatureRows
from featurestore.models.stamp import Stamp
from featurestore.models.values import to_list
from featurestore.store import FeatureStore
from featurestore.values import times

# Features are JSON, so that all versions of a model can share one table.
SCHEMA = pa.schema(
    [
        ("predicted_at", pa.timestamp("us", tz="UTC")),
        ("model", pa.string()),
        ("version", pa.string()),
        ("training_set", pa.string()),
        ("entity", pa.string()),
        ("request", pa.string()),
        ("features", pa.string()),
        ("prediction", pa.string()),
        ("snapshots", pa.string()),
    ]
)


def record_predictions(
    store: FeatureStore, stamp: Stamp, model_uri: str, found: FeatureRows, predictions: Sequence[Any], batch: str | None = None
) -> None:
    """Append a row for each prediction to `<inference namespace>.<model>`; concurrent writers do not conflict.

    A `batch` that is already in the table is not added again. Characters of the model's name that a table name cannot have become _.
    """
    model, version = model_versions.name_and_version(model_uri)
    identifier = f"{store.settings.inference_namespace}.{re.sub(r'[^A-Za-z0-9_]', '_', model)}"
    table = tables.create_if_absent(store.catalog, identifier, SCHEMA, month_of="predicted_at")
    plan, count = stamp.plan, len(predictions)
    snapshots = {table: None if snapshot is None else str(snapshot) for table, snapshot in found.snapshots.items()}
    rows = {
        "predicted_at": [times.now()] * count,
        "model": [model] * count,
        "version": [version] * count,
        "training_set": [stamp.training_set] * count,
        "entity": _documents(found, plan.entity_columns, count),
        "request": _documents(found, [name for name, _ in plan.request], count),
        "features": _documents(found, stamp.features, count),
        "prediction": [_json(value) for value in predictions],
        "snapshots": [_json(snapshots)] * count,
    }
    reader = pa.table(rows, SCHEMA).to_reader()
    writes.append_retrying(table, reader, summary={"featurestore.action": "score"}, once=batch)


def _documents(found: FeatureRows, names: Sequence[str], rows: int) -> list[str]:
    columns = {name: to_list(found.columns[name]) for name in names}
    return [_json({name: values[row] for name, values in columns.items()}) for row in range(rows)]


def _json(value: Any) -> str:
    return json.dumps(value, default=_text, separators=(",", ":"))


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return str(times.text(times.micros(value)))
    return value.isoformat() if isinstance(value, date) else str(value)
