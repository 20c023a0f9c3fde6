"""The online store for one machine: an LMDB file. A publish is one write transaction, and readers never wait."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import pyarrow as pa

from featurestore import private
from featurestore.errors import RequestError
from featurestore.online.edition import BufferedEdition, TableChange
from featurestore.online.header import readable_header
from featurestore.online.lmdb import overwriting, transactions
from featurestore.online.lmdb.environments import ENVIRONMENTS, Environments
from featurestore.online.lmdb.fill_lock import FillLock
from featurestore.online.rows import Shape
from featurestore.online.store import (
    ANY,
    Cursor,
    EncodedKeys,
    EncodedRead,
    EncodedReads,
    From,
    Read,
    StoreSize,
)
from featurestore.online.stored_table import StoredTables, read_rows

FILL_LOCK = "fill.lock"
"""The file in the store's folder that is locked by the process that fills it."""


class LmdbStore:
    """An OnlineStore in a folder. Writers of all processes take turns; the memory map grows as needed."""

    def __init__(self, path: str | Path, *, readonly: bool = False, environments: Environments = ENVIRONMENTS) -> None:
        """Raises: RequestError without a path; NotReady if the folder cannot be used."""
        if not str(path):
            raise RequestError("an LMDB store needs a folder: lmdb:///folder")
        self._readonly = readonly
        self._environments = environments
        self._environment = environments.acquire(Path(path), writable=not readonly)
        self._tables = StoredTables(transactions.row_prefix)
        self._fill_lock = FillLock(self._environment.path / FILL_LOCK)
        self._closed = False

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
        """See OnlineStore.publish."""
        with self.edition() as edition:
            edition.add(table, rows, keys=keys, cursor=cursor, since=since, replace=replace, removed=removed)
            return edition.commit()[table]

    def edition(self) -> BufferedEdition:
        """See OnlineStore.edition."""
        self._check_writable()
        private.make_folder(self._environment.path)
        return BufferedEdition(self._stored_shape, self._commit, self._environment.path)

    def read(self, requests: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> list[Read]:
        """See OnlineStore.read."""
        return read_rows(self, requests)

    def read_encoded(self, requests: EncodedKeys) -> EncodedReads:
        """See OnlineStore.read_encoded."""
        reads = self._environment.read(partial(self._read, requests=requests), None)
        return EncodedReads(0, [EncodedRead(None, [None] * len(keys)) for _, keys in requests]) if reads is None else reads

    def decoding(self) -> AbstractContextManager[None]:
        """See OnlineStore.decoding."""
        return self._environment.errors()

    def keys(self, table: str) -> Iterator[list[bytes]]:
        """See OnlineStore.keys."""
        name, after = transactions.header_key(table), b""
        while batch := self._environment.read(partial(transactions.key_batch, name=name, after=after), list[bytes]()):
            yield batch
            after = batch[-1]

    def cursor(self, table: str) -> Cursor | None:
        """See OnlineStore.cursor."""
        name = transactions.header_key(table)
        data = self._environment.read(lambda txn: transactions.get(txn, name), None)
        header = readable_header(data)
        return header.cursor if header is not None else None

    def drop(self, table: str) -> None:
        """See OnlineStore.drop."""
        self._check_writable()
        self._environment.write(partial(transactions.drop_table, name=transactions.header_key(table)))

    def identity(self) -> str | None:
        """See OnlineStore.identity."""
        data = self._environment.read(partial(transactions.get, key=transactions.IDENTITY), None)
        return None if data is None else data.decode()

    def incomplete(self, tables: Collection[str]) -> dict[str, str]:
        """See OnlineStore.incomplete."""
        return self._environment.read(partial(transactions.incomplete, tables=tables, entries=self._environment.entries), dict[str, str]())

    def size(self, tables: Collection[str]) -> StoreSize:
        """See OnlineStore.size."""
        return self._environment.read(partial(transactions.size, tables=tables, used=self._environment.used_bytes), StoreSize({}, 0, None))

    def claim_filling(self) -> AbstractContextManager[Callable[[bytes], None] | None]:
        """See OnlineStore.claim_filling."""
        self._check_writable()
        private.make_folder(self._environment.path)
        return self._fill_lock.claim()

    def filling(self) -> bytes | None:
        """See OnlineStore.filling."""
        return self._fill_lock.content()

    def overwrite_freed(self) -> list[str]:
        """See OnlineStore.overwrite_freed."""
        self._check_writable()
        return overwriting.overwrite_freed(self._environment)

    def generation(self) -> int:
        """See OnlineStore.generation."""
        return self._environment.read(transactions.generation_of, 0)

    def check(self) -> None:
        """See OnlineStore.check."""
        self.generation()

    def touch(self) -> None:
        """See OnlineStore.touch."""
        self._check_writable()
        self._environment.write(transactions.touch)

    def close(self) -> None:
        """See OnlineStore.close."""
        if not self._closed:
            self._closed = True
            self._environments.release(self._environment)

    def _stored_shape(self, table: str) -> Shape:
        name = transactions.header_key(table)
        return self._environment.read(lambda txn: transactions.shape_of_table(txn, name), Shape())

    def _commit(self, changes: Sequence[TableChange], rows_only: bool) -> dict[str, int]:
        publish = partial(transactions.publish, changes=changes, entries=self._environment.entries, rows_only=rows_only)
        need_bytes = sum(3 * change.buffer.bytes for change in changes) + (16 << 20)
        return self._environment.write(publish, need_bytes)

    def _check_writable(self) -> None:
        if self._readonly:
            raise RequestError(f"the online store at {self._environment.path} was opened for reading only")

    def _read(self, txn: lmdb.Transaction, requests: EncodedKeys) -> EncodedReads:
        get = transactions.getter(txn)
        generation, edition = transactions.generation_of(txn), transactions.edition_of(txn)
        reads = []
        for name, keys in requests:
            table = self._tables.at(name, edition, partial(transactions.get_header, get, name))
            if table is None:
                reads.append(EncodedRead(None, [None] * len(keys)))
            else:
                prefix = table.prefix
                reads.append(EncodedRead(table.state, [None if key is None else get(prefix + key) for key in keys]))
        return EncodedReads(generation, reads)
