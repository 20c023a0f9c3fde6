"""Values of rows in Redis: a head with the sequence of the publish that wrote it, the row, and the row before that publish."""

from collections.abc import Sequence
from struct import Struct
from typing import cast

from featurestore.online.header import Header
from featurestore.online.rows import replaces

HEAD = Struct(">QI")
"""The sequence, and the length of the row; the rest of the value is the previous row. An empty row is a deleted one."""


def visible(data: bytes | None, header: Header) -> bytes | None:
    """The version of a row that is visible with this header."""
    if data is None:
        return None
    sequence, length = HEAD.unpack_from(data)
    if sequence <= header.sequence and sequence not in header.aborted:
        return data[12 : 12 + length] or None
    return data[12 + length :] or None


def visible_rows(values: Sequence[bytes | None], header: Header) -> list[bytes | None]:
    """`visible` of each value; several times faster for values that are all there."""
    if header.aborted or None in values:
        return [visible(data, header) for data in values]
    there = cast(Sequence[bytes], values)
    newest = header.sequence
    # An empty row is a deleted one.
    return [
        (data[12 : 12 + length] if sequence <= newest else data[12 + length :]) or None
        for data, (sequence, length) in zip(there, map(HEAD.unpack_from, there), strict=True)
    ]


def changes(
    keys: Sequence[bytes], rows: Sequence[bytes], values: Sequence[bytes | None], stored: Header | None, header: Header
) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The values to write by key, and the keys of rows that the table did not have before."""
    changed, added = dict[bytes, bytes](), list[bytes]()
    for key, row, old in zip(keys, rows, values, strict=True):
        data = _new_value(row, old, stored, header)
        if data is not None:
            changed[key] = data
            if old is None or _latest(old, stored, header) is None:
                added.append(key)
    return changed, added


def _latest(old: bytes | None, stored: Header | None, header: Header) -> bytes | None:
    """The version of a row that this publish has written, else the visible version; None if there is neither."""
    if old is None:
        return None
    sequence, length = HEAD.unpack_from(old)
    if sequence == header.sequence:
        return old[12 : 12 + length] or None
    return visible(old, stored) if stored is not None and stored.id == header.id else None


def _new_value(row: bytes, old: bytes | None, stored: Header | None, header: Header) -> bytes | None:
    """The value to write for a published row; None if the stored row is kept."""
    before = current = None
    if old is not None:
        sequence, length = HEAD.unpack_from(old)
        if sequence == header.sequence:
            current, before = old[12 : 12 + length], old[12 + length :]
        elif stored is not None and stored.id == header.id:
            before = current = visible(old, stored)
    if not replaces(row, current):
        return None
    return HEAD.pack(header.sequence, len(row)) + row + (before or b"")
