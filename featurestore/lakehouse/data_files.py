"""Write rows to Parquet data files that Iceberg can add as they are: with field ids, fixed row groups, and one partition each."""

import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from threading import BoundedSemaphore, Event, Lock

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import OutputStream
from pyiceberg.manifest import DataFile
from pyiceberg.table.metadata import TableMetadata

from featurestore.errors import FeatureStoreError, OutOfResources, RequestError
from featurestore.lakehouse.catalog_errors import is_disk_full, to_store_error
from featurestore.lakehouse.commits import outcome_unknown
from featurestore.lakehouse.local_io import delete_files, parse_location, pyarrow_io
from featurestore.lakehouse.row_groups import (
    ROW_GROUP_ROWS,
    columns_out_of_range,
    open_writer,
    row_groups,
    runs_of_one_schema,
    split_by_month,
)
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of

logger = logger_of(__name__)

SENDERS = 4
"""How many files are sent to an object store while the next ones are written: each of up to 16 MiB is in memory."""


class DataFiles:
    """The data files of one write; they are orphans unless a commit refers to them."""

    def __init__(self, table: Table, schema: pa.Schema, *, quick: bool = False) -> None:
        """`quick` writes in half of the time: floating-point columns of mostly distinct values are not compressed, which takes a fifth more
        space, and columns without NULLs are required in a file. Its batches may have dictionaries, which are stored as their values.
        """
        self._table, self._schema, self._quick = table, schema, quick
        self._run = uuid.uuid4()
        self._lock = Lock()
        self._folders: dict[Path, str] = {}
        self._made = 0
        self._kept: list[str] = []
        self._sent = False
        self._described: dict[str, DataFile] = {}
        self._senders: ThreadPoolExecutor | None = None
        self._places = BoundedSemaphore(SENDERS)
        self._sent_files: list[Future[None]] = []
        self.paths: list[str] = []
        self.rows = 0

    def write(self, batches: Iterable[pa.RecordBatch], month_of: str | None = None, group_rows: int = ROW_GROUP_ROWS) -> "DataFiles":
        """Write the rows in their order, one file per run of rows of one month of `month_of`; memory is bounded by one row group.

        Raises: OutOfResources when the disk is full. After any failure the files are deleted.
        """
        with self.discard_on(BaseException), self._room(), self._sending_files():
            self._write_part(batches, month_of, group_rows)
        return self

    def write_together(self, parts: Sequence[Iterable[pa.RecordBatch]], month_of: str | None = None) -> "DataFiles":
        """As `write`, for parts that are written at the same time, each by a thread of its own and into files of its own.

        After a failure, the others end with their next batch.
        """
        stopped = Event()
        with (
            self.discard_on(BaseException),
            self._room(),
            self._sending_files(),
            ThreadPoolExecutor(len(parts), "write") as threads,
        ):
            try:
                pending = [threads.submit(self._write_part, _until(stopped, part), month_of, ROW_GROUP_ROWS) for part in parts]
                for ended in wait(pending, return_when=FIRST_EXCEPTION).done:
                    ended.result()
            except BaseException:
                stopped.set()
                raise
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
        with self._room(), self._sending_files():
            for path in paths:
                folder = next((folder for folder in self._folders if folder in path.parents), None)
                if folder is not None:
                    self.paths.append(f"{self._folders[folder]}/{path.relative_to(folder).as_posix()}")
                    continue
                self.paths.append(self._table.iceberg.location_provider().new_data_location(f"{self._name()}.parquet"))
                with path.open("rb") as source, self._file(self.paths[-1]) as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
        self.rows += rows

    def keep(self, paths: Iterable[str], rows: int) -> None:
        """Add files of an earlier write of the table, which `discard` leaves alone."""
        self._kept.extend(paths)
        self.rows += rows

    def release(self) -> None:
        """Forget the files written so far, without deleting them: something else refers to them now."""
        self.paths, self.rows, self._folders = [], 0, {}

    @property
    def described(self) -> list[DataFile]:
        """The manifest entries of the files that `data_files` has described."""
        return [self._described[path] for path in (*self._kept, *self.paths)]

    def data_files(self, metadata: TableMetadata) -> list[DataFile]:
        """The manifest entries of the files: counts, bounds, and the partition derived from the bounds."""
        paths = [*self._kept, *self.paths]
        with self._room():
            new = [path for path in paths if path not in self._described]
            with ThreadPoolExecutor(SENDERS, "describe") as threads:
                self._described |= dict(zip(new, threads.map(lambda path: self._description(metadata, path), new), strict=True))
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
            names = " and ".join(f"'{name}'" for name in columns_out_of_range(pq.read_metadata(file)))
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
        try:
            delete_files(self._table.iceberg.io, self.paths)
        except OSError:
            logger.warning("unused data files of %s cannot be deleted, such as %s", self._table.name, self.paths[0], exc_info=True)
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

    def _write_part(self, batches: Iterable[pa.RecordBatch], month_of: str | None, group_rows: int) -> None:
        for month in split_by_month(batches, month_of):
            groups = row_groups(month, group_rows)
            for run in runs_of_one_schema(groups) if self._quick else [groups]:
                self._write_file(run, group_rows)

    def _write_file(self, groups: Iterator[pa.Table], group_rows: int) -> None:
        with self._lock:
            path = self._table.iceberg.location_provider().new_data_location(f"{self._name()}.parquet")
            self.paths.append(path)
        with self._file(path) as sink:
            first = next(groups, self._schema.empty_table())
            with open_writer(sink, first, quick=self._quick) as writer:
                for group in chain([first], groups):
                    writer.write_table(group, row_group_size=group_rows)
                    with self._lock:
                        self.rows += group.num_rows

    @contextmanager
    def _file(self, path: str) -> Iterator[OutputStream]:
        """A new file, which is complete when `_sending_files` ends; after a failure of the block it is not, or not there."""
        # The name is unique, so the check for an existing file would only cost a request.
        sink = self._table.iceberg.io.new_output(path).create(overwrite=True)
        try:
            yield sink
            self._close(sink)
        except BaseException:
            # The first failure is the one to report; closing a broken stream only repeats it.
            with suppress(OSError):
                sink.abort() if hasattr(sink, "abort") else sink.close()
            raise

    def _close(self, sink: OutputStream) -> None:
        if self._senders is None or not hasattr(sink, "abort"):
            sink.close()
            return
        self._places.acquire()

        def send() -> None:
            try:
                sink.close()
            finally:
                self._places.release()

        with self._lock:
            self._sent_files.append(self._senders.submit(send))

    @contextmanager
    def _sending_files(self) -> Iterator[None]:
        """Files on an object store are sent while the block goes on, and are there when it ends."""
        self._sent_files = []
        try:
            with ThreadPoolExecutor(SENDERS, "send") as self._senders:
                yield
        finally:
            self._senders = None
        for sent in self._sent_files:
            sent.result()


def _until(stopped: Event, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches before the event is set."""
    for batch in batches:
        if stopped.is_set():
            return
        yield batch
