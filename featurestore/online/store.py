"""An online store holds the newest row per key of each feature table, and swaps in a publish as one step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, Protocol

import msgspec
import pyarrow as pa

from featurestore.errors import CommitConflict


@dataclass(frozen=True)
class Cursor:
    """What a table's online rows are as of.

    `snapshot_id` is the feature table's Iceberg snapshot, None before the first one. `materialized_through` is the
    view's watermark in microseconds since 1970 UTC, None where the view has none.
    """

    snapshot_id: int | None
    materialized_through: int | None


class Since(Enum):
    """What a publish that goes on from nothing in particular says in place of a cursor."""

    ANY = "any"


ANY: Final = Since.ANY
From = Cursor | None | Literal[Since.ANY]
"""What a publish goes on from: a cursor, None for a table that is not there."""


class Row(msgspec.Struct, frozen=True):
    """The newest row of one key: both timestamps in microseconds since 1970 UTC, `values` in the order of the columns.

    `created_timestamp` is None where it is NULL. Values are plain Python values; timestamps are aware UTC datetimes.
    """

    feature_timestamp: int
    created_timestamp: int | None
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Read:
    """What one table holds of the wanted keys: `rows` has one entry per key, None where the key has no row.

    A table that was never published has no columns and no cursor.
    """

    columns: tuple[str, ...]
    cursor: Cursor | None
    rows: list[Row | None]


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
        """Bring rows and cursor in as one step, and return the number of rows written: 0 when nothing changed.

        `rows` holds the key columns, feature_timestamp, created_timestamp and features; any number of rows per key in
        any order. A row takes the place of the held one when its (feature_timestamp, created_timestamp; NULL lowest) is
        not less; of equal ones the last wins. A key with a NULL part is passed over. With `replace` the rows held before
        go in the same step. A table without columns changes the cursor only. Of the keys in `removed`, which has the key columns
        alone, the rows held before go as well: what `rows` has for such a key comes in, however old it is. `since` is the cursor that
        the rows go on from, looked at in the same step as they are written: where the table has another one, nothing is.

        Raises: RequestError for a missing column, TypeMismatch for a column that cannot be held, Conflict when the columns
        differ from those held, CommitConflict when another writer was in the way or the table is no more at `since`, NotReady,
        OutOfResources.
        """

    def read(self, wanted: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> list[Read]:
        """The rows of (table, keys) pairs, all from one consistent state; a key with a None part has no row.

        Raises: RequestError for a key of the wrong length, TypeMismatch for a part that cannot be a key, NotReady.
        """

    def keys(self, table: str) -> Iterator[list[bytes]]:
        """The encoded keys of all rows of a table, in parts and in no order; one may come twice. Of what is published meanwhile, some.

        Raises: NotReady.
        """

    def cursor(self, table: str) -> Cursor | None:
        """What the table's rows are as of; None for a table never published. Raises: NotReady."""

    def drop(self, table: str) -> None:
        """Forget the table and its rows; an unknown one is no error. Raises: NotReady."""

    def generation(self) -> int:
        """A number that grows with every publish, drop and touch, by any process. Raises: NotReady."""

    def check(self) -> None:
        """Raises: NotReady when the store cannot be used, or may lose rows by itself."""

    def touch(self) -> None:
        """Make the generation grow. Raises: NotReady."""

    def close(self) -> None:
        """Let go of files and connections; a closed store is not used again."""


def check_since(table: str, since: From, held: Cursor | None) -> None:
    """Raises: CommitConflict when a table is not at the cursor that a publish goes on from."""
    if since is not ANY and since != held:
        raise CommitConflict(
            f"'{table}' in the online store was published, emptied or lost by others meanwhile; nothing was written, try again", table=table
        )
