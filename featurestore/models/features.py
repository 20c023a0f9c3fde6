"""The features of a stamped model: looked up online or as of a time, and overridden by what the caller sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import pyarrow as pa

from featurestore.errors import RequestError, TypeMismatch
from featurestore.models import store_access
from featurestore.models.inputs import Values
from featurestore.models.stamp import Stamp
from featurestore.models.values import coerce_value, sql_types_of, to_list, to_python
from featurestore.store import FeatureStore
from featurestore.values.coercion import coerce
from featurestore.values.json_numbers import NotANumber, WrittenNumber
from featurestore.values.value_types import FLOATING

MISSING = ("nan", "error")

Given = Mapping[str, Sequence[Any]]
"""Features that the caller sent, by name: a value for each row, None where it sent none."""


@dataclass(frozen=True)
class Found:
    """Keys, request fields and features by name, a value for each row; and the snapshots of the feature tables, None where not told."""

    columns: Mapping[str, Values]
    snapshots: Mapping[str, int | None]


def online(store: FeatureStore, stamp: Stamp, rows: Sequence[Mapping[str, Any]]) -> Found:
    """The newest features for rows that hold keys, request fields and, where the caller sent them, features.

    Raises: RequestError and TypeMismatch naming the row and field.
    """
    plan = stamp.plan
    request = [{name: row[name] for name, _ in plan.request if name in row} for row in rows]
    entities = [{name: row[name] for name in plan.entity_columns if name in row} for row in rows]
    answer = store.online_features(plan, entities, request)
    found = dict(zip(answer.features, zip(*answer.rows, strict=True), strict=True)) if rows else dict.fromkeys(answer.features, ())
    kinds = sql_types_of(plan)
    own = {name: [coerce_value(row[name], kinds[name], name) for row in rows] for name in (*plan.entity_columns, *dict(plan.request))}
    sent = {name for row in rows for name in row}.intersection(plan.feature_names)
    given = {name: [row.get(name) for row in rows] for name in sent}
    return Found(overridden(store, stamp, {**own, **found}, given), answer.snapshots)


def as_of(
    store: FeatureStore,
    stamp: Stamp,
    rows: pa.Table,
    timestamp: str,
    given: Given,
    snapshots: Mapping[str, int | None] | None = None,
) -> Found:
    """The features as of each row's time, at these snapshots or the current ones."""
    known = cast('Literal["now", "then"]', stamp.known)
    joined = store.point_in_time(stamp.plan, rows, timestamp, known=known, snapshots=snapshots)
    columns = dict(zip(joined.schema.names, joined.columns, strict=True))
    return Found(overridden(store, stamp, columns, given), snapshots or {})


def overridden(store: FeatureStore, stamp: Stamp, columns: Mapping[str, Values], given: Given) -> Mapping[str, Values]:
    """The caller's features where there are any; a NULL is none. A derived feature is computed again from them, unless it was sent itself.

    Raises: TypeMismatch naming the feature.
    """
    _refuse_spelled_out(given, sql_types_of(stamp.plan))
    sent = {name: [to_python(value) for value in values] for name, values in given.items()}
    sent = {name: values for name, values in sent.items() if any(value is not None for value in values)}
    if not sent:
        return columns
    plan, kinds, result = stamp.plan, sql_types_of(stamp.plan), dict(columns)
    for name in plan.looked_up_names:
        if name in sent:
            result[name] = _merged([coerce_value(value, kinds[name], f"the feature '{name}'") for value in sent[name]], columns[name])
    if plan.derived and any(name in sent for name in plan.looked_up_names):
        fields = {name: to_list(result[name]) for name, _ in plan.request}
        again = store_access.derive(store, plan, fields, [to_list(result[name]) for name in plan.looked_up_names])
        result.update(zip((name for name, _ in plan.derived), again, strict=True))
    for name, _ in plan.derived:
        if name in sent:
            numeric = next((one.numeric for one in stamp.inputs if one.name == name), False)
            result[name] = _merged([_derived(value, numeric, name) for value in sent[name]], result[name])
    return result


def check_missing(stamp: Stamp, policy: str, columns: Mapping[str, Values]) -> None:
    """Under the policy "error", refuse a row for which a view has nothing at all.

    Raises: RequestError naming row, view and keys; also for a policy that there is not.
    """
    if policy not in MISSING:
        raise RequestError(f"missing={policy!r} must be 'nan' (a key without features is scored with NULLs) or 'error'", field="missing")
    if policy == "nan":
        return
    for use in stamp.plan.uses:
        names = [name for _, name in use.features]
        for row, values in enumerate(zip(*(to_list(columns[name]) for name in names), strict=True)):
            if all(value is None for value in values):
                keys = ", ".join(f"{name}={to_python(columns[name][row])!r}" for _, name in use.keys)
                raise RequestError(
                    f"row {row}: {use.label} has no features for {keys}, and the model is not to guess (missing='error')", row=row
                )


def _derived(value: Any, numeric: bool, name: str) -> Any:
    """A derived feature that a caller sent, whose type nobody declared: a number where the model reads one, else any plain value."""
    if numeric and not isinstance(value, bool):
        return coerce(value, "DOUBLE", f"the feature '{name}'")
    if isinstance(value, list | dict):
        raise TypeMismatch(f"the feature '{name}' is {type(value).__name__}; send a single value", field=name)
    return float(value) if isinstance(value, WrittenNumber) else value


def _refuse_spelled_out(given: Given, kinds: Mapping[str, str]) -> None:
    for name, values in given.items():
        if kinds.get(name, "DOUBLE") not in FLOATING and any(type(value) is NotANumber for value in values):
            raise TypeMismatch(f"the feature '{name}': NaN is no {kinds[name]}; send null for none", field=name, expected=kinds[name])


def _merged(sent: Sequence[Any], found: Values) -> list[Any]:
    return [other if value is None else value for value, other in zip(sent, to_list(found), strict=True)]
