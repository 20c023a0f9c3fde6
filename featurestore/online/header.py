"""The header that an online store keeps for each table: its columns, its cursor, and which rows belong to it."""

from collections.abc import Callable

import msgspec

from featurestore.errors import CommitConflict
from featurestore.online.rows import Shape
from featurestore.online.store import Cursor

ROW_FORMAT = 2
"""1 was MessagePack, 2 is JSON."""


class Header(msgspec.Struct, frozen=True, array_like=True):
    """`id` is the prefix of the table's rows. Redis only: rows of a publish after `sequence`, or in `aborted`, are ignored.

    LMDB only: no row has a feature_timestamp after `newest`, encoded as in a row; None if unknown. `row_format` is how rows are encoded.
    `rows` is how many rows the table has; None if it was last replaced before rows were counted. `edition` is the generation of the
    store that the last publish of the table made; None if it was made before this was stored.
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
        """Whether rows are encoded as `rows` does; those of an earlier version are not read, and the next publish replaces them."""
        return self.row_format == ROW_FORMAT

    def encode(self) -> bytes:
        """The header as bytes."""
        return msgspec.msgpack.encode(self)


def decode_header(data: bytes) -> Header:
    """Decode a header that `Header.encode` wrote."""
    return msgspec.msgpack.decode(data, type=Header)


def readable_header(data: bytes | None) -> Header | None:
    """The header of a table; None if there is none, or if the table's rows cannot be read, so that they count as lost."""
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
    unfinished: tuple[int, ...] = (),
) -> Header:
    """The header after a publish of rows encoded in this shape; it has a new id if no existing row is kept.

    Raises: CommitConflict if another writer has changed the table's columns since the rows were encoded.
    """
    if current is None or replace or not current.readable:
        return Header(new_id(), shape, cursor, sequence, row_format=ROW_FORMAT)
    if current.shape.keys and current.shape != shape:
        raise CommitConflict("another writer has published other columns to this table; nothing was published, try again")
    return Header(current.id, shape, cursor, sequence, (*current.aborted, *unfinished), row_format=ROW_FORMAT)
