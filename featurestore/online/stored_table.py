"""Tables of an online store, decoded from their headers, and reads of rows by key."""

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
    """The tables of a store. Each header is decoded again only if it has changed."""

    def __init__(self, prefix_of: Callable[[int], bytes]) -> None:
        self._prefix_of = prefix_of
        self._known: dict[str, StoredTable] = {}
        self._at: dict[str, tuple[int, StoredTable | None]] = {}

    def get(self, name: str) -> StoredTable | None:
        """The table as of the last `update`; None if there was none."""
        return self._known.get(name)

    def at(self, name: str, edition: int, read_header: Callable[[], bytes | None]) -> StoredTable | None:
        """The table in an edition of the store, whose headers do not change within one; the header is read once for each.

        0 is no edition: that of a store that never counted.
        """
        noted = self._at.get(name)
        if noted is None or noted[0] != edition or not edition:
            # One value, since several threads note what they read.
            noted = self._at[name] = edition, self.update(name, read_header())
        return noted[1]

    def update(self, name: str, data: bytes | None) -> StoredTable | None:
        """Note the header of a table that was just read, and return the table; None if it does not exist or cannot be read."""
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


def read_rows(store: OnlineStore, requests: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> list[Read]:
    """Read rows by their keys with `read_encoded`. A list of keys that several tables share is encoded once."""
    last: Sequence[tuple[Any, ...]] | None = None
    encoded: list[bytes | None] = []
    encoded_requests = []
    for table, keys in requests:
        if keys is not last:
            last, encoded = keys, [encode_key(key) for key in keys]
        encoded_requests.append((table, encoded))
    encoded_reads = store.read_encoded(encoded_requests)
    with store.decoding():
        return [
            _decode(name, keys, read, encoded_reads.generation) for (name, keys), read in zip(requests, encoded_reads.tables, strict=True)
        ]


def _decode(table: str, keys: Sequence[tuple[Any, ...]], read: EncodedRead, generation: int) -> Read:
    if read.table is None:
        return Read((), None, [None] * len(keys), generation=generation)
    check_width(keys, read.table.keys, table)
    return Read(read.table.columns, read.table.cursor, decode_rows(read.rows, read.table.value_types), read.table.edition, generation)
