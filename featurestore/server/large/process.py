"""The process that reads large JSON bodies: a fork for each checks it in full, and hands it back in small parts."""

import gc
import io
import json
import os
import pickle
import signal
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from fastapi.exceptions import RequestValidationError

from featurestore.server import json_body, requests
from featurestore.server.forks import serve
from featurestore.server.jobs import memory

PART_VALUES = 20_000
"""About so many values are handed back at once: the server does nothing else while it takes them in."""
SHORT = 100
"""Longer lists are handed back in parts."""
MOST_VALUES = 3_000_000
MOST_IN_ENTRY = 100_000
"""Most values in one entry of a list."""
MOST_KEYS = 10_000
MOST_ELSE = 300_000
"""Most values that are in no long list."""
HEADER = 8
"""Bytes before each part that tell its length."""
ELSEWHERE = "send so many as a Parquet or Arrow file, or in several requests"


class TooMuch(Exception):
    """A body holds more than a server takes in at once."""


class Outline(pickle.Pickler):
    """Writes a body without its long lists, which are `lists` by their numbers in what is written."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.lists: list[list[Any]] = []
        self._count = 0

    def persistent_id(self, value: Any) -> int | None:
        """See pickle: it is asked for every value."""
        self._count += 1
        if self._count > MOST_ELSE:
            raise TooMuch(f"over {MOST_ELSE} values beside those of long lists; send fewer at once")
        if type(value) is dict and len(value) > MOST_KEYS:
            raise TooMuch(f"an object of {len(value)} keys, where {MOST_KEYS} are the most")
        if type(value) is list and len(value) > SHORT:
            self.lists.append(value)
            return len(self.lists) - 1
        return None


def main() -> None:
    """Be the process."""
    serve(work)


def work(message: bytes, descriptors: Sequence[int]) -> None:
    """Read one body: what is asked for, the body, and where to write what it is."""
    asked, (source, sink) = json.loads(message), descriptors
    signal.setitimer(signal.ITIMER_REAL, asked["seconds"])
    memory.bound(memory.data(os.getpid()) + asked["memory"])
    # Nothing here goes round in circles, and to look for that takes longer than all else.
    gc.disable()
    with open(sink, "wb") as told, open(source, "rb") as body:
        told.writelines(len(frame).to_bytes(HEADER, "big") + frame for frame in frames(getattr(requests, asked["model"]), body.read()))


def frames(model: type[requests.Body], content: bytes) -> Iterator[bytes]:
    """A body in parts: its outline with the count of its long lists, a part of a list with its number at a time, and None at the end.

    Of one that is refused the problems alone.
    """
    try:
        parts = list(_frames(json_body.parsed(model, content)))
    except RequestValidationError as error:
        parts = [_problems(error.errors())]
    except TooMuch as error:
        parts = [_problems([{"type": "too_much", "loc": ("body",), "msg": f"it holds {error}"}])]
    yield from (*parts, _pickled(None))


def _frames(body: requests.Body) -> Iterator[bytes]:
    file = io.BytesIO()
    outline = Outline(file)
    outline.dump(body)
    yield _pickled({"outline": file.getvalue(), "lists": len(outline.lists)})
    total = 0
    for number, entries in enumerate(outline.lists):
        rest = iter(entries)
        while part := list(_part(rest)):
            total += sum(map(weight, part))
            if total > MOST_VALUES:
                raise TooMuch(f"over {MOST_VALUES} values; {ELSEWHERE}")
            yield _pickled((number, part))


def _part(entries: Iterator[Any]) -> Iterator[Any]:
    taken = 0
    for entry in entries:
        here = weight(entry)
        if here > MOST_IN_ENTRY:
            raise TooMuch(f"an entry of {here} values, where {MOST_IN_ENTRY} are the most; {ELSEWHERE}")
        taken += here
        yield entry
        if taken > PART_VALUES:
            return


def weight(value: Any) -> int:
    """How many values there are in a value, and it; a list or an object counts for two, as it takes more room."""
    if isinstance(value, requests.Body):
        value = value.__dict__
    if isinstance(value, dict):
        return 2 + len(value) + sum(weight(inner) for inner in value.values() if isinstance(inner, dict | list | requests.Body))
    if isinstance(value, list):
        return 2 + len(value) + sum(weight(inner) for inner in value if isinstance(inner, dict | list | requests.Body))
    return 1


def _problems(found: Sequence[Any]) -> bytes:
    """Problems without what they are about, of which only the words are told."""
    told = [
        {
            "type": one["type"],
            "loc": tuple(one["loc"]),
            "msg": one["msg"],
            "ctx": {name: str(value) for name, value in islice(one.get("ctx", {}).items(), 10)},
        }
        for one in found
    ]
    return _pickled({"problems": told})


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
