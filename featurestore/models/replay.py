"""Replay a logged prediction: compute it again from the snapshots and the time that its row names, and compare."""

import json
import math
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from featurestore.errors import FeatureStoreError, NotFound, RequestError
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.table import Table
from featurestore.models import features, inference, predict, tracking
from featurestore.models.bundle import Native
from featurestore.models.mlflow_client import asking, local_path, mlflow
from featurestore.models.time_limits import TRANSFER_SECONDS, limited
from featurestore.models.values import sql_types_of, to_arrow, to_list, to_predictions
from featurestore.pipelines.lineage.replay_result import Replay, ReplayedValue
from featurestore.spines.columns import plain_arrow_type
from featurestore.store import FeatureStore
from featurestore.values import json_encoding


def replay_prediction(store: FeatureStore, request_id: str) -> Replay:
    """Compute a logged prediction again, and compare it and its features with the log, bit for bit; NaN equals NaN.

    What keeps it from being computed, such as a file of the model that was changed, is a reason in `why`. Raises: NotFound for an unknown
    request id; RequestError for a row of an early release, which does not name its time; NotReady if MLflow does not respond.
    """
    table, row = _find_row(store, request_id)
    if row.get("as_of") is None or row.get("overridden") is None:
        raise RequestError(f"the prediction {request_id} was logged by an early release, which did not record the time of its features")
    tracking.use_tracking(store.settings)
    address = f"models:/{row['model']}/{row['version']}" if row["version"] is not None else f"models:/{row['model_id']}"
    with TemporaryDirectory() as scratch:
        try:
            with limited(TRANSFER_SECONDS), asking("model", address):
                folder = mlflow.artifacts.download_artifacts(local_path(address), dst_path=scratch)
            native = Native(Path(folder), allow_pickle=store.settings.allow_pickle)
            return _replay(store, native, table, row)
        except NotFound as error:
            return _result(table, row, {}, [], None, [f"it cannot be computed again: {error.message}"])


def _replay(store: FeatureStore, native: Native, table: Table, row: Mapping[str, Any]) -> Replay:
    stamp = native.stamp
    known = {field.name: field.type for field in tables.arrow_schema(table)}
    sql_types = sql_types_of(stamp.plan)
    input_names = [*stamp.plan.entity_columns, *(name for name, _ in stamp.plan.request)]
    inputs = {name: row[inference.column_of(name, plain_arrow_type(sql_types[name]), known)] for name in input_names}
    logged_types = {name: _logged_type(name, sql_types.get(name), known) for name in stamp.features}
    logged = {name: row[inference.column_of(name, arrow_type, known)] for name, arrow_type in logged_types.items()}
    columns = {name: to_arrow([value], sql_types[name]) for name, value in inputs.items()}
    time = _free_name("as_of", stamp.plan.column_names)
    spine = pa.table({**columns, time: pa.array([row["as_of"]], inference.MOMENT)})
    sent = {name: [logged[name]] for name in row["overridden"] if name in logged}
    snapshots = {name: None if at is None else int(at) for name, at in json.loads(row["snapshots"]).items()}
    try:
        rows = features.join_as_of(store, stamp, spine, time, sent, snapshots)
        prediction = to_predictions(predict.predict(native, rows.columns))[0]
    except FeatureStoreError as error:
        return _result(table, row, inputs, [], None, [f"it cannot be computed again: {error.message}"])
    again = {name: to_list(rows.columns[name])[0] for name in stamp.features}
    replayed = [_compare(name, logged[name], again[name], name in row["overridden"]) for name in stamp.features]
    predicted = inference.plain_values(pa.array([prediction]))
    column = inference.column_of(inference.PREDICTION, predicted.type, known)
    result = _compare("prediction", row[column], predicted.to_pylist()[0])
    return _result(table, row, inputs, replayed, result, list(_reasons(replayed, result)))


def _free_name(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _compare(name: str, logged: Any, replayed: Any, overridden: bool = False) -> ReplayedValue:
    return ReplayedValue(name, _plain(logged), _plain(replayed), _same(logged, replayed), overridden)


def _result(
    table: Table,
    row: Mapping[str, Any],
    inputs: Mapping[str, Any],
    replayed: Sequence[ReplayedValue],
    prediction: ReplayedValue | None,
    why: Sequence[str],
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


def _find_row(store: FeatureStore, request_id: str) -> tuple[Table, dict[str, Any]]:
    """The table and the row of a logged prediction. Raises: NotFound."""
    namespace = store.settings.inference_namespace
    for name in tables.list_tables(store.catalog, namespace):
        table = tables.load(store.catalog, f"{namespace}.{name}")
        if "request_id" not in tables.column_names(table, table.schema_id):
            continue
        rows = scans.read_equal(table, "request_id", request_id)
        if rows.num_rows:
            return table, rows.slice(0, 1).to_pylist()[0]
    raise NotFound("prediction", request_id, (), f"the tables of {namespace}")


def _logged_type(name: str, sql_type: str | None, known: Mapping[str, pa.DataType]) -> pa.DataType:
    """The type of a feature's column; a derived feature, which declares none, has that of the column of its name."""
    if sql_type is not None:
        return tables.stored_type(plain_arrow_type(sql_type))
    return known.get(name) or known.get(f"value_{name}") or pa.float64()


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
