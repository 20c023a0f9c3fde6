"""Set, list and remove named versions: one row of the registry decides, and the Iceberg tags of the tables follow it."""

import uuid
from collections.abc import Sequence

from featurestore.compiler.expressions import SqlProblem
from featurestore.compiler.lineage.view_lineage import source_tables
from featurestore.dsl.view import FeatureView
from featurestore.errors import CommitConflict, Conflict, NotFound, RequestError
from featurestore.lakehouse import tables
from featurestore.pipelines.maintenance import version_tags
from featurestore.pipelines.maintenance.named_version import NamedVersion, describe_version
from featurestore.pipelines.training_sets.listing import read_manifests
from featurestore.records import definitions
from featurestore.records.named_versions import MARK, check_version_name
from featurestore.records.runtime import Runtime
from featurestore.records.version_log import RecordedVersion, TablePin, VersionLog, read_versions
from featurestore.values import times
from featurestore.values.humanize import format_names


def tag_tables(runtime: Runtime, name: str, names: Sequence[str] | None = None, by: str | None = None) -> NamedVersion:
    """Pin the current snapshots of tables under a name; None: of every feature table, and of every table that views and spines read.

    A name is set once: a second call with the same snapshots returns it. Raises: RequestError; NotFound with the nearest tables;
    Conflict if the name stands for other snapshots.
    """
    version_name = check_version_name(name)
    log = VersionLog(runtime)
    version_tags.finish_interrupted(runtime, log)
    loaded = [tables.load(runtime.catalog, table) for table in (_all_tables(runtime) if names is None else _identifiers(runtime, names))]
    if not loaded:
        raise RequestError("there are no tables to tag: apply definitions first, or name tables", field="tables")
    pins = {table.name: TablePin(table.uuid, table.snapshot_id) for table in loaded}
    at = times.moment(times.now())
    version = RecordedVersion(version_name, uuid.uuid4().hex, "setting", pins, by, at)
    if log.current(version_name) is None:
        for table in loaded:
            version_tags.refuse_other_tag(runtime, table, version)
    recorded = log.begin(version)
    if recorded.version != version.version:
        if dict(recorded.pins) != pins:
            raise _taken(recorded)
        if recorded.settled:
            return describe_version(recorded)
    done = version_tags.complete(runtime, log, recorded)
    if not done.exists:
        raise CommitConflict(f"the tag {version_name} was removed by another call while it was being set", tag=version_name)
    return describe_version(done)


def list_versions(runtime: Runtime) -> list[NamedVersion]:
    """Every named version, newest first."""
    existing = [version for version in read_versions(runtime).values() if version.exists]
    return [describe_version(version) for version in sorted(existing, key=lambda version: version.at, reverse=True)]


def remove_tag(runtime: Runtime, name: str) -> NamedVersion:
    """Remove a named version: its snapshots expire like any other. What was built from them keeps its own tags.

    An interrupted removal is finished by calling this again. Returns what it stood for. Raises: NotFound with the nearest names.
    """
    wanted = name.removeprefix(MARK)
    log = VersionLog(runtime)
    version = log.current(wanted)
    if version is None:
        interrupted = [left for left in log.versions.values() if left.name == wanted and left.state == "removing"]
        if not interrupted:
            raise NotFound("tag", wanted, [version.name for version in log.versions.values() if version.exists])
        version = interrupted[-1]
    removing = log.advance(version, "removing", since=["setting", "set"])
    version_tags.dissolve(runtime, log, removing)
    version_tags.finish_interrupted(runtime, log)
    return describe_version(version)


def _taken(version: RecordedVersion) -> Conflict:
    who = f" by {version.by}" if version.by else ""
    return Conflict(
        f"the tag {version.name} was set{who} at {times.text(times.micros(version.at))} and stands for other snapshots, of the"
        f" tables {format_names(list(version.pins))}; a tag is never moved: choose another name, or remove it first",
        tag=version.name,
    )


def _identifiers(runtime: Runtime, names: Sequence[str]) -> list[str]:
    """The tables of these names: with their namespace, or feature tables, or views, whose current feature table is meant."""
    known = definitions.read_registry(runtime)
    feature_tables = {row.table for rows in known.rows.values() for row in rows if row.kind == "view"}
    found = []
    for name in names:
        current = known.latest("view", name)
        short = current.table if current is not None else name
        found.append(runtime.features_table(short) if short in feature_tables else name)
    return list(dict.fromkeys(found))


def _all_tables(runtime: Runtime) -> list[str]:
    """The feature tables of all versions, the tables that the current versions of views read, and those of training sets' spines."""
    known = definitions.read_registry(runtime)
    names: dict[str, None] = {}
    for view in known.names("view"):
        names.update(dict.fromkeys(runtime.features_table(row.table) for row in known.rows["view", view]))
        names.update(dict.fromkeys(_sources(known.view(known.get("view", view)))))
    for manifest in read_manifests(runtime):
        spine = manifest["spine"]
        names.update(dict.fromkeys([spine["table"]] if spine.get("table") else spine.get("tables") or ()))
    return [name for name in names if tables.find(runtime.catalog, name) is not None]


def _sources(view: FeatureView) -> tuple[str, ...]:
    """The tables of the catalog that a view reads; none for SQL of an early release that is not accepted any more."""
    if view.source.files is not None:
        return ()
    try:
        return source_tables(view.source)
    except SqlProblem:
        return ()
