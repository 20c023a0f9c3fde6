"""A file at an HTTP address: its state, its bytes, and a copy on this machine."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import httpx

from featurestore.errors import FeatureStoreError, NotFound, NotReady, OutOfResources, RequestError
from featurestore.files.object_files import changed
from featurestore.lakehouse.catalog_errors import is_disk_full

ATTEMPTS = 3
_TIMEOUT = httpx.Timeout(30, connect=10)
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_PAUSE_SECONDS = 0.5

T = TypeVar("T")


class HttpFile:
    """The file at an address; redirects are not followed, since they may lead to where a source may not read."""

    def __init__(self, address: str) -> None:
        self._address = address

    def states(self) -> dict[str, str]:
        """The state of the file: its size, and the entity tag or time of modification that its server gives.

        Raises: NotFound; RequestError if the server gives neither, or refuses; NotReady.
        """
        return {self._address: _retrying(self._address, self._state)}

    @contextmanager
    def opened(self, path: str) -> Iterator[BinaryIO]:
        """The file, to read parts of it. Raises: NoRanges if the server sends whole files only; else as `states`."""
        with httpx.Client(timeout=_TIMEOUT) as client:
            yield cast(BinaryIO, io.BufferedReader(_Ranges(client, path, int(self.states()[path].partition(":")[0])), 64 << 10))

    def fetch(self, path: str, state: str, target: Path) -> None:
        """Copy the file to this machine. Raises: RequestError if it is not in this state; OutOfResources; else as `states`."""
        _retrying(path, lambda: self._fetch(path, state, target))

    def _state(self) -> str:
        with httpx.Client(timeout=_TIMEOUT) as client:
            response = client.head(self._address, headers={"Accept-Encoding": "identity"})
        _check(response, self._address)
        return _state_of(response, self._address)

    def _fetch(self, path: str, state: str, target: Path) -> None:
        with (
            httpx.Client(timeout=_TIMEOUT) as client,
            client.stream("GET", path, headers={"Accept-Encoding": "identity"}) as response,
        ):
            _check(response, path)
            if _state_of(response, path) != state:
                raise changed(path)
            missing = int(state.partition(":")[0])
            with target.open("wb") as copy:
                for chunk in response.iter_raw():
                    missing -= len(chunk)
                    if missing < 0:
                        # Not read to the end, which a server may never reach.
                        raise changed(path)
                    copy.write(chunk)
        if missing:
            raise changed(path)


class NoRanges(RequestError):
    """The server of a file does not send parts of it."""


class _Ranges(io.RawIOBase):
    """A file that is read by requests of ranges of its bytes."""

    def __init__(self, client: httpx.Client, address: str, size: int) -> None:
        self._client, self._address, self._size, self._at = client, address, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        content = _retrying(self._address, lambda: self._range(self._at, end))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def _range(self, begin: int, end: int) -> bytes:
        headers = {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
        with self._client.stream("GET", self._address, headers=headers) as response:
            _check(response, self._address)
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                raise NoRanges(f"the server of {self._address} does not send parts of it")
            content = bytearray()
            for chunk in response.iter_raw():
                content += chunk
                if len(content) > end - begin:
                    break
        if len(content) != end - begin:
            raise NotReady(f"the server of {self._address} sent another number of bytes than it was asked for; run the same again")
        return bytes(content)


def _retrying(address: str, attempt: Callable[[], T]) -> T:
    for number in range(ATTEMPTS):
        try:
            return attempt()
        except (httpx.TransportError, NotReady) as error:
            if number == ATTEMPTS - 1:
                if isinstance(error, FeatureStoreError):
                    raise
                raise NotReady(f"{address} cannot be read: its server does not answer; run the same again", reason=str(error)) from error
        except OSError as error:
            if is_disk_full(error):
                raise OutOfResources(f"no space left for a copy of {address}; nothing of it was kept", resource="disk") from error
            raise
        time.sleep(_PAUSE_SECONDS * 2**number)
    raise AssertionError("the last attempt returns or raises")


def _check(response: httpx.Response, address: str) -> None:
    """Raises: the error that a status means."""
    status = response.status_code
    if response.is_success:
        return
    if response.is_redirect:
        raise RequestError(f"{address} redirects elsewhere, which is not followed; name the address of the file itself", status=status)
    if status in (404, 410):
        raise NotFound("file", address, None)
    if status in _TRANSIENT:
        raise NotReady(f"{address} cannot be read at the moment: its server answers {status}; run the same again", status=status)
    raise RequestError(f"{address} cannot be read: its server answers {status}", status=status)


def _state_of(response: httpx.Response, address: str) -> str:
    size, mark = response.headers.get("content-length"), response.headers.get("etag") or response.headers.get("last-modified")
    if not (size or "").isdecimal() or not mark:
        raise RequestError(
            f"the server of {address} gives no Content-Length with an ETag or Last-Modified, so nobody can tell when it changes;"
            " put it on a server that does, or load its rows into an Iceberg table"
        )
    return f"{size}:{mark}"
