"""Score a spine of any size in parts, and write the rows with their predictions to the model's inference table in one snapshot."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from featurestore.errors import ModelError, RequestError
from featurestore.lakehouse import tables, writes
from featurestore.lakehouse.table import Table
from featurestore.models.frames.inputs import Values
from featurestore.models.frames.outputs import check_count, to_prediction_array
from featurestore.models.frames.values import to_records
from featurestore.models.predictions import features, inference, predict
from featurestore.models.predictions.features import FeatureRows, SentFeatures
from featurestore.models.predictions.inference import PREDICTION, PredictionRows
from featurestore.models.scoring.scored_rows import SUMMARY, RequestIds, Scoring, prediction_rows
from featurestore.models.scoring.scoring_times import ONLINE, ScoringTimes, scoring_times
from featurestore.models.stamps import store_access
from featurestore.models.stamps.bundle import Native
from featurestore.models.stamps.stamp import Stamp
from featurestore.pipelines.training_sets.progress import BuildProgress, OnBuildProgress
from featurestore.store import FeatureStore
from featurestore.values.frames import SPINE
from featurestore.values.result import SNAPSHOT_ID, Result
from featurestore.values.row_places import frame_of

ROWS = 65_536
"""Rows that a model predicts at once."""
ONLINE_ROWS = 8_192
"""As ROWS, where features are looked up online, as Python values."""
STAGE = "score"
OVERRIDE = "override "
"""The prefix of the names that columns of features in the spine have during the join, which adds columns of their names."""


@dataclass(frozen=True, eq=False)
class SavedPredictions(Result):
    """Predictions that were written to `table` in the snapshot `snapshot_id`.

    `rows` is their number: 0, with no snapshot, if there were no rows, or if the run with this id had been written before, by whichever
    version and of whichever spine: then `repeated` is True, and `model` and `version` are those that wrote it; None if that was deleted.
    """

    table: str
    model: str | None
    version: str | None
    rows: int
    run_id: str | None
    seconds: float
    snapshot_id: int | None = field(metadata=SNAPSHOT_ID)
    repeated: bool = False


@dataclass(frozen=True)
class SavedCall:
    """What a call of `score` asked for; `spine` is any spine."""

    spine: Any
    at: str | datetime | None
    missing: str | None
    scoring: Scoring
    report: OnBuildProgress | None


def save_predictions(native: Native, store: FeatureStore, call: SavedCall) -> SavedPredictions:
    """Score the rows and write them in one snapshot; memory is bounded by the store's memory limit, whatever the number of rows.

    Nothing is written if anything fails. Raises: as `score`; ModelError if the type of predictions changes on the way.
    """
    started = time.monotonic()
    runtime, scoring = store_access.runtime_of(store), call.scoring
    table = inference.open_table(runtime, inference.inference_table(runtime, scoring.name))
    ids = RequestIds(table.name, scoring.batch)
    log = runtime.operator.grant(table)
    if ids.are_in(log):
        return SavedPredictions(table.name, *ids.writer(log), 0, scoring.batch, time.monotonic() - started, None, repeated=True)
    with _open_parts(native.stamp, store, call) as (total, parts):
        rows = _Rows(native, store, call, table, ids, total)
        first = next(rows.batches(parts), None)
        snapshot = None
        if first is not None:
            schema = first.schema
            stream = pa.RecordBatchReader.from_batches(schema, rows.check_types(first, schema, parts))
            snapshot = writes.append_retrying(table, stream, summary=SUMMARY, once=scoring.batch, quick=True)
    written = rows.done if snapshot is not None else 0
    repeated = first is not None and snapshot is None
    # Another writer of the run was first; its rows are in a later state of the table.
    writer = ids.writer(runtime.operator.grant(tables.load(runtime.catalog, table.name))) if repeated else (scoring.name, scoring.version)
    return SavedPredictions(table.name, *writer, written, scoring.batch, time.monotonic() - started, snapshot, repeated)


class _Rows:
    """The rows to write, part after part."""

    def __init__(self, native: Native, store: FeatureStore, call: SavedCall, table: Table, ids: RequestIds, total: int | None) -> None:
        self.done = 0
        self._native, self._store, self._call, self._table, self._ids, self._total = native, store, call, table, ids, total
        self._model = inference.logged_model(native.stamp, native.model.metadata, call.scoring.name, call.scoring.version)
        self._kept: set[tuple[str, int | None]] = set()
        self._prediction_type: pa.DataType | None = None

    def batches(self, parts: Iterator[FeatureRows]) -> Iterator[pa.RecordBatch]:
        """The stored form of the parts; the table then has their columns."""
        runtime = store_access.runtime_of(self._store)
        for part in parts:
            rows = inference.stored_rows(self._table, [self._score(part)], keep_dictionaries=True)
            fresh = {name: at for name, at in part.snapshots.items() if (name, at) not in self._kept}
            inference.keep_snapshots(runtime, fresh)
            self._kept.update(fresh.items())
            self.done += rows.num_rows
            if self._call.report is not None:
                self._call.report(BuildProgress(STAGE, self.done, self._total if self._total is not None else self.done))
            yield from rows.to_batches()

    def check_types(self, first: pa.RecordBatch, schema: pa.Schema, parts: Iterator[FeatureRows]) -> Iterator[pa.RecordBatch]:
        """The first batch and those of the other parts. Raises: ModelError for a part that needs other columns than the first."""
        yield first
        for batch in _one_ahead(self.batches(parts)):
            if batch.schema != schema:
                raise ModelError(
                    f"features of the rows up to {self.done} have other types than those of the rows before, as the spine sent them;"
                    " nothing was written"
                )
            yield batch

    def _score(self, part: FeatureRows) -> PredictionRows:
        native, count = self._native, len(next(iter(part.columns.values())))
        features.check_missing(native.stamp, self._call.missing or native.stamp.missing, part.columns, frame_of(SPINE, self.done))
        predictions = to_prediction_array(predict.predict(native, part.columns, self._call.scoring.params))
        check_count(predictions, count)
        array = pa.chunked_array([predictions])
        if self._prediction_type is None:
            self._prediction_type = array.type
        elif array.type != self._prediction_type:
            array = self._as_before(array)
        return prediction_rows(self._model, self._call.scoring, part, array, self._ids, self.done)

    def _as_before(self, predictions: pa.ChunkedArray) -> pa.ChunkedArray:
        try:
            return predictions.cast(self._prediction_type)
        except pa.ArrowInvalid as error:
            raise ModelError(
                f"the model's predictions from row {self.done} on are {predictions.type}, and those before {self._prediction_type}; its"
                " predict must return one type for all rows. Nothing was written"
            ) from error


def _one_ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, of which the next is predicted by another thread while the caller writes one."""
    context = copy_context()

    def following() -> pa.RecordBatch | None:
        return context.run(lambda: next(batches, None))

    with ThreadPoolExecutor(1, "score") as thread:
        pending = thread.submit(following)
        while (batch := pending.result()) is not None:
            pending = thread.submit(following)
            yield batch


@contextmanager
def _open_parts(stamp: Stamp, store: FeatureStore, call: SavedCall) -> Iterator[tuple[int | None, Iterator[FeatureRows]]]:
    """The number of rows, None if that is not known, and the rows with their features, in parts."""
    with store_access.open_spine(store, call.spine, [] if call.at == ONLINE else [stamp.timestamp]) as reader:
        if PREDICTION in reader.schema.names:
            raise RequestError(f"the spine has a column '{PREDICTION}', which is the name of the result; rename it", field=PREDICTION)
        sent = [name for name in stamp.plan.feature_names if name in reader.schema.names]
        if call.at == ONLINE:
            yield None, _online_parts(store, stamp, reader, sent)
            return
        when = scoring_times(stamp, store, call.at, reader.schema.names)
        rows = when.add_column_to_stream(_mark_sent(reader, sent))
        with store_access.open_join(store, when.plan, rows, when.column, stamp.known, when.snapshots) as (total, batches):
            yield total, _joined_parts(store, replace(stamp, plan=when.plan), batches, sent, when)


def _mark_sent(reader: pa.RecordBatchReader, sent: list[str]) -> pa.RecordBatchReader:
    schema = pa.schema([field.with_name(f"{OVERRIDE}{field.name}") if field.name in sent else field for field in reader.schema])
    return pa.RecordBatchReader.from_batches(schema, (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in reader))


def _joined_parts(
    store: FeatureStore,
    stamp: Stamp,
    batches: Iterator[pa.RecordBatch],
    sent: list[str],
    when: ScoringTimes,
) -> Iterator[FeatureRows]:
    for first, batch in _slice_batches(batches, ROWS):
        rows = pa.Table.from_batches([batch])
        values: SentFeatures = {name: rows.column(f"{OVERRIDE}{name}").to_pylist() for name in sent}
        columns: dict[str, Values] = dict(zip(rows.schema.names, rows.columns, strict=True))
        yield features.joined_features(store, stamp, columns, when.column, values, when.snapshots, frame_of(SPINE, first))


def _online_parts(store: FeatureStore, stamp: Stamp, reader: pa.RecordBatchReader, sent: list[str]) -> Iterator[FeatureRows]:
    names = [*stamp.plan.entity_columns, *(name for name, _ in stamp.plan.request)]
    features.check_columns(stamp, reader.schema.names)
    for first, batch in _slice_batches(reader, ONLINE_ROWS):
        columns = {name: batch.column(name).to_pylist() for name in (*names, *sent)}
        yield features.look_up_online(store, stamp, to_records(columns, batch.num_rows), frame_of(SPINE, first))


def _slice_batches(batches: Iterator[pa.RecordBatch] | pa.RecordBatchReader, rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Parts of the batches with at most so many rows, each with the number of its first row."""
    first = 0
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield first + start, batch.slice(start, rows)
        first += batch.num_rows
