"""The process that reads large JSON bodies: a fork for each body validates it and returns it in small parts."""

import gc
import io
import json
import os
import pickle
import signal
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import islice
from typing import Any

from fastapi.exceptions import RequestValidationError

from featurestore.server import json_body, requests
from featurestore.server.forks import serve
from featurestore.server.jobs import memory

PART_VALUES = 20_000
"""Approximate number of values in a part. While the server decodes a part, it does nothing else."""
INLINE_ITEMS = 100
"""Longer lists are returned in parts."""
MAX_VALUES = 3_000_000
"""Most values of all long lists together."""
MAX_IN_ENTRY = 100_000
"""Most values in an entry of a long list."""
MAX_KEYS = 10_000
"""Most keys of an object."""
MAX_OUTSIDE_LISTS = 300_000
"""Most values outside long lists."""
HEADER = 8
"""Bytes of the length before each part."""
ALTERNATIVE = "send so many as a Parquet or Arrow file, or in several requests"


class TooMuch(Exception):
    """A body has more values than the limits allow."""


class Outline(pickle.Pickler):
    """Pickles a body without its long lists, which it collects in `lists` and replaces by their index there."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.lists: list[list[Any]] = []
        self._count = 0

    def persistent_id(self, value: Any) -> int | None:
        """The index of a long list; None for any other value. pickle calls this for every value."""
        self._count += 1
        if self._count > MAX_OUTSIDE_LISTS:
            raise TooMuch(f"over {MAX_OUTSIDE_LISTS} values outside long lists; send fewer at once")
        if type(value) is dict and len(value) > MAX_KEYS:
            raise TooMuch(f"an object of {len(value)} keys, where {MAX_KEYS} are allowed")
        if type(value) is list and len(value) > INLINE_ITEMS:
            self.lists.append(value)
            return len(self.lists) - 1
        return None


def main() -> None:
    """Run the fork server."""
    serve(work)


def work(message: bytes, descriptors: Sequence[int]) -> None:
    """Read one body in a fork.

    `message` has the model's module and name and the limits as JSON; `descriptors` are the body and a pipe for its parts.
    """
    options, (source, sink) = json.loads(message), descriptors
    signal.setitimer(signal.ITIMER_REAL, options["seconds"])
    memory.limit_subprocess(memory.data_bytes(os.getpid()) + options["memory"])
    # There are no reference cycles here, and searching for them takes longer than all else.
    gc.disable()
    model = getattr(import_module(options["module"]), options["model"])
    with open(sink, "wb") as output, open(source, "rb") as body:
        output.writelines(len(frame).to_bytes(HEADER, "big") + frame for frame in frames(model, body.read()))


def frames(model: type[requests.Body], content: bytes) -> Iterator[bytes]:
    """Split a body into pickled frames: its outline with the number of long lists, then parts of these with their index, then None.

    An invalid body yields one frame with its problems, then None.
    """
    try:
        parts = list(_body_frames(json_body.parse(model, content)))
    except RequestValidationError as error:
        parts = [_problem_frame(error.errors())]
    except TooMuch as error:
        parts = [_problem_frame([{"type": "too_much", "loc": ("body",), "msg": f"it holds {error}"}])]
    yield from (*parts, _pickle(None))


def _body_frames(body: requests.Body) -> Iterator[bytes]:
    file = io.BytesIO()
    outline = Outline(file)
    outline.dump(body)
    yield _pickle({"outline": file.getvalue(), "lists": len(outline.lists)})
    total = 0
    for number, entries in enumerate(outline.lists):
        rest = iter(entries)
        while part := list(_take_part(rest)):
            total += sum(map(weight, part))
            if total > MAX_VALUES:
                raise TooMuch(f"over {MAX_VALUES} values; {ALTERNATIVE}")
            yield _pickle((number, part))


def _take_part(entries: Iterator[Any]) -> Iterator[Any]:
    """Take entries from the iterator until they have `PART_VALUES` values."""
    taken = 0
    for entry in entries:
        entry_weight = weight(entry)
        if entry_weight > MAX_IN_ENTRY:
            raise TooMuch(f"an entry of {entry_weight} values, where {MAX_IN_ENTRY} are allowed; {ALTERNATIVE}")
        taken += entry_weight
        yield entry
        if taken > PART_VALUES:
            return


def weight(value: Any) -> int:
    """The number of values in a value, including itself. A list or an object itself counts as two, because it takes more memory."""
    if isinstance(value, requests.Body):
        value = value.__dict__
    if isinstance(value, dict):
        return 2 + len(value) + sum(weight(inner) for inner in value.values() if isinstance(inner, dict | list | requests.Body))
    if isinstance(value, list):
        return 2 + len(value) + sum(weight(inner) for inner in value if isinstance(inner, dict | list | requests.Body))
    return 1


def _problem_frame(problems: Sequence[Any]) -> bytes:
    """A frame with the problems of a body, without the input values that pydantic attaches to them."""
    described = [
        {
            "type": problem["type"],
            "loc": tuple(problem["loc"]),
            "msg": problem["msg"],
            "ctx": {name: str(value) for name, value in islice(problem.get("ctx", {}).items(), 10)},
        }
        for problem in problems
    ]
    return _pickle({"problems": described})


def _pickle(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
