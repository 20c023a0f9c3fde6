"""How rows lie in Parquet files: runs of one month, row groups of a fixed size, and the columns that need no dictionary."""

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby, pairwise
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 131_072
VECTOR_ROWS = 2048
"""DuckDB rounds row groups up to its vector size (2048 rows)."""
MIN_GROUP_ROWS = 4096
GROUPS_PER_MONTH = 8
SAMPLE_ROWS = 8192
"""Rows examined to decide which columns repeat their values."""


def group_rows(month_rows: int) -> int:
    """Row group size for a monthly file of this many rows: an eighth of the month, so that a read of a few days skips the rest."""
    part = -(-month_rows // GROUPS_PER_MONTH)
    return min(max(part + -part % VECTOR_ROWS, MIN_GROUP_ROWS), ROW_GROUP_ROWS)


def row_groups(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Regroup batches into tables of exactly `size` rows, the last one shorter, so that files do not depend on the batching."""
    pending: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        pending.append(batch)
        rows += batch.num_rows
        if rows >= size:
            table = pa.Table.from_batches(pending)
            whole = rows - rows % size
            for start in range(0, whole, size):
                yield table.slice(start, size)
            pending, rows = table.slice(whole).to_batches(), rows - whole
    if rows:
        yield pa.Table.from_batches(pending)


def distinct_columns(group: pa.Table) -> set[str]:
    """The columns of mostly distinct values, for which the Parquet writer would start a dictionary and drop it.

    Decided from the first rows of the group; columns of lists, structs and UUIDs always keep their dictionaries.
    """
    begin = group.slice(0, SAMPLE_ROWS)
    return {
        name
        for name, column in zip(begin.schema.names, begin.columns, strict=True)
        if not isinstance(column.type, pa.BaseExtensionType)
        and not pa.types.is_nested(column.type)
        and not pa.types.is_dictionary(column.type)
        and pc.count_distinct(column).as_py() > begin.num_rows * 3 // 4
    }


def column_paths(group: pa.Table) -> list[str]:
    """The Parquet paths of the columns; that of a column that is not nested is its name."""
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, group.schema).close()
    parquet = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    return [parquet.column(index).path for index in range(len(parquet))]


def open_writer(sink: pa.NativeFile, first: pa.Table, *, quick: bool) -> pq.ParquetWriter:
    """A writer of the file that begins with the row group `first`, which decides how its columns are stored; `quick` as in `DataFiles`."""
    paths, distinct = column_paths(first), distinct_columns(first)
    plain = {field.name for field in first.schema if quick and _is_brief_to_write(field, distinct)}
    return pq.ParquetWriter(
        sink,
        first.schema,
        compression={path: "none" if path in plain else "zstd" for path in paths},
        compression_level={path: 1 for path in paths if path not in plain},
        use_dictionary=[path for path in paths if path not in distinct],
        store_decimal_as_integer=True,
        # Readers would be told of dictionaries, which are of this write only.
        store_schema=not quick,
        # A page is a buffer to be made and an encoder to be reset, for each column.
        **({"max_rows_per_page": ROW_GROUP_ROWS} if quick else {}),
    )


def _is_brief_to_write(field: pa.Field, distinct: Collection[str]) -> bool:
    """Whether a column takes longer to compress than to write: distinct doubles hardly shrink, and what is a dictionary has shrunk."""
    return pa.types.is_dictionary(field.type) or (pa.types.is_floating(field.type) and field.name in distinct)


def split_by_month(batches: Iterable[pa.RecordBatch], column: str | None) -> Iterator[Iterator[pa.RecordBatch]]:
    """Split rows into runs of one month, each to be consumed before the next; without a column one run, or none if there are no rows."""
    for _, run in groupby(_month_slices(batches, column), key=itemgetter(0)):
        yield (piece for _, piece in run)


def _month_slices(batches: Iterable[pa.RecordBatch], column: str | None) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Slice batches at month boundaries; yields the month as a number with each slice."""
    for batch in batches:
        if not batch.num_rows:
            continue
        if column is None:
            yield 0, batch
            continue
        times = batch.column(column)
        if (month := _only_month(times)) is not None:
            yield month, batch
            continue
        months = pc.fill_null(pc.add(pc.multiply(pc.year(times), 12), pc.month(times)), -1)
        changes = pc.indices_nonzero(pc.not_equal(months[1:], months[:-1])).to_pylist()
        bounds = [0, *(index + 1 for index in changes), batch.num_rows]
        for start, end in pairwise(bounds):
            yield months[start].as_py(), batch.slice(start, end - start)


def _only_month(times: pa.Array) -> int | None:
    """The month of all times, as a number; None if there are several, or NULLs."""
    if times.null_count:
        return None
    bounds = pa.array(pc.min_max(times).values())
    first, last = pc.add(pc.multiply(pc.year(bounds), 12), pc.month(bounds)).to_pylist()
    return first if first == last else None


def runs_of_one_schema(groups: Iterable[pa.Table]) -> Iterator[Iterator[pa.Table]]:
    """Split row groups into runs for one file each, at most two, each to be consumed before the next.

    In the first, columns without a NULL are required, of which files are written in half of the time; the second begins with the first
    group that has a NULL in one of them, and requires nothing. Columns of lists and structs stay as they are.
    """
    for _, run in groupby(_with_required(groups), key=lambda group: group.schema):
        yield run


def _with_required(groups: Iterable[pa.Table]) -> Iterator[pa.Table]:
    schema: pa.Schema | None = None
    for group in groups:
        if schema is None:
            full = {name for name, column in zip(group.schema.names, group.columns, strict=True) if not column.null_count}
            fields = [field.with_nullable(field.name not in full or pa.types.is_nested(field.type)) for field in group.schema]
            schema = pa.schema(fields, group.schema.metadata)
        elif any(column.null_count and not field.nullable for field, column in zip(schema, group.columns, strict=True)):
            schema = group.schema
        yield pa.Table.from_arrays(group.columns, schema=schema)


def columns_out_of_range(metadata: pq.FileMetaData) -> list[str]:
    """The columns of a file whose minimum or maximum is a time outside of Python's range."""
    columns: dict[str, None] = {}
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            try:
                if column.statistics is not None and column.statistics.has_min_max:
                    _ = column.statistics.min, column.statistics.max
            except OverflowError:
                columns[column.path_in_schema.partition(".")[0]] = None
    return list(columns)
