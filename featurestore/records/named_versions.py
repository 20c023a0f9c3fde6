"""Named versions, such as `@release-2026-11`: a name that stands for a snapshot of each of several tables."""

import re
from collections.abc import Iterable, Mapping

from featurestore.errors import Conflict, NotFound, RequestError, brief
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime
from featurestore.records.stored_sets import TAG
from featurestore.records.version_log import RecordedVersion, read_versions

MARK = "@"
"""What a version's name begins with where a snapshot is expected."""
LONGEST = 100
RESERVED = (TAG, "inference-", "featurestore-")
"""Beginnings of the names of Iceberg tags that the store sets for itself."""
_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9._-]{{0,{LONGEST - 1}}}")


def check_version_name(name: object) -> str:
    """Check the name of a new version. Raises: RequestError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith("."):
        raise RequestError(
            f"name={brief(name)} cannot be the name of a tag: use letters, digits, '.', '_' and '-', starting with a letter, at most"
            f" {LONGEST} characters, as in release-2026-11",
            field="name",
        )
    if name.lower() == "main" or name.lower().startswith(RESERVED):
        raise RequestError(f"name={brief(name)}: main, and names that begin with {', '.join(RESERVED)}, are the store's own", field="name")
    return name


def find_version(runtime: Runtime, name: str) -> RecordedVersion:
    """The version of a name, with or without its @. Raises: NotFound with the nearest names."""
    wanted = name.removeprefix(MARK)
    existing = {version.name: version for version in read_versions(runtime).values() if version.exists}
    if wanted not in existing:
        raise NotFound("tag", wanted, existing)
    return existing[wanted]


def snapshot_of(version: RecordedVersion, table: Table) -> int | None:
    """The snapshot of a table in a version; None: it had no rows. Raises: NotFound if the version does not have the table; Conflict if the
    table was dropped and created again since.
    """
    pin = version.pins.get(table.name)
    if pin is None:
        raise NotFound("table", table.name, version.pins, f"the tag {version.name}")
    if pin.uuid != table.uuid:
        raise Conflict(f"{table.name} was dropped and created again since the tag {version.name} was set", table=table.name)
    return pin.snapshot_id


def snapshot_id(runtime: Runtime, table: Table, text: str) -> int | None:
    """The snapshot that a text means: an id, or the name of a version with or without its @. Raises: NotFound; Conflict."""
    if text.isascii() and text.isdigit():
        known = [str(snapshot) for snapshot in table.snapshot_ids]
        if text not in known:
            raise NotFound("snapshot", text, known, table.name)
        return int(text)
    existing = {version.name: version for version in read_versions(runtime).values() if version.exists}
    name = text.removeprefix(MARK)
    if name not in existing:
        raise NotFound("snapshot", text, [*existing, *map(str, table.snapshot_ids)], table.name)
    return snapshot_of(existing[name], table)


def snapshot_ids(runtime: Runtime, loaded: Mapping[str, Table], requested: Mapping[str, int | str | None] | str) -> dict[str, int | None]:
    """The requested snapshots by table, with names of versions resolved; `loaded` are the tables by the names of the request.

    One name stands for the snapshots of all these tables. Raises: NotFound; Conflict.
    """
    by_table: Mapping[str, int | str | None] = dict.fromkeys(loaded, requested) if isinstance(requested, str) else requested
    versions = {name: find_version(runtime, name) for name in _names(by_table.values())}
    return {
        table: snapshot_of(versions[snapshot], loaded[table]) if isinstance(snapshot, str) else snapshot
        for table, snapshot in by_table.items()
    }


def _names(snapshots: Iterable[int | str | None]) -> list[str]:
    return list(dict.fromkeys(snapshot for snapshot in snapshots if isinstance(snapshot, str)))
