"""Stream the rows of a spine's files, ordered by file name."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.compiler.relations import LocalFiles
from featurestore.dsl.csv_format import Csv
from featurestore.engine.session import Engine
from featurestore.errors import NotFound, RequestError
from featurestore.files import folders, listing
from featurestore.files.csv_files import CsvFiles
from featurestore.files.file_cache import FileCache
from featurestore.files.parquet_files import ParquetFiles

_SPINE = "__fs_spine_file"
_ROWS = 65_536


@contextmanager
def open_spine_files(
    files: FileCache,
    engine: Callable[[], Engine],
    pattern: str,
    csv: Csv | None = None,
    times: Sequence[str] = (),
    noun: str = "spine file",
) -> Iterator[pa.RecordBatchReader]:
    """Open a stream of the rows of Parquet or CSV files, in the common types of all files.

    `csv` is the format of CSV files, `times` their time columns, and `noun` what the files are in a message.

    Raises: NotFound if no file matches; as `FileCache.open`; RequestError for files that cannot be read, also while streaming.
    """
    try:
        states = listing.file_states(listing.list_files(pattern))
    except NotFound as error:
        raise NotFound(noun, pattern, error.details["known"]) from error
    source_files = files.open(states, csv, times)
    if isinstance(source_files, ParquetFiles):
        yield pa.RecordBatchReader.from_batches(source_files.schema, _batches(list(states), source_files, noun))
        return
    with engine().session(source_files.relation.folders) as session:
        yield session.batches(session.add(_SPINE, _in_order(list(states), source_files)))


def _batches(paths: Sequence[str], source_files: ParquetFiles, noun: str) -> Iterator[pa.RecordBatch]:
    for path in paths:
        try:
            with pq.ParquetFile(path, pre_buffer=False) as file:
                for batch in file.iter_batches(_ROWS):
                    yield _with_schema(batch, path, source_files.schema)
        except (pa.ArrowException, OSError) as error:
            raise RequestError(f"the {noun} {path} cannot be read as Parquet", path=path, reason=str(error)) from error


def _with_schema(batch: pa.RecordBatch, path: str, schema: pa.Schema) -> pa.RecordBatch:
    positions = {name.lower(): index for index, name in enumerate(batch.schema.names)}
    path_values = {name.lower(): text for name, text in folders.folder_values(path).items()}
    columns: list[pa.Array] = []
    for field in schema:
        name = field.name.lower()
        if name in positions:
            columns.append(_cast(batch.column(positions[name]), field.type))
        else:
            columns.append(pa.array([path_values.get(name)], pa.string()).cast(field.type).take(pa.array([0] * batch.num_rows, pa.int64())))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    if array.type == target:
        return array
    if pa.types.is_timestamp(array.type) and array.type.unit == "ns" and target.unit != "ns":
        # Floored, also before 1970, where a cast truncates toward 1970.
        array = pc.floor_temporal(array, unit="microsecond")
    return array.cast(target)


def _in_order(paths: Sequence[str], source_files: CsvFiles) -> LocalFiles:
    """The files ordered by name: a part for each run of files with the same header."""
    part_of = {path: number for number, part in enumerate(source_files.relation.parts) for path in part.paths}
    runs: list[tuple[int, list[str]]] = []
    for path in paths:
        if not runs or runs[-1][0] != part_of[path]:
            runs.append((part_of[path], []))
        runs[-1][1].append(path)
    return replace(
        source_files.relation,
        parts=tuple(replace(source_files.relation.parts[number], paths=tuple(paths_of_run)) for number, paths_of_run in runs),
    )
