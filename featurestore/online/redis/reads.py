"""Read rows from Redis: which keys to fetch together with the headers of their tables, and what the values mean."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from featurestore.errors import NotReady
from featurestore.online.redis.address import RedisNames
from featurestore.online.redis.rows import visible_rows
from featurestore.online.store import EncodedKeys, EncodedRead, EncodedReads
from featurestore.online.stored_table import StoredTable, StoredTables

ATTEMPTS = 100
"""How often a read is repeated because a table has changed."""


class ReadPlan(NamedTuple):
    """The names of the keys to fetch, first those of headers, and the tables as they were known when the names were made."""

    requests: EncodedKeys
    headers: list[bytes]
    rows: list[bytes]
    known: list[StoredTable | None]


class RedisReads:
    """Plans reads and decodes their values. The names of rows follow from the table's header, as it was at the last read."""

    def __init__(self, names: RedisNames) -> None:
        self._names = names
        self._tables = StoredTables(names.rows_prefix)

    def plan(self, requests: EncodedKeys) -> ReadPlan:
        """The keys to fetch from one state of the store."""
        names, end = self._names, self._names.row_end
        headers = [names.key(b"g"), *[names.key(b"t", table) for table, _ in requests]]
        known = [self._tables.get(table) for table, _ in requests]
        rows: list[bytes] = []
        for table, (_, keys) in zip(known, requests, strict=True):
            if table is not None:
                prefix = table.prefix
                named = [prefix + key for key in keys if key is not None]
                rows += [name + end for name in named] if end else named
        return ReadPlan(requests, headers, rows, known)

    def decode(self, plan: ReadPlan, values: Sequence[bytes | None]) -> EncodedReads | None:
        """The rows among the values of the planned keys, headers first.

        None if a table is new or was replaced: its rows have other names than those that were fetched, so plan and fetch again. In a
        cluster, None if any table has changed since the last read, since its rows were fetched before its header.
        """
        width = len(plan.headers)
        tables = [self._tables.update(name, data) for (name, _), data in zip(plan.requests, values[1:width], strict=True)]
        if self._names.clustered:
            if any(table is not known for table, known in zip(tables, plan.known, strict=True)):
                return None
        elif [_number(table) for table in plan.known] != [_number(table) for table in tables]:
            return None
        rows = iter(values[width:])
        reads = [_encoded_read(table, keys, rows) for table, (_, keys) in zip(tables, plan.requests, strict=True)]
        return EncodedReads(int(values[0] or 0), reads)

    def unstable_error(self, requests: EncodedKeys, address: str) -> NotReady:
        """The error after ATTEMPTS reads during which tables changed."""
        tables = ", ".join(dict.fromkeys(table for table, _ in requests))
        return NotReady(f"{tables} in Redis at {address} changed during {ATTEMPTS} reads one after the other; try again", address=address)


def _encoded_read(table: StoredTable | None, keys: Sequence[bytes | None], values: Iterator[bytes | None]) -> EncodedRead:
    """The rows of one table; consumes as many of the values as it has keys."""
    if table is None:
        return EncodedRead(None, [None] * len(keys))
    fetched = [None if key is None else next(values) for key in keys] if None in keys else list(islice(values, len(keys)))
    return EncodedRead(table.state, visible_rows(fetched, table.header))


def _number(table: StoredTable | None) -> int | None:
    return table.header.id if table is not None else None
