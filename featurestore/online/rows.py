"""Encode rows: both timestamps, as bytes that sort like times, and then the features as JSON, each after a comma."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import Conflict, RequestError, TypeMismatch, near
from featurestore.online.json_columns import decode_values, encode_values
from featurestore.online.keys import KEY_TYPES, encode_keys
from featurestore.online.msgpack_columns import big_endian
from featurestore.online.store import Row
from featurestore.online.value_types import to_stored, value_type_of

TIMES = ("feature_timestamp", "created_timestamp")
VERSION_BYTES = 16
"""The two timestamps, before the values of a row."""
_CHUNK_ROWS = 131_072
_CHUNK_BYTES = 64 << 20
_THREADS = 2
"""Threads that encode. Half of the work holds Python's lock, so that more would not be faster."""
TIME_BIAS = 1 << 63
"""Added to microseconds, so that the bytes of the unsigned sums sort like times."""
Pair = tuple[pa.Array, pa.Array]
"""Binary arrays of the same length: encoded keys, and the row of each."""
_unpack_times = Struct(">QQ").unpack_from


@dataclass(frozen=True)
class Shape:
    """The key and feature columns of a table, in stored order, and their value types. The names of the fields are stored."""

    keys: tuple[str, ...] = ()
    key_kinds: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


def shape_of(schema: pa.Schema, keys: Sequence[str]) -> Shape:
    """The shape of rows to publish. Rows without columns, which only move the cursor, have an empty shape.

    Raises: RequestError for missing or repeated columns; TypeMismatch for a type that cannot be stored or be a key.
    """
    if not schema.names:
        return Shape()
    if repeated := [name for name in schema.names if schema.names.count(name) > 1]:
        raise RequestError(f"column '{repeated[0]}' is given more than once")
    for name in (*keys, *TIMES):
        if name not in schema.names:
            raise RequestError(f"the rows have no column '{name}'{near(name, schema.names)}", column=name)
    if not keys:
        raise RequestError("a table needs at least one key column")
    types = {name: value_type_of(schema.field(name).type, name) for name in schema.names}
    for name in keys:
        if types[name] not in KEY_TYPES:
            raise TypeMismatch(
                f"key column '{name}' is {schema.field(name).type}; a key must be one of {', '.join(sorted(KEY_TYPES))}", column=name
            )
    columns = tuple(name for name in schema.names if name not in keys and name not in TIMES)
    return Shape(tuple(keys), tuple(types[name] for name in keys), columns, tuple(types[name] for name in columns))


def merge_shapes(new: Shape, current: Shape, table: str) -> Shape:
    """The shape to write, which is the current one if there is one. The new shape may have another order of columns.

    Raises: Conflict naming the columns that differ.
    """
    if not new.keys or not current.keys:
        return new if new.keys else current
    before, after = _kinds_by_column(current), _kinds_by_column(new)
    if (current.keys, before) != (new.keys, after):
        differing = sorted({name for name in {*before, *after} if before.get(name) != after.get(name)} or {*current.keys})
        raise Conflict(
            f"the online table '{table}' has other columns than these rows ({', '.join(differing)} differ); publish with replace=True",
            table=table,
            columns=differing,
        )
    return current


def _kinds_by_column(shape: Shape) -> dict[str, str]:
    keys = {name: f"key {kind}" for name, kind in zip(shape.keys, shape.key_kinds, strict=True)}
    return {**keys, **dict(zip(shape.columns, shape.kinds, strict=True))}


def check_width(keys: Sequence[Sequence[Any]], columns: Sequence[str], table: str) -> None:
    """Raises: RequestError if a key has more or fewer parts than there are key columns."""
    width = len(columns)
    for key in keys:
        if len(key) != width and width:
            raise RequestError(f"a key of '{table}' has {width} parts ({', '.join(columns)}); {key!r} has {len(key)}", table=table)


def encode_rows(rows: pa.RecordBatchReader | pa.Table, shape: Shape) -> Iterator[Pair]:
    """Encode rows in parts of at most 131,072 rows or 64 MB of Arrow data, which bounds memory: a few parts are encoded at a time.

    Yields a pair of binary arrays for each part, in order: its keys, strictly ascending, and the newest row of each key in the part.

    Raises: TypeMismatch for a value that cannot be stored.
    """
    names = [*shape.keys, *TIMES, *shape.columns]
    parts = _parts(rows.to_reader() if isinstance(rows, pa.Table) else rows)
    with ThreadPoolExecutor(_THREADS, "encode") as pool:
        encoding: deque[Future[Pair | None]] = deque()
        for part in parts:
            encoding.append(pool.submit(_encode_part, part.select(names), shape))
            if len(encoding) > _THREADS:
                yield from _not_none(encoding.popleft())
        while encoding:
            yield from _not_none(encoding.popleft())


def _not_none(encoding: "Future[Pair | None]") -> Iterator[Pair]:
    pair = encoding.result()
    if pair is not None:
        yield pair


def removed_keys(removed: pa.Table | None, shape: Shape) -> list[bytes]:
    """The encoded keys of a table of key columns, ascending; keys with a NULL part are skipped."""
    if removed is None:
        return []
    return sorted({key for batch in removed.to_batches() for key in _encode_keys(pa.Table.from_batches([batch]), shape)})


def _encode_keys(part: pa.Table, shape: Shape) -> list[bytes]:
    for name in shape.keys:
        if part.column(name).null_count:
            part = part.filter(pc.is_valid(part.column(name)))
    if not part.num_rows:
        return []
    keys: list[bytes] = encode_keys([_combine_chunks(part, name) for name in shape.keys], shape.keys, shape.key_kinds).to_pylist()
    return keys


def _parts(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    buffered: list[pa.RecordBatch] = []
    count = size = 0
    for batch in batches:
        step = max(1, min(_CHUNK_ROWS, int(_CHUNK_BYTES * batch.num_rows / max(1, batch.nbytes))))
        for start in range(0, batch.num_rows, step):
            piece = batch.slice(start, step)
            if buffered and (count + piece.num_rows > _CHUNK_ROWS or size + piece.nbytes > _CHUNK_BYTES):
                yield pa.Table.from_batches(buffered)
                buffered, count, size = [], 0, 0
            buffered.append(piece)
            count, size = count + piece.num_rows, size + piece.nbytes
    if buffered:
        yield pa.Table.from_batches(buffered)


def _encode_part(part: pa.Table, shape: Shape) -> Pair | None:
    for name in shape.keys:
        if part.column(name).null_count:
            part = part.filter(pc.is_valid(part.column(name)))
    if not part.num_rows:
        return None
    part = part.combine_chunks()
    keys = encode_keys([_combine_chunks(part, name) for name in shape.keys], shape.keys, shape.key_kinds)
    times = _times(part)
    newest = _newest(keys, times)
    if newest is not None:
        part, keys, times = part.take(newest).combine_chunks(), keys.take(newest), times[newest.to_numpy()]
    heads = pa.Array.from_buffers(pa.binary(VERSION_BYTES), part.num_rows, [None, pa.py_buffer(big_endian(times, ">u8"))])
    stored = [to_stored(_combine_chunks(part, name), kind, name) for name, kind in zip(shape.columns, shape.kinds, strict=True)]
    return keys, encode_values(heads.cast(pa.binary()), stored, shape.kinds)


def _combine_chunks(part: pa.Table, name: str) -> pa.Array:
    column = part.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _times(part: pa.Table) -> Any:
    """Both times of each row as unsigned numbers of the same order; a NULL created_timestamp is 0."""
    feature, created = (to_stored(_combine_chunks(part, name), "timestamp", name) for name in TIMES)
    if feature.null_count:
        raise TypeMismatch("feature_timestamp is NULL in a row; every row needs a feature_timestamp", column="feature_timestamp")
    times = np.empty((part.num_rows, 2), np.uint64)
    times[:, 0] = feature.to_numpy().view(np.uint64) ^ np.uint64(TIME_BIAS)
    times[:, 1] = pc.fill_null(created, -TIME_BIAS).to_numpy().view(np.uint64) ^ np.uint64(TIME_BIAS)
    return times


def _newest(keys: pa.Array, times: Any) -> pa.Array | None:
    """The indices of the rows to write, ascending by key: for each key the newest row, the last of equally new ones. None if all rows
    are to be written in their order.
    """
    if len(keys) < 2 or pc.all(pc.less(keys[:-1], keys[1:])).as_py():
        return None
    table = pa.table({"key": keys, "feature": times[:, 0], "created": times[:, 1]})
    order = pc.sort_indices(table, [("key", "ascending"), ("feature", "ascending"), ("created", "ascending")])
    ordered = keys.take(order)
    last = np.append(pc.not_equal(ordered[:-1], ordered[1:]).to_numpy(zero_copy_only=False), True)
    return order.filter(pa.array(last))


def decode_time(row: bytes) -> int:
    """The feature_timestamp of an encoded row, in microseconds since 1970 UTC."""
    return int.from_bytes(row[:8], "big") - TIME_BIAS


def replaces(row: bytes, current: bytes | None) -> bool:
    """Whether an encoded row replaces the current one: it is neither older nor equal."""
    return current is None or (current[:VERSION_BYTES] <= row[:VERSION_BYTES] and current != row)


def decode_rows(stored: Sequence[bytes | None], value_types: Sequence[str]) -> list[Row | None]:
    """Decode rows with values of these types; None stays None. Raises: orjson.JSONDecodeError, struct.error for invalid bytes."""
    values = iter(decode_values([row[VERSION_BYTES:] for row in stored if row is not None], value_types))
    return [None if row is None else _row(row, tuple(next(values))) for row in stored]


def _row(encoded: bytes, values: tuple[Any, ...]) -> Row:
    feature, created = _unpack_times(encoded)
    return Row(feature - TIME_BIAS, created - TIME_BIAS if created else None, values)
