"""Estimate what a backfill will read, from Iceberg metadata and the file system."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from featurestore.files.parquet_files import ParquetFiles
from featurestore.lakehouse.table import Table
from featurestore.lakehouse.volume import volume
from featurestore.records.runtime import Runtime
from featurestore.sources import reading
from featurestore.sources.pinned_source import PinnedSource
from featurestore.values.humanize import format_plural, format_size


@dataclass(frozen=True)
class Read:
    """A table, or a pattern of files, that a backfill reads: the current number of its files, bytes and rows.

    This is an upper bound, since unused columns are not read. `snapshot_id` is the current snapshot of an Iceberg table; None for files
    and for a table without rows. Counts are None if they cannot be determined without reading rows.
    """

    source: str
    snapshot_id: int | None
    files: int | None
    bytes: int | None
    rows: int | None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; the snapshot id as text."""
        return {**self.__dict__, "snapshot_id": None if self.snapshot_id is None else str(self.snapshot_id)}

    @property
    def amount(self) -> str:
        """The known counts as text, such as `3 files, 1.2 MiB, 12 000 rows`."""
        formats = (
            (self.files, partial(format_plural, word="file")),
            (self.bytes, format_size),
            (self.rows, partial(format_plural, word="row")),
        )
        return ", ".join(text(amount) for amount, text in formats if amount is not None) or "an unknown amount"


def reads(runtime: Runtime, source: PinnedSource) -> tuple[Read, ...]:
    """What a backfill of a view's whole history reads of its source: one entry for files and for the origin of a copy, else one for each
    table."""
    if source.origin is not None:
        return (Read(source.source.origin, None, source.origin.files, source.origin.bytes, source.origin.rows),)
    if source.source.files is not None:
        return (_files(runtime, source),)
    return tuple(_table(name, granted.table) for name, granted in source.tables.items())


def total(several: Iterable[Read], source: str = "") -> Read:
    """The sum of several reads; a count is unknown if it is unknown in one of them."""
    reads = list(several)
    return Read(source, None, *(_sum([getattr(read, name) for read in reads]) for name in ("files", "bytes", "rows")))


def _table(name: str, table: Table) -> Read:
    snapshot_id = table.snapshot_id
    size = volume(table, snapshot_id)
    return Read(name, snapshot_id, size.files, size.bytes, size.rows)


def _files(runtime: Runtime, source: PinnedSource) -> Read:
    files = reading.source_files(runtime, source)
    size = sum(int(state.partition(":")[0]) for state in source.pins.values())
    return Read(str(source.source.path), None, len(source.pins), size, files.rows if isinstance(files, ParquetFiles) else None)


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
