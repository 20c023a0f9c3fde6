"""Parse large JSON bodies in another process: parsing one here would block all other requests."""

import io
import json
import os
import pickle
import tempfile
from typing import IO, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi.exceptions import RequestValidationError

from featurestore.server.forks import Forks
from featurestore.server.large.process import HEADER
from featurestore.server.requests import Body

Model = TypeVar("Model", bound=Body)

MAX_CONCURRENT = 2
"""Bodies that a web process has parsed at once; others wait."""
SECONDS = 60.0
MEMORY_BYTES = 2 << 30


class OutlineReader(pickle.Unpickler):
    """Unpickles an outline, with the lists that are filled later in place of its long lists."""

    def __init__(self, outline: bytes, lists: list[list[Any]]) -> None:
        super().__init__(io.BytesIO(outline))
        self._lists = lists

    def persistent_load(self, pid: Any) -> list[Any]:
        """The list of this index."""
        return self._lists[pid]


class LargeBodies:
    """Parses large bodies into their models. The process that reads them is started for the first body."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(MAX_CONCURRENT)
        self._forks = Forks("featurestore.server.large.process", "reads large bodies")

    async def read(self, model: type[Model], content: bytes) -> Model:
        """The body as its model. Raises: RequestValidationError with the problems; NotReady."""
        return await to_thread.run_sync(self.parse, model, content, limiter=self._limiter)

    def parse(self, model: type[Model], content: bytes) -> Model:
        """`read`, in this thread and without waiting for other bodies."""
        limits = {"seconds": SECONDS, "memory": MEMORY_BYTES}
        message = json.dumps({"module": model.__module__, "model": model.__name__, **limits}).encode()
        frame_reader, frame_writer = os.pipe()
        with open(frame_reader, "rb") as frames:
            try:
                with tempfile.TemporaryFile(buffering=0) as body:
                    body.write(content)
                    body.seek(0)
                    self._forks.fork(message, [body.fileno(), frame_writer])
            finally:
                os.close(frame_writer)
            parsed: Model = _read_body(frames)
            return parsed

    def close(self) -> None:
        """End the process that reads bodies."""
        self._forks.close()


def _read_body(frames: IO[bytes]) -> Any:
    first = _read_frame(frames)
    if "problems" in first:
        raise RequestValidationError(first["problems"])
    lists: list[list[Any]] = [[] for _ in range(first["lists"])]
    body = OutlineReader(first["outline"], lists).load()
    while (part := _read_frame(frames)) is not None:
        number, entries = part
        lists[number].extend(entries)
    return body


def _read_frame(frames: IO[bytes]) -> Any:
    header = frames.read(HEADER)
    content = frames.read(int.from_bytes(header, "big")) if len(header) == HEADER else b""
    if not content:
        limits = f"{SECONDS:g} s or {MEMORY_BYTES >> 20} MiB of memory"
        message = f"reading the body takes more than {limits}; send rows as a Parquet or Arrow file, or in several requests"
        raise RequestValidationError([{"type": "too_much", "loc": ("body",), "msg": message}])
    return pickle.loads(content)  # noqa: S301 - written by our own process
