"""Reading uploaded spines outside the web process: a client's bytes may take down whoever reads them, but never the server."""

import io
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from typing import IO, Any

import pyarrow as pa
from anyio import CapacityLimiter, to_thread

from featurestore import private
from featurestore.errors import NotReady, OutOfResources, RequestError
from featurestore.server.uploads.rows import MIB, Bounds
from featurestore.settings import Settings

COMMAND = [sys.executable, "-P", "-c", "from featurestore.server.uploads.process import main; main()"]
PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
"""The environment of the process: it has no use for the server's secrets."""
AT_ONCE = 2
"""Files that one web process has read at once; the others wait."""
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
        self._lock = threading.Lock()
        self._limiter = CapacityLimiter(AT_ONCE)
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    async def read(self, file: IO[bytes]) -> pa.RecordBatchReader:
        """The rows of an uploaded file: Parquet, Arrow IPC file or Arrow IPC stream. The caller may close the file.

        Raises: RequestError saying what is wrong with it, OutOfResources when the disk is full.
        """
        return await to_thread.run_sync(self.rows, file, limiter=self._limiter)

    def rows(self, file: IO[bytes]) -> pa.RecordBatchReader:
        """The same, without waiting for others."""
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
        with self._lock:
            self._end()

    def _outcome(self, source: int, sink: int) -> dict[str, Any]:
        """What the process says of a file, or what its silence means."""
        report, told = os.pipe()
        with open(report, "rb", buffering=0) as answer:
            try:
                self._ask([source, sink, told])
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

    def _ask(self, descriptors: list[int]) -> None:
        """Have a file read. Raises: NotReady when no process can be had for it."""
        message = json.dumps(asdict(self._bounds)).encode()
        with self._lock:
            # A process that has died since is replaced once.
            if not self._asked(message, descriptors) and not self._asked(message, descriptors):
                raise NotReady("the process that reads uploaded spines cannot be started; the server's log may say why")

    def _asked(self, message: bytes, descriptors: list[int]) -> bool:
        """Whether the process took the request; if not, it is gone."""
        requests = self._started()
        try:
            socket.send_fds(requests, [message], descriptors)
            taken = bool(requests.recv(1))
        except (BrokenPipeError, ConnectionResetError):
            taken = False
        if not taken:
            self._end()
        return taken

    def _started(self) -> socket.socket:
        if self._socket is None:
            ours, theirs = socket.socketpair()
            with theirs:
                environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
                # In a session of its own: Ctrl-C is the server's to answer.
                self._process = subprocess.Popen(COMMAND, stdin=theirs.fileno(), env=environment, start_new_session=True)
            self._socket = ours
        return self._socket

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.wait()
            self._process = None
