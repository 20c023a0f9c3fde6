"""Feature lookups as selections of views, checked against the tables that they name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from featurestore.compiler.check import duration_faults
from featurestore.compiler.features import feature_names
from featurestore.compiler.literals import has_literals
from featurestore.dsl.lookup import FeatureLookup, Lookup
from featurestore.dsl.view import Selection
from featurestore.errors import NotFound, RequestError, TypeMismatch, brief, near
from featurestore.lakehouse import tables
from featurestore.records import feature_table
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime
from featurestore.values import json_encoding
from featurestore.values.arguments import check_column_names, check_text
from featurestore.values.coercion import coerce


@dataclass(frozen=True)
class SelectedTable:
    """The selection of one lookup, and the version of the table that it reads."""

    selection: Selection
    applied: Applied


def select_tables(runtime: Runtime, known: Registry, lookups: Sequence[FeatureLookup]) -> list[SelectedTable]:
    """The tables of the lookups, each at its newest version that is materialized, else at its newest.

    Raises: NotFound with the nearest tables or features; RequestError and TypeMismatch naming the lookup and the argument.
    """
    if isinstance(lookups, FeatureLookup):
        lookups = [lookups]
    if not isinstance(lookups, Sequence) or isinstance(lookups, str) or not lookups:
        raise RequestError(f"feature_lookups={brief(lookups)} must be a list of FeatureLookup(...)", field="feature_lookups")
    labels: list[str] = []
    selected = []
    for number, lookup in enumerate(lookups):
        where = f"feature_lookups[{number}]"
        if not isinstance(lookup, FeatureLookup):
            raise RequestError(f"{where} is {brief(lookup)}, but must be a FeatureLookup(...)", field=where)
        applied = _version(runtime, known, check_text(lookup.table, f"{where}.table"))
        label = applied.name if applied.name not in labels else f"{applied.name}_{labels.count(applied.name) + 1}"
        labels.append(applied.name)
        selected.append(SelectedTable(_selection(known, applied, lookup, label, where), applied))
    return selected


def _version(runtime: Runtime, known: Registry, name: str) -> Applied:
    versions = known.rows.get(("view", name))
    if not versions:
        raise NotFound("table or view", name, known.names("view"))
    for applied in reversed(versions):
        table = tables.load(runtime.catalog, runtime.features_table(applied.table))
        if feature_table.state_of(table.properties).through is not None:
            return applied
    return versions[-1]


def _selection(known: Registry, applied: Applied, lookup: FeatureLookup, label: str, where: str) -> Selection:
    view = known.view(applied)
    features = feature_names(view)
    names = features if lookup.feature_names is None else tuple(check_column_names(lookup.feature_names, f"{where}.feature_names"))
    for name in names:
        if name not in features:
            raise NotFound("feature", name, features, applied.name)
    timestamp = None if lookup.timestamp_lookup_key is None else check_text(lookup.timestamp_lookup_key, f"{where}.timestamp_lookup_key")
    if lookup.lookback is not None and (faults := list(duration_faults(lookup.lookback))):
        raise RequestError(f"{where}.lookback: {faults[0]}", field=f"{where}.lookback")
    if lookup.lookback is not None and view.every is not None:
        raise RequestError(
            f"{where}.lookback: {applied.name} is an aggregate view, which stores a row only where a value changes; its windows bound how"
            " old a value can be",
            field=f"{where}.lookback",
        )
    rename = _names(lookup.rename, names, f"{where}.rename")
    for old, new in rename.items():
        if not isinstance(new, str) or not new.isidentifier():
            raise RequestError(f"{where}.rename: {brief(new)} is not a name for '{old}'", field=f"{where}.rename")
    defaults = {
        name: _default(value, applied.columns[name], f"{where}.default: '{name}'")
        for name, value in _names(lookup.default, names, f"{where}.default").items()
    }
    keys = _lookup_keys(lookup.lookup_key, view.entity.keys, f"{where}.lookup_key")
    lookback = None if lookup.lookback is None else str(lookup.lookback)
    return Selection(view, names, None, keys, Lookup(label, rename, timestamp, lookback, defaults))


def _names(mapping: Any, names: Sequence[str], field: str) -> Mapping[str, Any]:
    if mapping is None:
        return {}
    if not isinstance(mapping, Mapping):
        raise RequestError(f"{field}={brief(mapping)} is not a dict of features", field=field)
    for name in mapping:
        if name not in names:
            raise RequestError(f"{field}: no feature {brief(name)} among those that are looked up{near(str(name), names)}", field=field)
    return mapping


def _default(value: Any, sql_type: str, where: str) -> Any:
    """A default in its JSON form. Raises: TypeMismatch for a value that does not fit the feature."""
    if not has_literals(sql_type):
        raise TypeMismatch(f"{where} is {sql_type}, which can have no default", field=where)
    coerced = coerce(value, sql_type, where)
    if coerced is None:
        raise TypeMismatch(f"{where}: a default cannot be None; give a value", field=where)
    return orjson.loads(json_encoding.dumps(coerced))


def _lookup_keys(lookup_key: Any, keys: Sequence[str], field: str) -> dict[str, str]:
    """The frame's column of each key."""
    if isinstance(lookup_key, Mapping):
        if set(lookup_key) != set(keys) or not all(isinstance(column, str) for column in lookup_key.values()):
            raise RequestError(f"{field}={brief(lookup_key)} must name a column for each key: {', '.join(keys)}", field=field)
        return {key: str(lookup_key[key]) for key in keys}
    columns = check_column_names(lookup_key, field)
    if len(columns) != len(keys):
        raise RequestError(f"{field} has {len(columns)} columns, and the table the keys {', '.join(keys)}; give one for each", field=field)
    return dict(zip(keys, columns, strict=True))
