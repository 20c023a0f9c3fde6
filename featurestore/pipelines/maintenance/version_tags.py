"""The Iceberg tags of named versions: set on each table after the version was recorded, and removed after its removal was."""

import json

from featurestore.errors import CommitConflict, Conflict, NotFound
from featurestore.lakehouse import tables, tags
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of
from featurestore.records.runtime import Runtime
from featurestore.records.version_log import RecordedVersion, VersionLog, read_versions

logger = logger_of(__name__)
OWNER = "version"
"""The entry of a tag's note with the id of the version that it belongs to."""


def complete(runtime: Runtime, log: VersionLog, version: RecordedVersion) -> RecordedVersion:
    """Set the tags of a version, and record that all are set; the version as it is then: it may have been removed meanwhile.

    If a tag cannot be set, since a snapshot expired or a table has another tag of this name, the version is removed. Raises: NotFound or
    Conflict that says so; NotReady, after which the next call goes on.
    """
    try:
        for identifier, pin in version.pins.items():
            if pin.snapshot_id is not None:
                _set(runtime, version, identifier, pin.uuid, pin.snapshot_id)
    except CommitConflict:
        raise
    except (NotFound, Conflict) as error:
        dissolve(runtime, log, log.advance(version, "removing", since=["setting"]))
        error.message = f"the tag {version.name} was not set: {error.message}"
        raise
    done = log.advance(version, "set", since=["setting"])
    if not done.exists:
        # Removed by another call, which did not see the tags that were set after it.
        release(runtime, version)
    return done


def dissolve(runtime: Runtime, log: VersionLog, version: RecordedVersion) -> RecordedVersion:
    """Remove the tags of a version that is being removed, and record that none is left; the version as it is then."""
    if version.state != "removing":
        return version
    release(runtime, version)
    return log.advance(version, "removed", since=["removing"])


def release(runtime: Runtime, version: RecordedVersion) -> None:
    """Remove the tags of a version from its tables, as far as they are its own. Raises: NotReady."""
    for identifier in version.pins:
        table = tables.find(runtime.catalog, identifier)
        if table is not None and owner_of(table, version.name) == version.version:
            _remove(table, version.name)


def finish_interrupted(runtime: Runtime, log: VersionLog) -> None:
    """Finish what calls left that were interrupted: tags that were recorded are set, and those whose removal was recorded are removed.

    A version that cannot be finished is removed, which is logged. Raises: NotReady.
    """
    for version in [version for version in log.versions.values() if not version.settled]:
        try:
            if version.state == "setting":
                complete(runtime, log, version)
            else:
                dissolve(runtime, log, version)
        except (NotFound, Conflict) as error:
            logger.warning("a call that was interrupted could not be finished: %s", error)


def remove_stray_tags(runtime: Runtime, table: Table, dry_run: bool) -> list[str]:
    """Remove the tags of a table whose version was removed while they were being set; their names."""
    owners = {name: owner for name in tags.notes(table) if (owner := owner_of(table, name)) is not None}
    if not owners:
        return []
    # Read after the table: a version is recorded before its tags are set.
    versions = read_versions(runtime)
    stray = [name for name, owner in owners.items() if owner not in versions or not versions[owner].exists]
    if stray and not dry_run:
        tags.settle_tags(table, (), stray)
    return stray


def owner_of(table: Table, name: str) -> str | None:
    """The id of the version that a tag belongs to; None if it is not that of a version, or there is none."""
    note = tags.notes(table).get(name)
    owner = None if note is None else json.loads(note).get(OWNER)
    return None if owner is None else str(owner)


def names_of_versions(table: Table) -> list[str]:
    """The named versions that have a snapshot of this table."""
    return [name for name in tags.tags(table) if owner_of(table, name) is not None]


def refuse_other_tag(runtime: Runtime, table: Table, version: RecordedVersion) -> None:
    """Remove a tag of this name that a removed version left. Raises: Conflict if the name belongs to anything else in this table."""
    owner = owner_of(table, version.name)
    if not tags.has_ref(table, version.name) or owner == version.version:
        return
    versions = read_versions(runtime)
    if owner is None or (owner in versions and versions[owner].exists):
        raise Conflict(
            f"{table.name} has a tag or branch {version.name} that `featurestore tag` did not set; choose another name, or remove it with"
            " the program that set it",
            table=table.name,
            tag=version.name,
        )
    _remove(table, version.name)


def _set(runtime: Runtime, version: RecordedVersion, identifier: str, uuid: str, snapshot_id: int) -> None:
    table = tables.load(runtime.catalog, identifier)
    if table.uuid != uuid:
        raise Conflict(f"{identifier} was dropped and created again meanwhile", table=identifier)
    refuse_other_tag(runtime, table, version)
    tags.set_tag(table, version.name, snapshot_id, json.dumps({OWNER: version.version}))


def _remove(table: Table, name: str) -> None:
    try:
        tags.settle_tags(table, (), [name])
    except CommitConflict:
        logger.info("the tag %s of %s was set again for a newer version, and is kept", name, table.name, exc_info=True)
