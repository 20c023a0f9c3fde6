"""What is applied, as JSON-ready data: for listings on a terminal, over HTTP, and for programs."""

from typing import Any

from featurestore.lakehouse import tables
from featurestore.records import definitions, feature_table, stored_definition
from featurestore.records import model_events as audit
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime
from featurestore.records.serving_version import resolve
from featurestore.values import times

MODEL = ("model", "version", "training_set", "snapshots", "metrics", "model_id", "run_id", "at")


def plain(runtime: Runtime, kind: str) -> list[dict[str, Any]]:
    """Entities or sources as applied, by name."""
    known = definitions.read(runtime)
    rows = [known.get(kind, name) for name in known.names(kind)]
    return [{**row.document, "applied_at": times.text(row.applied_at)} for row in rows]


def views(runtime: Runtime) -> list[dict[str, Any]]:
    """The newest version of every view, by name."""
    known = definitions.read(runtime)
    return [_view(runtime, known.get("view", name)) for name in known.names("view")]


def view(runtime: Runtime, name: str) -> dict[str, Any]:
    """The newest version of a view with its SQL and definition, and a line for each version."""
    known = definitions.read(runtime)
    newest = known.get("view", name)
    versions = [_view(runtime, row) for row in known.rows[("view", name)]]
    return {**_view(runtime, newest), "sql": newest.sql, "definition": dict(newest.document), "versions": versions}


def services(runtime: Runtime) -> list[dict[str, Any]]:
    """Every service at the version that is served, by name."""
    known = definitions.read(runtime)
    return [_service(runtime, known, name) for name in known.names("service")]


def service(runtime: Runtime, name: str) -> dict[str, Any]:
    """The version of a service that is served, and all its versions."""
    known = definitions.read(runtime)
    found = _service(runtime, known, name)
    versions = [
        {"version": row.version, "fingerprint": row.fingerprint, "views": dict(row.bindings), "applied_at": times.text(row.applied_at)}
        for row in known.rows[("service", name)]
    ]
    return {**found, "definition": dict(known.get("service", name).document), "versions": versions}


def models(runtime: Runtime) -> list[dict[str, Any]]:
    """What the audit chain says of every version of a model, newest first, with the aliases that stand for it now.

    `version` is None for a model that was logged and never registered.
    """
    found: dict[tuple[str, str | None, str | None], dict[str, Any]] = {}
    aliases: dict[tuple[str, str], str | None] = {}
    for event in reversed(audit.listing(runtime)):
        if event["alias"] is not None:
            aliases[event["model"], event["alias"]] = event["version"] if event["event"] == "alias set" else None
            continue
        if event["version"] is not None:
            logged = [key for key in found if key[1] is None and key[2] == event["model_id"]]
            for key in logged:
                del found[key]
        found[event["model"], event["version"], event["model_id"]] = {name: event[name] for name in MODEL}
    for (name, version, _), row in found.items():
        row["aliases"] = sorted(alias for (model, alias), at in aliases.items() if model == name and version is not None and at == version)
    return list(reversed(found.values()))


def _view(runtime: Runtime, row: Applied) -> dict[str, Any]:
    table = tables.load(runtime.catalog, runtime.features_table(row.table))
    state = feature_table.state(table.properties)
    snapshot_id = tables.current_snapshot_id(table)
    return {
        "name": row.name,
        "version": row.version,
        "table": runtime.features_table(row.table),
        "fingerprint": row.fingerprint,
        **_view_words(row),
        "snapshot_id": None if snapshot_id is None else str(snapshot_id),
        "materialized_through": times.text(state.through),
        "materialized_at": times.text(state.ran),
        "newest_event": times.text(state.newest),
        "applied_at": times.text(row.applied_at),
    }


def _view_words(row: Applied) -> dict[str, Any]:
    """What the definition of a view says. Raises: Conflict naming the view, for a document that is none."""
    view = stored_definition.view(row.name, row.version, row.document, row.columns)
    times_and_keys = {*view.entity.keys, "feature_timestamp", "created_timestamp"}
    with stored_definition.reading(f"view {row.name}, version {row.version}", view=row.name, version=row.version):
        return {
            "kind": "row" if view.every is None else "aggregate",
            "entity": view.entity.name,
            "keys": list(view.entity.keys),
            "source": view.source.name,
            "every": view.every,
            "ttl": view.ttl,
            "features": {name: kind for name, kind in row.columns.items() if name not in times_and_keys},
            "checks": {check.name: check.severity for check in view.checks},
            "description": view.description,
            "owner": view.owner,
            "tags": dict(view.tags),
        }


def _service(runtime: Runtime, known: Registry, name: str) -> dict[str, Any]:
    plan = resolve(runtime, known, name).plan
    service = known.service(known.get("service", name, plan.version))
    return {
        "name": name,
        "version": plan.version,
        "fingerprint": plan.fingerprint,
        "keys": list(plan.entity_columns),
        "key_types": plan.key_types,
        "features": list(plan.feature_names),
        "request": dict(plan.request),
        "derived": dict(plan.derived),
        "views": {use.label: use.table for use in plan.uses},
        "description": service.description,
        "owner": service.owner,
        "tags": dict(service.tags),
    }
