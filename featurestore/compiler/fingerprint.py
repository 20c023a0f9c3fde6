"""A fingerprint is a digest of what a definition means: other words leave it alone, another meaning changes it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from featurestore.compiler.check_service import output_names, request_keys
from featurestore.compiler.expressions import spelling
from featurestore.compiler.features import ExpressionFeature, OneFeature, WindowedFeature, features_of
from featurestore.dsl.csv import Csv
from featurestore.dsl.durations import microseconds
from featurestore.dsl.service import FeatureService
from featurestore.dsl.source import Source
from featurestore.dsl.types import sql_type
from featurestore.dsl.view import FeatureView


def view_fingerprint(view: FeatureView) -> str:
    """16 hexadecimal digits over keys, source, grid, ttl and features; not over checks, description, owner and tags."""
    return _digest(view_meaning(view))


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
                }
                for item in service.selections
            ],
            "request": [[name, sql_type(kind)] for name, kind in service.request.items()],
            "derived": [[name, spelling(sql)] for name, sql in service.derived.items()],
        }
    )


def ttl_microseconds(view: FeatureView) -> int | None:
    """The view's ttl in microseconds; None when there is no limit."""
    return None if view.ttl in (None, 0) else microseconds(str(view.ttl)) or None


def view_meaning(view: FeatureView) -> dict[str, Any]:
    """What a view means, as JSON-ready data in one spelling."""
    return {
        "keys": list(view.entity.keys),
        "source": _source_meaning(view.source),
        "every": None if view.every is None else microseconds(view.every),
        "ttl": ttl_microseconds(view),
        "features": [_feature_meaning(feature) for feature in features_of(view)],
    }


def _source_meaning(source: Source) -> dict[str, Any]:
    # A source without a format means what it meant before there were any.
    written = {} if source.format is None else {"format": _format_meaning(source.format)}
    return {
        **written,
        "table": source.table,
        "path": source.path,
        "sql": None if source.sql is None else spelling(source.sql),
        "timestamp": source.timestamp,
        "created": source.created,
        "columns": [[name, spelling(sql)] for name, sql in source.columns.items()],
        "where": None if source.where is None else spelling(source.where),
    }


def _format_meaning(written: Csv) -> dict[str, Any]:
    types = {name: sql_type(kind) for name, kind in written.types.items()}
    return {**{entry.name: getattr(written, entry.name) for entry in fields(Csv)}, "null": list(written.null), "types": types}


def _feature_meaning(feature: OneFeature) -> list[Any]:
    if isinstance(feature, WindowedFeature):
        agg = feature.aggregation
        sql = [None if text is None else spelling(text) for text in (agg.column, agg.where)]
        return [feature.name, agg.function, *sql, feature.window, agg.n, agg.q]
    kind = "expression" if isinstance(feature, ExpressionFeature) else "row"
    return [feature.name, kind, spelling(feature.sql)]


def _digest(meaning: Any) -> str:
    return hashlib.sha256(json.dumps(meaning, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
