"""What a store knows of a table from its header, and rows that are read by their keys."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from featurestore.online.header import Header, readable_header
from featurestore.online.keys import encode_key
from featurestore.online.rows import check_width, decode_rows
from featurestore.online.store import EncodedRead, OnlineStore, Read, TableState


class StoredTable(NamedTuple):
    """A decoded header and the key prefix of its rows; `data` is the header as stored, and `state` what readers need of it."""

    data: bytes
    header: Header
    prefix: bytes
    state: TableState


class StoredTables:
    """The tables of a store, decoded once for as long as their headers stay the same."""

    def __init__(self, prefix_of: Callable[[int], bytes]) -> None:
        self._prefix_of = prefix_of
        self._known: dict[str, StoredTable] = {}

    def get(self, name: str) -> StoredTable | None:
        """The table as it was last seen."""
        return self._known.get(name)

    def update(self, name: str, data: bytes | None) -> StoredTable | None:
        """The table with this header, which was just read; None for one that does not exist or cannot be read."""
        known = self._known.get(name)
        if known is None or known.data != data:
            header = readable_header(data)
            if data is None or header is None:
                self._known.pop(name, None)
                return None
            shape = header.shape
            state = TableState(shape.keys, shape.columns, shape.kinds, header.cursor, header.edition)
            known = self._known[name] = StoredTable(data, header, self._prefix_of(header.id), state)
        return known


def read_rows(store: OnlineStore, wanted: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> list[Read]:
    """Rows by their keys, encoded and decoded around `read_encoded`; tables that share a list of keys have it encoded once."""
    last: Sequence[tuple[Any, ...]] | None = None
    encoded: list[bytes | None] = []
    requests = []
    for table, keys in wanted:
        if keys is not last:
            last, encoded = keys, [encode_key(key) for key in keys]
        requests.append((table, encoded))
    encoded_reads = store.read_encoded(requests)
    with store.decoding():
        return [_decode(name, keys, read) for (name, keys), read in zip(wanted, encoded_reads.tables, strict=True)]


def _decode(table: str, keys: Sequence[tuple[Any, ...]], read: EncodedRead) -> Read:
    if read.table is None:
        return Read((), None, [None] * len(keys))
    check_width(keys, read.table.keys, table)
    return Read(read.table.columns, read.table.cursor, decode_rows(read.rows, read.table.kinds), read.table.edition)
