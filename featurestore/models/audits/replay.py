"""Replay a logged prediction: compute it again from the snapshots and the time that its row names, and compare."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from featurestore.compiler.service_plan import ViewUse
from featurestore.errors import Conflict, FeatureStoreError, MissingExtra, NotFound, RequestError
from featurestore.lakehouse import tables
from featurestore.lakehouse.table import Table
from featurestore.models.audits.logged_requests import (
    PredictionAddress,
    download_model,
    find_prediction,
    logged_feature,
    logged_inputs,
    same_value,
    stamp_of_row,
)
from featurestore.models.audits.moving_views import find_moving_views
from featurestore.models.audits.recorded_policies import PolicyReader, find_recorded_policies
from featurestore.models.frames.inputs import Values
from featurestore.models.frames.outputs import check_count, to_column_or_json, to_predictions
from featurestore.models.frames.values import to_arrow, to_list
from featurestore.models.predictions import features, inference, predict
from featurestore.models.predictions.features import SentFeatures
from featurestore.models.stamps import store_access
from featurestore.models.stamps.bundle import Native
from featurestore.models.stamps.stamp import Stamp
from featurestore.pipelines.lineage.replay_result import Replay, ReplayedValue
from featurestore.pipelines.online_lookup.online_features import EXPIRED, STALE
from featurestore.records.defaults import default_values
from featurestore.store import FeatureStore, read_as
from featurestore.values import json_encoding


def replay_prediction(
    store: FeatureStore, request_id: str, row: int | None = None, model: str | None = None, at: int | None = None
) -> Replay:
    """Compute a logged prediction again, and compare it and its features with the log, bit for bit; NaN equals NaN.

    The other arguments are those of PredictionAddress. What servers with this home folder have not flushed yet is flushed first. What
    keeps a prediction from being computed, such as a file of the model that was changed, is a reason in `why`. Raises: NotFound for an
    unknown request id or row; Conflict if requests that differ have the id; RequestError for a row of an early release, which does not name
    its time; NotReady if MLflow does not respond.
    """
    table, logged, rows = find_prediction(store, PredictionAddress(request_id, row, model, at))
    if logged.get("as_of") is None or logged.get("overridden") is None:
        raise RequestError(f"the prediction {request_id} was logged by an early release, which did not record the time of its features")
    with TemporaryDirectory() as scratch:
        try:
            path, note = download_model(store, logged, scratch)
            native = Native(path, allow_pickle=store.settings.allow_pickle)
        except NotFound as error:
            gone = f"the prediction and its features cannot be computed again: {error.message}"
            kept = "what was logged remains: the keys, the features, their snapshots and the prediction"
            return _result(table, logged, rows, {}, [], None, [gone], (kept,))
        except (Conflict, RequestError, MissingExtra) as error:
            # Its files were changed, its stamp is missing, it is refused, or its library is missing.
            return _result(table, logged, rows, {}, [], None, [f"it cannot be computed again: {error.message}"])
        return _replay(store, native, table, logged, rows, [] if note is None else [note])


def _replay(store: FeatureStore, native: Native, table: Table, row: Mapping[str, Any], rows: int, notes: Sequence[str]) -> Replay:
    stamp = stamp_of_row(native.stamp, row)
    known = {field.name: field.type for field in tables.arrow_schema(table)}
    sql_types = stamp.plan.sql_types
    inputs = logged_inputs(stamp, row, known)
    logged = {name: logged_feature(stamp, row, known, name) for name in stamp.features}
    columns = {name: to_arrow([value], sql_types[name]) for name, value in inputs.items()}
    time = _free_name("as_of", stamp.plan.column_names)
    spine = pa.table({**columns, time: pa.array([row["as_of"]], inference.MOMENT)})
    sent = {name: [logged[name]] for name in row["overridden"] if name in logged}
    snapshots = {name: None if at is None else int(at) for name, at in json.loads(row["snapshots"]).items()}
    moving = find_moving_views(store, stamp, row, snapshots)
    digest, notes = row.get("policies_digest"), [*notes, *moving.notes]
    try:
        as_asked = store
        if digest is not None:
            views = [use.view for use in stamp.plan.uses]
            recorded = find_recorded_policies(store_access.runtime_of(store), views, digest, row["predicted_at"])
            if recorded is None:
                return _result(table, row, rows, inputs, [], None, [f"it was made under policies ({digest}) that {_UNRECORDED}"])
            as_asked = read_as(store, PolicyReader(recorded.policies))
            now = "" if recorded.hold else "; other policies are in force now"
            notes.append(f"policies were in force for whoever asked, and it was computed with these{now}")
        joined = features.join_as_of(as_asked, stamp, spine, time, sent, moving.snapshots)
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
    return _result(
        table, row, rows, inputs, replayed, result, list(_reasons(replayed, result, moving.causes)), (*notes, *_notes(row, hidden))
    )


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
    return ReplayedValue(name, _plain(logged), _plain(replayed), same_value(logged, replayed), overridden)


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


def _reasons(replayed: Sequence[ReplayedValue], prediction: ReplayedValue, causes: Mapping[str, str]) -> Iterator[str]:
    differing = [value for value in replayed if not value.equal]
    for value in differing:
        what = f"the feature {value.name} was {value.logged!r} and is {value.replayed!r}"
        yield f"{what}: {causes.get(value.name, 'the log, or the snapshot of its feature table, was changed')}"
    if not prediction.equal:
        because = "because its features differ" if differing else f"although all features are equal: {_ELSEWHERE}"
        yield f"the prediction was {prediction.logged!r} and is {prediction.replayed!r}, {because}"


_UNRECORDED = "the registry does not have: it was repaired, or the log was changed"
_ELSEWHERE = "the log was changed, or the model's library computes otherwise here than where it predicted"


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else json_encoding.plain(value)
