"""Keep a stream of rows in an unnamed temporary file, so that it can be read repeatedly; it is deleted with the process at the latest."""

import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

from featurestore import private
from featurestore.errors import OutOfResources


class Spool:
    """A temporary file of rows in `folder`. Add all rows first; then they can be read any number of times."""

    def __init__(self, schema: pa.Schema, folder: Path) -> None:
        self.schema = schema
        self.rows = 0
        private.make_folder(folder)
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by the finalizer
        weakref.finalize(self, self._file.close)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._file, "w"), schema, options=options)

    def add(self, table: pa.Table) -> None:
        """Append rows. Raises: OutOfResources when the disk is full."""
        try:
            self._writer.write_table(table)
        except OSError as error:
            raise OutOfResources("the disk is full: a spine that does not fit memory cannot be kept; free some space") from error
        self.rows += table.num_rows

    def end(self) -> None:
        """Finish writing; no rows can be added after this."""
        self._writer.close()

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows in order, one table per batch."""
        self._file.seek(0)
        with pa.ipc.open_stream(pa.PythonFile(self._file, "r")) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])


class KeptSpool(Spool):
    """The rows of an Arrow IPC stream in a named file, written by another process."""

    def __init__(self, path: Path, rows: int) -> None:
        self._file = path.open("rb")
        weakref.finalize(self, self._file.close)
        self.rows = rows
        with pa.ipc.open_stream(pa.PythonFile(self._file, "r")) as reader:
            self.schema = reader.schema
