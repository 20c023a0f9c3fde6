"""Parquet files that are not on this machine: footers and columns are requested concurrently, and only what is needed of them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO, InputStream
from pyiceberg.manifest import DataFile

from featurestore.lakehouse.local_io import LocalFirstIO
from featurestore.lakehouse.object_file import ObjectFile, RangedFile

REQUESTS = 16
"""How many files are asked for concurrently."""
UNIT_BYTES = 16 << 20
"""How many bytes of a file's columns are read together, if its row groups are not larger."""
AHEAD_BYTES = 64 << 20
"""How many bytes of columns are read before they are needed."""
HOLE_BYTES = 64 << 10
"""What lies between columns is read with them if it is not more."""

Names = Callable[[pq.FileMetaData], list[str] | None]
"""Returns the columns to read of a file with this footer; None if the file must be read in another way."""

Rows = tuple[Sequence[str], Iterator[pa.RecordBatch]]
"""The names of columns in a file, and batches of them."""


class RemoteFiles:
    """The data files of a snapshot by path. May be used from several threads."""

    def __init__(self, io: FileIO, files: Mapping[str, DataFile]) -> None:
        self._io, self._files = io, files
        self._footers: dict[str, pq.FileMetaData] | None = None

    def footer(self, path: str) -> pq.FileMetaData:
        """The footer of a file; the first call reads those of all files. Raises: OSError, ArrowException."""
        if self._footers is None:
            self._footers = dict(zip(self._files, read_footers(self._io, list(self._files.values())), strict=True))
        return self._footers[path]

    def read(self, path: str, footer: pq.FileMetaData, groups: Sequence[int], names: Sequence[str]) -> pa.Table:
        """Columns of row groups of a file. Raises: OSError, ArrowException."""
        source = _loaded(self._io, _Unit(self._files[path], footer, tuple(groups), tuple(names)))
        with _parquet(source, footer) as parquet:
            return parquet.read_row_groups(list(groups), columns=list(names), use_threads=False)


def read_footers(io: FileIO, files: Sequence[DataFile]) -> list[pq.FileMetaData]:
    """The footers of files, in order. Raises: OSError, ArrowException."""
    if not files:
        return []
    with ThreadPoolExecutor(min(REQUESTS, len(files)), "footers") as threads:
        return list(threads.map(lambda file: _footer(io, file), files))


def read_ahead(io: FileIO, files: Sequence[DataFile], names: Names) -> Iterator[tuple[DataFile, Rows | None]]:
    """The rows of each file in order, with None for a file of which `names` returns None; a large file comes in several parts.

    At most AHEAD_BYTES are read before they are needed. Raises: OSError, ArrowException.
    """
    threads = ThreadPoolExecutor(REQUESTS, "columns")
    try:
        waiting: deque[tuple[_Unit, Future[_Source] | None]] = deque()
        held = 0
        for unit in _units(io, files, names):
            waiting.append((unit, threads.submit(_loaded, io, unit) if unit.names is not None else None))
            held += unit.bytes
            while held > AHEAD_BYTES or len(waiting) > REQUESTS:
                held -= waiting[0][0].bytes
                yield _decoded(*waiting.popleft())
        while waiting:
            yield _decoded(*waiting.popleft())
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class _Unit:
    """Row groups of a file that are read together; `names` None: the whole file is to be read in another way."""

    file: DataFile
    footer: pq.FileMetaData
    groups: tuple[int, ...]
    names: tuple[str, ...] | None

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Where the columns lie in the file, in its order; neighbors are one range, as Arrow reads them."""
        tops = set(self.names or ())
        found: list[tuple[int, int]] = []
        for group in self.groups:
            columns = self.footer.row_group(group)
            for place in range(columns.num_columns):
                column = columns.column(place)
                # The values of a list are at `column.list.element` or a similar path; a name may have a dot.
                if column.path_in_schema in tops or column.path_in_schema.partition(".")[0] in tops:
                    starts = [column.data_page_offset, column.dictionary_page_offset or column.data_page_offset]
                    found.append((min(starts), min(starts) + column.total_compressed_size))
        merged: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if merged and start - merged[-1][1] <= HOLE_BYTES:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    @property
    def bytes(self) -> int:
        """How many bytes they are."""
        return sum(end - start for start, end in self.ranges)


_Source = RangedFile | InputStream


def _units(io: FileIO, files: Sequence[DataFile], names: Names) -> Iterator[_Unit]:
    rest = iter(files)
    while several := list(islice(rest, REQUESTS)):
        for file, footer in zip(several, read_footers(io, several), strict=True):
            chosen = names(footer)
            if chosen is None:
                yield _Unit(file, footer, (), None)
                continue
            yield from _runs(file, footer, tuple(chosen))


def _runs(file: DataFile, footer: pq.FileMetaData, names: tuple[str, ...]) -> Iterable[_Unit]:
    run: tuple[int, ...] = ()
    size = 0
    for group in range(footer.num_row_groups):
        more = _Unit(file, footer, (group,), names).bytes
        if run and size + more > UNIT_BYTES:
            yield _Unit(file, footer, run, names)
            run, size = (), 0
        run, size = (*run, group), size + more
    if run:
        yield _Unit(file, footer, run, names)


def _loaded(io: FileIO, unit: _Unit) -> _Source:
    source = _open(io, unit.file)
    if isinstance(source, RangedFile):
        source.load(unit.ranges)
    return source


def _decoded(unit: _Unit, loading: "Future[_Source] | None") -> tuple[DataFile, Rows | None]:
    return unit.file, None if loading is None else (unit.names or (), _batches(loading.result(), unit))


def _batches(source: _Source, unit: _Unit) -> Iterator[pa.RecordBatch]:
    with _parquet(source, unit.footer) as parquet:
        yield from parquet.iter_batches(row_groups=list(unit.groups), columns=list(unit.names or ()))


def _parquet(source: _Source, footer: pq.FileMetaData) -> pq.ParquetFile:
    if isinstance(source, RangedFile):
        return pq.ParquetFile(pa.PythonFile(source, "r"), metadata=footer)
    return pq.ParquetFile(source, metadata=footer, pre_buffer=True)


def _footer(io: FileIO, file: DataFile) -> pq.FileMetaData:
    source = _open(io, file)
    return pq.read_metadata(pa.PythonFile(source, "r") if isinstance(source, RangedFile) else source)


def _open(io: FileIO, file: DataFile) -> _Source:
    given = io.sized_input(file.file_path, file.file_size_in_bytes) if isinstance(io, LocalFirstIO) else io.new_input(file.file_path)
    return RangedFile(given) if isinstance(given, ObjectFile) else given.open()
