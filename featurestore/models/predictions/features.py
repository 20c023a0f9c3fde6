"""The features of a stamped model: looked up online or as of a time, and overridden by features from the caller."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa

from featurestore.errors import RequestError, TypeMismatch, near
from featurestore.models.frames.inputs import Values, is_missing
from featurestore.models.frames.missing import POLICIES
from featurestore.models.frames.values import coerce_value, to_list, to_python
from featurestore.models.stamps import store_access
from featurestore.models.stamps.stamp import Stamp
from featurestore.store import FeatureStore
from featurestore.values import frames
from featurestore.values.coercion import coerce
from featurestore.values.json_numbers import NotANumber, WrittenNumber
from featurestore.values.row_places import RECORDS, RowPlaces, frame_of
from featurestore.values.value_types import FLOATING

SPINE = frame_of(frames.SPINE)
_LOOKUP_PLACE = re.compile(r"(?:entities|request)\[(?P<row>\d+)\](?:\.(?P<name>\w+))?")
"""Where a lookup's errors begin to say what is wrong."""

SentFeatures = Mapping[str, Sequence[Any]]
"""Features from the caller by name: a value for each row, None if the caller sent none."""


@dataclass(frozen=True)
class FeatureRows:
    """The columns of keys, request fields and features by name, and the snapshots of the feature tables.

    `sent` has the features from the caller. `as_of` is the time of each row; None: `at`, the time of an online lookup in microseconds.
    `status` has, for features that were looked up online, the status of each row by view, and `watermarks` (microseconds) those of the
    feature tables; `edition` is that of the lookup, and `derived_types` has the DuckDB types of derived features.
    `policies` is the digest of the policies in force for whoever looked them up; None if there were none.
    """

    columns: Mapping[str, Values]
    snapshots: Mapping[str, int | None]
    sent: SentFeatures = field(default_factory=dict)
    as_of: pa.ChunkedArray | None = None
    status: Mapping[str, Sequence[str]] = field(default_factory=dict)
    watermarks: Mapping[str, int | None] = field(default_factory=dict)
    at: int | None = None
    edition: int | None = None
    derived_types: Mapping[str, str] = field(default_factory=dict)
    policies: str | None = None

    def part(self, start: int, stop: int) -> "FeatureRows":
        """The rows from `start` up to `stop`."""
        return replace(
            self,
            columns={name: values[start:stop] for name, values in self.columns.items()},
            sent={name: values[start:stop] for name, values in self.sent.items()},
            as_of=None if self.as_of is None else self.as_of[start:stop],
            status={label: states[start:stop] for label, states in self.status.items()},
        )


def look_up_online(store: FeatureStore, stamp: Stamp, rows: Sequence[Mapping[str, Any]], places: RowPlaces = RECORDS) -> FeatureRows:
    """Look up the newest features for rows of keys, request fields and optional features.

    Raises: RequestError and TypeMismatch naming the row and field as `places` does.
    """
    plan = stamp.plan
    request = [{name: row[name] for name, _ in plan.request if name in row} for row in rows]
    entities = [{name: row[name] for name in plan.entity_columns if name in row} for row in rows]
    with _placing(places):
        response = store.online_features(plan, entities, request)
    looked_up = (
        dict(zip(response.features, zip(*response.rows, strict=True), strict=True)) if rows else dict.fromkeys(response.features, ())
    )
    sql_types = plan.sql_types
    request_values = {
        name: [coerce_value(row[name], sql_types[name], name) for row in rows] for name in (*plan.entity_columns, *dict(plan.request))
    }
    sent = {name for row in rows for name in row}.intersection(plan.feature_names)
    sent_values = {name: [row.get(name) for row in rows] for name in sent}
    columns = with_overrides(store, stamp, {**request_values, **looked_up}, sent_values, places)
    # There are none without rows.
    derived_types = dict(zip((name for name, _ in plan.derived), response.derived_types, strict=False))
    return FeatureRows(
        columns,
        response.snapshots,
        _without_missing(sent_values),
        status=response.status,
        watermarks=response.watermarks,
        at=response.at,
        edition=response.edition,
        derived_types=derived_types,
        policies=response.policies,
    )


def join_as_of(
    store: FeatureStore,
    stamp: Stamp,
    rows: pa.Table,
    timestamp: str,
    sent: SentFeatures,
    snapshots: Mapping[str, int | None] | None = None,
) -> FeatureRows:
    """Join the features as of each row's time, at these snapshots, by default the current ones."""
    known = cast('Literal["now", "then"]', stamp.known)
    joined = store.point_in_time(stamp.plan, rows, timestamp, known=known, snapshots=snapshots)
    columns = dict(zip(joined.schema.names, joined.columns, strict=True))
    return joined_features(store, stamp, columns, timestamp, sent, snapshots or {})


def joined_features(
    store: FeatureStore,
    stamp: Stamp,
    columns: Mapping[str, Any],
    timestamp: str,
    sent: SentFeatures,
    snapshots: Mapping[str, int | None],
    places: RowPlaces = SPINE,
) -> FeatureRows:
    """The rows of a join, with the features that were sent instead of the joined ones."""
    overridden = with_overrides(store, stamp, columns, sent, places)
    return FeatureRows(overridden, snapshots, _without_missing(sent), columns[timestamp].cast(pa.timestamp("us", tz="UTC")))


def check_columns(stamp: Stamp, names: Sequence[str]) -> None:
    """Raises: RequestError for a key or request field that is not among the columns of a spine."""
    for name in (*stamp.plan.entity_columns, *dict(stamp.plan.request)):
        if name not in names:
            problem = f"the spine has no column '{name}', which service {stamp.plan.service} needs{near(name, names)}"
            raise RequestError(problem, field=name)


def with_overrides(
    store: FeatureStore, stamp: Stamp, columns: Mapping[str, Values], sent: SentFeatures, places: RowPlaces
) -> Mapping[str, Values]:
    """Override features by the caller's values that are not NULL; derived features are computed again unless they were sent too.

    Raises: TypeMismatch naming the row and the feature.
    """
    if not sent:
        return columns
    _refuse_nan(sent, stamp.plan.sql_types, places)
    sent = _without_missing(sent)
    if not sent:
        return columns
    plan, sql_types, result = stamp.plan, stamp.plan.sql_types, dict(columns)
    for name in plan.looked_up_names:
        if name in sent:
            convert = partial(coerce_value, sql_type=sql_types[name])
            result[name] = _merge(_converted(sent[name], convert, name, places), columns[name])
    if plan.derived and any(name in sent for name in plan.looked_up_names):
        fields = {name: to_list(result[name]) for name, _ in plan.request}
        computed = store_access.derive_features(store, plan, fields, [to_list(result[name]) for name in plan.looked_up_names])
        result.update(zip((name for name, _ in plan.derived), computed, strict=True))
    for name, _ in plan.derived:
        if name in sent:
            numeric = next((column.numeric for column in stamp.inputs if column.name == name), False)
            convert = partial(_convert_derived, numeric=numeric)
            result[name] = _merge(_converted(sent[name], convert, name, places), result[name])
    return result


def check_missing(stamp: Stamp, policy: str, columns: Mapping[str, Values], places: RowPlaces = SPINE) -> None:
    """With the policy "error", refuse a row for which a view has no feature.

    Raises: RequestError naming row, view and keys, or for an unknown policy.
    """
    if policy not in POLICIES:
        raise RequestError(f"missing={policy!r} must be 'nan' (a key without features is scored with NULLs) or 'error'", field="missing")
    if policy == "nan":
        return
    for use in stamp.plan.uses:
        nulls = [is_missing(columns[name]) for _, name in use.features]
        without = np.logical_and.reduce(nulls)
        if nulls and without.any():
            row = int(without.argmax())
            keys = ", ".join(f"{name}={to_python(columns[name][row])!r}" for _, name in use.keys)
            raise RequestError(
                f"{places.of_row(row)}: {use.label} has no features for {keys}; missing='error' forbids scoring without features",
                row=places.number(row),
            )


@contextmanager
def _placing(places: RowPlaces) -> Iterator[None]:
    """Errors of a lookup about one of its entities or request fields, at the place that the caller of the prediction knows."""
    try:
        yield
    except RequestError as error:
        match = _LOOKUP_PLACE.match(error.message)
        if match is not None:
            row, name = int(match["row"]), match["name"]
            place = places.of_row(row) if name is None else places.of_field(row, name)
            error.message = place + error.message[match.end() :]
            field = _LOOKUP_PLACE.fullmatch(str(error.details.get("field")))
            if field is not None and field["name"] is not None:
                error.details["field"] = places.of_field(row, field["name"])
        raise


def _without_missing(sent: SentFeatures) -> SentFeatures:
    """The sent features with None for every missing value, without those that no row has."""
    sent = {name: [to_python(value) for value in values] for name, values in sent.items()}
    return {name: values for name, values in sent.items() if any(value is not None for value in values)}


def _converted(values: Sequence[Any], convert: Callable[..., Any], name: str, places: RowPlaces) -> list[Any]:
    """The converted values of a feature. Raises: TypeMismatch naming the first row whose value does not fit."""
    try:
        return [convert(value, what=name) for value in values]
    except TypeMismatch:
        # Only now each value gets its place, which takes longer than to convert it.
        return [convert(value, what=places.of_field(row, name)) for row, value in enumerate(values)]


def _convert_derived(value: Any, numeric: bool, what: str) -> Any:
    """Convert a derived feature from the caller, which has no declared type: to a number if the model reads one."""
    if numeric and not isinstance(value, bool):
        return coerce(value, "DOUBLE", what)
    if isinstance(value, list | dict):
        raise TypeMismatch(f"{what} is {type(value).__name__}; send a single value", field=what)
    return float(value) if isinstance(value, WrittenNumber) else value


def _refuse_nan(sent: SentFeatures, sql_types: Mapping[str, str], places: RowPlaces) -> None:
    for name, values in sent.items():
        if sql_types.get(name, "DOUBLE") in FLOATING:
            continue
        for row, value in enumerate(values):
            if type(value) is NotANumber:
                place, sql_type = places.of_field(row, name), sql_types[name]
                raise TypeMismatch(f"{place}: NaN is not a value of {sql_type}; send null instead", field=place, expected=sql_type)


def _merge(sent: Sequence[Any], looked_up: Values) -> list[Any]:
    return [other if value is None else value for value, other in zip(sent, to_list(looked_up), strict=True)]
