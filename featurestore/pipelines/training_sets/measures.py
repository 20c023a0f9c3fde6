"""Compute the statistics of one column, in memory or in DuckDB, with bit-identical results."""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler import column_statistics
from featurestore.compiler.column_statistics import Scalar
from featurestore.compiler.query import Query
from featurestore.compiler.relations import Handle
from featurestore.engine.results import count, single_row
from featurestore.engine.session import Session
from featurestore.pipelines.training_sets.column_profile import BLOCK, TOP, Extent, Profile, ToJson, ValueCounts, Values, count_runs
from featurestore.values import times
from featurestore.values.int64 import sample_positions
from featurestore.values.json_encoding import to_json_value

Statistics: TypeAlias = dict[str, Any]
Summary: TypeAlias = tuple[Statistics, Extent, Iterator[ValueCounts]]

TEXT = 200
"""How many characters to keep of a frequent text."""
REPEATED = 4
"""Average repetitions per value above which DuckDB groups a column faster than it sorts it."""
SPARSE = 4
MOST_BINS = 1 << 24
"""Integers are counted with one bin per value if their range is below MOST_BINS and below SPARSE times the number of values."""
SAMPLE = 8192
"""Values to sample in order to choose between sorting and hashing."""
MANY = SAMPLE * 7 // 8
"""Distinct values in a sample above which sorting a column is faster than hashing it."""


def is_number(arrow_type: pa.DataType) -> bool:
    """Whether a column of this type has a mean."""
    return bool(pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type) or pa.types.is_decimal(arrow_type))


def is_time(arrow_type: pa.DataType) -> bool:
    """Whether a column of this type holds times or dates."""
    return bool(pa.types.is_timestamp(arrow_type) or pa.types.is_date(arrow_type))


def is_text(arrow_type: pa.DataType) -> bool:
    """Whether a column of this type holds texts."""
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type))


def scalar_kind(arrow_type: pa.DataType) -> Scalar:
    """How a column of numbers or times is measured."""
    if is_time(arrow_type):
        return "time"
    return "integer" if pa.types.is_integer(arrow_type) else "number"


def countable(arrow_type: pa.DataType) -> bool:
    """Whether values of this type can be measured in memory; other types (decimals, lists, bytes, ...) need DuckDB."""
    micros = pa.types.is_date32(arrow_type) or (pa.types.is_timestamp(arrow_type) and arrow_type.unit == "us")
    plain = pa.types.is_boolean(arrow_type) or pa.types.is_floating(arrow_type) or pa.types.is_signed_integer(arrow_type)
    return bool(micros or plain or is_text(arrow_type))


def in_memory(column: pa.ChunkedArray) -> Statistics:
    """The statistics of a column whose type is `countable`, in any order. Needs twice the memory of the column in addition."""
    arrow_type, values = column.type, column.drop_null()
    facts: Statistics = {"count": len(values), "nulls": column.null_count}
    if not (is_number(arrow_type) or is_time(arrow_type)):
        return {**facts, **_count_values(values)}
    odd, extent, pieces = _fastest(values)(values)
    return {**facts, **(odd if pa.types.is_floating(arrow_type) else {}), **_profile(extent, pieces, arrow_type)}


def by_engine(session: Session, rows: Handle, column: str, arrow_type: pa.DataType) -> Statistics:
    """The statistics of a column of the relation `rows`, computed by DuckDB within the session's memory."""
    if is_number(arrow_type) or is_time(arrow_type):
        return _measure_ordered(session, rows, column, arrow_type)
    opaque = pa.types.is_nested(arrow_type) or pa.types.is_binary(arrow_type) or pa.types.is_large_binary(arrow_type)
    facts = single_row(session, column_statistics.value_counts(rows, column))
    distinct = count(session, column_statistics.distinct_values(rows, column))
    if opaque:
        return {**facts, "distinct": distinct}
    groups = column_statistics.distinct_values(rows, column)
    top = session.batches(column_statistics.most_frequent(groups, TOP, TEXT if is_text(arrow_type) else None)).read_all().to_pylist()
    return {**facts, "distinct": distinct, "top": [[_plain(row["x"]), row["n"]] for row in top]}


def _measure_ordered(session: Session, rows: Handle, column: str, arrow_type: pa.DataType) -> Statistics:
    kind = scalar_kind(arrow_type)

    def values() -> Query:
        return column_statistics.column_values(rows, column, kind)

    facts = single_row(session, column_statistics.extent(values(), kind))
    extent = Extent(facts.pop("finite"), facts.pop("least"), facts.pop("greatest"))
    pieces: Iterator[ValueCounts]
    if facts.pop("about") * REPEATED < extent.count:
        groups = session.batches(column_statistics.finite_value_counts(values(), kind))
        pieces = ((distinct.to_numpy(), counts.to_numpy()) for distinct, counts in (batch.columns for batch in groups))
    else:
        ordered = session.batches(column_statistics.finite_values(values(), kind))
        pieces = count_runs(batch.column(0).to_numpy() for batch in ordered)
    return {**facts, **_profile(extent, pieces, arrow_type)}


def _profile(extent: Extent, pieces: Iterator[ValueCounts], arrow_type: pa.DataType) -> Statistics:
    return Profile(extent).consume(pieces).to_dict(_json_converter(arrow_type), moments=not is_time(arrow_type))


def _fastest(values: pa.ChunkedArray) -> Callable[[pa.ChunkedArray], Summary]:
    """The fastest of three functions with the same result."""
    if pa.types.is_integer(values.type) and len(values):
        ends = pc.min_max(values).as_py()
        if ends["max"] - ends["min"] < min(SPARSE * len(values), MOST_BINS):
            return _summarize_dense
    sample = values.take(sample_positions(SAMPLE, len(values))) if len(values) > SAMPLE else values
    return _summarize_few if pc.count_distinct(sample).as_py() <= MANY else _summarize_many


def _summarize_dense(column: pa.ChunkedArray) -> Summary:
    """As `_summarize_few`, for integers in a small range."""
    values = _scalars(column)
    least = int(values.min())
    counts = np.bincount(np.subtract(values, least, out=values))
    present = np.flatnonzero(counts)
    return {}, _extent(present + least, len(values)), iter([(present + least, counts[present])])


def _summarize_few(column: pa.ChunkedArray) -> Summary:
    """The counts of NaN and infinity; the extent of the finite values; their distinct values and counts."""
    value_counts = pc.value_counts(column)
    values, counts = _scalars(value_counts.field(0)), value_counts.field(1).to_numpy()
    odd = {"nan": int(counts[np.isnan(values)].sum()), "infinite": int(counts[np.isinf(values)].sum())}
    finite = np.flatnonzero(np.isfinite(values))
    order = finite[np.argsort(values[finite])]
    values, counts = values[order], counts[order]
    # 0.0 and -0.0 were counted separately.
    starts = np.concatenate([[True], values[1:] != values[:-1]])[: len(values)].nonzero()[0]
    merged = values[starts], np.add.reduceat(counts, starts) if len(starts) else counts
    return odd, _extent(values, int(counts.sum())), iter([merged])


def _summarize_many(column: pa.ChunkedArray) -> Summary:
    """As `_summarize_few`, by sorting, which is faster if most values are distinct."""
    values = _scalars(column)
    values.sort()
    first, last, known = 0, len(values), len(values)
    if values.dtype == np.float64:
        first = int(np.searchsorted(values, -np.inf, side="right"))
        last, known = (int(np.searchsorted(values, np.inf, side=side)) for side in ("left", "right"))
    odd = {"nan": len(values) - known, "infinite": first + known - last}
    finite = values[first:last]
    pieces = (finite[start : start + BLOCK] for start in range(0, len(finite), BLOCK))
    return odd, _extent(finite, len(finite)), count_runs(pieces)


def _extent(ascending: Values, count: int) -> Extent:
    return Extent(count, ascending[0].item(), ascending[-1].item()) if count else Extent(0, None, None)


def _scalars(column: pa.Array | pa.ChunkedArray) -> Values:
    """A copy of the values as int64 or float64, converted as `column_statistics.scalar` does."""
    arrow_type = column.type
    if pa.types.is_date(arrow_type):
        column = column.cast(pa.timestamp("us"))
    chunks = [column] if isinstance(column, pa.Array) else column.chunks
    if pa.types.is_floating(arrow_type):
        values = np.concatenate([np.empty(0), *(chunk.to_numpy(zero_copy_only=False) for chunk in chunks)], dtype=np.float64)
        return np.add(values, 0.0, out=values)
    return np.concatenate([np.empty(0, np.int64), *(chunk.cast(pa.int64()).to_numpy() for chunk in chunks)])


def _count_values(column: pa.ChunkedArray) -> Statistics:
    """The statistics of text or booleans, which have neither a mean nor bins."""
    value_counts = pc.value_counts(column)
    if not len(value_counts):
        return {"distinct": 0, "top": []}
    table = pa.table({"x": value_counts.field(0), "n": value_counts.field(1)})
    ordered = table.set_column(0, "x", table.column("x").cast(pa.int8())) if pa.types.is_boolean(column.type) else table
    picked = pc.select_k_unstable(ordered, min(TOP, len(value_counts)), sort_keys=[("n", "descending"), ("x", "ascending")])
    top = [[x[:TEXT] if isinstance(x, str) else x, n] for x, n in zip(*table.take(picked).to_pydict().values(), strict=True)]
    return {"distinct": len(value_counts), "top": top}


def _json_converter(arrow_type: pa.DataType) -> ToJson:
    if not is_time(arrow_type):
        return lambda value: value
    cut = 10 if pa.types.is_date(arrow_type) else None
    return lambda value: (times.text(math.floor(value)) or "")[:cut]


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else _text(value)


def _text(value: Any) -> str:
    try:
        return str(to_json_value(value))
    except TypeError:
        return str(value)
