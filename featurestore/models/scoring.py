"""Batch scoring: a spine in, the same rows out with the features that the model read and what it said."""

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from featurestore.dsl.csv_format import Csv
from featurestore.errors import RequestError, near
from featurestore.lakehouse import tables
from featurestore.models import features, inference, locate_store, predict, store_access, tracking
from featurestore.models.bundle import Native
from featurestore.models.features import Found, Given
from featurestore.models.mlflow_client import asking, local_path, mlflow
from featurestore.models.stamp import Stamp
from featurestore.models.values import sql_types_of, to_arrow, to_predictions, to_records
from featurestore.settings import load_settings
from featurestore.spines.file_format import with_format
from featurestore.store import FeatureStore
from featurestore.values import times
from featurestore.values.pandas_frames import frame_like

PREDICTION = "prediction"


def score(
    model_uri: str,
    spine: Any,
    at: str | datetime | None = None,
    *,
    missing: str | None = None,
    log: bool | str = False,
    store: FeatureStore | None = None,
    format: Csv | None = None,
) -> Any:
    """The spine's rows in their order, then the features that the model read, then `prediction`.

    `spine` is what a training set takes. `at` None: features as of each row's time, in the column that the training set
    had it in; "training": the same at the snapshots the model was trained on; a datetime or ISO 8601 text: as of that
    time for all rows; "online": the newest from the online store. Feature columns in the spine override. The features'
    versions and the rule about corrections are those of the training set, whatever the service is by now. `missing`
    None: as stamped. `log` appends the rows to the model's inference table; a text is an id of the batch, under which it lands
    once however often it is asked for. `format` says how a spine's CSV files are written. Returns a pandas or polars frame for one,
    else an Arrow table. Raises: NotFound, RequestError, TypeMismatch; Conflict for a store of other tables.
    """
    store_access.check_store(store)
    given = with_format(spine, format)
    if log == "" or not isinstance(log, bool | str):
        raise RequestError(f"log={log!r} must be True, False, or a text that is the id of the batch", field="log")
    settings = load_settings() if store is None else store.settings
    tracking.use(None if store is None else settings)
    with TemporaryDirectory() as scratch:
        with asking("model", model_uri):
            folder = mlflow.artifacts.download_artifacts(local_path(model_uri), dst_path=scratch)
        native = Native(Path(folder), allow_pickle=settings.allow_pickle)
        own = locate_store.find_store(native.stamp, store)
        try:
            rows = store_access.rows(own, given, [] if at == "online" else [native.stamp.timestamp])
            found, scored = _score(native, own, rows, at, missing)
            if log is not False:
                batch = log if isinstance(log, str) else None
                inference.record_predictions(own, native.stamp, model_uri, found, scored.column(PREDICTION).to_pylist(), batch)
        finally:
            if store is None:
                own.close()
    return frame_like(spine, scored)


def _score(native: Native, store: FeatureStore, rows: pa.Table, at: str | datetime | None, missing: str | None) -> tuple[Found, pa.Table]:
    stamp = native.stamp
    if PREDICTION in rows.schema.names:
        raise RequestError(f"the spine has a column '{PREDICTION}', which is where the model's answer goes; rename it", field=PREDICTION)
    given = {name: rows.column(name).to_pylist() for name in stamp.plan.feature_names if name in rows.schema.names}
    bare = rows.drop_columns(list(given))
    found = _online(store, stamp, bare, given) if at == "online" else _as_of(store, stamp, bare, given, at)
    features.check_missing(stamp, missing or stamp.missing, found.columns)
    predictions = to_predictions(predict.predict(native, found.columns)) if rows.num_rows else []
    if len(predictions) != rows.num_rows:
        raise RequestError(f"the model gave {len(predictions)} predictions for {rows.num_rows} rows")
    kinds = sql_types_of(stamp.plan)
    columns: dict[str, Any] = dict(zip(bare.schema.names, bare.columns, strict=True))
    columns.update({name: to_arrow(found.columns[name], kinds.get(name)) for name in stamp.features})
    return found, pa.table({**columns, PREDICTION: pa.array(predictions)})


def _online(store: FeatureStore, stamp: Stamp, rows: pa.Table, given: Given) -> Found:
    names = [*stamp.plan.entity_columns, *(name for name, _ in stamp.plan.request)]
    for name in names:
        if name not in rows.schema.names:
            problem = f"the spine has no column '{name}', which service {stamp.plan.service} needs{near(name, rows.schema.names)}"
            raise RequestError(problem, field=name)
    columns = {name: rows.column(name).to_pylist() for name in names}
    return features.online(store, stamp, to_records({**columns, **given}, rows.num_rows))


def _as_of(store: FeatureStore, stamp: Stamp, rows: pa.Table, given: Given, at: str | datetime | None) -> Found:
    if at == "training":
        return features.as_of(store, stamp, rows, stamp.timestamp, given, stamp.snapshots)
    timestamp = stamp.timestamp
    if at is not None:
        moment = times.parse(at, "at, unless it is 'online' or 'training':")
        timestamp = "as_of"
        while timestamp in rows.schema.names:
            timestamp += "_"
        rows = rows.append_column(timestamp, pa.array([moment] * rows.num_rows, pa.timestamp("us", tz="UTC")))
    return features.as_of(store, stamp, rows, timestamp, given, _current(store, stamp))


def _current(store: FeatureStore, stamp: Stamp) -> dict[str, int | None]:
    """The snapshots to read, chosen here so that what was read is known."""
    namespace = store.settings.features_namespace
    return {name: tables.current_snapshot_id(tables.load(store.catalog, f"{namespace}.{name}")) for name in stamp.views}
