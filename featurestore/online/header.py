"""A header is what an online store keeps of one table beside its rows: shape, cursor, and which rows are its own."""

import msgspec

from featurestore.online.rows import Shape
from featurestore.online.store import Cursor


class Header(msgspec.Struct, frozen=True, array_like=True):
    """`id` marks the table's rows. Redis only: rows of a publish after `sequence`, or in `aborted`, do not count."""

    id: int
    shape: Shape
    cursor: Cursor
    sequence: int = 0
    aborted: tuple[int, ...] = ()

    def encoded(self) -> bytes:
        """The bytes to store."""
        return msgspec.msgpack.encode(self)


def decode_header(data: bytes) -> Header:
    """The header that `encoded` gave."""
    return msgspec.msgpack.decode(data, type=Header)
