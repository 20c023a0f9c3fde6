"""Reading uploaded spines in a process of their own: a client's bytes may take down whoever reads them, but never the server."""

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
FIELD = "spine"


class Rows(io.FileIO):
    """The copy of a file's rows, closed when nobody holds it any more: a request may be refused before they are looked at."""

    def __del__(self) -> None:
        self.close()


class UploadReader:
    """Turns uploaded files into rows that are checked in full. The process that reads them is started with the first."""

    def __init__(self, settings: Settings) -> None:
        self._bounds = Bounds(settings.spine_bytes(), MEMORY_BYTES, settings.spine_seconds)
        self._folder = settings.spill_path()
        self._forks = Forks("featurestore.server.uploads.process", "reads uploaded spines")

    async def read(self, file: IO[bytes]) -> pa.RecordBatchReader:
        """The rows of an uploaded file: Parquet, Arrow IPC file or Arrow IPC stream. The caller may close the file.

        Raises: RequestError saying what is wrong with it, OutOfResources when the disk is full.
        """
        return await to_thread.run_sync(self.rows, file)

    def rows(self, file: IO[bytes]) -> pa.RecordBatchReader:
        """The same, in this thread."""
        private.make_folder(self._folder)
        with tempfile.TemporaryFile(dir=self._folder, buffering=0) as made:
            copy = Rows(os.dup(made.fileno()), "r+")
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        outcome = self._outcome(file.fileno(), copy.fileno())
        if "full" in outcome:
            raise OutOfResources("the disk is full: the uploaded spine cannot be kept; free some space")
        if "error" in outcome:
            raise RequestError(outcome["error"], field=FIELD, **({"reason": outcome["reason"]} if "reason" in outcome else {}))
        copy.seek(0)
        stream = pa.ipc.open_stream(pa.PythonFile(copy, "r"))
        return pa.RecordBatchReader.from_batches(stream.schema, iter(stream))

    def close(self) -> None:
        """End the process that reads."""
        self._forks.close()

    def _outcome(self, source: int, sink: int) -> dict[str, Any]:
        """What the process says of a file, or what its silence means."""
        report, told = os.pipe()
        with open(report, "rb", buffering=0) as answer:
            try:
                self._forks.ask(json.dumps(asdict(self._bounds)).encode(), [source, sink, told])
            finally:
                os.close(told)
            ready, _, _ = select.select([answer], [], [], self._bounds.seconds + GRACE_SECONDS)
            said = answer.read() if ready else b""
        if said:
            outcome: dict[str, Any] = json.loads(said)
            return outcome
        return {
            "error": f"the spine's file cannot be read: its reader broke down, or took longer than {self._bounds.seconds:g} s or more than"
            f" {MEMORY_BYTES // MIB} MiB; the file may be damaged"
        }
