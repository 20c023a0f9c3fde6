"""Fingerprints: digests of what definitions mean, which change with their meaning but not with their wording."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from featurestore.compiler.check_service import output_names, request_keys
from featurestore.compiler.expressions import canonical_or_same
from featurestore.compiler.features import ExpressionFeature, ViewFeature, WindowedFeature, features_of
from featurestore.dsl.csv_format import Csv
from featurestore.dsl.durations import microseconds
from featurestore.dsl.lookup import Lookup
from featurestore.dsl.service import FeatureService
from featurestore.dsl.source import Source
from featurestore.dsl.value_types import sql_type_of_name
from featurestore.dsl.view import CONTINUOUS, FeatureView


def view_fingerprint(view: FeatureView) -> str:
    """16 hexadecimal digits over keys, source, grid, ttl and features; not over checks, description, owner and tags."""
    return _digest(view_identity(view))


def service_fingerprint(service: FeatureService, views: Mapping[str, str]) -> str:
    """16 hexadecimal digits over the selected features of `views` (name -> fingerprint), request fields and derived features."""
    return _digest(
        {
            "features": [
                {
                    "view": item.view.name,
                    "meaning": views[item.view.name],
                    "keys": request_keys(item),
                    "as": output_names(item),
                    "names": item.names,
                    # Left out if there is none, so that fingerprints from before lookups existed are unchanged.
                    **({} if item.lookup is None else {"lookup": _lookup_identity(item.lookup)}),
                }
                for item in service.selections
            ],
            "request": [[name, sql_type_of_name(type_name)] for name, type_name in service.request.items()],
            "derived": [[name, canonical_or_same(sql)] for name, sql in service.derived.items()],
        }
    )


def written_fingerprint(view: FeatureView, columns: Mapping[str, str]) -> str:
    """16 hexadecimal digits over a written table as it is created: its keys, its time, and the columns with their DuckDB types.

    The table keeps it when it gets another column, since the columns that it has keep their meaning.
    """
    return _digest({**view_identity(view), "columns": list(columns.items())})


def written_fingerprints(view: FeatureView, columns: Mapping[str, str]) -> Iterator[str]:
    """The fingerprints that a written table with these columns can have: that of all its features, then with fewer of those added last."""
    names = list(view.declared)
    for count in range(len(names), 0, -1):
        added_later = set(names[count:])
        kept = {name: sql_type for name, sql_type in columns.items() if name not in added_later}
        yield written_fingerprint(replace(view, features=names[:count]), kept)


def ttl_microseconds(view: FeatureView) -> int | None:
    """The view's ttl in microseconds; None when there is no limit."""
    return None if view.ttl in (None, 0) else microseconds(str(view.ttl)) or None


def lookback_microseconds(lookup: Lookup) -> int | None:
    """The lookback of a lookup in microseconds; None where the view's ttl holds."""
    return None if lookup.lookback is None else microseconds(str(lookup.lookback))


def view_identity(view: FeatureView) -> dict[str, Any]:
    """What a view means, as canonical JSON-ready data."""
    return {
        "keys": list(view.entity.keys),
        "source": _source_identity(view.source),
        "every": view.every if view.every in (None, CONTINUOUS) else microseconds(view.every),
        "ttl": ttl_microseconds(view),
        "features": [_feature_identity(feature) for feature in features_of(view)],
        **({} if view.limit is None else {"limit": view.limit}),
    }


def _lookup_identity(lookup: Lookup) -> dict[str, Any]:
    return {"timestamp": lookup.timestamp, "lookback": lookback_microseconds(lookup), "defaults": dict(lookup.defaults)}


def _source_identity(source: Source) -> dict[str, Any]:
    # A source without a format keeps the fingerprint from before formats existed.
    format_entry = {} if source.format is None else {"format": _format_identity(source.format)}
    # Nor do sources from before these fields existed get another one.
    more = {name: value for name in ("url", "watermark", "id", "zone") if (value := getattr(source, name)) is not None}
    if source.pushed:
        more["pushed"] = source.name
    if source.partitions:
        more["partitions"] = {name: sql_type_of_name(type_name) for name, type_name in source.partitions.items()}
    return {
        **format_entry,
        **more,
        "table": source.table,
        "path": source.path,
        "sql": None if source.sql is None else canonical_or_same(source.sql),
        "timestamp": source.timestamp,
        "created": source.created,
        "columns": [[name, canonical_or_same(sql)] for name, sql in source.columns.items()],
        "where": None if source.where is None else canonical_or_same(source.where),
    }


def _format_identity(csv: Csv) -> dict[str, Any]:
    types = {name: sql_type_of_name(type_name) for name, type_name in csv.types.items()}
    return {**{entry.name: getattr(csv, entry.name) for entry in fields(Csv)}, "null": list(csv.null), "types": types}


def _feature_identity(feature: ViewFeature) -> list[Any]:
    if isinstance(feature, WindowedFeature):
        agg = feature.aggregation
        sql = [None if text is None else canonical_or_same(text) for text in (agg.column, agg.where)]
        return [feature.name, agg.function, *sql, feature.label if feature.window is None else feature.window, agg.n, agg.q]
    kind = "expression" if isinstance(feature, ExpressionFeature) else "row"
    return [feature.name, kind, canonical_or_same(feature.sql)]


def _digest(identity: Any) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
