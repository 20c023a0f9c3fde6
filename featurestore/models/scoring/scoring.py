"""Batch scoring: add the features that a model reads and its predictions to the rows of a spine."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from featurestore.dsl.csv_format import Csv
from featurestore.errors import RequestError
from featurestore.models.frames.outputs import check_count, to_prediction_array
from featurestore.models.frames.values import to_arrow, to_records
from featurestore.models.mlflow_access import tracking
from featurestore.models.mlflow_access.deleted import naming_deleted
from featurestore.models.mlflow_access.mlflow_client import local_path, mlflow, translate_mlflow_errors
from featurestore.models.mlflow_access.time_limits import TRANSFER_SECONDS, limit_time
from featurestore.models.predictions import features, predict
from featurestore.models.predictions.features import FeatureRows, SentFeatures
from featurestore.models.predictions.inference import PREDICTION
from featurestore.models.registry import model_versions
from featurestore.models.scoring.saved_scores import SavedCall, save_predictions
from featurestore.models.scoring.scored_rows import Scoring, record_predictions
from featurestore.models.scoring.scoring_times import BATCH, ONLINE, scoring_times
from featurestore.models.stamps import locate_store, store_access
from featurestore.models.stamps.bundle import Native
from featurestore.models.stamps.stamp import Stamp
from featurestore.progress import TrainingSetProgress, training_set_reporter
from featurestore.settings import load_settings
from featurestore.spines.file_format import with_format
from featurestore.store import FeatureStore
from featurestore.values.arguments import check_flag, check_name
from featurestore.values.pandas_frames import frame_like


def score_batch(
    model_uri: str,
    frame: Any,
    *,
    missing: str | None = None,
    log: bool | str = False,
    save: bool = False,
    run_id: str | None = None,
    params: Mapping[str, Any] | None = None,
    store: FeatureStore | None = None,
    progress: TrainingSetProgress = None,
) -> Any:
    """Score a frame of keys, as `score`: with the features as of each row's time if the frame has the training set's columns of times,
    else with the current ones.

    The frame has the lookup keys and the other columns of the training set's frame that the model reads; any further columns are kept.
    """
    more: dict[str, Any] = {"missing": missing, "log": log, "save": save, "run_id": run_id, "params": params}
    return score(model_uri, frame, BATCH, store=store, progress=progress, **more)


def score(
    model_uri: str,
    spine: Any,
    at: str | datetime | None = None,
    *,
    missing: str | None = None,
    log: bool | str = False,
    save: bool = False,
    run_id: str | None = None,
    params: Mapping[str, Any] | None = None,
    store: FeatureStore | None = None,
    format: Csv | None = None,
    progress: TrainingSetProgress = None,
) -> Any:
    """Score the rows of a spine: returns its columns, the features that the model reads, and `prediction`, in the order of the spine.

    `spine` is any spine that `training_set` accepts. `at` None: features as of each row's time, in the column of the training set's time;
    "training": the same, at the snapshots of the training; "@release-2026-11": at those of a tag; a datetime or ISO 8601 text: as of that
    time for all rows; "online": the newest from the online store; "batch": as of each row's time if the spine has it, else as of now.
    Feature columns in the spine override looked-up features. Versions of features and the treatment of corrections are those of the
    training set. `missing` None: the policy of the stamp. `params` are those of the model's signature. `format`: the format of a spine in
    CSV files. Returns a pandas or polars frame for such a spine, else an Arrow table.

    With `save`, the rows are scored in parts, so that a spine may be larger than memory, and written to the model's inference table in one
    snapshot; a second run with the same `run_id` adds nothing. Returns a SavedPredictions then. `progress` is called with the rows so far;
    True shows a progress bar. `log` appends the rows as well and still returns them; a text is their `run_id`.

    Raises: NotFound, RequestError, TypeMismatch; ModelError; Conflict if the store has other tables.
    """
    store_access.check_store(store)
    rows_source = with_format(spine, format)
    batch = _batch(log, save, run_id)
    settings = load_settings() if store is None else store.settings
    tracking.use_tracking(None if store is None else settings)
    with TemporaryDirectory() as scratch, training_set_reporter(progress) as report:
        with limit_time(TRANSFER_SECONDS), nullcontext() if store is None else naming_deleted(store_access.runtime_of(store), model_uri):
            # An alias may move while rows are scored: then they name the version that scored them.
            model = model_versions.name_and_version(model_uri) if log or save else ("", None)
            address = model_uri if model[1] is None else f"models:/{model[0]}/{model[1]}"
            with translate_mlflow_errors("model", model_uri):
                folder = mlflow.artifacts.download_artifacts(local_path(address), dst_path=scratch)
        native = Native(Path(folder), allow_pickle=settings.allow_pickle, address=model_uri)
        scoring = Scoring(*model, _alias_of(model_uri), native.check_params(params), batch)
        used_store = locate_store.find_store(native.stamp, store)
        try:
            if save:
                return save_predictions(native, used_store, SavedCall(rows_source, at, missing, scoring, report))
            rows = store_access.read_spine_rows(used_store, rows_source, [] if at == ONLINE else [native.stamp.timestamp])
            looked_up, scored = _score(native, used_store, rows, at, missing, scoring.params)
            if log is not False:
                record_predictions(store_access.runtime_of(used_store), native, scoring, looked_up, scored.column(PREDICTION))
        finally:
            if store is None:
                used_store.close()
    return frame_like(spine, scored)


def _batch(log: Any, save: Any, run_id: Any) -> str | None:
    """The id of the rows to write; None if they have none. Raises: RequestError naming the argument."""
    if log == "" or not isinstance(log, bool | str):
        raise RequestError(f"log={log!r} must be True, False, or the id of the batch as text", field="log")
    check_flag(save, "save")
    if run_id is not None and not (save or log):
        raise RequestError("run_id= names rows that are written: give save=True too", field="run_id")
    if save and log:
        raise RequestError("give save=True, which returns what was written, or log=, which returns the rows; not both", field="save")
    if run_id is not None:
        return check_name(run_id, "run_id")
    return log if isinstance(log, str) else None


def _alias_of(model_uri: str) -> str | None:
    """The alias that a model's address names; None if it names a version, or no registered model."""
    return model_uri.rpartition("@")[2] if model_uri.startswith("models:/") and "@" in model_uri else None


def _score(
    native: Native, store: FeatureStore, rows: pa.Table, at: str | datetime | None, missing: str | None, params: Mapping[str, Any]
) -> tuple[FeatureRows, pa.Table]:
    stamp = native.stamp
    if PREDICTION in rows.schema.names:
        raise RequestError(f"the spine has a column '{PREDICTION}', which is the name of the result; rename it", field=PREDICTION)
    sent = {name: rows.column(name).to_pylist() for name in stamp.plan.feature_names if name in rows.schema.names}
    without_features = rows.drop_columns(list(sent))
    looked_up = _online(store, stamp, without_features, sent) if at == ONLINE else _as_of(store, stamp, without_features, sent, at)
    features.check_missing(stamp, missing or stamp.missing, looked_up.columns)
    predictions = to_prediction_array(predict.predict(native, looked_up.columns, params) if rows.num_rows else [])
    check_count(predictions, rows.num_rows)
    sql_types = stamp.plan.sql_types
    columns: dict[str, Any] = dict(zip(without_features.schema.names, without_features.columns, strict=True))
    columns.update({name: to_arrow(looked_up.columns[name], sql_types.get(name)) for name in stamp.features})
    return looked_up, pa.table({**columns, PREDICTION: predictions})


def _online(store: FeatureStore, stamp: Stamp, rows: pa.Table, sent: SentFeatures) -> FeatureRows:
    features.check_columns(stamp, rows.schema.names)
    names = [*stamp.plan.entity_columns, *(name for name, _ in stamp.plan.request)]
    columns = {name: rows.column(name).to_pylist() for name in names}
    return features.look_up_online(store, stamp, to_records({**columns, **sent}, rows.num_rows), features.SPINE)


def _as_of(store: FeatureStore, stamp: Stamp, rows: pa.Table, sent: SentFeatures, at: str | datetime | None) -> FeatureRows:
    when = scoring_times(stamp, store, at, rows.schema.names)
    return features.join_as_of(store, replace(stamp, plan=when.plan), when.add_column(rows), when.column, sent, when.snapshots)
