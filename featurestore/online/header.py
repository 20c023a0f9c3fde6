"""A header is what an online store keeps of one table beside its rows: shape, cursor, and which rows are its own."""

from collections.abc import Callable

import msgspec

from featurestore.errors import CommitConflict
from featurestore.online.rows import Shape
from featurestore.online.store import Cursor


class Header(msgspec.Struct, frozen=True, array_like=True):
    """`id` marks the table's rows. Redis only: rows of a publish after `sequence`, or in `aborted`, do not count.

    LMDB only: no row has a feature_timestamp after `newest`, written as rows begin with it; None: that is not known.
    """

    id: int
    shape: Shape
    cursor: Cursor
    sequence: int = 0
    aborted: tuple[int, ...] = ()
    newest: bytes | None = None

    def encoded(self) -> bytes:
        """The bytes to store."""
        return msgspec.msgpack.encode(self)


def decode_header(data: bytes) -> Header:
    """The header that `encoded` gave."""
    return msgspec.msgpack.decode(data, type=Header)


def following(
    held: Header | None,
    shape: Shape,
    cursor: Cursor,
    *,
    replace: bool,
    new_id: Callable[[], int],
    sequence: int = 0,
    unfinished: tuple[int, ...] = (),
) -> Header:
    """The header after a publish of rows that were encoded in this shape: with a new id where no row that is there stays.

    Raises: CommitConflict when the table got another shape since the rows were encoded.
    """
    if held is None or replace:
        return Header(new_id(), shape, cursor, sequence)
    if held.shape.keys and held.shape != shape:
        raise CommitConflict("another writer published other columns to this table meanwhile; nothing was published, try again")
    return Header(held.id, shape, cursor, sequence, (*held.aborted, *unfinished))
