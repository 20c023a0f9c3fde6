"""Describe applied definitions and recorded models, for the terminal, HTTP and programs."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from featurestore.dsl import documents
from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import tables
from featurestore.push.event_log import PUSH_LOG, THROUGH
from featurestore.records import definitions, feature_table, stored_definition
from featurestore.records.definitions import Applied, Registry
from featurestore.records.listings import (
    EntityInfo,
    ModelInfo,
    PushStatus,
    ServiceDetail,
    ServiceInfo,
    ServiceVersion,
    SourceInfo,
    ViewDetail,
    ViewInfo,
)
from featurestore.records.recorded_models import RecordedModel, recorded_models
from featurestore.records.runtime import Runtime
from featurestore.records.serving_version import resolve_service
from featurestore.values import times

MODEL = ("version", "training_set", "snapshots", "metrics", "model_id", "run_id", "at", "aliases", "stage")


def entities(runtime: Runtime) -> list[EntityInfo]:
    """The applied entities, by name."""
    return [EntityInfo.from_dict(document) for document in _documents(runtime, "entity")]


def sources(runtime: Runtime) -> list[SourceInfo]:
    """The applied sources, by name."""
    found = [SourceInfo.from_dict(document) for document in _documents(runtime, "source")]
    return [info if info.schema is None else replace(info, log=_push_status(runtime, info.name)) for info in found]


def _push_status(runtime: Runtime, name: str) -> PushStatus:
    """What was pushed to a source."""
    try:
        table = tables.find(runtime.catalog, documents.source({"name": name, "schema": {}}).kept_table)
        if table is None:
            return PushStatus(problem="its table is not there yet: apply makes it")
        if table.properties.get(PUSH_LOG) != runtime.event_log.identity():
            return PushStatus(problem="the setting push_log names another log than that of its events")
        seen = runtime.event_log.status(table.uuid, int(table.properties.get(THROUGH, "0")))
    except FeatureStoreError as error:
        return PushStatus(problem=error.message)
    lag = (times.now() - seen.oldest) / 1e6 if seen.waiting else 0.0
    event, at = (times.moment(moment) if seen.last else None for moment in (seen.newest, seen.at))
    return PushStatus(seen.rows, seen.recent, event, at, seen.waiting, max(0.0, lag), seen.refused, seen.refusal)


def views(runtime: Runtime) -> list[ViewInfo]:
    """The current version of every view, by name."""
    known = definitions.read_registry(runtime)
    return [ViewInfo(**_view(runtime, known.get("view", name))) for name in known.names("view")]


def view(runtime: Runtime, name: str) -> ViewDetail:
    """The current version of a view with its SQL and definition, and a summary of each version."""
    known = definitions.read_registry(runtime)
    newest = known.get("view", name)
    versions = tuple(ViewInfo(**_view(runtime, row)) for row in known.rows[("view", name)])
    return ViewDetail(**_view(runtime, newest), sql=newest.sql, definition=dict(newest.document), versions=versions)


def services(runtime: Runtime) -> list[ServiceInfo]:
    """The served version of every service, by name."""
    known = definitions.read_registry(runtime)
    return [ServiceInfo(**_service(runtime, known, name)) for name in known.names("service")]


def service(runtime: Runtime, name: str) -> ServiceDetail:
    """The served version of a service, and a summary of each version."""
    known = definitions.read_registry(runtime)
    served = _service(runtime, known, name)
    versions = tuple(
        ServiceVersion(row.version, row.fingerprint, dict(row.bindings), times.moment(row.applied_at))
        for row in known.rows[("service", name)]
    )
    return ServiceDetail(**served, definition=dict(known.get("service", name).document), versions=versions)


def models(runtime: Runtime) -> list[ModelInfo]:
    """Every version of every model of this store, newest first, as MLflow has them now."""
    return [_model(model) for model in reversed(recorded_models(runtime))]


def _model(model: RecordedModel) -> ModelInfo:
    return ModelInfo.from_dict({"model": model.name, **{name: getattr(model, name) for name in MODEL}})


def _documents(runtime: Runtime, kind: str) -> list[dict[str, Any]]:
    """The documents of all definitions of a kind, by name. Raises: Conflict naming the first that is not a definition."""
    known = definitions.read_registry(runtime)
    documents = []
    for name in known.names(kind):
        row = known.get(kind, name)
        with stored_definition.conflict_if_unreadable(f"{kind} {name}, version {row.version}"):
            documents.append({**row.document, "applied_at": times.text(row.applied_at)})
    return documents


def _view(runtime: Runtime, row: Applied) -> dict[str, Any]:
    table = tables.load(runtime.catalog, runtime.features_table(row.table))
    state = feature_table.state_of(table.properties)
    snapshot_id = table.snapshot_id
    return {
        "name": row.name,
        "version": row.version,
        "table": runtime.features_table(row.table),
        "fingerprint": row.fingerprint,
        **_view_definition(row),
        "snapshot_id": snapshot_id,
        "materialized_through": _moment(state.through),
        "materialized_at": _moment(state.ran),
        "newest_event": _moment(state.newest),
        "applied_at": times.moment(row.applied_at),
    }


def _view_definition(row: Applied) -> dict[str, Any]:
    """The entries from the definition of a view. Raises: Conflict naming the view if its document is not a view."""
    view = stored_definition.stored_view(row.name, row.version, row.document, row.columns)
    not_features = {*view.entity.keys, "feature_timestamp", "created_timestamp"}
    with stored_definition.conflict_if_unreadable(f"view {row.name}, version {row.version}", view=row.name, version=row.version):
        return {
            "kind": "written" if view.source.written else "row" if view.every is None else "aggregate",
            "entity": view.entity.name,
            "keys": tuple(view.entity.keys),
            "source": view.source.name,
            "every": view.every,
            "ttl": view.ttl,
            "features": {name: sql_type for name, sql_type in row.columns.items() if name not in not_features},
            "checks": {check.name: check.severity for check in view.checks},
            "description": view.description,
            "owner": view.owner,
            "tags": dict(view.tags),
        }


def _service(runtime: Runtime, known: Registry, name: str) -> dict[str, Any]:
    plan = resolve_service(runtime, known, name).plan
    service = known.service(known.get("service", name, plan.version))
    return {
        "name": name,
        "version": plan.version,
        "fingerprint": plan.fingerprint,
        "keys": tuple(plan.entity_columns),
        "key_types": plan.key_types,
        "features": tuple(plan.feature_names),
        "request": dict(plan.request),
        "derived": dict(plan.derived),
        "views": {use.label: use.table for use in plan.uses},
        "description": service.description,
        "owner": service.owner,
        "tags": dict(service.tags),
    }


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else times.moment(microseconds)
