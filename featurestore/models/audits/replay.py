"""Replay a logged prediction: compute it again from the snapshots and the time that its row names, and compare."""

import json
import math
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from featurestore.compiler.service_plan import ViewUse
from featurestore.errors import Conflict, FeatureStoreError, MissingExtra, NotFound, RequestError
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.table import Table
from featurestore.models.frames.inputs import Values
from featurestore.models.frames.outputs import check_count, to_column_or_json, to_predictions
from featurestore.models.frames.values import sql_types_of, to_arrow, to_list
from featurestore.models.mlflow_access import tracking
from featurestore.models.mlflow_access.deleted import naming_deleted
from featurestore.models.mlflow_access.mlflow_client import local_path, mlflow, translate_mlflow_errors
from featurestore.models.mlflow_access.time_limits import TRANSFER_SECONDS, limit_time
from featurestore.models.prediction_log.log import flush_file
from featurestore.models.predictions import features, inference, predict
from featurestore.models.predictions.features import SentFeatures
from featurestore.models.stamps import store_access
from featurestore.models.stamps.bundle import Native
from featurestore.models.stamps.stamp import Stamp
from featurestore.pipelines.lineage.replay_result import Replay, ReplayedValue
from featurestore.pipelines.online_lookup.online_features import EXPIRED, STALE
from featurestore.records.defaults import default_values
from featurestore.spines.columns import plain_arrow_type
from featurestore.store import FeatureStore
from featurestore.values import json_encoding


def replay_prediction(store: FeatureStore, request_id: str, row: int | None = None) -> Replay:
    """Compute a logged prediction again, and compare it and its features with the log, bit for bit; NaN equals NaN.

    `row` is the number of the record in its request; None: the first. What servers with this home folder have not flushed yet is flushed
    first. What keeps a prediction from being computed, such as a file of the model that was changed, is a reason in `why`. Raises:
    NotFound for an unknown request id or row; RequestError for a row of an early release, which does not name its time; NotReady if
    MLflow does not respond.
    """
    table, logged, rows = _find_row(store, request_id, row)
    if logged.get("as_of") is None or logged.get("overridden") is None:
        raise RequestError(f"the prediction {request_id} was logged by an early release, which did not record the time of its features")
    tracking.use_tracking(store.settings)
    address = f"models:/{logged['model']}/{logged['version']}" if logged["version"] is not None else f"models:/{logged['model_id']}"
    with TemporaryDirectory() as scratch:
        try:
            with (
                limit_time(TRANSFER_SECONDS),
                naming_deleted(store_access.runtime_of(store), address),
                translate_mlflow_errors("model", address),
            ):
                folder = mlflow.artifacts.download_artifacts(local_path(address), dst_path=scratch)
            native = Native(Path(folder), allow_pickle=store.settings.allow_pickle)
        except NotFound as error:
            gone = f"the prediction and its features cannot be computed again: {error.message}"
            kept = "what was logged remains: the keys, the features, their snapshots and the prediction"
            return _result(table, logged, rows, {}, [], None, [gone], (kept,))
        except (Conflict, RequestError, MissingExtra) as error:
            # Its files were changed, its stamp is missing, it is refused, or its library is missing.
            return _result(table, logged, rows, {}, [], None, [f"it cannot be computed again: {error.message}"])
        return _replay(store, native, table, logged, rows)


def _replay(store: FeatureStore, native: Native, table: Table, row: Mapping[str, Any], rows: int) -> Replay:
    online = row.get("statuses") is not None
    stamp = replace(native.stamp, plan=native.stamp.plan.at_one_time(), known="now") if online else native.stamp
    known = {field.name: field.type for field in tables.arrow_schema(table)}
    sql_types = sql_types_of(stamp.plan)
    input_names = [*stamp.plan.entity_columns, *(name for name, _ in stamp.plan.request)]
    inputs = {name: row[inference.column_of(name, plain_arrow_type(sql_types[name]), known)] for name in input_names}
    logged = {name: row.get(_column_of_feature(name, sql_types.get(name), known, row)) for name in stamp.features}
    columns = {name: to_arrow([value], sql_types[name]) for name, value in inputs.items()}
    time = _free_name("as_of", stamp.plan.column_names)
    spine = pa.table({**columns, time: pa.array([row["as_of"]], inference.MOMENT)})
    sent = {name: [logged[name]] for name in row["overridden"] if name in logged}
    snapshots = {name: None if at is None else int(at) for name, at in json.loads(row["snapshots"]).items()}
    try:
        joined = features.join_as_of(store, stamp, spine, time, sent, snapshots)
        hidden = _stale_views(stamp, row, logged)
        read = joined.columns if not hidden else _without_views(store, stamp, joined.columns, hidden, sent)
        params = native.check_params(json.loads(row.get("parameters") or "{}"))
        [prediction] = check_count(to_predictions(predict.predict(native, read, params)), 1)
    except FeatureStoreError as error:
        return _result(table, row, rows, inputs, [], None, [f"it cannot be computed again: {error.message}"])
    again = {name: to_list(read[name])[0] for name in stamp.features}
    replayed = [_compare(name, logged[name], again[name], name in row["overridden"]) for name in stamp.features]
    predicted = inference.plain_values(to_column_or_json([prediction]))
    column = inference.column_of(inference.PREDICTION, predicted.type, known)
    result = _compare("prediction", row.get(column), predicted.to_pylist()[0])
    return _result(table, row, rows, inputs, replayed, result, list(_reasons(replayed, result)), tuple(_notes(row, hidden)))


def _column_of_feature(name: str, sql_type: str | None, known: Mapping[str, pa.DataType], row: Mapping[str, Any]) -> str:
    """The column of a feature; of a derived one, which declares no type, the column of its name or of its name and a type that is set."""
    if sql_type is not None:
        return inference.column_of(name, tables.stored_type(plain_arrow_type(sql_type)), known)
    plain = inference.column_of(name, pa.null(), {})
    typed = (column for column in known if column == plain or inference.column_of(name, known[column], {plain: pa.null()}) == column)
    return next((column for column in typed if row.get(column) is not None), plain)


def _stale_views(stamp: Stamp, row: Mapping[str, Any], logged: Mapping[str, Any]) -> list[ViewUse]:
    """The views that were too old when they were looked up, so that the model got NULL or the defaults of their features."""
    statuses = json.loads(row.get("statuses") or "{}")
    stale = [use for use in stamp.plan.uses if statuses.get(use.label) == STALE]
    return [use for use in stale if all(logged.get(name) == _default(use, name) for _, name in use.features if name in logged)]


def _without_views(
    store: FeatureStore, stamp: Stamp, columns: Mapping[str, Values], views: Sequence[ViewUse], sent: SentFeatures
) -> Mapping[str, Values]:
    """The columns as if these views had no row: their features are NULL or the default, and derived features are computed from these."""
    hidden = {name: [_default(use, name)] for use in views for _, name in use.features}
    plain = {**columns, **{name: values for name, values in hidden.items() if name not in sent}}
    if not stamp.plan.derived:
        return plain
    fields = {name: to_list(plain[name]) for name, _ in stamp.plan.request}
    derived = store_access.derive_features(store, stamp.plan, fields, [to_list(plain[name]) for name in stamp.plan.looked_up_names])
    computed = dict(zip((name for name, _ in stamp.plan.derived), derived, strict=True))
    return {**plain, **{name: values for name, values in computed.items() if name not in sent}}


def _default(use: ViewUse, name: str) -> Any:
    return default_values(use).get(name) if use.defaults else None


def _notes(row: Mapping[str, Any], hidden: Sequence[ViewUse]) -> Iterator[str]:
    """What a reader of the features should know."""
    statuses = json.loads(row.get("statuses") or "{}")
    for label, status in statuses.items():
        if status == EXPIRED:
            yield f"the row of {label} was older than the view's ttl at the time of the lookup, so the model got none of its features"
        elif any(use.label == label for use in hidden):
            yield f"{label} was stale at the time of the lookup, so the model got none of its features"
        elif status == STALE:
            yield f"{label} was stale at the time of the lookup, and its features were used"
    if row["overridden"]:
        yield f"the caller sent {', '.join(row['overridden'])}"
    if row.get("parameters"):
        yield f"the caller sent the parameters {row['parameters']}"


def _free_name(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _compare(name: str, logged: Any, replayed: Any, overridden: bool = False) -> ReplayedValue:
    return ReplayedValue(name, _plain(logged), _plain(replayed), _same(logged, replayed), overridden)


def _result(
    table: Table,
    row: Mapping[str, Any],
    rows: int,
    inputs: Mapping[str, Any],
    replayed: Sequence[ReplayedValue],
    prediction: ReplayedValue | None,
    why: Sequence[str],
    notes: tuple[str, ...] = (),
) -> Replay:
    return Replay(
        request_id=row["request_id"],
        table=table.name,
        model=row["model"],
        version=row["version"],
        predicted_at=row["predicted_at"],
        as_of=row["as_of"],
        keys={name: _plain(value) for name, value in inputs.items()},
        snapshots={name: None if at is None else int(at) for name, at in json.loads(row["snapshots"]).items()},
        prediction=prediction or ReplayedValue("prediction", _plain(row.get(inference.PREDICTION)), None, False),
        features=tuple(replayed),
        equal=not why,
        why=tuple(why),
        row=row.get("row_number") or 0,
        rows=rows,
        arm=row.get("arm"),
        shadow=bool(row.get("shadow")),
        parameters=json.loads(row.get("parameters") or "{}"),
        notes=notes,
    )


def _reasons(replayed: Sequence[ReplayedValue], prediction: ReplayedValue) -> Iterator[str]:
    differing = [value for value in replayed if not value.equal]
    for value in differing:
        what = f"the feature {value.name} was {value.logged!r} and is {value.replayed!r}"
        yield f"{what}: the log, or the snapshot of its feature table, was changed"
    if not prediction.equal:
        because = "because its features differ" if differing else f"although all features are equal: {_ELSEWHERE}"
        yield f"the prediction was {prediction.logged!r} and is {prediction.replayed!r}, {because}"


_ELSEWHERE = "the log was changed, or the model's library computes otherwise here than where it predicted"


def _find_row(store: FeatureStore, request_id: str, row: int | None) -> tuple[Table, dict[str, Any], int]:
    """The table and the row of a logged prediction, and how many records its request had. Raises: NotFound."""
    logged = _rows_of(store, request_id)
    if logged is None:
        # It may wait to be logged.
        flush_file(store)
        logged = _rows_of(store, request_id)
    if logged is None:
        off = "" if store.settings.logged_fraction() else "; predictions of a server are only logged with the setting prediction_log"
        raise NotFound("prediction", request_id, None, f"the tables of {store.settings.inference_namespace}{off}")
    table, rows = logged
    # Those that were answered first, and of a request that was repeated with the same id the last.
    rows.sort(key=lambda candidate: candidate["predicted_at"], reverse=True)
    rows.sort(key=lambda candidate: (bool(candidate.get("shadow")), candidate.get("row_number") or 0))
    answered = {candidate.get("row_number") for candidate in rows}
    chosen = next((candidate for candidate in rows if row is None or row == candidate.get("row_number")), None)
    if chosen is None:
        raise NotFound("row", str(row), sorted(str(number) for number in answered), f"the prediction {request_id}")
    return table, chosen, len(answered)


def _rows_of(store: FeatureStore, request_id: str) -> tuple[Table, list[dict[str, Any]]] | None:
    """The rows of a request and their table; None if there are none."""
    namespace = store.settings.inference_namespace
    for name in tables.list_tables(store.catalog, namespace):
        table = tables.load(store.catalog, f"{namespace}.{name}")
        if "request_id" not in tables.column_names(table, table.schema_id):
            continue
        rows = scans.read_equal(table, "request_id", request_id)
        if rows.num_rows:
            return table, rows.to_pylist()
    return None


def _same(logged: Any, replayed: Any) -> bool:
    if isinstance(logged, float) and isinstance(replayed, float):
        return struct.pack("<d", logged) == struct.pack("<d", replayed) or (math.isnan(logged) and math.isnan(replayed))
    if isinstance(logged, list) and isinstance(replayed, list):
        return len(logged) == len(replayed) and all(map(_same, logged, replayed))
    return type(logged) is type(replayed) and bool(logged == replayed)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else json_encoding.plain(value)
