"""A lot: the rows of one push, encoded as an Arrow stream, with a digest of each row's id."""

import hashlib
from collections.abc import Collection, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

ID_BYTES = 16
"""Bytes of the digest of an id: no two ids of a store's lifetime have the same."""
ACKNOWLEDGED_TYPE = pa.timestamp("us", "UTC")


class Lot(NamedTuple):
    """Encoded rows, their number, the greatest event time (microseconds), and the digests of their ids, each once; None without ids."""

    body: bytes
    rows: int
    newest: int
    ids: tuple[bytes, ...] | None


def make_lot(rows: pa.Table, timestamp: str, id: str | None) -> Lot:
    """The lot of rows, of which there is at least one; of rows with the same id, the first."""
    ids: tuple[bytes, ...] | None = None
    if id is not None:
        first: dict[bytes, int] = {}
        for position, value in enumerate(rows.column(id).to_pylist()):
            first.setdefault(_digest(value), position)
        if len(first) < rows.num_rows:
            rows = rows.take(pa.array(list(first.values()), pa.int64()))
        ids = tuple(first)
    return Lot(encode(rows), rows.num_rows, pc.max(rows.column(timestamp).cast(pa.int64())).as_py(), ids)


def without(lot: Lot, positions: Collection[int]) -> Lot | None:
    """The lot without the rows at these positions; None if no row is left."""
    if not positions:
        return lot
    left = [position for position in range(lot.rows) if position not in positions]
    if not left:
        return None
    rows = decode(lot.body).take(pa.array(left, pa.int64()))
    ids = None if lot.ids is None else tuple(lot.ids[position] for position in left)
    return Lot(encode(rows), len(left), lot.newest, ids)


def encode(rows: pa.Table) -> bytes:
    """An Arrow stream of one batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    body: bytes = sink.getvalue().to_pybytes()
    return body


def decode(body: bytes) -> pa.Table:
    """The rows of an Arrow stream."""
    with pa.ipc.open_stream(body) as reader:
        rows: pa.Table = reader.read_all()
    return rows


def join(lots: Sequence[tuple[bytes, int]], acknowledged: str) -> pa.Table:
    """The rows of lots, given as bodies with the times at which they were acknowledged, which become the last column. Columns that only
    some lots have are NULL in the others.
    """
    parts = []
    for body, at in lots:
        rows = decode(body)
        moment = pa.repeat(pa.scalar(at, pa.int64()), rows.num_rows).cast(ACKNOWLEDGED_TYPE)
        parts.append(rows.append_column(acknowledged, moment))
    joined: pa.Table = pa.concat_tables(parts, promote_options="default")
    names = [*(name for name in joined.column_names if name != acknowledged), acknowledged]
    return joined.select(names)


def _digest(value: object) -> bytes:
    return hashlib.blake2b(str(value).encode(), digest_size=ID_BYTES).digest()
