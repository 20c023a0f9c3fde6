"""The header that an online store has for each table: its columns, its cursor, and which rows belong to it."""

from collections.abc import Callable, Mapping

import msgspec

from featurestore.errors import CommitConflict
from featurestore.online.rows import Shape
from featurestore.online.store import Cursor, StoreSize

ROW_FORMAT = 2
"""1 was MessagePack, 2 is JSON."""


OLD_FORMAT = "its rows have the format of an earlier version"
"""Why a table whose header is not readable counts as lost."""


class Header(msgspec.Struct, frozen=True, array_like=True):
    """The header of a table. `id` is the prefix of its rows, `row_format` their encoding.

    Redis only: rows of a publish with a sequence after `sequence`, or in `aborted`, are ignored. LMDB only: `newest` is an upper bound
    of all feature_timestamps, encoded as in a row; None if unknown. `rows` is the number of rows, None if the table was last replaced
    before rows were counted. `edition` is the generation of the store that the table's last publish made; None if that was before
    generations were stored.
    """

    id: int
    shape: Shape
    cursor: Cursor
    sequence: int = 0
    aborted: tuple[int, ...] = ()
    newest: bytes | None = None
    row_format: int = 1
    rows: int | None = None
    edition: int | None = None

    @property
    def readable(self) -> bool:
        """Whether the rows have the current encoding. Rows of an earlier version are not read; the next publish replaces them."""
        return self.row_format == ROW_FORMAT

    def encode(self) -> bytes:
        """The header as bytes."""
        return msgspec.msgpack.encode(self)


def decode_header(data: bytes) -> Header:
    """Decode what `Header.encode` returned."""
    return msgspec.msgpack.decode(data, type=Header)


def readable_header(data: bytes | None) -> Header | None:
    """Decode a table's header; None if there is none, or if the rows have an earlier encoding and therefore count as lost."""
    header = None if data is None else decode_header(data)
    return header if header is not None and header.readable else None


def next_header(
    current: Header | None,
    shape: Shape,
    cursor: Cursor,
    *,
    replace: bool,
    new_id: Callable[[], int],
    sequence: int = 0,
    interrupted: tuple[int, ...] = (),
) -> Header:
    """The header after a publish of rows of this shape; it has a new id if no existing row is kept.

    Raises: CommitConflict if another writer has changed the table's columns since the rows were encoded.
    """
    if current is None or replace or not current.readable:
        return Header(new_id(), shape, cursor, sequence, row_format=ROW_FORMAT)
    if current.shape.keys and current.shape != shape:
        raise CommitConflict("another writer has published other columns to this table; nothing was published, try again")
    return Header(current.id, shape, cursor, sequence, (*current.aborted, *interrupted), row_format=ROW_FORMAT)


def size_of(headers: Mapping[str, Header], used_bytes: int | None) -> StoreSize:
    """How much a store holds of the tables with these headers."""
    editions = [header.edition for header in headers.values() if header.edition is not None]
    return StoreSize({table: header.rows for table, header in headers.items()}, used_bytes, max(editions, default=None))
