"""Read the footers of Parquet files, their columns and row counts, concurrently and once per file."""

import os
import struct
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.errors import RequestError

_KEPT = 20_000
_READERS = 8
_GUESS = 16 << 10
_MAGIC, _SEALED = b"PAR1", b"PARE"


@dataclass(frozen=True)
class Footer:
    """The columns and the number of rows of a Parquet file."""

    schema: pa.Schema
    rows: int


class Footers:
    """Cache of footers by path and state: an unchanged file is not read again. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._cache: dict[tuple[str, str], Footer] = {}

    def of(self, states: Mapping[str, str]) -> list[Footer]:
        """The footer of each file (path -> state), in order. Raises: RequestError naming a file that is not Parquet."""
        with self._lock:
            footers = {key: self._cache[key] for key in states.items() if key in self._cache}
        missing = [key for key in states.items() if key not in footers]
        if missing:
            with ThreadPoolExecutor(min(_READERS, len(missing))) as pool:
                footers.update(zip(missing, pool.map(_footer, [path for path, _ in missing]), strict=True))
            with self._lock:
                self._cache.update((key, footers[key]) for key in missing)
                while len(self._cache) > _KEPT:
                    del self._cache[next(iter(self._cache))]
        return [footers[key] for key in states.items()]


def read_footer(path: str, file: BinaryIO) -> Footer:
    """The footer of an opened file, which messages call `path`. Raises: RequestError if it is not Parquet."""
    try:
        raw = _raw_footer(file)
        read = pq.read_metadata(pa.BufferReader(raw))
        schema = read.schema.to_arrow_schema().remove_metadata()
    except (pa.ArrowException, ValueError) as error:
        raise _unreadable(path, error) from error
    _check_names(path, schema.names)
    return Footer(schema, int(read.num_rows))


def _footer(path: str) -> Footer:
    try:
        with open(path, "rb") as file:
            return read_footer(path, file)
    except OSError as error:
        raise _unreadable(path, error) from error


def _raw_footer(file: BinaryIO) -> bytes:
    """The footer of a file, with the magic bytes that make it a valid Parquet file without row groups."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _GUESS))
    end = file.read()
    if end[-4:] == _SEALED:
        raise ValueError("it is encrypted")
    if size < 12 or end[-4:] != _MAGIC:
        raise ValueError(f"it has {size:,} bytes and does not end as Parquet files do")
    length = int(struct.unpack("<I", end[-8:-4])[0]) + 8
    if length + 4 > size:
        raise ValueError("its footer length exceeds the file size")
    if length > len(end):
        file.seek(size - length)
        end = file.read()
    return _MAGIC + end[-length:]


def _unreadable(path: str, error: Exception) -> RequestError:
    is_ours = type(error) is ValueError
    detail = f": {error}" if is_ours else f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return RequestError(
        f"the file {path} cannot be read as Parquet{detail or '; check that it is a complete Parquet file'}",
        path=path,
        reason=None if detail else str(error),
    )


def _check_names(path: str, names: Sequence[str]) -> None:
    names_in_lower_case: dict[str, str] = {}
    for name in names:
        if name.lower() in names_in_lower_case:
            other = names_in_lower_case[name.lower()]
            both = f"'{name}'" if other == name else f"'{other}' and '{name}', which only case tells apart"
            raise RequestError(f"the file {path} has two columns called {both}; rename one", path=path, column=name)
        names_in_lower_case[name.lower()] = name
