"""Rows become Parquet data files that Iceberg can take over as they are: field ids, fixed row groups, one partition each."""

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
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata

from featurestore.errors import FeatureStoreError, OutOfResources, RequestError
from featurestore.lakehouse.commits import outcome_unknown
from featurestore.lakehouse.local_io import parse_location, pyarrow_io
from featurestore.lakehouse.reaching import out_of_room, told
from featurestore.secrets import logger_of

logger = logger_of(__name__)

ROW_GROUP_ROWS = 131_072
STEP = 2048
"""The engine counts rows by as many."""
LEAST_GROUP_ROWS = 4096
PARTS_OF_MONTH = 8
SAMPLE = 8192
"""So many rows tell which columns repeat their values."""


def _endless(metadata: pq.FileMetaData) -> list[str]:
    """The columns of a file with a least or greatest value that Python has no time for."""
    found: dict[str, None] = {}
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            try:
                if column.statistics is not None and column.statistics.has_min_max:
                    _ = column.statistics.min, column.statistics.max
            except OverflowError:
                found[column.path_in_schema.partition(".")[0]] = None
    return list(found)


def group_rows(month_rows: int) -> int:
    """How many rows of a file of a month, with this many, to put in a row group: an eighth, so that a few days are read as such."""
    part = -(-month_rows // PARTS_OF_MONTH)
    return min(max(part + -part % STEP, LEAST_GROUP_ROWS), ROW_GROUP_ROWS)


class DataFiles:
    """The data files of one write: new ones until a commit refers to them, garbage if none ever does."""

    def __init__(self, table: Table, schema: pa.Schema) -> None:
        self._table, self._schema = table, schema
        self._run = uuid.uuid4()
        self._folders: dict[Path, str] = {}
        self._made = 0
        self._kept: list[str] = []
        self._sent = False
        self._described: dict[str, DataFile] = {}
        self.paths: list[str] = []
        self.rows = 0

    def write(self, batches: Iterable[pa.RecordBatch], month_of: str | None = None, group_rows: int = ROW_GROUP_ROWS) -> "DataFiles":
        """Write the rows in their order, a file for each run of one month of `month_of`; the memory is that of a row group.

        Raises: OutOfResources when the disk is full. After any failure the files are gone.
        """
        with self.discarded_on(BaseException), self._room():
            for group in _months(batches, month_of):
                self._write_file(group, group_rows)
        return self

    def folder(self) -> Path | None:
        """A folder that is not there yet, for an engine on this machine to write this table's files to; None: the table lies elsewhere.

        What comes to lie there is discarded with the rest.
        """
        location = self._table.location_provider().new_data_location(self._name())
        scheme, _, path = parse_location(location, self._table.io.properties)
        if scheme != "file":
            return None
        self._folders[Path(path)] = location
        return Path(path)

    def take(self, paths: Iterable[Path], rows: int) -> None:
        """Make Parquet files, with this many rows in all, files of this write; those outside of its folders are copied to the table's.

        Raises: OutOfResources when there is no room.
        """
        for path in paths:
            own = next((folder for folder in self._folders if folder in path.parents), None)
            if own is not None:
                self.paths.append(f"{self._folders[own]}/{path.relative_to(own).as_posix()}")
                continue
            self.paths.append(self._table.location_provider().new_data_location(f"{self._name()}.parquet"))
            with self._room(), path.open("rb") as source, self._table.io.new_output(self.paths[-1]).create(overwrite=True) as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
        self.rows += rows

    def keep(self, paths: Iterable[str], rows: int) -> None:
        """Add whole files that an earlier write of the table has left; they are not this write's to discard."""
        self._kept.extend(paths)
        self.rows += rows

    def release(self) -> None:
        """Let go of the files written so far: somebody else refers to them now."""
        self.paths, self.rows, self._folders = [], 0, {}

    def data_files(self, metadata: TableMetadata) -> list[DataFile]:
        """What Iceberg's manifests say about the files: counts, bounds, and the partition found from these."""
        wanted = [*self._kept, *self.paths]
        with self._room():
            new = [path for path in wanted if path not in self._described]
            self._described |= {path: self._description(metadata, path) for path in new}
        return [self._described[path] for path in wanted]

    def _description(self, metadata: TableMetadata, path: str) -> DataFile:
        try:
            found: DataFile = pyarrow_io().parquet_file_to_data_file(self._table.io, metadata, path)
        except OverflowError as error:
            raise self._unholdable(path) or error from error
        # Of what is inside lists Iceberg has no bounds, and so nobody has looked.
        if any(pa.types.is_nested(field.type) for field in self._schema) and (unholdable := self._unholdable(path)) is not None:
            raise unholdable
        return found

    def _unholdable(self, path: str) -> RequestError | None:
        """The error that names the columns of a file with times that no table holds; None where all are fine."""
        with self._table.io.new_input(path).open() as opened:
            names = " and ".join(f"'{name}'" for name in _endless(pq.read_metadata(opened)))
        if not names:
            return None
        return RequestError(
            f"{names} would hold a time outside the years 1 to 9999, which no table holds; leave such rows out with where=, or write"
            " CASE WHEN ... END, which is NULL for them"
        )

    def discard(self) -> None:
        """Delete the files, but not those that a commit may have landed; one that cannot be deleted is logged and left to the sweep."""
        if self._sent:
            return
        for path in self.paths:
            try:
                self._table.io.delete(path)
            except FileNotFoundError:
                continue
            except OSError:
                logger.warning("the unused data file %s cannot be deleted", path, exc_info=True)
        for folder in self._folders:
            # What cannot be deleted is left to the sweep, as are the files above.
            shutil.rmtree(folder, ignore_errors=True)
        self.paths, self.rows, self._folders = [], 0, {}

    @contextmanager
    def discarded_on(self, *failures: type[BaseException]) -> Iterator[None]:
        """Delete the files if the block raises one of these: they must mean that nothing was committed."""
        try:
            yield
        except failures:
            self.discard()
            raise

    def _name(self) -> str:
        """A name that no other file of the table has, nor one of this write that was let go of."""
        self._made += 1
        return f"{self._run}-{self._made - 1:05d}"

    @contextmanager
    def sent(self) -> Iterator[None]:
        """The block sends a commit that refers to the files: nobody deletes them from then on, unless it is known that it did not land."""
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
            if out_of_room(error):
                raise OutOfResources(
                    f"no space left to write to {'.'.join(self._table.name())}; nothing was written", resource="disk"
                ) from error
            raise told(error, f"writing to {'.'.join(self._table.name())}; nothing was written") from error

    def _write_file(self, batches: Iterator[pa.RecordBatch], group_rows: int) -> None:
        path = self._table.location_provider().new_data_location(f"{self._name()}.parquet")
        self.paths.append(path)
        # The name is unique: looking whether it is taken would only cost a request.
        sink = self._table.io.new_output(path).create(overwrite=True)
        try:
            groups = _row_groups(batches, group_rows)
            first = next(groups, self._schema.empty_table())
            with pq.ParquetWriter(
                sink,
                self._schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=_repetitive(first),
                store_decimal_as_integer=True,
            ) as writer:
                for group in chain([first], groups):
                    writer.write_table(group, row_group_size=group_rows)
                    self.rows += group.num_rows
            sink.close()
        except BaseException:
            # The first failure is the one to tell; closing a broken stream only repeats it.
            with suppress(OSError):
                sink.close()
            raise


def _row_groups(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Tables of exactly one row group each but the last, so that files do not depend on how rows were batched."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows >= size:
            table = pa.Table.from_batches(held)
            whole = rows - rows % size
            for start in range(0, whole, size):
                yield table.slice(start, size)
            held, rows = table.slice(whole).to_batches(), rows - whole
    if rows:
        yield pa.Table.from_batches(held)


def _repetitive(group: pa.Table) -> list[str]:
    """The paths of the columns that a dictionary makes smaller: that of values which are mostly distinct would be begun and given up.

    What this group begins with tells it; columns of lists, structs and UUIDs keep their dictionaries.
    """
    begin = group.slice(0, SAMPLE)
    distinct = {
        name
        for name, column in zip(begin.schema.names, begin.columns, strict=True)
        if not isinstance(column.type, pa.BaseExtensionType)
        and not pa.types.is_nested(column.type)
        and pc.count_distinct(column).as_py() > begin.num_rows * 3 // 4
    }
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, group.schema).close()
    parquet = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    return [path for path in (parquet.column(index).path for index in range(len(parquet))) if path not in distinct]


def _months(batches: Iterable[pa.RecordBatch], column: str | None) -> Iterator[Iterator[pa.RecordBatch]]:
    """Runs of rows of one month, each to be consumed before the next; without a column one run, or none if there are no rows."""
    for _, run in groupby(_pieces(batches, column), key=itemgetter(0)):
        yield (piece for _, piece in run)


def _pieces(batches: Iterable[pa.RecordBatch], column: str | None) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Slices of batches that lie in one month, with the month as a number."""
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
