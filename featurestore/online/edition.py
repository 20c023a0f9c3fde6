"""An edition: the changes of one or more tables, encoded first and then published in one atomic step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from featurestore.online.publish_buffer import MEMORY_BYTES, PublishBuffer
from featurestore.online.rows import Shape, encode_rows, merge_shapes, removed_keys, shape_of
from featurestore.online.store import ANY, Cursor, From


@dataclass(frozen=True)
class TableChange:
    """The change of one table: encoded rows to write, encoded keys to remove first, and the cursors before and after."""

    table: str
    shape: Shape
    buffer: PublishBuffer
    cursor: Cursor
    since: From
    replace: bool
    removed: Sequence[bytes]


class BufferedEdition:
    """An Edition that buffers its encoded rows in memory and in temporary files."""

    def __init__(
        self,
        stored_shape: Callable[[str], Shape],
        commit: Callable[[Sequence[TableChange], bool], dict[str, int]],
        folder: Path | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """`stored_shape` returns the columns of a table in the store, and `commit` writes all changes, of rows only or not; rows beyond
        `memory_bytes` are kept in temporary files in `folder`.
        """
        self._stored_shape, self._commit = stored_shape, commit
        self._folder, self._memory_bytes = folder, memory_bytes
        self._changes: dict[str, TableChange] = {}

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
        """See Edition.add."""
        self.discard(table)
        new_shape = shape_of(rows.schema, keys)
        shape = merge_shapes(new_shape, Shape() if replace else self._stored_shape(table), table)
        used = sum(change.buffer.memory_used for change in self._changes.values())
        buffer = PublishBuffer(self._folder, max(0, self._memory_bytes - used))
        try:
            buffer.fill(encode_rows(rows, shape) if new_shape.keys else ())
            keys_to_remove = removed_keys(removed, shape)
        except BaseException:
            buffer.close()
            raise
        self._changes[table] = TableChange(table, shape, buffer, cursor, since, replace, keys_to_remove)

    def discard(self, table: str) -> None:
        """See Edition.discard."""
        if (change := self._changes.pop(table, None)) is not None:
            change.buffer.close()

    def commit(self, rows_only: bool = False) -> Mapping[str, int]:
        """See Edition.commit."""
        return self._commit(list(self._changes.values()), rows_only) if self._changes else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for table in list(self._changes):
            self.discard(table)
