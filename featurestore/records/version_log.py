"""The log of named versions: an append-only Iceberg table in which a row decides whether a name stands for snapshots."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa

from featurestore.errors import CommitConflict
from featurestore.lakehouse import commits, granted, scans, tables, writes
from featurestore.lakehouse.granted import Granted
from featurestore.records.runtime import Runtime
from featurestore.values import times

State = Literal["setting", "set", "removing", "removed"]
"""How far a version is: its row is there, and its Iceberg tags are being set; all are set; it is removed, and its tags are being
removed; nothing is left of it."""
SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("name", pa.string()),
        ("version", pa.string()),
        ("state", pa.string()),
        ("tables", pa.string()),
        ("by", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
"""A row for each state that a version came to; the newest counts. `number` counts the rows, `version` is a unique id, `tables` is JSON."""


@dataclass(frozen=True)
class TablePin:
    """A table as a version has it; `snapshot_id` None: it had no rows."""

    uuid: str
    snapshot_id: int | None


@dataclass(frozen=True)
class RecordedVersion:
    """The newest row of a version. `by` (None: not known) and `at` say who set it and when."""

    name: str
    version: str
    state: State
    pins: Mapping[str, TablePin]
    by: str | None
    at: datetime

    @property
    def exists(self) -> bool:
        """Whether its name stands for its snapshots."""
        return self.state in ("setting", "set")

    @property
    def settled(self) -> bool:
        """Whether the Iceberg tags of its tables are as its row says."""
        return self.state in ("set", "removed")


class VersionLog:
    """The log as it was read last. A row is appended only to the newest state of the log, so that of two calls one comes first."""

    def __init__(self, runtime: Runtime) -> None:
        self._settings = runtime.settings
        self._table = tables.create_if_absent(runtime.catalog, log_name(runtime), SCHEMA)
        self._rows = _read(granted.system(self._table, self._settings))

    @property
    def versions(self) -> dict[str, RecordedVersion]:
        """Every version by its id, oldest first."""
        return _newest(self._rows)

    def current(self, name: str) -> RecordedVersion | None:
        """The version that a name stands for; None if there is none."""
        return next((version for version in self.versions.values() if version.name == name and version.exists), None)

    def begin(self, version: RecordedVersion) -> RecordedVersion:
        """Record a new version, unless its name is taken: the version that its name then stands for."""
        return self._append(version, lambda: self.current(version.name))

    def advance(self, version: RecordedVersion, state: State, since: Sequence[State]) -> RecordedVersion:
        """Record that a version came to a state, if it is in one `since` which it can: the version as it is then."""

        def other() -> RecordedVersion | None:
            newest = self.versions[version.version]
            return None if newest.state in since else newest

        return self._append(replace(version, state=state), other)

    def _append(self, version: RecordedVersion, find_other: Any) -> RecordedVersion:
        def attempt() -> RecordedVersion:
            other: RecordedVersion | None = find_other()
            if other is not None:
                return other
            row = _row(len(self._rows) + 1, version)
            batches = pa.Table.from_pylist([row], SCHEMA).to_reader()
            writes.append(self._table, batches, summary={writes.OPERATION: "tag"})
            self._rows = [*self._rows, row]
            return version

        def recover(conflict: CommitConflict) -> None:
            self._table = commits.reload(self._table)
            self._rows = _read(granted.system(self._table, self._settings))

        return commits.retry(self._table.name, attempt, undone="no tag was set or removed", recover=recover)


def log_name(runtime: Runtime) -> str:
    """The log's name in the catalog."""
    return f"{runtime.settings.registry_namespace}.tags"


def read_versions(runtime: Runtime) -> dict[str, RecordedVersion]:
    """Every version by its id, oldest first; nothing is written."""
    table = tables.find(runtime.catalog, log_name(runtime))
    return {} if table is None else _newest(_read(granted.system(table, runtime.settings)))


def _read(log: Granted) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = scans.read_snapshot(log, log.table.snapshot_id).read_all().to_pylist()
    return sorted(rows, key=lambda row: row["number"])


def _newest(rows: Sequence[Mapping[str, Any]]) -> dict[str, RecordedVersion]:
    return {row["version"]: _version(row) for row in rows}


def _version(row: Mapping[str, Any]) -> RecordedVersion:
    pins = {
        name: TablePin(uuid, None if snapshot is None else int(snapshot)) for name, (uuid, snapshot) in json.loads(row["tables"]).items()
    }
    return RecordedVersion(row["name"], row["version"], row["state"], pins, row["by"], row["at"])


def _row(number: int, version: RecordedVersion) -> dict[str, Any]:
    pins = {name: [pin.uuid, None if pin.snapshot_id is None else str(pin.snapshot_id)] for name, pin in version.pins.items()}
    at = times.moment(times.micros(version.at))
    fields = {"name": version.name, "version": version.version, "state": version.state, "by": version.by, "at": at}
    return {"number": number, **fields, "tables": json.dumps(pins)}
