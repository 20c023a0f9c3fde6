"""Remove rows from every snapshot of a table: files with them are written again without them, and the snapshots keep their ids.

Iceberg's updates cannot change a snapshot, so the new metadata are written here and swapped in by compare-and-swap, which a catalog in a
database allows and a REST server does not.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntry, ManifestFile, write_manifest, write_manifest_list
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot, Summary
from sqlalchemy import update
from sqlalchemy.orm import Session

from featurestore.errors import CommitConflict, Conflict
from featurestore.lakehouse import maintenance, tables
from featurestore.lakehouse.catalog_errors import UNREACHABLE, to_store_error, translating_errors
from featurestore.lakehouse.commits import reload, retry
from featurestore.lakehouse.data_files import DataFiles
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.row_groups import group_rows
from featurestore.lakehouse.table import Table

COMPRESSION: Literal["deflate"] = "deflate"
Row = Mapping[str, Any]
Summaries = Callable[[int, Mapping[str, str]], Mapping[str, str]]
"""Returns the summary of a snapshot that loses rows, from its id and its summary before."""


@dataclass(frozen=True)
class Matches:
    """The rows to remove: those that have all values of one of `rows`, by column."""

    rows: Sequence[Row]

    def mask(self, batch: pa.RecordBatch) -> pa.Array:
        """Which rows of a batch match; a row that lacks a column does not."""
        found = pa.array([False] * batch.num_rows, pa.bool_())
        for row in self.rows:
            if all(name in batch.schema.names for name in row):
                same = pa.array([True] * batch.num_rows, pa.bool_())
                for name, value in row.items():
                    same = pc.and_(same, _equal(batch.column(name), value))
                found = pc.or_(found, same)
        return found

    @property
    def columns(self) -> list[str]:
        """The columns that are compared."""
        return list(dict.fromkeys(name for row in self.rows for name in row))


def _equal(column: pa.Array, value: Any) -> pa.Array:
    """Which values are this one; none in a column of a type that cannot have it."""
    stored = column.storage if isinstance(column, pa.ExtensionArray) else column
    plain = (str(value) if pa.types.is_string(stored.type) else value.bytes) if isinstance(value, uuid.UUID) else value
    try:
        return pc.fill_null(pc.equal(stored, pa.scalar(plain).cast(stored.type)), False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([False] * len(column), pa.bool_())


@dataclass(frozen=True)
class RewrittenHistory:
    """What was removed, or would be: the number of rows in the table's files, the files, and the snapshots that had them."""

    rows: int = 0
    files: int = 0
    snapshots: tuple[int, ...] = ()


@dataclass
class _Plan:
    """The data files with matching rows, and the manifests and snapshots that refer to them."""

    rows: dict[str, int] = field(default_factory=dict)
    schemas: dict[str, int] = field(default_factory=dict)
    manifests: dict[str, tuple[ManifestFile, list[ManifestEntry]]] = field(default_factory=dict)
    snapshots: list[Snapshot] = field(default_factory=list)

    @property
    def result(self) -> RewrittenHistory:
        return RewrittenHistory(sum(self.rows.values()), len(self.rows), tuple(snapshot.snapshot_id for snapshot in self.snapshots))


def find_in_history(granted: Granted, matches: Matches) -> RewrittenHistory:
    """Count the rows that `rewrite_history` would remove. Raises: Conflict for tables that it cannot rewrite."""
    return _plan(granted.table, matches).result


def rewrite_history(granted: Granted, matches: Matches, summaries: Summaries = lambda _, before: before) -> RewrittenHistory:
    """Remove matching rows from every snapshot of the table, and delete the files that had them at once: reads in progress fail.

    Snapshots, tags and branches stay as they are, but for `summaries` of snapshots that lose rows. What other writers commit meanwhile is
    rewritten too, or makes this start again. The handle then shows the new state.
    Raises: Conflict for tables that cannot be rewritten; CommitConflict if others commit all the time; OutOfResources.
    """

    table = granted.table

    def attempt() -> RewrittenHistory:
        fresh = reload(table)
        plan = _plan(fresh, matches)
        if plan.rows:
            with translating_errors(f"rewriting the history of {table.name}"):
                _rewrite(fresh, plan, matches, summaries)
        table.show(reload(fresh))
        return plan.result

    return retry(table.name, attempt, undone="nothing was removed from its history")


def count_unreached(granted: Granted, matches: Matches) -> int:
    """How many files that no snapshot reaches have matching rows, or may: of interrupted writes, and of writes in progress."""
    filesystem, paths = maintenance.unreached_files(granted)
    found = 0
    for path in paths:
        with suppress(FileNotFoundError):
            if path.endswith(".parquet"):
                with filesystem.open_input_file(path) as source:
                    found += bool(_count_matches(source, matches))
            else:
                # Manifests have the bounds of columns; metadata files have no values.
                found += path.endswith(".avro")
    return found


def check_rewritable(table: Table) -> None:
    """Raises: Conflict if the history of a table cannot be rewritten: in a REST catalog, or where rows were deleted by delete files."""
    if not isinstance(table.iceberg.catalog, SqlCatalog):
        raise Conflict(f"the history of {table.name} cannot be rewritten: only a catalog in a database allows that", table=table.name)
    manifests = (manifest for snapshot in table.iceberg.snapshots() for manifest in snapshot.manifests(table.iceberg.io))
    if any(manifest.content != ManifestContent.DATA for manifest in manifests):
        message = f"{table.name} has delete files; compact it with the program that wrote them, and expire the snapshots that have them"
        raise Conflict(message, table=table.name)


def _plan(table: Table, matches: Matches) -> _Plan:
    check_rewritable(table)
    io, plan = table.iceberg.io, _Plan()
    searched: dict[str, int] = {}
    manifests: dict[str, bool] = {}
    for snapshot in table.iceberg.snapshots():
        affected = False
        for manifest in snapshot.manifests(io):
            path = manifest.manifest_path
            if path not in manifests:
                entries = manifest.fetch_manifest_entry(io, discard_deleted=False)
                for entry in entries:
                    file = entry.data_file
                    if file.file_path not in searched:
                        searched[file.file_path] = _count(table, file.file_path, matches)
                        # The schema that it was written with, or one with more columns.
                        plan.schemas[file.file_path] = tables.schema_id_of(table, snapshot.snapshot_id)
                hit = any(searched[entry.data_file.file_path] for entry in entries)
                manifests[path] = hit
                if hit:
                    plan.manifests[path] = manifest, entries
            affected = affected or manifests[path]
        if affected:
            plan.snapshots.append(snapshot)
    plan.rows = {path: count for path, count in searched.items() if count}
    return plan


def _count(table: Table, path: str, matches: Matches) -> int:
    try:
        with table.iceberg.io.new_input(path).open() as source:
            return _count_matches(source, matches)
    except FileNotFoundError:
        # A file that a snapshot deleted, and that no snapshot reads any more.
        return 0


def _count_matches(source: Any, matches: Matches) -> int:
    file = pq.ParquetFile(source)
    columns = [name for name in matches.columns if name in file.schema_arrow.names]
    batches = file.iter_batches(columns=columns) if columns else ()
    return sum(matches.mask(batch).true_count for batch in batches)


def _rewrite(table: Table, plan: _Plan, matches: Matches, summaries: Summaries) -> None:
    metadata = table.iceberg.metadata
    new_files: list[str] = []
    try:
        replaced = {path: _rewritten_file(table, path, plan.schemas[path], matches, new_files) for path in plan.rows}
        manifests = {path: _rewritten_manifest(table, *found, replaced, new_files) for path, found in plan.manifests.items()}
        snapshots = {
            snapshot.snapshot_id: _rewritten_snapshot(table, snapshot, manifests, summaries, new_files) for snapshot in plan.snapshots
        }
        _swap(table, metadata, [snapshots.get(snapshot.snapshot_id, snapshot) for snapshot in metadata.snapshots], new_files)
    except BaseException:
        if not _is_current(table, new_files):
            _delete(table, new_files)
        raise
    old = [entry.metadata_file for entry in metadata.metadata_log]
    old += [table.metadata_location, *(snapshot.manifest_list for snapshot in plan.snapshots), *plan.manifests, *plan.rows]
    _delete(table, old)


def _rewritten_file(table: Table, path: str, schema_id: int, matches: Matches, new_files: list[str]) -> DataFile | None:
    """The file without matching rows, in the same order; None if no row is left."""
    with table.iceberg.io.new_input(path).open() as source:
        file = pq.ParquetFile(source)
        schema = file.schema_arrow.remove_metadata()
        writer = DataFiles(table, schema)

        def kept() -> Iterator[pa.RecordBatch]:
            for batch in file.iter_batches():
                rest = batch.filter(pc.invert(matches.mask(batch)))
                if rest.num_rows:
                    yield pa.RecordBatch.from_arrays(rest.columns, schema=schema)

        writer.write(kept(), group_rows=group_rows(file.metadata.num_rows))
    new_files += writer.paths
    files = writer.data_files(table.iceberg.metadata.model_copy(update={"current_schema_id": schema_id}))
    return files[0] if files else None


def _rewritten_manifest(
    table: Table, manifest: ManifestFile, entries: Sequence[ManifestEntry], replaced: Mapping[str, DataFile | None], new_files: list[str]
) -> ManifestFile | None:
    """The manifest with rewritten files in the place of theirs; None if no entry is left."""
    metadata = table.iceberg.metadata
    kept = [entry for entry in entries if replaced.get(entry.data_file.file_path, entry.data_file) is not None]
    if not kept:
        return None
    path = table.iceberg.location_provider().new_metadata_location(f"{uuid.uuid4()}-m0.avro")
    new_files.append(path)
    spec = metadata.specs()[manifest.partition_spec_id]
    output = table.iceberg.io.new_output(path)
    with write_manifest(metadata.format_version, spec, metadata.schema(), output, manifest.added_snapshot_id or 0, COMPRESSION) as writer:
        for entry in kept:
            new = replaced.get(entry.data_file.file_path)
            if new is not None:
                if manifest.partition_spec_id != metadata.default_spec_id:
                    raise Conflict(f"{table.name} has files of an earlier partition spec; compact it first", table=table.name)
                new.spec_id = entry.data_file.spec_id
                entry.data_file = new
            writer.add_entry(entry)
    written = writer.to_manifest_file()
    written.sequence_number = manifest.sequence_number
    written.min_sequence_number = manifest.min_sequence_number
    return written


def _rewritten_snapshot(
    table: Table, snapshot: Snapshot, manifests: Mapping[str, ManifestFile | None], summaries: Summaries, new_files: list[str]
) -> Snapshot:
    metadata = table.iceberg.metadata
    path = table.iceberg.location_provider().new_metadata_location(f"snap-{snapshot.snapshot_id}-0-{uuid.uuid4()}.avro")
    new_files.append(path)
    output = table.iceberg.io.new_output(path)
    parent, number = snapshot.parent_snapshot_id, snapshot.sequence_number
    with write_manifest_list(metadata.format_version, output, snapshot.snapshot_id, parent, number, COMPRESSION) as writer:
        listed = [manifests.get(manifest.manifest_path, manifest) for manifest in snapshot.manifests(table.iceberg.io)]
        writer.add_manifests([manifest for manifest in listed if manifest is not None])
    rewritten = snapshot.model_copy(update={"manifest_list": path})
    if snapshot.summary is None:
        return rewritten
    before = dict(snapshot.summary.additional_properties)
    after = summaries(snapshot.snapshot_id, before)
    return rewritten.model_copy(update={"summary": Summary(snapshot.summary.operation, **after)})


def _swap(table: Table, metadata: TableMetadata, snapshots: list[Snapshot], new_files: list[str]) -> None:
    """Make metadata with these snapshots the current ones, if nobody committed meanwhile. Raises: CommitConflict; NotReady."""
    catalog = table.iceberg.catalog
    if not isinstance(catalog, SqlCatalog):
        raise TypeError(f"{catalog} is not in a database")
    new = metadata.model_copy(update={"snapshots": snapshots, "metadata_log": [], "statistics": [], "partition_statistics": []})
    version = catalog._parse_metadata_version(table.metadata_location) + 1
    location = table.iceberg.location_provider().new_table_metadata_file_location(version)
    new_files.append(location)
    catalog._write_metadata(new, table.iceberg.io, location)
    namespace, _, name = table.name.rpartition(".")
    statement = (
        update(IcebergTables)
        .where(
            IcebergTables.catalog_name == catalog.name,
            IcebergTables.table_namespace == namespace,
            IcebergTables.table_name == name,
            IcebergTables.metadata_location == table.metadata_location,
        )
        .values(metadata_location=location, previous_metadata_location=None)
    )
    try:
        with Session(catalog.engine) as session:
            swapped = session.execute(statement).rowcount  # type: ignore[attr-defined]
            session.commit()
    except UNREACHABLE as error:
        raise to_store_error(error, f"committing to {table.name}") from error
    if swapped != 1:
        raise CommitConflict(f"another writer changed {table.name} first; nothing was removed from its history", table=table.name)


def _is_current(table: Table, new_files: Sequence[str]) -> bool:
    """Whether the new metadata are the current ones, or it cannot be said that they are not: then their files are not deleted."""
    try:
        return reload(table).metadata_location in new_files
    except (CommitConflict, OSError):
        return True


def _delete(table: Table, locations: Sequence[str]) -> None:
    for location in dict.fromkeys(locations):
        with suppress(FileNotFoundError):
            table.iceberg.io.delete(location)
