"""The table that the rest of the code works with: pyiceberg's own type does not leave this package."""

from collections.abc import Mapping
from dataclasses import dataclass

from pyiceberg import table as pyiceberg_table

from featurestore.errors import Conflict

FORMAT = 1
"""The number of the newest format in which this release writes and reads its own tables: what their columns, properties and summaries
mean. A change that an earlier release would misread raises it.
"""
FORMAT_PROPERTY = "featurestore.format"
"""The table property with the format's number; tables from before it was recorded, and tables of others, have none."""
READABLE = frozenset(str(number) for number in range(1, FORMAT + 1))


@dataclass(eq=False, slots=True)
class Table:
    """The state of a table when it was loaded, or after the last commit through this handle; no property loads it again.

    Only this package uses `iceberg`, the table as pyiceberg has it. Raises: Conflict for a table in the format of a newer release.
    """

    iceberg: pyiceberg_table.Table

    def __post_init__(self) -> None:
        number = self.properties.get(FORMAT_PROPERTY)
        if number is not None and number not in READABLE:
            raise Conflict(
                f"the table {self.name} has format {number:.20}, of a newer release of featurestore; this one reads up to {FORMAT}: upgrade"
                " featurestore here to the release that wrote it",
                table=self.name,
            )

    @property
    def name(self) -> str:
        """The name with its namespace, as `features.customer_orders_v1`."""
        return ".".join(self.iceberg.name())

    @property
    def uuid(self) -> str:
        """The UUID that the table got at its creation: a table dropped and created again has another."""
        return str(self.iceberg.metadata.table_uuid)

    @property
    def properties(self) -> Mapping[str, str]:
        """The table properties."""
        return self.iceberg.properties

    @property
    def snapshot_id(self) -> int | None:
        """The id of the current snapshot; None if nothing was ever written."""
        current = self.iceberg.current_snapshot()
        return current.snapshot_id if current else None

    @property
    def snapshot_ids(self) -> list[int]:
        """The ids of the remaining snapshots, oldest first."""
        ordered = sorted(self.iceberg.snapshots(), key=lambda snapshot: (snapshot.sequence_number or 0, snapshot.timestamp_ms))
        return [snapshot.snapshot_id for snapshot in ordered]

    @property
    def schema_id(self) -> int:
        """The id of the current schema."""
        return self.iceberg.metadata.current_schema_id

    @property
    def schema_ids(self) -> list[int]:
        """The ids of all schemas, ascending."""
        return sorted(self.iceberg.schemas())

    @property
    def location(self) -> str:
        """The address of the folder that the table's files are in."""
        return self.iceberg.location()

    @property
    def updated_us(self) -> int:
        """When the metadata last changed, in microseconds since the epoch."""
        return self.iceberg.metadata.last_updated_ms * 1000

    @property
    def metadata_location(self) -> str:
        """The address of the metadata file: each commit makes another one."""
        return self.iceberg.metadata_location

    def show(self, other: "Table") -> None:
        """Show the state that another handle of the same table shows, and reach its files as that one does."""
        self.iceberg.metadata, self.iceberg.metadata_location = other.iceberg.metadata, other.iceberg.metadata_location
        self.iceberg.io = other.iceberg.io
