"""Read uploaded files of rows in a separate process: a malicious file may crash the process that reads it, but not the server."""

import io
import json
import os
import select
import tempfile
from dataclasses import asdict
from typing import IO, Any

import pyarrow as pa
from anyio import to_thread

from featurestore import private
from featurestore.errors import OutOfResources, RequestError
from featurestore.server.forks import Forks
from featurestore.server.uploads.rows import MIB, Bounds
from featurestore.settings import Settings

MEMORY_BYTES = 2 << 30
GRACE_SECONDS = 5.0
SPINE = "spine"
NAMES = {SPINE: "the spine's file", "rows": "the file of rows"}
"""What errors call the file in each field of a form."""


class Rows(io.FileIO):
    """The copy of a file's rows, closed when it is garbage-collected: a refused request may never read it."""

    def __del__(self) -> None:
        self.close()


class UploadReader:
    """Turns uploaded files into rows that are validated in full. The process that reads them is started for the first file."""

    def __init__(self, settings: Settings) -> None:
        self._bounds = Bounds(settings.spine_bytes(), MEMORY_BYTES, settings.spine_seconds)
        self._folder = settings.spill_path()
        self._forks = Forks("featurestore.server.uploads.process", "reads uploaded rows")

    async def read(self, file: IO[bytes], field: str = SPINE) -> pa.RecordBatchReader:
        """The rows of an uploaded file: Parquet, Arrow IPC file or Arrow IPC stream; `field` is that of the form. The caller may close it.

        Raises: RequestError saying what is wrong with it, OutOfResources when the disk is full.
        """
        return await to_thread.run_sync(self.rows, file, field)

    def rows(self, file: IO[bytes], field: str = SPINE) -> pa.RecordBatchReader:
        """`read`, in this thread."""
        private.make_folder(self._folder)
        with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file_copy:
            copy = Rows(os.dup(file_copy.fileno()), "r+")
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        outcome = self._outcome(file.fileno(), copy.fileno())
        if "full" in outcome:
            raise OutOfResources(f"the disk is full: {NAMES[field]} cannot be spooled; free some space")
        if "error" in outcome:
            raise RequestError(
                f"{NAMES[field]}: {outcome['error']}", field=field, **({"reason": outcome["reason"]} if "reason" in outcome else {})
            )
        copy.seek(0)
        stream = pa.ipc.open_stream(pa.PythonFile(copy, "r"))
        return pa.RecordBatchReader.from_batches(stream.schema, iter(stream))

    def close(self) -> None:
        """End the process that reads files."""
        self._forks.close()

    def _outcome(self, source: int, sink: int) -> dict[str, Any]:
        """The outcome that the process reports for a file, or an error if it reports none."""
        report, report_writer = os.pipe()
        with open(report, "rb", buffering=0) as pipe:
            try:
                self._forks.fork(json.dumps(asdict(self._bounds)).encode(), [source, sink, report_writer])
            finally:
                os.close(report_writer)
            ready, _, _ = select.select([pipe], [], [], self._bounds.seconds + GRACE_SECONDS)
            content = pipe.read() if ready else b""
        if content:
            outcome: dict[str, Any] = json.loads(content)
            return outcome
        return {
            "error": f"it cannot be read: its reader crashed, or took longer than {self._bounds.seconds:g} s or more than"
            f" {MEMORY_BYTES // MIB} MiB; the file may be damaged"
        }
