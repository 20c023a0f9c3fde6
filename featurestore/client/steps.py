"""A method of a server as an exchange: a generator of steps, so that threads and asyncio run the same code.

A method yields each request that it makes, and each call that may take long, and gets the result, or the error, in its place.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One request. Its result is the JSON of the answer, or with `rows` the Arrow table that it streams.

    `options` are those of httpx. `safe` says that it may be sent again: it changes nothing. `unlimited` that the server may take any
    time; `extra_seconds` that it may hold the answer back for so long.
    """

    method: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)
    safe: bool = False
    rows: bool = False
    unlimited: bool = False
    extra_seconds: float = 0.0


@dataclass(frozen=True)
class Work:
    """A call that may take long, such as reading a file. Its result is that of the function."""

    function: Callable[[], Any]


Step = Request | Work
Exchange = Generator[Step, Any, T]
"""A method in progress, whose result is a T."""


def get(path: str, *, unlimited: bool = False, extra_seconds: float = 0.0, **params: Any) -> Request:
    """A GET with these parameters of the query."""
    return Request("GET", path, {"params": params}, safe=True, unlimited=unlimited, extra_seconds=extra_seconds)


def post(path: str, body: Any = None, *, safe: bool = False, unlimited: bool = False, rows: bool = False, **options: Any) -> Request:
    """A POST of a JSON body, or of httpx's `options`."""
    if body is not None:
        options["json"] = body
    return Request("POST", path, options, safe=safe, rows=rows, unlimited=unlimited)


def put(path: str, body: Any) -> Request:
    """A PUT of a JSON body; the server may take any time."""
    return Request("PUT", path, {"json": body}, unlimited=True)


def delete(path: str, **params: Any) -> Request:
    """A DELETE with these parameters of the query; the server may take any time."""
    return Request("DELETE", path, {"params": params}, unlimited=True)
