"""Convert definitions to and from JSON documents, as stored in feature tables and the registry, and sent over HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from featurestore.dsl.agg import Aggregation
from featurestore.dsl.check import Check, Condition, Freshness, NotNull, RowCount, fresh, not_null, rows, that
from featurestore.dsl.csv_format import Csv
from featurestore.dsl.definitions import Definition, Definitions
from featurestore.dsl.entity import Entity
from featurestore.dsl.expression import Expression
from featurestore.dsl.grant import Grant
from featurestore.dsl.lookup import Lookup
from featurestore.dsl.policy import Mask, RowFilter, TablePolicy
from featurestore.dsl.service import FeatureService
from featurestore.dsl.source import Source
from featurestore.dsl.view import Feature, FeatureView, Selection

_MAKERS: Mapping[str, Callable[..., Check]] = {
    "that": that,
    "not_null": not_null,
    "rows": rows,
    "fresh": fresh,
}
_STALENESS = ("stale_after", "stale")
_POLICY = ("masks", "rows", "declassify", "declassify_rows")
_OF_KEPT_SOURCES = ("url", "watermark", "id", "overlap", "zone", "partitions", "keep", "schema")
_CHECKS = {Condition: "that", NotNull: "not_null", RowCount: "rows", Freshness: "fresh"}


def document(definition: Definition) -> dict[str, Any]:
    """The complete document of a definition: a view's includes its entity and source, a service's its views.

    That of a view has no policy, which is a definition of its own and holds for all versions.
    """
    if isinstance(definition, FeatureView):
        return {
            **_plain(definition, "entity", "source", "features", "checks", "limit", *_STALENESS, *_POLICY),
            # Left out if there is none, so that documents registered before it existed are unchanged.
            **({} if definition.stale_after is None else {name: getattr(definition, name) for name in _STALENESS}),
            **({} if definition.limit is None else {"limit": definition.limit}),
            "entity": document(definition.entity),
            "source": document(definition.source),
            "features": {name: _feature_document(feature) for name, feature in definition.declared.items()},
            "checks": [_check_document(item) for item in definition.checks],
        }
    if isinstance(definition, FeatureService):
        features = [_selection_document(item) for item in definition.selections]
        return {**_plain(definition, "features"), "features": features}
    if isinstance(definition, Source):
        # Left out if there is none, so that documents registered before these fields existed are unchanged.
        csv = definition.format
        more = {name: _json(value) for name in _OF_KEPT_SOURCES if (value := getattr(definition, name))}
        return {**_plain(definition, "format", *_OF_KEPT_SOURCES), **({} if csv is None else {"format": _csv_document(csv)}), **more}
    if isinstance(definition, TablePolicy):
        masks = definition.masks
        if isinstance(masks, Mapping):
            masks = {name: _rule_document(mask) for name, mask in masks.items()}
        rows = None if definition.rows is None else _rule_document(definition.rows)
        return {**_plain(definition, "masks", "rows"), "masks": masks, "rows": rows}
    return _plain(definition)


def entity(of: Mapping[str, Any]) -> Entity:
    """The entity of a document."""
    return Entity(**of)


def source(of: Mapping[str, Any]) -> Source:
    """The source of a document."""
    csv = of.get("format")
    return Source(**{**of, "format": Csv(**csv) if isinstance(csv, Mapping) else csv})


def view(of: Mapping[str, Any]) -> FeatureView:
    """The view of a document."""
    features = {name: _feature(feature) for name, feature in of["features"].items()}
    # Documents from before checks existed have none.
    checked = [check(item) for item in of.get("checks", ())]
    return FeatureView(**{**of, "entity": entity(of["entity"]), "source": source(of["source"]), "features": features, "checks": checked})


def check(of: Mapping[str, Any]) -> Check:
    """The check of a document; without a name it gets the default name of its kind."""
    return _MAKERS[of["kind"]](**{name: value for name, value in of.items() if name != "kind"})


def service(of: Mapping[str, Any]) -> FeatureService:
    """The service of a document."""
    features = []
    for item in of["features"]:
        names = item.get("names")
        lookup = item.get("lookup")
        features.append(
            Selection(
                view(item["view"]),
                None if names is None else tuple(names),
                item.get("alias"),
                dict(item.get("keys") or {}),
                None if lookup is None else Lookup(**lookup),
            )
        )
    return FeatureService(**{**of, "features": features})


def grant(of: Mapping[str, Any]) -> Grant:
    """The grant of a document."""
    return Grant(**of)


def policy(of: Mapping[str, Any]) -> TablePolicy:
    """The policy of a document."""
    rows = of.get("rows")
    masks = {name: Mask(**mask) for name, mask in of.get("masks", {}).items()}
    return TablePolicy(**{**of, "masks": masks, "rows": None if rows is None else RowFilter(**rows)})


def definitions_document(definitions: Definitions) -> dict[str, Any]:
    """All definitions, for the HTTP API."""
    return {
        "entities": [document(item) for item in definitions.entities],
        "sources": [document(item) for item in definitions.sources],
        "views": [document(item) for item in definitions.views],
        "services": [document(item) for item in definitions.services],
        "grants": [document(item) for item in definitions.grants],
        "policies": [document(item) for item in definitions.policies],
    }


def definition_objects(of: Mapping[str, Any]) -> list[Definition]:
    """The objects of `definitions_document`, not yet gathered or checked."""
    return [
        *(entity(item) for item in of.get("entities", ())),
        *(source(item) for item in of.get("sources", ())),
        *(view(item) for item in of.get("views", ())),
        *(service(item) for item in of.get("services", ())),
        *(grant(item) for item in of.get("grants", ())),
        *(policy(item) for item in of.get("policies", ())),
    ]


def _selection_document(selection: Selection) -> dict[str, Any]:
    # Left out if there is none, so that documents registered before lookups existed are unchanged.
    lookup = {} if selection.lookup is None else {"lookup": _plain(selection.lookup)}
    return {**_plain(selection, "view", "lookup"), **lookup, "view": document(selection.view)}


def _plain(item: Any, *without: str) -> dict[str, Any]:
    values = {entry.name: getattr(item, entry.name) for entry in fields(item) if entry.name not in without}
    return {name: _json(value) for name, value in values.items()}


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _rule_document(rule: Any) -> Any:
    """The document of a mask or filter; other values are passed on unchanged, to be reported when the document is checked."""
    return _plain(rule) if isinstance(rule, Mask | RowFilter) else rule


def _csv_document(value: Any) -> Any:
    """The document of a format; other values are passed on unchanged, to be reported when the document is checked."""
    return _plain(value) if isinstance(value, Csv) else value


def _feature_document(feature: Feature) -> Any:
    if isinstance(feature, Aggregation):
        # Left out if they are None, so that documents registered before windows by number of rows existed are unchanged.
        return {"aggregation": _plain(feature, *(name for name in ("over", "last") if getattr(feature, name) is None))}
    return {"expression": feature.sql} if isinstance(feature, Expression) else feature


def _feature(of: Any) -> Feature:
    if isinstance(of, Mapping):
        return Aggregation(**of["aggregation"]) if "aggregation" in of else Expression(of["expression"])
    return str(of)


def _check_document(item: Check) -> Any:
    """The document of a check; other values are passed on unchanged, to be reported when the document is checked."""
    return {"kind": _CHECKS[type(item)], **_plain(item)} if type(item) in _CHECKS else item
