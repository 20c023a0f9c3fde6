"""Invalid files of rows: forged by hand, and mutated at random."""

import io
import random
import struct
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

TEXT = "forged-offsets-look-elsewhere"


def stream(rows: pa.Table | pa.RecordBatch, compression: str | None = None) -> bytes:
    """An Arrow IPC stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write(rows)
    return sink.getvalue()


def file(rows: pa.Table, compression: str | None = None) -> bytes:
    """An Arrow IPC file."""
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write(rows)
    return sink.getvalue()


def parquet(rows: pa.Table, **options: str | bool) -> bytes:
    """A Parquet file."""
    sink = io.BytesIO()
    pq.write_table(rows, sink, **options)
    return sink.getvalue()


def forged_offsets(rows: pa.Table, far: int = 1 << 30) -> bytes:
    """A stream of these rows and a text column whose inner offsets lie far behind its bytes: its ends are right."""
    return _replaced(stream(_with(rows, _texts(rows.num_rows))), _offsets(rows.num_rows), far)


def forged_list_offsets(rows: pa.Table, far: int = 1 << 28) -> bytes:
    """The same with lists, whose values are read elsewhere."""
    size = len(TEXT)
    lists = pa.array([[1.5] * size] * rows.num_rows)
    return _replaced(stream(_with(rows, lists)), _offsets(rows.num_rows), far)


def forged_indices(rows: pa.Table) -> bytes:
    """A stream with a dictionary of six texts, and indices that look for the millionth."""
    indices = pa.array([5, 1, 4] * rows.num_rows, pa.int32()).slice(0, rows.num_rows)
    column = pa.DictionaryArray.from_arrays(indices, pa.array([TEXT, *"abcde"]))
    return _swap(stream(_with(rows, column)), indices.to_numpy().tobytes(), struct.pack(f"<{rows.num_rows}i", *[1 << 20] * rows.num_rows))


def forged_views(rows: pa.Table) -> bytes:
    """A stream with texts that are views into buffers, of which there are not so many."""
    column = pa.array([TEXT] * rows.num_rows, pa.string_view())
    whole = stream(_with(rows, column))
    view = struct.pack("<i4s", len(TEXT), TEXT[:4].encode())
    return whole.replace(view + struct.pack("<i", 0), view + struct.pack("<i", 7))


def forged_length(rows: pa.Table) -> bytes:
    """A stream whose batch claims more rows than its buffers have."""
    return _swap(stream(rows), struct.pack("<q", rows.num_rows), struct.pack("<q", 1 << 40))


def forged_size(rows: pa.Table) -> bytes:
    """A compressed stream whose buffers claim to be larger by far than they are."""
    column = pa.array(list(range(rows.num_rows * 1000)), pa.int64())
    lists = pa.FixedSizeListArray.from_arrays(column, 1000)
    return _swap(stream(_with(rows, lists), "lz4"), struct.pack("<q", rows.num_rows * 8000), struct.pack("<q", 1 << 40))


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files of very many rows or bytes, by name."""
    one = pa.DictionaryArray.from_arrays(pa.array(bytes(1_000_000), pa.int8()), pa.array(["x" * 10_000]))
    yield "parquet of one text", parquet(pa.table({"x": one}), compression="zstd", store_schema=False)
    ends = pa.array([(1 << 31) - 1], pa.int32())
    runs = pa.RunEndEncodedArray.from_arrays(ends, pa.array([1.5]))
    yield "one run", stream(pa.record_batch({"x": runs}))
    yield "nulls", stream(pa.record_batch({"x": pa.nulls((1 << 31) - 1)}))
    text = pa.DictionaryArray.from_arrays(pa.array(bytes(60_000), pa.int8()), pa.array(["x" * 1_000_000]))
    yield "a dictionary's long text", stream(pa.record_batch({"x": text}), "zstd")
    zeros = pa.Array.from_buffers(pa.int64(), 50_000_000, [None, pa.py_buffer(bytes(400_000_000))])
    yield "zeros", stream(pa.record_batch({"x": zeros}), "zstd")
    deep: pa.DataType = pa.int8()
    for _ in range(40):
        deep = pa.struct([("x", deep)])
    yield "depth", stream(pa.table({"x": pa.nulls(1, deep)}))
    yield "columns", stream(pa.table({str(number): pa.nulls(1) for number in range(20_000)}))


def mutated(data: bytes, seed: str, count: int) -> Iterator[bytes]:
    """The data cut short, with bits flipped, or with numbers in it that are no right lengths or offsets; the same at every call."""
    chance = random.Random(seed)
    for _ in range(count):
        changed = bytearray(data)
        how = chance.randrange(5)
        if how == 0:
            yield data[: chance.randrange(len(data))]
            continue
        for _ in range(chance.choice([1, 1, 2, 8])):
            at = chance.randrange(len(data))
            if how == 1:
                changed[at] ^= 1 << chance.randrange(8)
            elif how == 2:
                changed[at] = chance.choice([0, 127, 128, 255])
            elif how == 3:
                _put(changed, at & ~3, struct.pack("<i", chance.choice([-1, 0, 65_536, 2**31 - 1, -(2**31), chance.randrange(2**31)])))
            else:
                _put(changed, at & ~7, struct.pack("<q", chance.choice([-1, 2**33, 2**40, 2**62])))
        yield bytes(changed)


def _put(data: bytearray, at: int, number: bytes) -> None:
    data[at : at + len(number)] = number[: len(data) - at]


def _with(rows: pa.Table, column: pa.Array) -> pa.Table:
    return rows.append_column("forged", column)


def _texts(rows: int) -> pa.Array:
    return pa.array([TEXT] * rows)


def _offsets(rows: int) -> bytes:
    return struct.pack(f"<{rows + 1}i", *range(0, (rows + 1) * len(TEXT), len(TEXT)))


def _replaced(whole: bytes, offsets: bytes, far: int) -> bytes:
    """With the inner offsets moved away; first and last stay."""
    inner = len(offsets) // 4 - 2
    return _swap(whole, offsets, offsets[:4] + struct.pack(f"<{inner}i", *[far] * inner) + offsets[-4:])


def _swap(whole: bytes, old: bytes, new: bytes) -> bytes:
    assert old in whole
    return whole.replace(old, new)
