"""The rows that batch scoring logs: one for each prediction, in one append."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.lakehouse import scans, writes
from featurestore.lakehouse.granted import Granted
from featurestore.models.frames.inputs import Values
from featurestore.models.frames.values import to_arrow, to_list
from featurestore.models.predictions import inference
from featurestore.models.predictions.features import FeatureRows
from featurestore.models.predictions.inference import MOMENT, PREDICTION, LoggedModel, PredictionRows, plain_values, repeat_value
from featurestore.models.stamps.bundle import Native
from featurestore.records.runtime import Runtime
from featurestore.spines.columns import as_value
from featurestore.values import times

SUMMARY = {writes.OPERATION: "score"}
"""The summary of the snapshots of predictions."""
MANY = 100_000
"""Rows from which it pays to write two files at the same time."""


@dataclass(frozen=True)
class Scoring:
    """What was asked of a model: its name, version and alias (None: none was named), its parameters, the id of the batch, and when, in
    microseconds.
    """

    name: str
    version: str | None
    alias: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    batch: str | None = None
    started: int = field(default_factory=times.now)


def record_predictions(runtime: Runtime, native: Native, scoring: Scoring, features: FeatureRows, predictions: pa.ChunkedArray) -> None:
    """Append a row for each prediction to `<inference namespace>.<model>`; concurrent writers do not conflict.

    A batch that is already in the table is not added again. The snapshots that the rows name are tagged first, so that they never expire.
    """
    model = inference.logged_model(native.stamp, native.model.metadata, scoring.name, scoring.version)
    table = inference.open_table(runtime, inference.inference_table(runtime, scoring.name))
    ids = RequestIds(table.name, scoring.batch)
    if ids.are_in(runtime.operator.grant(table)):
        return
    inference.keep_snapshots(runtime, features.snapshots)

    def rows_between(bounds: tuple[int, int]) -> PredictionRows:
        start, stop = bounds
        return prediction_rows(model, scoring, features.part(start, stop), predictions[start:stop], ids, start)

    with ThreadPoolExecutor(2, "log") as threads:
        parts = list(threads.map(rows_between, _halves(len(predictions))))
    streams = [inference.stored_rows(table, [part], keep_dictionaries=True).to_reader() for part in parts]
    writes.append_retrying(table, streams, summary=SUMMARY, once=scoring.batch, quick=True)


def _halves(rows: int) -> list[tuple[int, int]]:
    """The bounds of two parts of the rows, which are made and written at the same time; of one if they are few."""
    middle = rows // 2
    return [(0, rows)] if rows < MANY else [(0, middle), (middle, rows)]


class RequestIds:
    """The request ids of one call: a part of the call's own and the number of the row. Those of a batch with an id are always the same, so
    that it is known by its rows when the snapshot that added them has expired.
    """

    def __init__(self, table: str, batch: str | None) -> None:
        self._batch = batch
        self._prefix = uuid.uuid4().hex if batch is None else hashlib.sha256(f"{table}:{batch}".encode()).hexdigest()[:32]

    def are_in(self, log: Granted) -> bool:
        """Whether a batch with this id is in the table, by its first row; never for a batch without an id."""
        if self._batch is None or log.table.snapshot_id is None:
            return False
        return writes.has_batch(log.table, self._batch) or self._first_row(log).num_rows > 0

    def writer(self, log: Granted) -> tuple[str | None, str | None]:
        """The model and the version that wrote the batch, by its first row; None, None if that was deleted."""
        rows = self._first_row(log).to_pylist()
        return (rows[0]["model"], rows[0]["version"]) if rows else (None, None)

    def _first_row(self, log: Granted) -> pa.Table:
        return scans.read_equal(log, "request_id", f"{self._prefix}-0", columns=("model", "version"), limit=1)

    def texts(self, first: int, count: int) -> pa.Array:
        """The ids of so many rows, of which the first has the number `first`; those of a file are near one another."""
        numbers = pa.array(np.arange(first, first + count)).cast(pa.string())
        return pc.binary_join_element_wise(self._prefix, numbers, "-")


def prediction_rows(
    model: LoggedModel, scoring: Scoring, features: FeatureRows, predictions: pa.ChunkedArray, ids: RequestIds, first: int = 0
) -> PredictionRows:
    """The rows of predictions, of which the first has the number `first`."""
    count = len(predictions)
    # Of an online lookup, the time against which ttl was checked.
    now = pa.repeat(pa.scalar(scoring.started if features.at is None else features.at, pa.int64()), count).cast(MOMENT)
    facts = {
        **inference.facts_of(model, count),
        "request_id": ids.texts(first, count),
        "row_number": pa.array(np.arange(first, first + count, dtype=np.int32)),
        "arm": repeat_value(scoring.alias, count),
        "shadow": repeat_value(False, count, pa.bool_()),
        "predicted_at": now,
        "as_of": now if features.as_of is None else features.as_of,
        "overridden": _overridden(features, count),
        "parameters": repeat_value(json.dumps(dict(scoring.params), default=str) if scoring.params else None, count),
        "snapshots": repeat_value(inference.snapshots_text(features.snapshots), count),
        "statuses": _statuses(features, count),
        "edition": repeat_value(features.edition, count, pa.int64()),
        "policies_digest": repeat_value(features.policies, count),
    }
    values = {name: plain_values(_with_declared_type(features.columns[name], name, sql_type)) for name, sql_type in model.columns}
    return PredictionRows(facts, {**values, PREDICTION: plain_values(predictions)})


def _with_declared_type(values: Values, name: str, sql_type: str | None) -> pa.Array | pa.ChunkedArray:
    """The values with the declared type, which replays look for: a spine may have integers for a double, as the join takes them."""
    column = to_arrow(values, sql_type)
    return as_value(column, name, sql_type) if sql_type is not None and isinstance(column, pa.ChunkedArray) else column


def _statuses(features: FeatureRows, count: int) -> pa.Array:
    """The status of each row by view as JSON; NULL for features that were joined."""
    if not features.status:
        return pa.nulls(count, pa.string())
    rows = zip(*features.status.values(), strict=True)
    return pa.array([json.dumps(dict(zip(features.status, states, strict=True)), separators=(",", ":")) for states in rows], pa.string())


def _overridden(features: FeatureRows, count: int) -> pa.Array:
    """The features that the caller sent instead of the looked-up ones, for each row."""
    if not features.sent:
        # A second faster for a million rows than to repeat an empty list.
        return pa.ListArray.from_arrays(pa.array(np.zeros(count + 1, np.int32)), pa.array([], pa.string()))
    names = sorted(features.sent)
    columns = [to_list(features.sent[name]) for name in names]
    rows = [[name for name, column in zip(names, columns, strict=True) if column[row] is not None] for row in range(count)]
    return pa.array(rows, pa.list_(pa.string()))
