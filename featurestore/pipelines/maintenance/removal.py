"""Remove views and services: from the registry first, so that nobody finds them, then online rows, then tables."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from featurestore.access.grants import revoke_all
from featurestore.access.privileges import Kind, Privilege, Securable
from featurestore.access.rights import OPERATOR, Rights
from featurestore.errors import Conflict, Forbidden
from featurestore.lakehouse import dropping, tables, tags
from featurestore.lakehouse.dropping import FolderContents, TableIdentity
from featurestore.lakehouse.table import Table
from featurestore.online.ahead import ahead_of
from featurestore.pipelines.maintenance import version_tags
from featurestore.pipelines.maintenance.copy_removal import copy_contents, unread_copies
from featurestore.pipelines.maintenance.retention import INFERENCE_TAG
from featurestore.pipelines.training_sets.listing import list_training_sets
from featurestore.records import definitions, feature_table
from featurestore.records.definitions import REMOVED, Applied, Registry
from featurestore.records.recorded_models import registered_models
from featurestore.records.runtime import Runtime
from featurestore.records.serving_version import resolve_service
from featurestore.records.stored_sets import TAG
from featurestore.sharing.managing import take_out_of_shares
from featurestore.sharing.shared_object import SharedKind, SharedObject
from featurestore.values import times
from featurestore.values.humanize import format_names
from featurestore.values.result import Result


@dataclass(frozen=True, eq=False)
class Removal(Result):
    """The versions of one view or service that were removed, or in a dry run would be.

    `services` are older versions of services, such as `churn v1`, that read a removed version and were removed with it.
    `files` and `bytes` count the files of the feature tables, and of copies of sources that no other view reads.
    """

    kind: Literal["view", "service"]
    name: str
    versions: tuple[int, ...]
    services: tuple[str, ...]
    files: int
    bytes: int


def remove_version(runtime: Runtime, view: str, version: int, dry_run: bool = False, rights: Rights = OPERATOR) -> Removal:
    """Remove one version of a view with its table and its online rows, for somebody with these rights.

    The current version can be removed only if it was never filled and there is an earlier one, which becomes the current one.
    An interrupted removal is completed by calling this again. Raises: NotFound; Conflict, with nothing changed, if it is the current
    version or a service, a registered model or a training set needs it; NotReady if a store cannot be reached.
    """
    known = definitions.read_registry(runtime)
    interrupted = [row for row in _unfinished_removals(runtime, known, view) if row.version == version]
    if interrupted:
        return _remove(runtime, known, view, interrupted, (), dry_run, rights)
    row = known.get("view", view, version)
    if row.version == known.get("view", view).version and not _is_unused_draft(runtime, known, row):
        raise Conflict(
            f"version {version} is the current version of view {view}; apply and materialize another definition first, or remove the"
            " whole view",
            view=view,
            version=version,
        )
    return _remove(runtime, known, view, (), [row], dry_run, rights)


def _is_unused_draft(runtime: Runtime, known: Registry, row: Applied) -> bool:
    """Whether a current version was never filled and there is an earlier one, which can become the current one again."""
    if len(known.rows["view", row.name]) == 1:
        return False
    table = _find(runtime, row)
    return table is None or feature_table.state_of(table.properties).through is None


def remove_view(runtime: Runtime, view: str, dry_run: bool = False, rights: Rights = OPERATOR) -> Removal:
    """Remove a view with all its versions, including the current one. Raises: as `remove_version`."""
    known = definitions.read_registry(runtime)
    interrupted = _unfinished_removals(runtime, known, view)
    if not interrupted:
        known.get("view", view)
    return _remove(runtime, known, view, interrupted, known.rows.get(("view", view), ()), dry_run, rights)


def remove_service(runtime: Runtime, service: str, dry_run: bool = False) -> Removal:
    """Remove a service with all its versions. Models trained with it keep working: each has its own copy of it. Raises: NotFound."""
    known = definitions.read_registry(runtime)
    on = Securable(Kind.SERVICE, service)
    if known.is_removed("service", service) and not dry_run:
        # By a call that was interrupted.
        revoke_all(runtime, on, runtime.author or None)
    known.get("service", service)
    rows = known.rows["service", service]
    if not dry_run:
        _write(runtime, [_mark_removed(row, {}) for row in rows], known.snapshot_id)
        runtime.online.touch()
        revoke_all(runtime, on, runtime.author or None)
    return Removal("service", service, tuple(row.version for row in rows), (), 0, 0)


def _remove(
    runtime: Runtime,
    known: Registry,
    view: str,
    interrupted: Sequence[Applied],
    registered: Sequence[Applied],
    dry_run: bool,
    rights: Rights,
) -> Removal:
    """Remove versions that an earlier, interrupted removal took out of the registry, and versions that are still in it."""
    obsolete = _obsolete_services(runtime, known, view, registered)
    if not all(rights.has(Privilege.MANAGE, Kind.SERVICE, row.name) for row in obsolete):
        raise Forbidden(
            f"older versions of services that {rights.principal.name} does not manage read view {view}, and would be removed with it; ask"
            " an administrator. Nothing was removed",
            view=view,
            principal=rights.principal.name,
        )
    marked = [_mark_removed(row, _identity(runtime, row)) for row in registered]
    rows = [*interrupted, *marked]
    copies = unread_copies(runtime, known, rows)
    if dry_run:
        contents = [*copy_contents(runtime, copies, drop=False), *(_contents(runtime, row) for row in rows)]
    else:
        if marked:
            _write(runtime, [*marked, *(_mark_removed(row, {}) for row in obsolete)], known.snapshot_id)
        _refuse_pinned(runtime, view, rows, obsolete)
        if definitions.read_registry(runtime).is_removed("view", view):
            # Before the tables, by which an interrupted removal is found.
            revoke_all(runtime, Securable(Kind.VIEW, view), runtime.author or None)
            take_out_of_shares(runtime, SharedObject(SharedKind.VIEW, view))
        # Before the tables, by which an interrupted removal is found.
        contents = [*copy_contents(runtime, copies, drop=True), *(_drop(runtime, row) for row in rows)]
    services = tuple(f"{row.name} v{row.version}" for row in obsolete)
    versions = tuple(row.version for row in rows)
    return Removal("view", view, versions, services, sum(table.files for table in contents), sum(table.bytes for table in contents))


def _obsolete_services(runtime: Runtime, known: Registry, view: str, rows: Sequence[Applied]) -> list[Applied]:
    """The older service versions that read these view versions and are removed with them.

    Raises: Conflict naming everything that still needs one of the view versions.
    """
    versions = {row.version for row in rows}
    obsolete: list[Applied] = []
    reading: list[str] = []
    for service in known.names("service"):
        ranks = {row.version: row.order for row in known.rows["service", service]}
        served = min(ranks[resolve_service(runtime, known, service, online).plan.version] for online in (False, True))
        for row in known.rows["service", service]:
            if row.bindings.get(view) in versions:
                if row.order < served:
                    obsolete.append(row)
                else:
                    reading.append(f"{service} v{row.version}")
    tables_of = {row.table for row in rows}
    trained = [model.label for model in registered_models(runtime) if model.tables & tables_of]
    pinning = [entry.id for entry in list_training_sets(runtime) if tables_of.intersection(entry.views)]
    unfinished = [id for row in rows for id in _pinning_ids(runtime, row) if id not in pinning]
    predicted = [row.table for row in rows if _has_predictions(runtime, row)]
    tagged = _tagging(runtime, rows)
    if reading or trained or pinning or unfinished or predicted or tagged:
        raise _usage_error(view, sorted(versions), reading, trained, pinning, list(dict.fromkeys(unfinished)), predicted, tagged)
    return obsolete


def _usage_error(
    view: str,
    versions: Sequence[int],
    services: Sequence[str],
    trained: Sequence[str],
    pinning: Sequence[str],
    unfinished: Sequence[str] = (),
    predicted: Sequence[str] = (),
    tagged: Sequence[str] = (),
) -> Conflict:
    reasons = [
        (services, "read by the service{s} {names} (apply another definition of it and materialize, or remove the service)"),
        (trained, "used for lookups by the registered model{s} {names}"),
        (pinning, "pinned by the training set{s} {names}"),
        (predicted, "what logged predictions were computed from, and are replayed from ({names})"),
        (tagged, "pinned by the tag{s} {names} (remove them with `featurestore tag NAME --remove`)"),
        (unfinished, "pinned by the unfinished build{s} of {names} (maintain releases an interrupted build after a day)"),
    ]
    messages = [text.format(s="" if len(names) == 1 else "s", names=format_names(names)) for names, text in reasons if names]
    which = f"version{'' if len(versions) == 1 else 's'} {', '.join(map(str, versions))} of view {view}"
    return Conflict(
        f"{which} cannot be removed: {'; '.join(messages)}. Nothing was removed",
        view=view,
        versions=list(versions),
        services=list(services),
        models=list(trained),
        training_sets=[*pinning, *unfinished],
    )


def _refuse_pinned(runtime: Runtime, view: str, rows: Sequence[Applied], services: Sequence[Applied]) -> None:
    """Restore everything and raise Conflict if a training set or a tag has pinned a table while the registry was being written."""
    pinning = [id for row in rows for id in _pinning_ids(runtime, row)]
    tagged = _tagging(runtime, rows)
    if pinning or tagged:
        restored = [replace(row, document=_definition(row)) for row in (*rows, *services)]
        _write(runtime, restored, definitions.read_registry(runtime).snapshot_id)
        raise _usage_error(view, [row.version for row in rows], (), (), pinning, tagged=tagged)


def _write(runtime: Runtime, rows: Sequence[Applied], base: int | None) -> None:
    definitions.append_to_registry(runtime, [replace(row, applied_at=times.now()) for row in rows], base, action="remove")


def _unfinished_removals(runtime: Runtime, known: Registry, view: str) -> list[Applied]:
    """The versions that are out of the registry, but whose table or files are still there."""
    rows = known.removed.get(("view", view), ())
    return [row for row in rows if _find(runtime, row) is not None or _contents(runtime, row).files]


def _mark_removed(row: Applied, identity: Mapping[str, str]) -> Applied:
    return replace(row, document={**row.document, REMOVED: dict(identity)})


def _definition(row: Applied) -> dict[str, Any]:
    return {name: value for name, value in row.document.items() if name != REMOVED}


def _identity(runtime: Runtime, row: Applied) -> dict[str, str]:
    """What the registry records of a table to drop; nothing if the table is already gone, dropped by hand."""
    name = runtime.features_table(row.table)
    table = tables.find(runtime.catalog, name)
    return {} if table is None else asdict(dropping.identity_of(table))


def _find(runtime: Runtime, row: Applied) -> Table | None:
    name = runtime.features_table(row.table)
    if row.removed:
        identity = row.document[REMOVED]
        return dropping.find_same_table(runtime.catalog, name, TableIdentity(**identity)) if identity else None
    return tables.find(runtime.catalog, name)


def _pinning_ids(runtime: Runtime, row: Applied) -> list[str]:
    """The ids of the training sets that pin a snapshot of the table, including those being built."""
    table = _find(runtime, row)
    return [] if table is None else [name.removeprefix(TAG) for name in tags.tags(table) if name.startswith(TAG)]


def _tagging(runtime: Runtime, rows: Sequence[Applied]) -> list[str]:
    """The named versions that pin a snapshot of these tables."""
    found = [table for row in rows if (table := _find(runtime, row)) is not None]
    return list(dict.fromkeys(name for table in found for name in version_tags.names_of_versions(table)))


def _has_predictions(runtime: Runtime, row: Applied) -> bool:
    """Whether logged predictions were computed from a snapshot of the table."""
    table = _find(runtime, row)
    return table is not None and any(name.startswith(INFERENCE_TAG) for name in tags.tags(table))


def _contents(runtime: Runtime, row: Applied) -> FolderContents:
    identity = row.document[REMOVED]
    name = runtime.features_table(row.table)
    return dropping.folder_contents(runtime.catalog, name, TableIdentity(**identity)) if identity else FolderContents(0, 0)


def _drop(runtime: Runtime, row: Applied) -> FolderContents:
    identity = row.document[REMOVED]
    runtime.online.drop(row.table)
    runtime.online.drop(ahead_of(row.table))
    return (
        dropping.drop_table(runtime.catalog, runtime.features_table(row.table), TableIdentity(**identity))
        if identity
        else FolderContents(0, 0)
    )
