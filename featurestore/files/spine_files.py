"""The rows of a spine's files as a stream, in the order of their names."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.compiler.relations import LocalFiles
from featurestore.dsl.csv import Csv
from featurestore.engine.session import Engine
from featurestore.errors import NotFound, RequestError
from featurestore.files import folders, listing
from featurestore.files.csv_files import CsvFiles
from featurestore.files.files import Files
from featurestore.files.parquet_files import ParquetFiles

_SPINE = "__fs_spine_file"
_ROWS = 65_536


@contextmanager
def files_of(
    files: Files, engine: Callable[[], Engine], pattern: str, written: Csv | None = None, times: Sequence[str] = ()
) -> Iterator[pa.RecordBatchReader]:
    """A stream of the rows of Parquet or CSV files; a column has the type that was checked to hold what each of them has.

    `written` is the format of CSV files, and `times` their columns of times.

    Raises: NotFound when none match; as `Files.open`; RequestError for what cannot be read, also while it is read.
    """
    try:
        states = listing.states(listing.listed(pattern))
    except NotFound as error:
        raise NotFound("spine file", pattern, error.details["known"]) from error
    opened = files.open(states, written, times)
    if isinstance(opened, ParquetFiles):
        yield pa.RecordBatchReader.from_batches(opened.schema, _batches(list(states), opened))
        return
    with engine().session(opened.relation.folders) as session:
        session.add(_SPINE, _in_order(list(states), opened))
        yield session.batches(f"SELECT * FROM {_SPINE}")


def _batches(paths: Sequence[str], opened: ParquetFiles) -> Iterator[pa.RecordBatch]:
    for path in paths:
        try:
            with pq.ParquetFile(path, pre_buffer=False) as file:
                for batch in file.iter_batches(_ROWS):
                    yield _fitted(batch, path, opened.schema)
        except (pa.ArrowException, OSError) as error:
            raise RequestError(f"the spine's file {path} cannot be read as Parquet", path=path, reason=str(error)) from error


def _fitted(batch: pa.RecordBatch, path: str, schema: pa.Schema) -> pa.RecordBatch:
    own = {name.lower(): place for place, name in enumerate(batch.schema.names)}
    told = {name.lower(): text for name, text in folders.values(path).items()}
    columns: list[pa.Array] = []
    for field in schema:
        name = field.name.lower()
        if name in own:
            columns.append(_cast(batch.column(own[name]), field.type))
        else:
            columns.append(pa.array([told.get(name)], pa.string()).cast(field.type).take(pa.array([0] * batch.num_rows, pa.int64())))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    if pa.types.is_timestamp(array.type) and array.type.unit == "ns" and kind.unit != "ns":
        # Cut down, also before 1970, where a cast cuts toward 1970.
        array = pc.floor_temporal(array, unit="microsecond")
    return array.cast(kind)


def _in_order(paths: Sequence[str], opened: CsvFiles) -> LocalFiles:
    """The same files, by their names: a part for each run of files with one header."""
    place = {path: number for number, part in enumerate(opened.relation.parts) for path in part.paths}
    runs: list[tuple[int, list[str]]] = []
    for path in paths:
        if not runs or runs[-1][0] != place[path]:
            runs.append((place[path], []))
        runs[-1][1].append(path)
    return replace(opened.relation, parts=tuple(replace(opened.relation.parts[number], paths=tuple(found)) for number, found in runs))
