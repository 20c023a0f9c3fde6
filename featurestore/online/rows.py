"""A row is stored as its two timestamps, made so that bytes compare like times, and a MessagePack array of its features."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import Conflict, RequestError, TypeMismatch, near
from featurestore.online.keys import KINDS, encode_keys
from featurestore.online.msgpack_columns import Cells, big_endian
from featurestore.online.store import Row
from featurestore.online.value_types import kind_of, reader_of, stored

TIMES = ("feature_timestamp", "created_timestamp")
_VERSION_BYTES = 16
_CHUNK_ROWS = 131_072
_CHUNK_BYTES = 64 << 20
_BIAS = 1 << 63
_unpack_times = Struct(">QQ").unpack_from
_decode: Callable[[bytes], tuple[Any, ...]] = msgspec.msgpack.Decoder(tuple).decode


@dataclass(frozen=True)
class Shape:
    """The key and feature columns of a table, in the order in which they are stored, and their kinds."""

    keys: tuple[str, ...] = ()
    key_kinds: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


def shape_of(schema: pa.Schema, keys: Sequence[str]) -> Shape:
    """The shape of the rows that a publish brings; no keys when it has no columns, so moves the cursor only.

    Raises: RequestError for missing or repeated columns, TypeMismatch for a type that cannot be held or be a key.
    """
    if not schema.names:
        return Shape()
    if repeated := [name for name in schema.names if schema.names.count(name) > 1]:
        raise RequestError(f"column '{repeated[0]}' is there more than once")
    for name in (*keys, *TIMES):
        if name not in schema.names:
            raise RequestError(f"the rows have no column '{name}'{near(name, schema.names)}", column=name)
    if not keys:
        raise RequestError("a table needs one key column or more")
    kinds = {name: kind_of(schema.field(name).type, name) for name in schema.names}
    for name in keys:
        if kinds[name] not in KINDS:
            raise TypeMismatch(f"key column '{name}' is {schema.field(name).type}; a key is one of {', '.join(sorted(KINDS))}", column=name)
    columns = tuple(name for name in schema.names if name not in keys and name not in TIMES)
    return Shape(tuple(keys), tuple(kinds[name] for name in keys), columns, tuple(kinds[name] for name in columns))


def settled(offered: Shape, held: Shape, table: str) -> Shape:
    """The shape to write: the held one, which the offered one may name in another order.

    Raises: Conflict naming the columns that differ.
    """
    if not offered.keys or not held.keys:
        return offered if offered.keys else held
    there, here = _described(held), _described(offered)
    if (held.keys, there) != (offered.keys, here):
        differing = sorted({name for name in {*there, *here} if there.get(name) != here.get(name)} or {*held.keys})
        raise Conflict(
            f"the online table '{table}' holds other columns than these rows ({', '.join(differing)} differ); publish with replace=True",
            table=table,
            columns=differing,
        )
    return held


def _described(shape: Shape) -> dict[str, str]:
    keys = {name: f"key {kind}" for name, kind in zip(shape.keys, shape.key_kinds, strict=True)}
    return {**keys, **dict(zip(shape.columns, shape.kinds, strict=True))}


def check_width(keys: Sequence[Sequence[Any]], shape: Shape, table: str) -> None:
    """Raises: RequestError when a key has more or fewer parts than the table's keys."""
    width = len(shape.keys)
    for key in keys:
        if len(key) != width and width:
            raise RequestError(f"a key of '{table}' has {width} parts ({', '.join(shape.keys)}); {key!r} has {len(key)}", table=table)


def encoded(rows: pa.RecordBatchReader | pa.Table, shape: Shape) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Pairs of binary arrays: keys, strictly ascending within a pair, and each key's newest row in that part of the rows.

    Memory stays within a part: 131,072 rows or 64 MB of Arrow data.

    Raises: TypeMismatch for a value that cannot be held.
    """
    names = [*shape.keys, *TIMES, *shape.columns]
    for part in _parts(rows.to_reader() if isinstance(rows, pa.Table) else rows):
        pair = _encoded_part(part.select(names), shape)
        if pair is not None:
            yield pair


def removed_keys(removed: pa.Table | None, shape: Shape) -> list[bytes]:
    """The encoded keys of a table of key columns, ascending; those with a NULL part are passed over."""
    if removed is None:
        return []
    return sorted({key for batch in removed.to_batches() for key in _encoded_keys(pa.Table.from_batches([batch]), shape)})


def _encoded_keys(part: pa.Table, shape: Shape) -> list[bytes]:
    for name in shape.keys:
        if part.column(name).null_count:
            part = part.filter(pc.is_valid(part.column(name)))
    if not part.num_rows:
        return []
    keys: list[bytes] = encode_keys([_one(part, name) for name in shape.keys], shape.keys, shape.key_kinds).to_pylist()
    return keys


def _parts(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    count = size = 0
    for batch in batches:
        step = max(1, min(_CHUNK_ROWS, int(_CHUNK_BYTES * batch.num_rows / max(1, batch.nbytes))))
        for start in range(0, batch.num_rows, step):
            piece = batch.slice(start, step)
            if held and (count + piece.num_rows > _CHUNK_ROWS or size + piece.nbytes > _CHUNK_BYTES):
                yield pa.Table.from_batches(held)
                held, count, size = [], 0, 0
            held.append(piece)
            count, size = count + piece.num_rows, size + piece.nbytes
    if held:
        yield pa.Table.from_batches(held)


def _encoded_part(part: pa.Table, shape: Shape) -> tuple[pa.Array, pa.Array] | None:
    for name in shape.keys:
        if part.column(name).null_count:
            part = part.filter(pc.is_valid(part.column(name)))
    if not part.num_rows:
        return None
    part = part.combine_chunks()
    keys = encode_keys([_one(part, name) for name in shape.keys], shape.keys, shape.key_kinds)
    times = _times(part)
    newest = _newest(keys, times)
    if newest is not None:
        part, keys, times = part.take(newest).combine_chunks(), keys.take(newest), times[newest.to_numpy()]
    cells = Cells(part.num_rows)
    cells.raw(big_endian(times, ">u8"))
    cells.array_header(len(shape.columns))
    for name, kind in zip(shape.columns, shape.kinds, strict=True):
        _add(cells, stored(_one(part, name), kind, name), kind)
    return keys, cells.joined()


def _one(part: pa.Table, name: str) -> pa.Array:
    column = part.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _times(part: pa.Table) -> Any:
    """Both times of each row as unsigned numbers in the same order; a NULL created_timestamp is 0."""
    feature, created = (stored(_one(part, name), "timestamp", name) for name in TIMES)
    if feature.null_count:
        raise TypeMismatch("feature_timestamp is NULL in a row; every row needs its time", column="feature_timestamp")
    times = np.empty((part.num_rows, 2), np.uint64)
    times[:, 0] = feature.to_numpy().view(np.uint64) ^ np.uint64(_BIAS)
    times[:, 1] = pc.fill_null(created, -_BIAS).to_numpy().view(np.uint64) ^ np.uint64(_BIAS)
    return times


def _newest(keys: pa.Array, times: Any) -> pa.Array | None:
    """Which rows to write, by key: of each key the one with the greatest times, the last of equals. None: all, as they are."""
    if len(keys) < 2 or pc.all(pc.less(keys[:-1], keys[1:])).as_py():
        return None
    table = pa.table({"key": keys, "feature": times[:, 0], "created": times[:, 1]})
    order = pc.sort_indices(table, [("key", "ascending"), ("feature", "ascending"), ("created", "ascending")])
    ordered = keys.take(order)
    last = np.append(pc.not_equal(ordered[:-1], ordered[1:]).to_numpy(zero_copy_only=False), True)
    return order.filter(pa.array(last))


def _add(cells: Cells, array: pa.Array, kind: str) -> None:
    if kind == "bool":
        cells.booleans(array)
    elif kind == "float":
        cells.floats(array)
    elif kind in ("int", "date", "timestamp"):
        cells.integers(array)
    elif kind.startswith("list<"):
        cells.values(array)
    else:
        cells.strings(array)


def newer(row: bytes, held: bytes | None) -> bool:
    """Whether a stored row takes the place of the held one: it is not older, and not the same."""
    return held is None or (held[:_VERSION_BYTES] <= row[:_VERSION_BYTES] and held != row)


def rows_reader(kinds: Sequence[str]) -> Callable[[Sequence[bytes | None]], list[Row | None]]:
    """What turns stored rows of these kinds back into Rows; None stays None."""
    readers = [(index, reader) for index, kind in enumerate(kinds) if (reader := reader_of(kind)) is not None]

    def read(stored_rows: Sequence[bytes | None]) -> list[Row | None]:
        rows: list[Row | None] = []
        for data in stored_rows:
            if data is None:
                rows.append(None)
                continue
            feature, created = _unpack_times(data)
            values = _decode(data[_VERSION_BYTES:])
            if readers:
                values = _python_values(values, readers)
            rows.append(Row(feature - _BIAS, created - _BIAS if created else None, values))
        return rows

    return read


def _python_values(values: tuple[Any, ...], readers: Sequence[tuple[int, Callable[[Any], Any]]]) -> tuple[Any, ...]:
    changed = list(values)
    for index, reader in readers:
        if changed[index] is not None:
            changed[index] = reader(changed[index])
    return tuple(changed)
