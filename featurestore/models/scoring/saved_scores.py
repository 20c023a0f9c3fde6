"""Score a spine of any size in parts, and write the rows with their predictions to the model's inference table in one snapshot."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
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
from featurestore.models.scoring.scored_rows import MANY, SUMMARY, RequestIds, Scoring, prediction_rows
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
        rows = _Rows(native, store, call, table, ids, parts, total)
        first = rows.next_rows()
        snapshot = None
        if first is not None:
            streams = [pa.RecordBatchReader.from_batches(first.schema, batches) for batches in rows.streams(first)]
            snapshot = writes.append_retrying(table, streams, summary=SUMMARY, once=scoring.batch, quick=True)
    written = rows.done if snapshot is not None else 0
    repeated = first is not None and snapshot is None
    # Another writer of the run was first; its rows are in a later state of the table.
    writer = ids.writer(runtime.operator.grant(tables.load(runtime.catalog, table.name))) if repeated else (scoring.name, scoring.version)
    return SavedPredictions(table.name, *writer, written, scoring.batch, time.monotonic() - started, snapshot, repeated)


class _Rows:
    """The rows to write, part after part. Several threads may ask for them."""

    def __init__(
        self,
        native: Native,
        store: FeatureStore,
        call: SavedCall,
        table: Table,
        ids: RequestIds,
        parts: Iterator[FeatureRows],
        total: int | None,
    ) -> None:
        self.done = 0
        self._native, self._call, self._table, self._ids, self._parts, self._total = native, call, table, ids, parts, total
        self._runtime = store_access.runtime_of(store)
        self._model = inference.logged_model(native.stamp, native.model.metadata, call.scoring.name, call.scoring.version)
        self._lock = threading.Lock()
        self._taken = 0
        self._kept: set[tuple[str, int | None]] = set()
        self._prediction_type: pa.DataType | None = None
        # Two threads predict for many rows, unless the model runs code that may not expect that.
        self._has_two = native.only_computes and total is not None and total >= MANY

    def streams(self, first: pa.Table) -> list[Iterator[pa.RecordBatch]]:
        """The batches of the first rows and of all others, in one or two streams, which are to be read by a thread each."""
        if not self._has_two:
            return [self._batches(first, self._one_ahead(first.schema))]
        # Each thread needs a context of its own.
        (one, other) = (self._remaining(first.schema, copy_context()) for _ in range(2))
        return [self._batches(first, one), self._batches(first.slice(0, 0), other)]

    def next_rows(self) -> pa.Table | None:
        """The stored form of the next part, None after the last one; the table then has its columns."""
        with self._lock:
            part = next(self._parts, None)
            if part is None:
                return None
            start, count = self._taken, len(next(iter(part.columns.values())))
            self._taken += count
        predicted = self._score(part, start, count)
        with self._lock:
            rows = inference.stored_rows(self._table, [predicted], keep_dictionaries=True)
            fresh = {name: at for name, at in part.snapshots.items() if (name, at) not in self._kept}
            inference.keep_snapshots(self._runtime, fresh)
            self._kept.update(fresh.items())
            self.done += count
            if self._call.report is not None:
                self._call.report(BuildProgress(STAGE, self.done, self._total if self._total is not None else self.done))
            return rows

    def _batches(self, first: pa.Table, others: Iterator[pa.Table]) -> Iterator[pa.RecordBatch]:
        yield from first.to_batches()
        for rows in others:
            yield from rows.to_batches()

    def _remaining(self, schema: pa.Schema, context: Context) -> Iterator[pa.Table]:
        """The rows after the first ones. Raises: ModelError for a part that needs other columns than the first."""
        while (rows := context.run(self.next_rows)) is not None:
            if rows.schema != schema:
                raise ModelError(
                    f"features of the rows up to {self.done} have other types than those of the rows before, as the spine sent them;"
                    " nothing was written"
                )
            yield rows

    def _one_ahead(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """As `_remaining`; another thread predicts for the next rows while the caller writes some."""
        rest = self._remaining(schema, copy_context())
        with ThreadPoolExecutor(1, "score") as thread:
            pending = thread.submit(next, rest, None)
            while (rows := pending.result()) is not None:
                pending = thread.submit(next, rest, None)
                yield rows

    def _score(self, part: FeatureRows, start: int, count: int) -> PredictionRows:
        native, scoring = self._native, self._call.scoring
        features.check_missing(native.stamp, self._call.missing or native.stamp.missing, part.columns, frame_of(SPINE, start))
        predicted = predict.predict(native, part.columns, scoring.params, in_one_thread=self._has_two)
        predictions = to_prediction_array(predicted)
        check_count(predictions, count)
        array = pa.chunked_array([predictions])
        with self._lock:
            if self._prediction_type is None:
                self._prediction_type = array.type
        if array.type != self._prediction_type:
            array = self._as_before(array, start)
        return prediction_rows(self._model, scoring, part, array, self._ids, start)

    def _as_before(self, predictions: pa.ChunkedArray, start: int) -> pa.ChunkedArray:
        try:
            return predictions.cast(self._prediction_type)
        except pa.ArrowInvalid as error:
            raise ModelError(
                f"the model's predictions from row {start} on are {predictions.type}, and those before {self._prediction_type}; its"
                " predict must return one type for all rows. Nothing was written"
            ) from error


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
