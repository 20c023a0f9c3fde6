"""Large JSON bodies are read by another process: to read one here would keep every other request waiting for as long."""

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

AT_ONCE = 2
"""Bodies that one web process has read at once; the others wait."""
SECONDS = 60.0
MEMORY_BYTES = 2 << 30


class Filled(pickle.Unpickler):
    """Reads an outline, whose long lists are filled later."""

    def __init__(self, outline: bytes, lists: list[list[Any]]) -> None:
        super().__init__(io.BytesIO(outline))
        self._lists = lists

    def persistent_load(self, number: Any) -> list[Any]:
        """See pickle."""
        return self._lists[number]


class LargeBodies:
    """Turns large bodies into their models. The process that reads them is started with the first."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(AT_ONCE)
        self._forks = Forks("featurestore.server.large.process", "reads large bodies")

    async def read(self, model: type[Model], content: bytes) -> Model:
        """The body as its model. Raises: RequestValidationError with the problems; NotReady."""
        return await to_thread.run_sync(self.parsed, model, content, limiter=self._limiter)

    def parsed(self, model: type[Model], content: bytes) -> Model:
        """The same, without waiting for others."""
        message = json.dumps({"model": model.__name__, "seconds": SECONDS, "memory": MEMORY_BYTES}).encode()
        report, told = os.pipe()
        with open(report, "rb") as frames:
            try:
                with tempfile.TemporaryFile(buffering=0) as body:
                    body.write(content)
                    body.seek(0)
                    self._forks.ask(message, [body.fileno(), told])
            finally:
                os.close(told)
            found: Model = _body(frames)
            return found

    def close(self) -> None:
        """End the process that reads."""
        self._forks.close()


def _body(frames: IO[bytes]) -> Any:
    first = _frame(frames)
    if "problems" in first:
        raise RequestValidationError(first["problems"])
    lists: list[list[Any]] = [[] for _ in range(first["lists"])]
    body = Filled(first["outline"], lists).load()
    while (part := _frame(frames)) is not None:
        number, entries = part
        lists[number].extend(entries)
    return body


def _frame(frames: IO[bytes]) -> Any:
    header = frames.read(HEADER)
    content = frames.read(int.from_bytes(header, "big")) if len(header) == HEADER else b""
    if not content:
        most = f"{SECONDS:g} s or {MEMORY_BYTES >> 20} MiB of memory"
        said = f"to read the body takes more than {most}; send rows as a Parquet or Arrow file, or in several requests"
        raise RequestValidationError([{"type": "too_much", "loc": ("body",), "msg": said}])
    return pickle.loads(content)  # noqa: S301 - it comes from a process of ours
