"""Write rows to Parquet data files that Iceberg can add as they are: with field ids, fixed row groups, and one partition each."""

import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, groupby, pairwise
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile
from pyiceberg.table.metadata import TableMetadata

from featurestore.errors import FeatureStoreError, OutOfResources, RequestError
from featurestore.lakehouse.catalog_errors import is_disk_full, to_store_error
from featurestore.lakehouse.commits import outcome_unknown
from featurestore.lakehouse.local_io import parse_location, pyarrow_io
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of

logger = logger_of(__name__)

ROW_GROUP_ROWS = 131_072
VECTOR_ROWS = 2048
"""DuckDB rounds row groups up to its vector size (2048 rows)."""
MIN_GROUP_ROWS = 4096
GROUPS_PER_MONTH = 8
SAMPLE_ROWS = 8192
"""Rows examined to decide which columns repeat their values."""


def _columns_out_of_range(metadata: pq.FileMetaData) -> list[str]:
    """The columns of a file whose minimum or maximum is a time outside of Python's range."""
    columns: dict[str, None] = {}
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            try:
                if column.statistics is not None and column.statistics.has_min_max:
                    _ = column.statistics.min, column.statistics.max
            except OverflowError:
                columns[column.path_in_schema.partition(".")[0]] = None
    return list(columns)


def group_rows(month_rows: int) -> int:
    """Row group size for a monthly file of this many rows: an eighth of the month, so that a read of a few days skips the rest."""
    part = -(-month_rows // GROUPS_PER_MONTH)
    return min(max(part + -part % VECTOR_ROWS, MIN_GROUP_ROWS), ROW_GROUP_ROWS)


class DataFiles:
    """The data files of one write; they are orphans unless a commit refers to them."""

    def __init__(self, table: Table, schema: pa.Schema, *, quick: bool = False) -> None:
        """`quick` leaves floating-point columns of mostly distinct values uncompressed: they take a quarter of the time, and a fifth more
        space.
        """
        self._table, self._schema, self._quick = table, schema, quick
        self._run = uuid.uuid4()
        self._folders: dict[Path, str] = {}
        self._made = 0
        self._kept: list[str] = []
        self._sent = False
        self._described: dict[str, DataFile] = {}
        self.paths: list[str] = []
        self.rows = 0

    def write(self, batches: Iterable[pa.RecordBatch], month_of: str | None = None, group_rows: int = ROW_GROUP_ROWS) -> "DataFiles":
        """Write the rows in their order, one file per run of rows of one month of `month_of`; memory is bounded by one row group.

        Raises: OutOfResources when the disk is full. After any failure the files are deleted.
        """
        with self.discard_on(BaseException), self._room():
            for group in _split_by_month(batches, month_of):
                self._write_file(group, group_rows)
        return self

    def folder(self) -> Path | None:
        """A new local folder path for DuckDB to write this table's files to; None if the table is not stored on this machine.

        Files in it are discarded with the rest.
        """
        location = self._table.iceberg.location_provider().new_data_location(self._name())
        scheme, _, path = parse_location(location, self._table.iceberg.io.properties)
        if scheme != "file":
            return None
        self._folders[Path(path)] = location
        return Path(path)

    def take(self, paths: Iterable[Path], rows: int) -> None:
        """Add Parquet files with `rows` rows in total to this write; files outside of its folders are copied into the table's.

        Raises: OutOfResources when there is no space left.
        """
        for path in paths:
            folder = next((folder for folder in self._folders if folder in path.parents), None)
            if folder is not None:
                self.paths.append(f"{self._folders[folder]}/{path.relative_to(folder).as_posix()}")
                continue
            self.paths.append(self._table.iceberg.location_provider().new_data_location(f"{self._name()}.parquet"))
            with self._room(), path.open("rb") as source, self._table.iceberg.io.new_output(self.paths[-1]).create(overwrite=True) as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
        self.rows += rows

    def keep(self, paths: Iterable[str], rows: int) -> None:
        """Add files of an earlier write of the table, which `discard` leaves alone."""
        self._kept.extend(paths)
        self.rows += rows

    def release(self) -> None:
        """Forget the files written so far, without deleting them: something else refers to them now."""
        self.paths, self.rows, self._folders = [], 0, {}

    def data_files(self, metadata: TableMetadata) -> list[DataFile]:
        """The manifest entries of the files: counts, bounds, and the partition derived from the bounds."""
        paths = [*self._kept, *self.paths]
        with self._room():
            new = [path for path in paths if path not in self._described]
            self._described |= {path: self._description(metadata, path) for path in new}
        return [self._described[path] for path in paths]

    def _description(self, metadata: TableMetadata, path: str) -> DataFile:
        try:
            data_file: DataFile = pyarrow_io().parquet_file_to_data_file(self._table.iceberg.io, metadata, path)
        except OverflowError as error:
            raise self._unholdable(path) or error from error
        # Iceberg has no bounds for list elements, so pyiceberg has not checked these.
        if any(pa.types.is_nested(field.type) for field in self._schema) and (unholdable := self._unholdable(path)) is not None:
            raise unholdable
        return data_file

    def _unholdable(self, path: str) -> RequestError | None:
        """The error that names the columns of a file with times that a table cannot store; None if there are none."""
        with self._table.iceberg.io.new_input(path).open() as file:
            names = " and ".join(f"'{name}'" for name in _columns_out_of_range(pq.read_metadata(file)))
        if not names:
            return None
        return RequestError(
            f"{names} would have a time outside the years 1 to 9999, which a table cannot store; leave such rows out with where=, or"
            " write CASE WHEN ... END, which is NULL for them"
        )

    def discard(self) -> None:
        """Delete the files unless a commit of them may have landed; failures are logged, and maintenance removes those files later."""
        if self._sent:
            return
        for path in self.paths:
            try:
                self._table.iceberg.io.delete(path)
            except FileNotFoundError:
                continue
            except OSError:
                logger.warning("the unused data file %s cannot be deleted", path, exc_info=True)
        for folder in self._folders:
            # Maintenance removes what cannot be deleted here.
            shutil.rmtree(folder, ignore_errors=True)
        self.paths, self.rows, self._folders = [], 0, {}

    @contextmanager
    def discard_on(self, *failures: type[BaseException]) -> Iterator[None]:
        """Delete the files if the block raises one of these, which must mean that nothing was committed."""
        try:
            yield
        except failures:
            self.discard()
            raise

    def _name(self) -> str:
        """A file name that is unique in the table, also among released files of this write."""
        self._made += 1
        return f"{self._run}-{self._made - 1:05d}"

    @contextmanager
    def sending_commit(self) -> Iterator[None]:
        """Run a block that sends a commit of the files: from then on they are deleted only if the commit is known not to have landed."""
        self._sent = True
        try:
            yield
        except FeatureStoreError as error:
            self._sent = outcome_unknown(error)
            raise

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if is_disk_full(error):
                raise OutOfResources(f"no space left to write to {self._table.name}; nothing was written", resource="disk") from error
            raise to_store_error(error, f"writing to {self._table.name}; nothing was written") from error

    def _write_file(self, batches: Iterator[pa.RecordBatch], group_rows: int) -> None:
        path = self._table.iceberg.location_provider().new_data_location(f"{self._name()}.parquet")
        self.paths.append(path)
        # The name is unique, so the check for an existing file would only cost a request.
        sink = self._table.iceberg.io.new_output(path).create(overwrite=True)
        try:
            groups = _row_groups(batches, group_rows)
            first = next(groups, self._schema.empty_table())
            paths, distinct = _column_paths(first), _distinct_columns(first)
            uncompressed = {name for name in distinct if self._quick and pa.types.is_floating(first.schema.field(name).type)}
            with pq.ParquetWriter(
                sink,
                self._schema,
                compression={path: "none" if path in uncompressed else "zstd" for path in paths},
                compression_level={path: 1 for path in paths if path not in uncompressed},
                use_dictionary=[path for path in paths if path not in distinct],
                store_decimal_as_integer=True,
            ) as writer:
                for group in chain([first], groups):
                    writer.write_table(group, row_group_size=group_rows)
                    self.rows += group.num_rows
            sink.close()
        except BaseException:
            # The first failure is the one to report; closing a broken stream only repeats it.
            with suppress(OSError):
                sink.close()
            raise


def _row_groups(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Regroup batches into tables of exactly `size` rows, the last one shorter, so that files do not depend on the batching."""
    pending: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        pending.append(batch)
        rows += batch.num_rows
        if rows >= size:
            table = pa.Table.from_batches(pending)
            whole = rows - rows % size
            for start in range(0, whole, size):
                yield table.slice(start, size)
            pending, rows = table.slice(whole).to_batches(), rows - whole
    if rows:
        yield pa.Table.from_batches(pending)


def _distinct_columns(group: pa.Table) -> set[str]:
    """The columns of mostly distinct values, for which the Parquet writer would start a dictionary and drop it.

    Decided from the first rows of the group; columns of lists, structs and UUIDs always keep their dictionaries.
    """
    begin = group.slice(0, SAMPLE_ROWS)
    return {
        name
        for name, column in zip(begin.schema.names, begin.columns, strict=True)
        if not isinstance(column.type, pa.BaseExtensionType)
        and not pa.types.is_nested(column.type)
        and pc.count_distinct(column).as_py() > begin.num_rows * 3 // 4
    }


def _column_paths(group: pa.Table) -> list[str]:
    """The Parquet paths of the columns; that of a column that is not nested is its name."""
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, group.schema).close()
    parquet = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    return [parquet.column(index).path for index in range(len(parquet))]


def _split_by_month(batches: Iterable[pa.RecordBatch], column: str | None) -> Iterator[Iterator[pa.RecordBatch]]:
    """Split rows into runs of one month, each to be consumed before the next; without a column one run, or none if there are no rows."""
    for _, run in groupby(_month_slices(batches, column), key=itemgetter(0)):
        yield (piece for _, piece in run)


def _month_slices(batches: Iterable[pa.RecordBatch], column: str | None) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Slice batches at month boundaries; yields the month as a number with each slice."""
    for batch in batches:
        if not batch.num_rows:
            continue
        if column is None:
            yield 0, batch
            continue
        times = batch.column(column)
        months = pc.fill_null(pc.add(pc.multiply(pc.year(times), 12), pc.month(times)), -1)
        changes = pc.indices_nonzero(pc.not_equal(months[1:], months[:-1])).to_pylist()
        bounds = [0, *(index + 1 for index in changes), batch.num_rows]
        for start, end in pairwise(bounds):
            yield months[start].as_py(), batch.slice(start, end - start)
