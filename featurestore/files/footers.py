"""The footers of Parquet files: what columns and how many rows each has, read once and at the same time."""

import os
import struct
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.errors import RequestError

_KEPT = 20_000
_READERS = 8
_GUESS = 16 << 10
_MAGIC, _SEALED = b"PAR1", b"PARE"


@dataclass(frozen=True)
class Footer:
    """The columns of a Parquet file, and how many rows it has."""

    schema: pa.Schema
    rows: int


class Footers:
    """The footers that were read, by path and state: a file that was not touched is not read again. For several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: dict[tuple[str, str], Footer] = {}

    def of(self, states: Mapping[str, str]) -> list[Footer]:
        """The footer of each file (path -> state), in their order. Raises: RequestError naming what is no Parquet file."""
        with self._lock:
            found = {key: self._held[key] for key in states.items() if key in self._held}
        missing = [key for key in states.items() if key not in found]
        if missing:
            with ThreadPoolExecutor(min(_READERS, len(missing))) as pool:
                found.update(zip(missing, pool.map(_footer, [path for path, _ in missing]), strict=True))
            with self._lock:
                self._held.update((key, found[key]) for key in missing)
                while len(self._held) > _KEPT:
                    del self._held[next(iter(self._held))]
        return [found[key] for key in states.items()]


def _footer(path: str) -> Footer:
    try:
        raw = _raw_footer(path)
        read = pq.read_metadata(pa.BufferReader(raw))
        schema = read.schema.to_arrow_schema().remove_metadata()
    except (pa.ArrowException, OSError, ValueError) as error:
        own = type(error) is ValueError
        said = f": {error}" if own else f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise RequestError(
            f"the file {path} cannot be read as Parquet{said or '; is it whole, and Parquet?'}",
            path=path,
            reason=None if said else str(error),
        ) from error
    _check_names(path, schema.names)
    return Footer(schema, int(read.num_rows))


def _raw_footer(path: str) -> bytes:
    """The end of a file from its footer on, with a beginning that makes it a whole Parquet file without row groups' bytes."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _GUESS))
        end = file.read()
        if end[-4:] == _SEALED:
            raise ValueError("it is encrypted")
        if size < 12 or end[-4:] != _MAGIC:
            raise ValueError(f"it has {size:,} bytes and does not end as Parquet files do")
        length = int(struct.unpack("<I", end[-8:-4])[0]) + 8
        if length + 4 > size:
            raise ValueError("its footer is longer than itself")
        if length > len(end):
            file.seek(size - length)
            end = file.read()
    return _MAGIC + end[-length:]


def _check_names(path: str, names: Sequence[str]) -> None:
    held: dict[str, str] = {}
    for name in names:
        if name.lower() in held:
            other = held[name.lower()]
            both = f"'{name}'" if other == name else f"'{other}' and '{name}', which only case tells apart"
            raise RequestError(f"the file {path} has two columns called {both}; rename one", path=path, column=name)
        held[name.lower()] = name
