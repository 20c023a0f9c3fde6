"""The rows of a view as a lookup gets them from the online store, or as policies show them."""

from collections.abc import Sequence
from operator import itemgetter
from typing import cast

from featurestore.online.rows import VERSION_BYTES

Column = Sequence[bytes | None]
"""Bytes of each entity, None for one without a row."""
values_of = itemgetter(slice(VERSION_BYTES + 1, None))
"""The values of an encoded row as JSON, without brackets."""


ViewRows = tuple[Column, Sequence[Column]]
"""The encoded row of each entity, of which only the times are read, and the values as JSON in columns of pieces, which commas join.

The pieces of an entity without a row mean nothing.
"""


def whole_rows(rows: Column) -> ViewRows:
    """Stored rows, with their values in one piece."""
    if None in rows:
        return rows, [[None if row is None else values_of(row) for row in rows]]
    return rows, [list(map(values_of, cast(Sequence[bytes], rows)))]
