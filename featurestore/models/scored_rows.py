"""The rows that batch scoring logs: one for each prediction, in one append."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.lakehouse import writes
from featurestore.models import inference
from featurestore.models.bundle import Native
from featurestore.models.features import FeatureRows
from featurestore.models.inference import MOMENT, PREDICTION, PredictionRows, plain_values, repeated
from featurestore.models.values import to_arrow, to_list
from featurestore.records.runtime import Runtime
from featurestore.values import times


@dataclass(frozen=True)
class Scoring:
    """What was asked of a model: its name, version and alias (None: none was named), its parameters, and the id of the batch."""

    name: str
    version: str | None
    alias: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    batch: str | None = None


def record_predictions(runtime: Runtime, native: Native, scoring: Scoring, found: FeatureRows, predictions: pa.ChunkedArray) -> None:
    """Append a row for each prediction to `<inference namespace>.<model>`; concurrent writers do not conflict.

    A batch that is already in the table is not added again. The snapshots that the rows name are tagged first, so that they never expire.
    """
    model = inference.logged_model(native.stamp, native.model.metadata, scoring.name, scoring.version)
    table = inference.open_table(runtime, inference.inference_table(runtime, scoring.name))
    inference.keep_snapshots(runtime, found.snapshots)
    count = len(predictions)
    # Of an online lookup, the time against which ttl was checked.
    now = pa.repeat(pa.scalar(times.now() if found.at is None else found.at, pa.int64()), count).cast(MOMENT)
    facts = {
        **inference.facts_of(model, count),
        "request_id": _request_ids(count),
        "row_number": pa.array(np.arange(count, dtype=np.int32)),
        "arm": repeated(scoring.alias, count),
        "shadow": repeated(False, count, pa.bool_()),
        "predicted_at": now,
        "as_of": now if found.as_of is None else found.as_of,
        "overridden": _overridden(found, count),
        "parameters": repeated(json.dumps(dict(scoring.params), default=str) if scoring.params else None, count),
        "snapshots": repeated(inference.snapshots_text(found.snapshots), count),
        "statuses": _statuses(found, count),
        "edition": repeated(found.edition, count, pa.int64()),
    }
    values = {name: plain_values(to_arrow(found.columns[name], sql_type)) for name, sql_type in model.columns}
    rows = inference.stored_rows(table, [PredictionRows(facts, {**values, PREDICTION: plain_values(predictions)})])
    writes.append_retrying(table, rows.to_reader(), summary={"featurestore.action": "score"}, once=scoring.batch)


def _statuses(found: FeatureRows, count: int) -> pa.Array:
    """The status of each row by view as JSON; NULL for features that were joined."""
    if not found.status:
        return pa.nulls(count, pa.string())
    rows = zip(*found.status.values(), strict=True)
    return pa.array([json.dumps(dict(zip(found.status, states, strict=True)), separators=(",", ":")) for states in rows], pa.string())


def _overridden(found: FeatureRows, count: int) -> pa.Array:
    """The features that the caller sent instead of the looked-up ones, for each row."""
    if not found.sent:
        # A second faster for a million rows than to repeat an empty list.
        return pa.ListArray.from_arrays(pa.array(np.zeros(count + 1, np.int32)), pa.array([], pa.string()))
    names = sorted(found.sent)
    columns = [to_list(found.sent[name]) for name in names]
    rows = [[name for name, column in zip(names, columns, strict=True) if column[row] is not None] for row in range(count)]
    return pa.array(rows, pa.list_(pa.string()))


def _request_ids(count: int) -> pa.Array:
    """An id for each row: one of the call and the number of the row, so that the ids of a file are near one another."""
    numbers = pa.array(range(count), pa.int64()).cast(pa.string())
    return pc.binary_join_element_wise(uuid.uuid4().hex, numbers, "-")
