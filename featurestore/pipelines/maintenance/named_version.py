"""A named version: a name for a snapshot of each of several tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from featurestore.records.version_log import RecordedVersion
from featurestore.values.result import SNAPSHOT_ID, Result


@dataclass(frozen=True, eq=False)
class NamedVersion(Result):
    """A tag over tables: `@name` stands for these snapshots wherever a snapshot is accepted; None: the table had no rows.

    `by` (None: not recorded) and `at` say who set it and when. `complete` is False while Iceberg tags of its tables are missing: a call
    was interrupted, which the next `tag`, `remove_tag` or `maintain` finishes.
    """

    name: str
    tables: Mapping[str, int | None] = field(metadata=SNAPSHOT_ID)
    by: str | None
    at: datetime
    complete: bool = True


def describe_version(version: RecordedVersion) -> NamedVersion:
    """A recorded version as the store returns it."""
    tables = {name: pin.snapshot_id for name, pin in version.pins.items()}
    return NamedVersion(version.name, tables, version.by, version.at, version.settled)
