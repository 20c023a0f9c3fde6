"""Find the logged prediction that a request id names; any client may choose the id, so several requests may have it."""

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from featurestore.errors import Conflict, FeatureStoreError, NotFound, RequestError
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of
from featurestore.models.mlflow_access import tracking
from featurestore.models.mlflow_access.deleted import naming_deleted
from featurestore.models.mlflow_access.mlflow_client import local_path, mlflow, translate_mlflow_errors
from featurestore.models.mlflow_access.time_limits import TRANSFER_SECONDS, limit_time
from featurestore.models.prediction_log.log import flush_file
from featurestore.models.predictions import inference
from featurestore.models.stamps import store_access
from featurestore.models.stamps.stamp import Stamp, read_stamp
from featurestore.spines.columns import plain_arrow_type
from featurestore.store import FeatureStore
from featurestore.values import times

logger = logger_of(__name__)

LISTED = 10
"""Requests with one id that an error lists, the newest first."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class PredictionAddress:
    """What names one logged prediction: the id of its request, and where several requests have that id, the model or the time.

    `row` is the number of the record in the request; None: the first. `at` is the `predicted_at` or else the `as_of` of the rows, in
    microseconds.
    """

    request_id: str
    row: int | None = None
    model: str | None = None
    at: int | None = None


@dataclass(frozen=True)
class LoggedRequest:
    """The rows of one request in a table of predictions, by their number; those of a shadow, which are logged later, by themselves."""

    table: Table
    model: str
    at: int
    shadow: bool
    rows: Sequence[Row]

    @property
    def numbers(self) -> list[int | None]:
        """The numbers of the records that were logged."""
        return [row.get("row_number") for row in self.rows]

    def __str__(self) -> str:
        versions = " and ".join(sorted({row["version"] for row in self.rows if row["version"] is not None}))
        beside = ", of a shadow" if self.shadow else ""
        return f"{self.model}{versions and f' {versions}'} at {times.text(self.at)} ({_count(len(self.rows), 'row')}{beside})"


def find_prediction(store: FeatureStore, address: PredictionAddress) -> tuple[Table, Row, int]:
    """The table and the row of a logged prediction, and how many records of its request were logged.

    Of several requests with the id that are the same, as when a client sends one again, the newest. Raises: NotFound; Conflict listing
    the requests, if they differ.
    """
    request = _select(store, address, _read_requests(store, address))
    for row in request.rows:
        if address.row is None or address.row == row.get("row_number"):
            return request.table, row, len(request.rows)
    raise NotFound("row", str(address.row), [str(number) for number in request.numbers], f"the prediction {address.request_id}")


def download_model(store: FeatureStore, row: Row, folder: str) -> tuple[Path, str | None]:
    """Download the version of the model that made a logged prediction, and a note if it was deleted, but not the logged model behind it.

    Raises: NotFound, if both were deleted; NotReady.
    """
    tracking.use_tracking(store.settings)
    if row["version"] is None:
        return _download(store, f"models:/{row['model_id']}", folder), None
    try:
        return _download(store, f"models:/{row['model']}/{row['version']}", folder), None
    except NotFound as gone:
        if row.get("model_id") is None:
            raise
        try:
            path = _download(store, f"models:/{row['model_id']}", folder)
        except NotFound:
            raise gone from None
        return path, f"{gone.message}; the logged model {row['model_id']}, which it was made from, was computed with"


def _download(store: FeatureStore, address: str, folder: str) -> Path:
    with (
        limit_time(TRANSFER_SECONDS),
        naming_deleted(store_access.runtime_of(store), address),
        translate_mlflow_errors("model", address),
    ):
        return Path(mlflow.artifacts.download_artifacts(local_path(address), dst_path=folder))


def stamp_of_row(stamp: Stamp, row: Row) -> Stamp:
    """The stamp with the plan by which the features of a row were found: online, there is only one time."""
    return stamp if row.get("statuses") is None else replace(stamp, plan=stamp.plan.at_one_time(), known="now")


def logged_inputs(stamp: Stamp, row: Row, known: Mapping[str, pa.DataType]) -> dict[str, Any]:
    """The keys and request fields of a row of a table with the columns `known`."""
    sql_types = stamp.plan.sql_types
    names = [*stamp.plan.entity_columns, *(name for name, _ in stamp.plan.request)]
    return {name: row.get(inference.column_of(name, plain_arrow_type(sql_types[name]), known)) for name in names}


def logged_feature(stamp: Stamp, row: Row, known: Mapping[str, pa.DataType], name: str) -> Any:
    """The value of a feature in a row of a table with the columns `known`."""
    return row.get(_column_of_feature(name, stamp.plan.sql_types.get(name), known, row))


def same_value(a: Any, b: Any) -> bool:
    """Whether two values are the same, bit for bit; NaN equals NaN."""
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack("<d", a) == struct.pack("<d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_value, a, b))
    return type(a) is type(b) and bool(a == b)


def _column_of_feature(name: str, sql_type: str | None, known: Mapping[str, pa.DataType], row: Row) -> str:
    """The column of a feature; of a derived one, which declares no type, the column of its name or of its name and a type that is set."""
    if sql_type is not None:
        return inference.column_of(name, tables.stored_type(plain_arrow_type(sql_type)), known)
    plain = inference.column_of(name, pa.null(), {})
    typed = (column for column in known if column == plain or inference.column_of(name, known[column], {plain: pa.null()}) == column)
    return next((column for column in typed if row.get(column) is not None), plain)


def _read_requests(store: FeatureStore, address: PredictionAddress) -> list[LoggedRequest]:
    """All logged requests with this id. Raises: NotFound if there are none."""
    failure = None
    try:
        # It may wait to be logged, and so may another with the same id.
        flush_file(store)
    except FeatureStoreError as error:
        failure = error
    operator = store_access.runtime_of(store).operator
    requests = [
        request
        for table in _tables(store)
        for request in _requests_of(table, scans.read_equal(operator.grant(table), "request_id", address.request_id).to_pylist())
    ]
    if not requests:
        if failure is not None:
            raise failure
        off = "" if store.settings.logged_fraction() else "; predictions of a server are only logged with the setting prediction_log"
        raise NotFound("prediction", address.request_id, None, f"the tables of {store.settings.inference_namespace}{off}")
    if failure is not None:
        logger.warning("other predictions with the request id %s may still wait to be logged: %s", address.request_id, failure)
    return sorted(requests, key=lambda request: request.at, reverse=True)


def _tables(store: FeatureStore) -> Iterator[Table]:
    namespace = store.settings.inference_namespace
    for name in tables.list_tables(store.catalog, namespace):
        table = tables.load(store.catalog, f"{namespace}.{name}")
        if "request_id" in tables.column_names(table, table.schema_id):
            yield table


def _requests_of(table: Table, rows: Sequence[Row]) -> Iterator[LoggedRequest]:
    """The requests of these rows. All rows of a request that are answered have one `predicted_at`, whichever aliases answered them."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        shadow = bool(row.get("shadow"))
        groups.setdefault((row["model"], row["predicted_at"], shadow, row.get("arm") if shadow else None), []).append(row)
    for (model, predicted_at, shadow, _), members in groups.items():
        yield LoggedRequest(table, model, times.micros(predicted_at), shadow, sorted(members, key=lambda row: row.get("row_number") or 0))


def _select(store: FeatureStore, address: PredictionAddress, requests: Sequence[LoggedRequest]) -> LoggedRequest:
    """The request that is meant, of those with one id, newest first. Raises: NotFound; Conflict if several differ."""
    selected = [request for request in requests if address.model in (None, request.model)]
    if not selected:
        raise NotFound("model", str(address.model), {request.model for request in requests}, f"the prediction {address.request_id}")
    if address.at is not None:
        others, selected = selected, _at_time(selected, address.at)
        if not selected:
            where = f"the log at {times.text(address.at)}; those with this id are {_listing(others)}"
            raise NotFound("prediction", address.request_id, None, where)
    else:
        # Shadows are scored later, of the same request; they count where nothing was answered, or their time is given.
        answered = {request.model for request in selected if not request.shadow}
        selected = [request for request in selected if not request.shadow or request.model not in answered]
    newest, *earlier = selected
    if any(not _is_same(store, newest, request) for request in earlier):
        command = f"featurestore replay {address.request_id} --model {newest.model} --at {times.text(newest.at)}"
        raise Conflict(
            f"{len(selected)} different requests have the id {address.request_id}: {_listing(selected)}; say which by its model= and at=,"
            f" as in '{command}'",
            request_id=address.request_id,
            requests=[{"model": item.model, "at": times.text(item.at), "rows": len(item.rows)} for item in selected[:LISTED]],
        )
    return newest


def _at_time(requests: Sequence[LoggedRequest], at: int) -> list[LoggedRequest]:
    """The requests that were predicted, or else looked up, at this time."""
    predicted = [request for request in requests if request.at == at]
    as_of = times.moment(at)
    return predicted or [request for request in requests if any(row.get("as_of") == as_of for row in request.rows)]


def _listing(requests: Sequence[LoggedRequest]) -> str:
    more = f" and {len(requests) - LISTED} more" if len(requests) > LISTED else ""
    return f"{', '.join(map(str, requests[:LISTED]))}{more}"


def _is_same(store: FeatureStore, a: LoggedRequest, b: LoggedRequest) -> bool:
    """Whether the same was asked: of the same versions, for the same records, with the same features and parameters sent."""
    if (a.table.name, a.model, a.numbers) != (b.table.name, b.model, b.numbers):
        return False
    known = {field.name: field.type for field in tables.arrow_schema(a.table)}
    pairs = list(zip(a.rows, b.rows, strict=True))
    if any(_asked(one) != _asked(other) for one, other in pairs):
        return False
    stamps: dict[tuple[Any, ...], Stamp | None] = {}
    for one, other in pairs:
        version = (one["version"], one["model_id"])
        if version not in stamps:
            stamps[version] = _read_stamp(store, one)
        values, others = (_sent_values(stamps[version], row, known) for row in (one, other))
        if values.keys() != others.keys() or not all(same_value(values[name], others[name]) for name in values):
            return False
    return True


def _asked(row: Row) -> tuple[Any, ...]:
    """What was asked besides values."""
    overridden = row.get("overridden")
    return row["version"], row["model_id"], json.loads(row.get("parameters") or "{}"), overridden and sorted(overridden)


def _sent_values(stamp: Stamp | None, row: Row, known: Mapping[str, pa.DataType]) -> dict[str, Any]:
    """What a caller sent for a row; if its model is gone, which says what that is, all its values but the prediction."""
    if stamp is None:
        return {name: row[name] for name in known if name not in (*inference.SCHEMA.names, inference.PREDICTION)}
    used = stamp_of_row(stamp, row)
    return {**logged_inputs(used, row, known), **{name: logged_feature(used, row, known, name) for name in row.get("overridden") or ()}}


def _read_stamp(store: FeatureStore, row: Row) -> Stamp | None:
    """The stamp of the version that made a prediction; None if it has none any more."""
    with TemporaryDirectory() as scratch:
        try:
            return read_stamp(download_model(store, row, scratch)[0])
        except (NotFound, RequestError) as error:
            logger.info("requests with one id are compared by all their values: %s", error)
            return None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
