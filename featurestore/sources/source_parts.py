"""The rows of a pinned source in parts, for workers to read: data files of an Iceberg table, or Parquet and CSV files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from featurestore.compiler.relations import LocalFiles
from featurestore.engine.session import Relation
from featurestore.files.parquet_files import ParquetFiles
from featurestore.lakehouse.planned_scan import PlannedScan
from featurestore.lakehouse.shipped import ScanPart, ShippedScan
from featurestore.records.runtime import Runtime
from featurestore.sources.pinned_source import PinnedSource
from featurestore.sources.reading import TimeBounds, source_files, time_range

CSV_ROW_BYTES = 32
"""The assumed size of a row of a CSV file."""

Part: TypeAlias = ScanPart | LocalFiles


class PartReader(Protocol):
    """Reads parts on a worker."""

    def folders(self) -> list[str]:
        """The local folders that a session must be able to read."""

    def read(self, part: "Part") -> Relation:
        """The rows of a part."""


@dataclass(frozen=True)
class TableReader:
    """Reads the data files of a table."""

    scan: ShippedScan

    def folders(self) -> list[str]:
        """See PartReader."""
        return self.scan.folders()

    def read(self, part: Part) -> Relation:
        """See PartReader."""
        assert isinstance(part, ScanPart)
        return self.scan.read(part)


@dataclass(frozen=True)
class FileReader:
    """Reads Parquet and CSV files in these folders."""

    within: tuple[str, ...]

    def folders(self) -> list[str]:
        """See PartReader."""
        return list(self.within)

    def read(self, part: Part) -> Relation:
        """See PartReader."""
        assert isinstance(part, LocalFiles)
        return part


@dataclass(frozen=True)
class SourceParts:
    """A source's parts, and what reads them; `rows` is about how many rows they have."""

    reader: PartReader
    parts: tuple[Part, ...]
    rows: int


def source_parts(runtime: Runtime, pinned: PinnedSource, reads: Sequence[str], bounds: TimeBounds) -> SourceParts | None:
    """The parts of a source with rows within bounds, and maybe others, with the columns `reads` at least; None for a query, whose rows
    only the driver can read. Raises: as `reading.add_source`.
    """
    table = pinned.source.catalog_table
    if pinned.source.files is not None:
        opened = source_files(runtime, pinned)
        files = opened.relation
        rows = opened.rows if isinstance(opened, ParquetFiles) else sum(os.path.getsize(path) for path in files.paths) // CSV_ROW_BYTES
        single = [replace(files, parts=(replace(part, paths=(path,)),)) for part in files.parts for path in part.paths]
        return SourceParts(FileReader(tuple(files.folders)), tuple(single), rows)
    if table is None:
        return None
    time = time_range(pinned, table, bounds)
    planned = pinned.scan
    if planned is None or not planned.covers(time):
        snapshot_id, schema_id = pinned.read_at(table)
        planned = PlannedScan(pinned.tables[table], snapshot_id, time, schema_id)
    scan, parts = planned.ship(reads, time)
    return SourceParts(TableReader(scan), tuple(parts), sum(part.rows for part in parts))
