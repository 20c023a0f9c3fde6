"""Removing what nothing needs any more: first from the registry, so that nobody finds it, then online, then its table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from featurestore.errors import Conflict
from featurestore.lakehouse import dropping, tables, tags
from featurestore.lakehouse.dropping import Contents, Identity
from featurestore.pipelines.training_sets.listing import listing
from featurestore.pipelines.training_sets.training_set import TAG
from featurestore.records import definitions, feature_table, model_events
from featurestore.records.definitions import REMOVED, Applied, Registry
from featurestore.records.runtime import Runtime
from featurestore.records.serving_version import resolve
from featurestore.values import times
from featurestore.values.humanize import listed


@dataclass(frozen=True)
class Removal:
    """What was removed, or in a dry run would be: versions of one view or service.

    `services` are older versions of services, such as `churn v1`, that were bound to a removed version and go with it.
    `files` and `bytes` are those of the feature tables.
    """

    kind: Literal["view", "service"]
    name: str
    versions: tuple[int, ...]
    services: tuple[str, ...]
    files: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {**asdict(self), "versions": list(self.versions), "services": list(self.services)}


def remove_version(runtime: Runtime, view: str, version: int, dry_run: bool = False) -> Removal:
    """Remove one version of a view with its table and its online rows.

    The current one only where it was never filled and there is an earlier one, which is the current one then.
    Raises: NotFound; Conflict, and nothing is changed, while it is the current version, or a service, a registered model
    or a training set needs it; NotReady where a store cannot be reached. A removal that did not end is ended by asking again.
    """
    known = definitions.read(runtime)
    begun = [row for row in _begun(runtime, known, view) if row.version == version]
    if begun:
        return _remove(runtime, known, view, begun, (), dry_run)
    row = known.get("view", view, version)
    if row.version == known.get("view", view).version and not _is_unused_draft(runtime, known, row):
        raise Conflict(
            f"version {version} is the current one of view {view}; apply another definition, or an earlier one again, and materialize"
            " it first, or remove the whole view",
            view=view,
            version=version,
        )
    return _remove(runtime, known, view, (), [row], dry_run)


def _is_unused_draft(runtime: Runtime, known: Registry, row: Applied) -> bool:
    """Whether a current version was never filled while there is an earlier one, which then is the current one again."""
    if len(known.rows["view", row.name]) == 1:
        return False
    table = _find(runtime, row)
    return table is None or feature_table.state(table.properties).through is None


def remove_view(runtime: Runtime, view: str, dry_run: bool = False) -> Removal:
    """Remove a view with all its versions, the current one too. Raises: as `remove_version`."""
    known = definitions.read(runtime)
    begun = _begun(runtime, known, view)
    if not begun:
        known.get("view", view)
    return _remove(runtime, known, view, begun, known.rows.get(("view", view), ()), dry_run)


def remove_service(runtime: Runtime, service: str, dry_run: bool = False) -> Removal:
    """Remove a service with all its versions. A model that was trained with it goes on: it carries its own. Raises: NotFound."""
    known = definitions.read(runtime)
    known.get("service", service)
    rows = known.rows["service", service]
    if not dry_run:
        _write(runtime, [_doomed(row, {}) for row in rows], known.snapshot_id)
        runtime.online.touch()
    return Removal("service", service, tuple(row.version for row in rows), (), 0, 0)


def _remove(runtime: Runtime, known: Registry, view: str, begun: Sequence[Applied], fresh: Sequence[Applied], dry_run: bool) -> Removal:
    """Versions that are out of the registry already (`begun`), and others that are to go."""
    freed = _freed(runtime, known, view, fresh)
    leaving = [_doomed(row, _identity(runtime, row)) for row in fresh]
    doomed = [*begun, *leaving]
    if dry_run:
        gone = [_contents(runtime, row) for row in doomed]
    else:
        if leaving:
            _write(runtime, [*leaving, *(_doomed(row, {}) for row in freed)], known.snapshot_id)
        _refuse_pinned(runtime, view, doomed, freed)
        gone = [_drop(runtime, row) for row in doomed]
    services = tuple(f"{row.name} v{row.version}" for row in freed)
    versions = tuple(row.version for row in doomed)
    return Removal("view", view, versions, services, sum(one.files for one in gone), sum(one.bytes for one in gone))


def _freed(runtime: Runtime, known: Registry, view: str, rows: Sequence[Applied]) -> list[Applied]:
    """The older service versions that only these view versions kept. Raises: Conflict naming everything that needs one of them."""
    versions = {row.version for row in rows}
    freed: list[Applied] = []
    holding: list[str] = []
    for service in known.names("service"):
        ranks = {row.version: row.order for row in known.rows["service", service]}
        served = min(ranks[resolve(runtime, known, service, online).plan.version] for online in (False, True))
        for row in known.rows["service", service]:
            if row.bindings.get(view) in versions:
                if row.order < served:
                    freed.append(row)
                else:
                    holding.append(f"{service} v{row.version}")
    tables_of = {row.table for row in rows}
    trained = [model.name for model in model_events.registered(runtime) if model.tables & tables_of]
    pinning = [one["id"] for one in listing(runtime) if tables_of.intersection(one["views"])]
    unfinished = [id for row in rows for id in _tagged(runtime, row) if id not in pinning]
    if holding or trained or pinning or unfinished:
        raise _needed(view, sorted(versions), holding, trained, pinning, list(dict.fromkeys(unfinished)))
    return freed


def _needed(
    view: str,
    versions: Sequence[int],
    services: Sequence[str],
    trained: Sequence[str],
    pinning: Sequence[str],
    unfinished: Sequence[str] = (),
) -> Conflict:
    reasons = [
        (services, "read by the service{s} {names} (apply another definition of it and materialize, or remove the service)"),
        (trained, "what the registered model{s} {names} looks its features up in"),
        (pinning, "pinned by the training set{s} {names}"),
        (unfinished, "held for the training set{s} {names}, being built or cut off (upkeep lets go of a build that is a day old)"),
    ]
    told = [text.format(s="" if len(names) == 1 else "s", names=listed(names)) for names, text in reasons if names]
    which = f"version{'' if len(versions) == 1 else 's'} {', '.join(map(str, versions))} of view {view}"
    return Conflict(
        f"{which} cannot be removed: {'; '.join(told)}. Nothing was removed",
        view=view,
        versions=list(versions),
        services=list(services),
        models=list(trained),
        training_sets=[*pinning, *unfinished],
    )


def _refuse_pinned(runtime: Runtime, view: str, doomed: Sequence[Applied], freed: Sequence[Applied]) -> None:
    """A training set may have tagged a table while the registry was being written: then everything is put back."""
    pinning = [id for row in doomed for id in _tagged(runtime, row)]
    if pinning:
        restored = [replace(row, document=_definition(row)) for row in (*doomed, *freed)]
        _write(runtime, restored, definitions.read(runtime).snapshot_id)
        raise _needed(view, [row.version for row in doomed], (), (), pinning)


def _write(runtime: Runtime, rows: Sequence[Applied], base: int | None) -> None:
    definitions.write(runtime, [replace(row, applied_at=times.now()) for row in rows], base, action="remove")


def _begun(runtime: Runtime, known: Registry, view: str) -> list[Applied]:
    """The versions that are out of the registry, and of which something is still there."""
    rows = known.removed.get(("view", view), ())
    return [row for row in rows if _find(runtime, row) is not None or _contents(runtime, row).files]


def _doomed(row: Applied, identity: Mapping[str, str]) -> Applied:
    return replace(row, document={**row.document, REMOVED: dict(identity)})


def _definition(row: Applied) -> dict[str, Any]:
    return {name: value for name, value in row.document.items() if name != REMOVED}


def _identity(runtime: Runtime, row: Applied) -> dict[str, str]:
    """What the registry keeps of a table that is to be dropped; nothing where somebody dropped it by hand."""
    name = runtime.features_table(row.table)
    table = tables.find(runtime.catalog, name)
    return {} if table is None else asdict(dropping.identity(table))


def _find(runtime: Runtime, row: Applied) -> tables.Table | None:
    name = runtime.features_table(row.table)
    if row.removed:
        held = row.document[REMOVED]
        return dropping.find(runtime.catalog, name, Identity(**held)) if held else None
    return tables.find(runtime.catalog, name)


def _tagged(runtime: Runtime, row: Applied) -> list[str]:
    """The ids of training sets, also of those being built, that pin a snapshot of the table."""
    table = _find(runtime, row)
    return [] if table is None else [name.removeprefix(TAG) for name in tags.tags(table) if name.startswith(TAG)]


def _contents(runtime: Runtime, row: Applied) -> Contents:
    held = row.document[REMOVED]
    return dropping.contents(runtime.catalog, Identity(**held)) if held else Contents(0, 0)


def _drop(runtime: Runtime, row: Applied) -> Contents:
    held = row.document[REMOVED]
    runtime.online.drop(row.table)
    return dropping.drop(runtime.catalog, runtime.features_table(row.table), Identity(**held)) if held else Contents(0, 0)
