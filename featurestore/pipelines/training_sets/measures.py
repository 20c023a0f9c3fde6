"""The numbers that are kept of one column: of values in memory, or of values that the engine sorts, and both the same to the last bit."""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.engine.session import Session
from featurestore.pipelines.training_sets.column_profile import BLOCK, TOP, Counted, Extent, Profile, Spelled, Values, runs
from featurestore.values import times
from featurestore.values.int64 import spread
from featurestore.values.json_encoding import spelled

Statistics: TypeAlias = dict[str, Any]
Found: TypeAlias = tuple[Statistics, Extent, Iterator[Counted]]

TEXT = 200
"""A frequent text is kept to so many characters."""
REPEATED = 4
"""The engine counts the values of a column sooner than it sorts them where each occurs so often, by and large."""
SPARSE = 4
MOST_BINS = 1 << 24
"""Integers are counted in bins of one where these are no more than that, nor more than four times the values."""
SAMPLE = 8192
MANY = SAMPLE * 7 // 8
"""A column with more distinct values than that in a sample is sorted sooner than counted."""


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type has a mean."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_time(kind: pa.DataType) -> bool:
    """Whether a column of this type has an order in time."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def scalar(column: str, kind: pa.DataType) -> str:
    """A column of numbers or times as SQL that gives a BIGINT or a DOUBLE; zero has one sign."""
    if is_time(kind):
        return f"epoch_us(CAST({column} AS TIMESTAMPTZ))"
    return f"CAST({column} AS BIGINT)" if pa.types.is_integer(kind) else f"CAST({column} AS DOUBLE) + 0.0"


def countable(kind: pa.DataType) -> bool:
    """Whether values of this type can be measured in memory; those of other types (decimals, lists, bytes, ...) need the engine."""
    micros = pa.types.is_date32(kind) or (pa.types.is_timestamp(kind) and kind.unit == "us")
    plain = pa.types.is_boolean(kind) or pa.types.is_floating(kind) or pa.types.is_signed_integer(kind)
    return bool(micros or plain or _is_text(kind))


def in_memory(column: pa.ChunkedArray) -> Statistics:
    """The numbers of these values, which must be `countable`, in any order. It takes twice the column's memory on top."""
    kind, values = column.type, column.drop_null()
    facts: Statistics = {"count": len(values), "nulls": column.null_count}
    if not (is_number(kind) or is_time(kind)):
        return {**facts, **_counted(values)}
    found, extent, pieces = _way(values)(values)
    return {**facts, **(found if pa.types.is_floating(kind) else {}), **_profiled(extent, pieces, kind)}


def by_engine(session: Session, rows: str, column: str, kind: pa.DataType) -> Statistics:
    """The numbers of a column of the relation `rows`, within the session's memory."""
    if is_number(kind) or is_time(kind):
        return _ordered(session, rows, scalar(column, kind), kind)
    listed = pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    shown = f"left(x, {TEXT})" if _is_text(kind) else "x"
    facts = _one(session, f"SELECT count({column}) AS count, count(*) - count({column}) AS nulls FROM {rows}")
    groups = f"SELECT {column} AS x, count(*) AS n FROM {rows} WHERE {column} IS NOT NULL GROUP BY {column}"
    distinct = _one(session, f"SELECT count(*) AS n FROM ({groups})")["n"]
    if listed:
        return {**facts, "distinct": distinct}
    top = f"SELECT {shown} AS x, n FROM ({groups}) g ORDER BY n DESC, g.x LIMIT {TOP}"
    found = session.batches(top).read_all().to_pylist()
    return {**facts, "distinct": distinct, "top": [[_plain(row["x"]), row["n"]] for row in found]}


def _ordered(session: Session, rows: str, sql: str, kind: pa.DataType) -> Statistics:
    floating = not (is_time(kind) or pa.types.is_integer(kind))
    values = f"SELECT {sql} AS x FROM {rows}"
    finite = "isfinite(x)" if floating else "x IS NOT NULL"
    facts = _one(
        session,
        f"SELECT count(x) AS count, count(*) - count(x) AS nulls, count(*) FILTER ({finite}) AS finite,"
        f" min(x) FILTER ({finite}) AS least, max(x) FILTER ({finite}) AS greatest, approx_count_distinct(x) AS about"
        f"{', count(*) FILTER (isnan(x)) AS nan, count(*) FILTER (isinf(x)) AS infinite' if floating else ''} FROM ({values})",
    )
    extent = Extent(facts.pop("finite"), facts.pop("least"), facts.pop("greatest"))
    pieces: Iterator[Counted]
    if facts.pop("about") * REPEATED < extent.count:
        counted = session.batches(f"SELECT x, count(*) AS n FROM ({values}) WHERE {finite} GROUP BY x ORDER BY x")
        pieces = ((found.to_numpy(), counts.to_numpy()) for found, counts in (batch.columns for batch in counted))
    else:
        ordered = session.batches(f"SELECT x FROM ({values}) WHERE {finite} ORDER BY x")
        pieces = runs(batch.column(0).to_numpy() for batch in ordered)
    return {**facts, **_profiled(extent, pieces, kind)}


def _profiled(extent: Extent, pieces: Iterator[Counted], kind: pa.DataType) -> Statistics:
    return Profile(extent).of(pieces).to_dict(_spelling(kind), moments=not is_time(kind))


def _way(values: pa.ChunkedArray) -> Callable[[pa.ChunkedArray], Found]:
    """The fastest of three ways that find the same."""
    if pa.types.is_integer(values.type) and len(values):
        ends = pc.min_max(values).as_py()
        if ends["max"] - ends["min"] < min(SPARSE * len(values), MOST_BINS):
            return _dense
    sample = values.take(spread(SAMPLE, len(values))) if len(values) > SAMPLE else values
    return _few if pc.count_distinct(sample).as_py() <= MANY else _many


def _dense(column: pa.ChunkedArray) -> Found:
    """As `_few`, of integers that lie close together."""
    values = _scalars(column)
    least = int(values.min())
    counts = np.bincount(np.subtract(values, least, out=values))
    found = np.flatnonzero(counts)
    return {}, _extent(found + least, len(values)), iter([(found + least, counts[found])])


def _few(column: pa.ChunkedArray) -> Found:
    """NaN and infinity counted, then the extent and the distinct values of the rest, with how often each occurs."""
    counted = pc.value_counts(column)
    values, counts = _scalars(counted.field(0)), counted.field(1).to_numpy()
    odd = {"nan": int(counts[np.isnan(values)].sum()), "infinite": int(counts[np.isinf(values)].sum())}
    finite = np.flatnonzero(np.isfinite(values))
    order = finite[np.argsort(values[finite])]
    values, counts = values[order], counts[order]
    # Zero may have come with both signs.
    starts = np.concatenate([[True], values[1:] != values[:-1]])[: len(values)].nonzero()[0]
    merged = values[starts], np.add.reduceat(counts, starts) if len(starts) else counts
    return odd, _extent(values, int(counts.sum())), iter([merged])


def _many(column: pa.ChunkedArray) -> Found:
    """As `_few`, by sorting, which is faster where most values are distinct."""
    values = _scalars(column)
    values.sort()
    first, last, known = 0, len(values), len(values)
    if values.dtype == np.float64:
        first = int(np.searchsorted(values, -np.inf, side="right"))
        last, known = (int(np.searchsorted(values, np.inf, side=side)) for side in ("left", "right"))
    odd = {"nan": len(values) - known, "infinite": first + known - last}
    finite = values[first:last]
    pieces = (finite[start : start + BLOCK] for start in range(0, len(finite), BLOCK))
    return odd, _extent(finite, len(finite)), runs(pieces)


def _extent(ascending: Values, count: int) -> Extent:
    return Extent(count, ascending[0].item(), ascending[-1].item()) if count else Extent(0, None, None)


def _scalars(column: pa.Array | pa.ChunkedArray) -> Values:
    """As `scalar` has them: BIGINT or DOUBLE, in memory of their own."""
    kind = column.type
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("us"))
    chunks = [column] if isinstance(column, pa.Array) else column.chunks
    if pa.types.is_floating(kind):
        values = np.concatenate([np.empty(0), *(chunk.to_numpy(zero_copy_only=False) for chunk in chunks)], dtype=np.float64)
        return np.add(values, 0.0, out=values)
    return np.concatenate([np.empty(0, np.int64), *(chunk.cast(pa.int64()).to_numpy() for chunk in chunks)])


def _counted(column: pa.ChunkedArray) -> Statistics:
    """Texts or truth values, which have neither a mean nor bins."""
    counted = pc.value_counts(column)
    if not len(counted):
        return {"distinct": 0, "top": []}
    whole = pa.table({"x": counted.field(0), "n": counted.field(1)})
    ordered = whole.set_column(0, "x", whole.column("x").cast(pa.int8())) if pa.types.is_boolean(column.type) else whole
    picked = pc.select_k_unstable(ordered, min(TOP, len(counted)), sort_keys=[("n", "descending"), ("x", "ascending")])
    top = [[x[:TEXT] if isinstance(x, str) else x, n] for x, n in zip(*whole.take(picked).to_pydict().values(), strict=True)]
    return {"distinct": len(counted), "top": top}


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _spelling(kind: pa.DataType) -> Spelled:
    if not is_time(kind):
        return lambda value: value
    cut = 10 if pa.types.is_date(kind) else None
    return lambda value: (times.text(math.floor(value)) or "")[:cut]


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else _text(value)


def _text(value: Any) -> str:
    try:
        return str(spelled(value))
    except TypeError:
        return str(value)


def _one(session: Session, sql: str) -> dict[str, Any]:
    return dict(session.batches(sql).read_all().to_pylist()[0])
