"""The protocol of online stores, which keep the newest row per key of each feature table and publish atomically."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import Enum
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Protocol, Self

import msgspec
import pyarrow as pa

from featurestore.errors import CommitConflict


@dataclass(frozen=True)
class Cursor:
    """The state of a feature table that was published last.

    `snapshot_id` is the feature table's Iceberg snapshot, None before the first one. `materialized_through` is the
    view's watermark in microseconds since 1970 UTC, None where the view has none. `table_id` is the UUID of the Iceberg table, by
    which rows of another catalog's table of the same name are recognized; None if it was published before that was stored. `pushed` is
    the offset of the push log of the view's source up to which the rows have its events; None if they have those of the snapshot only.
    """

    snapshot_id: int | None
    materialized_through: int | None
    table_id: str | None = None
    pushed: int | None = None


class Since(Enum):
    """The type of ANY, which stands for any cursor."""

    ANY = "any"


ANY: Final = Since.ANY
From = Cursor | None | Literal[Since.ANY]
"""The expected state of a table before a publish: a cursor, None for a table that does not exist, or ANY."""


class Row(msgspec.Struct, frozen=True):
    """The newest row of one key: both timestamps in microseconds since 1970 UTC, `values` in the order of the columns.

    `created_timestamp` is None where it is NULL. Values are plain Python values; timestamps are aware UTC datetimes.
    """

    feature_timestamp: int
    created_timestamp: int | None
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Read:
    """The rows of one table for the requested keys: one entry per key, None for a key without a row.

    A table that was never published has no columns and no cursor. `edition` as in TableState, `generation` as in EncodedReads.
    """

    columns: tuple[str, ...]
    cursor: Cursor | None
    rows: list[Row | None]
    edition: int | None = field(default=None, compare=False)
    generation: int = field(default=0, compare=False)


class Edition(Protocol):
    """Changes of tables that become visible together. A context manager; changes that were not committed are dropped at its end."""

    def add(
        self,
        table: str,
        rows: pa.RecordBatchReader | pa.Table,
        *,
        keys: Sequence[str],
        cursor: Cursor,
        since: From = ANY,
        replace: bool = False,
        removed: pa.Table | None = None,
    ) -> None:
        """Add the change of a table, instead of one that was added before; nothing is written yet.

        `rows` has the key columns, feature_timestamp, created_timestamp and features, with any number of rows per key in any order. A
        row replaces the stored one if its (feature_timestamp, created_timestamp; NULL lowest) is not less; of equal ones the last
        wins. Keys with a NULL part are skipped. `replace` deletes all stored rows first. A table without columns changes the cursor
        only. `removed` has key columns only: the stored rows of these keys are deleted first, so that rows for them in `rows` are
        written however old they are. `since` is the expected cursor, checked in the same transaction: if the table has another one,
        nothing is written.

        Raises: RequestError for a missing column; TypeMismatch for a column that cannot be stored; Conflict if the columns differ from
        the stored ones; NotReady; OutOfResources.
        """

    def discard(self, table: str) -> None:
        """Drop the change of a table, if one was added."""

    def commit(self, rows_only: bool = False) -> Mapping[str, int]:
        """Publish all changes in one atomic step. Returns the number of rows written, by table: 0 if no row changed.

        `rows_only`: the generation of the store stays, since nothing but rows of tables that exist has changed.

        Raises: CommitConflict with `details["table"]` if a table is not at the cursor that its change expects, or if another writer
        interfered; NotReady; OutOfResources. Nothing was written then, and the changes are kept.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


@dataclass(frozen=True)
class TableState:
    """The content of a table's header that readers need: key columns, other columns with their value types, cursor.

    `edition` is the number of the table's last publish, None if unknown; later publishes of a store have greater numbers, which are their
    times in microseconds since 1970 UTC, if the clock did not go back. A store returns the same object until the header changes.
    """

    keys: tuple[str, ...]
    columns: tuple[str, ...]
    value_types: tuple[str, ...]
    cursor: Cursor
    edition: int | None = None


class EncodedRead(NamedTuple):
    """The encoded rows (see `rows`) of one table for the requested keys: None for a key without a row.

    `table` is None for a table that was never published.
    """

    table: TableState | None
    rows: list[bytes | None]


class EncodedReads(NamedTuple):
    """Reads from one consistent state, in the order of the requests, and the store's generation in that state."""

    generation: int
    tables: list[EncodedRead]


EncodedKeys = Sequence[tuple[str, Sequence[bytes | None]]]
"""Tables, and the encoded keys to read from each; None for a key with a None part, which has no row."""


class StoreSize(NamedTuple):
    """How much an online store holds: by table the number of rows, None if it is unknown, and the bytes of the whole store.

    `bytes` are those that the file uses, or the memory of the Redis servers; None if they do not tell. `edition` is the newest of the
    tables, None if unknown.
    """

    rows: Mapping[str, int | None]
    bytes: int | None
    edition: int | None


class OnlineStore(Protocol):
    """The newest row per key of each table. All methods may be called from several threads, and after a fork."""

    def publish(
        self,
        table: str,
        rows: pa.RecordBatchReader | pa.Table,
        *,
        keys: Sequence[str],
        cursor: Cursor,
        since: From = ANY,
        replace: bool = False,
        removed: pa.Table | None = None,
    ) -> int:
        """Publish one table atomically, as an edition of one change, and return the number of rows written: 0 if no row changed.

        Raises: as `Edition.add` and `Edition.commit`.
        """

    def edition(self) -> Edition:
        """A new edition. Raises: RequestError if the store was opened for reading only."""

    def identity(self) -> str | None:
        """The random name that the first publish gave to the store; None before. Raises: NotReady."""

    def incomplete(self, tables: Collection[str]) -> dict[str, str]:
        """The tables that have fewer rows than were published, or the format of an earlier version, each with a description of that.

        Raises: NotReady.
        """

    def size(self, tables: Collection[str]) -> StoreSize:
        """How much the store holds of these tables. Those that it does not have are left out. Raises: NotReady."""

    def claim_filling(self) -> AbstractContextManager[Callable[[bytes], None] | None]:
        """Claim the exclusive right, among all processes that use the store, to fill it during the block. Raises: NotReady.

        Yields a function that publishes the progress for `filling`; None if another process has the right.
        """

    def filling(self) -> bytes | None:
        """The last progress of the process that is filling the store; None if none is. Raises: NotReady."""

    def read(self, requests: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> list[Read]:
        """Read the rows of (table, keys) pairs from one consistent state; a key with a None part has no row.

        Raises: RequestError for a key of the wrong length; TypeMismatch for a part that cannot be a key, NotReady.
        """

    def read_encoded(self, requests: EncodedKeys) -> EncodedReads:
        """As `read`, with encoded keys and rows. Raises: NotReady."""

    def decoding(self) -> AbstractContextManager[None]:
        """A context for decoding rows of `read_encoded`. Raises: NotReady for invalid bytes."""

    def keys(self, table: str) -> Iterator[list[bytes]]:
        """The encoded keys of all rows of a table, in batches without order, possibly repeated. May miss keys that are published meanwhile.

        Raises: NotReady.
        """

    def cursor(self, table: str) -> Cursor | None:
        """The cursor of the last publish; None for a table that was never published. Raises: NotReady."""

    def drop(self, table: str) -> None:
        """Delete the table and its rows, if it exists. Raises: NotReady."""

    def overwrite_freed(self) -> list[str]:
        """Overwrite the bytes of rows that were deleted or replaced, as far as this store has them in a file of its own.

        Returns what could not be done, as sentences for people. Raises: NotReady; OutOfResources.
        """

    def generation(self) -> int:
        """A number that is increased by every publish but those of rows only, drop and touch of any process. Raises: NotReady."""

    def check(self) -> None:
        """Raises: NotReady if the store cannot be used, or may evict rows."""

    def touch(self) -> None:
        """Increase the generation. Raises: NotReady."""

    def close(self) -> None:
        """Close files and connections. A closed store cannot be used again."""


class AsyncReader(Protocol):
    """Reads an online store from an event loop. It is used by one event loop only."""

    async def read_encoded(self, requests: EncodedKeys) -> EncodedReads:
        """As OnlineStore.read_encoded. Raises: NotReady, also if too many reads wait for an answer."""

    def decoding(self) -> AbstractContextManager[None]:
        """See OnlineStore.decoding."""

    async def close(self) -> None:
        """Close the connections. Reads that wait for an answer raise NotReady."""


def check_since(table: str, since: From, current: Cursor | None) -> None:
    """Raises: CommitConflict if a table is not at the cursor that a publish expects; one without `pushed` expects any offset."""
    if since is ANY:
        return
    found = replace(current, pushed=None) if current is not None and since is not None and since.pushed is None else current
    if since != found:
        raise CommitConflict(
            f"'{table}' in the online store was changed or lost during the publish; nothing was written, try again", table=table
        )


def first_generation() -> int:
    """The first generation of a new store: the time in microseconds, so that a store that was lost and created again never repeats a
    generation.
    """
    return time.time_ns() // 1000


def next_generation(current: int | None) -> int:
    """The generation after `current`, None or 0 if there was none: the time in microseconds, but always a greater number.

    So an edition says when it was published.
    """
    return max((current or 0) + 1, first_generation())
