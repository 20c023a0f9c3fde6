"""The online store for one machine: an LMDB file. A publish is one write transaction, and readers never wait."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import lmdb
import msgspec
import pyarrow as pa

from featurestore import private
from featurestore.errors import RequestError
from featurestore.online.edition import BufferedEdition, TableChange
from featurestore.online.header import OLD_FORMAT, Header, decode_header, next_header, readable_header, size_of
from featurestore.online.lmdb.environments import ENVIRONMENTS, Environments
from featurestore.online.lmdb.fill_lock import FillLock
from featurestore.online.publish_buffer import PublishBuffer
from featurestore.online.rows import Shape, replaces
from featurestore.online.store import (
    ANY,
    Cursor,
    EncodedKeys,
    EncodedRead,
    EncodedReads,
    From,
    Read,
    StoreSize,
    check_since,
    next_generation,
)
from featurestore.online.stored_table import StoredTables, read_rows

# A row's key is the number of its table followed by the encoded key, so that a table is loaded in order and dropped as a range.
# (With the encoded key first, 100 keys of 3 tables are read in 0.7 of the time, but the third table of 1M rows takes 10 times as
# long to load, and the file is 2.3 times as large.) Table numbers are below 0xff000000; other entries of the store start with 0xff.
_NOT_ROWS = b"\xff"
_GENERATION = b"\xffg"
_IDENTITY = b"\xffi"
_NEXT_ID = b"\xffn"
_HEADER = b"\xfft"
FILL_LOCK = "fill.lock"
"""The file in the store's folder that is locked by the process that fills it."""
_NAME_BYTES = 480
_BATCH_ROWS = 100_000

_Get = Callable[[bytes], bytes | None]
_Entries = Callable[[lmdb.Transaction], int]


class LmdbStore:
    """An OnlineStore in a folder. Writers of all processes take turns; the memory map grows as needed."""

    def __init__(self, path: str | Path, *, readonly: bool = False, environments: Environments = ENVIRONMENTS) -> None:
        """Raises: RequestError without a path; NotReady if the folder cannot be used."""
        if not str(path):
            raise RequestError("an LMDB store needs a folder: lmdb:///folder")
        self._readonly = readonly
        self._environments = environments
        self._environment = environments.acquire(Path(path), writable=not readonly)
        self._tables = StoredTables(_prefix)
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
        name, after = _header_key(table), b""
        while batch := self._environment.read(partial(_key_batch, name=name, after=after), list[bytes]()):
            yield batch
            after = batch[-1]

    def cursor(self, table: str) -> Cursor | None:
        """See OnlineStore.cursor."""
        name = _header_key(table)
        data = self._environment.read(lambda txn: _get(txn, name), None)
        header = readable_header(data)
        return header.cursor if header is not None else None

    def drop(self, table: str) -> None:
        """See OnlineStore.drop."""
        self._check_writable()
        self._environment.write(partial(_drop, name=_header_key(table)))

    def identity(self) -> str | None:
        """See OnlineStore.identity."""
        data = self._environment.read(partial(_get, key=_IDENTITY), None)
        return None if data is None else data.decode()

    def incomplete(self, tables: Collection[str]) -> dict[str, str]:
        """See OnlineStore.incomplete."""
        return self._environment.read(partial(_incomplete, tables=tables, entries=self._environment.entries), dict[str, str]())

    def size(self, tables: Collection[str]) -> StoreSize:
        """See OnlineStore.size."""
        return self._environment.read(partial(_size, tables=tables, used=self._environment.used_bytes), StoreSize({}, 0, None))

    def claim_filling(self) -> AbstractContextManager[Callable[[bytes], None] | None]:
        """See OnlineStore.claim_filling."""
        self._check_writable()
        private.make_folder(self._environment.path)
        return self._fill_lock.claim()

    def filling(self) -> bytes | None:
        """See OnlineStore.filling."""
        return self._fill_lock.content()

    def generation(self) -> int:
        """See OnlineStore.generation."""
        return self._environment.read(_generation, 0)

    def check(self) -> None:
        """See OnlineStore.check."""
        self.generation()

    def touch(self) -> None:
        """See OnlineStore.touch."""
        self._check_writable()
        self._environment.write(_touch)

    def close(self) -> None:
        """See OnlineStore.close."""
        if not self._closed:
            self._closed = True
            self._environments.release(self._environment)

    def _stored_shape(self, table: str) -> Shape:
        name = _header_key(table)
        return self._environment.read(lambda txn: _shape(txn, name), Shape())

    def _commit(self, changes: Sequence[TableChange]) -> dict[str, int]:
        need_bytes = sum(3 * change.buffer.bytes for change in changes) + (16 << 20)
        return self._environment.write(partial(_publish, changes=changes, entries=self._environment.entries), need_bytes)

    def _check_writable(self) -> None:
        if self._readonly:
            raise RequestError(f"the online store at {self._environment.path} was opened for reading only")

    def _read(self, txn: lmdb.Transaction, requests: EncodedKeys) -> EncodedReads:
        get = _getter(txn)
        generation = _generation(txn)
        reads = []
        for name, keys in requests:
            table = self._tables.at(name, generation, partial(_get_header, get, name))
            if table is None:
                reads.append(EncodedRead(None, [None] * len(keys)))
            else:
                prefix = table.prefix
                reads.append(EncodedRead(table.state, [None if key is None else get(prefix + key) for key in keys]))
        return EncodedReads(generation, reads)


def _publish(txn: lmdb.Transaction, *, changes: Sequence[TableChange], entries: _Entries) -> dict[str, int]:
    if _get(txn, _IDENTITY) is None:
        txn.put(_IDENTITY, uuid4().hex.encode())
    edition = _touch(txn)
    return {change.table: _publish_table(txn, change, edition, entries) for change in changes}


def _publish_table(txn: lmdb.Transaction, change: TableChange, edition: int, entries: _Entries) -> int:
    name = _header_key(change.table)
    data = _get(txn, name)
    stored = readable_header(data)
    check_since(change.table, change.since, None if stored is None else stored.cursor)
    header = next_header(stored, change.shape, change.cursor, replace=change.replace, new_id=lambda: _next_id(txn))
    if data is not None and (change.replace or stored is None):
        _delete_rows(txn, decode_header(data).id)
    entries_before = entries(txn)
    for key in change.removed:
        txn.delete(_prefix(header.id) + key)
    rows_before = 0 if stored is None or change.replace or not stored.shape.keys else stored.rows
    newest = b"" if stored is None or change.replace or not stored.shape.keys else stored.newest
    written = _write(txn, change.buffer, _prefix(header.id), fresh=newest is not None and change.buffer.oldest > newest)
    rows = None if rows_before is None else rows_before + entries(txn) - entries_before
    newest_after = None if newest is None else max(newest, change.buffer.newest)
    txn.put(name, msgspec.structs.replace(header, newest=newest_after, rows=rows, edition=edition).encode())
    return written


def _write(txn: lmdb.Transaction, buffer: PublishBuffer, prefix: bytes, fresh: bool) -> int:
    """Write the rows that are not older than the stored ones.

    `fresh`: all rows are newer than any stored row, so rows with ascending keys are written without reading the stored ones.
    """
    cursor = txn.cursor()
    written = 0
    last = b""
    for key_array, row_array in buffer:
        keys: list[bytes] = [prefix + key for key in key_array.to_pylist()]
        items: Iterable[tuple[bytes, bytes]] = zip(keys, row_array.to_pylist(), strict=True)
        if fresh and keys[0] > last:
            last = keys[-1]
        else:
            fresh = False
            stored = cast(dict[bytes, bytes], dict(cursor.getmulti(keys)))
            items = [(key, row) for key, row in items if replaces(row, stored.get(key))]
        consumed, _ = cursor.putmulti(items)
        written += consumed
    return written


def _drop(txn: lmdb.Transaction, *, name: bytes) -> None:
    data = _get(txn, name)
    if data is not None:
        _delete_rows(txn, decode_header(data).id)
        txn.delete(name)
    _touch(txn)


def _delete_rows(txn: lmdb.Transaction, number: int) -> None:
    """Delete a table's rows."""
    prefix = _prefix(number)
    while True:
        with txn.cursor() as cursor:
            exists = cursor.set_range(prefix)
            keys = list(islice(cast(Iterator[bytes], cursor.iternext(values=False)), _BATCH_ROWS)) if exists else []
        for key in keys:
            if not key.startswith(prefix):
                return
            txn.delete(key)
        if len(keys) < _BATCH_ROWS:
            return


def _key_batch(txn: lmdb.Transaction, *, name: bytes, after: bytes) -> list[bytes]:
    """A batch of a table's encoded keys in order, those after the key `after`."""
    data = _get(txn, name)
    header = readable_header(data)
    if header is None:
        return []
    prefix = _prefix(header.id)
    with txn.cursor() as cursor:
        exists = cursor.set_range(prefix + after)
        keys = list(islice(cast(Iterator[bytes], cursor.iternext(values=False)), _BATCH_ROWS)) if exists else []
    return [key[len(prefix) :] for key in keys if key.startswith(prefix) and key != prefix + after]


def _getter(txn: lmdb.Transaction) -> _Get:
    # lmdb's type hints include memoryview, which is returned only with buffers=True.
    return cast(_Get, txn.get)


def _get(txn: lmdb.Transaction, key: bytes) -> bytes | None:
    return _getter(txn)(key)


def _get_header(get: _Get, name: str) -> bytes | None:
    return get(_header_key(name))


def _shape(txn: lmdb.Transaction, name: bytes) -> Shape:
    data = _get(txn, name)
    header = readable_header(data)
    return header.shape if header is not None else Shape()


def _generation(txn: lmdb.Transaction) -> int:
    return int.from_bytes(_get(txn, _GENERATION) or b"", "big")


def _touch(txn: lmdb.Transaction) -> int:
    """Increase the generation, and return the new one."""
    generation = next_generation(_generation(txn))
    txn.put(_GENERATION, generation.to_bytes(8, "big"))
    return generation


def _incomplete(txn: lmdb.Transaction, *, tables: Collection[str], entries: _Entries) -> dict[str, str]:
    """Describe what is wrong, by table. Counts rows only if the number of entries shows that any are missing."""
    headers, not_rows = {}, 0
    for key, value in _entries_of_store(txn):
        if key.startswith(_HEADER):
            headers[key] = decode_header(value)
        not_rows += 1
    rows = [header.rows for header in headers.values()]
    whole = None in rows or entries(txn) == not_rows + sum(filter(None, rows))
    asked = {table: headers[key] for table in tables if (key := _header_key(table)) in headers}
    problems = {table: _problem(txn, header, count=not whole) for table, header in asked.items()}
    return {table: problem for table, problem in problems.items() if problem is not None}


def _size(txn: lmdb.Transaction, *, tables: Collection[str], used: Callable[[], int]) -> StoreSize:
    headers = {table: header for table in tables if (header := readable_header(_get(txn, _header_key(table)))) is not None}
    return size_of(headers, used())


def _problem(txn: lmdb.Transaction, header: Header, *, count: bool) -> str | None:
    """What is wrong with a table: its format and, with `count`, its number of rows. None if nothing is."""
    if not header.readable:
        return OLD_FORMAT
    if not count or header.rows is None:
        return None
    missing = header.rows - _count_rows(txn, header.id)
    return f"{missing:,} of {header.rows:,} rows are missing" if missing > 0 else None


def _entries_of_store(txn: lmdb.Transaction) -> Iterator[tuple[bytes, bytes]]:
    """The entries that are not rows: generation, identity, counter and headers."""
    with txn.cursor() as cursor:
        if cursor.set_range(_NOT_ROWS):
            yield from cast(Iterator[tuple[bytes, bytes]], cursor.iternext())


def _count_rows(txn: lmdb.Transaction, number: int) -> int:
    prefix = _prefix(number)
    with txn.cursor() as cursor:
        exists = cursor.set_range(prefix)
        keys = cast(Iterator[bytes], cursor.iternext(values=False)) if exists else iter(())
        return sum(1 for _ in takewhile(lambda key: key.startswith(prefix), keys))


def _next_id(txn: lmdb.Transaction) -> int:
    number = int.from_bytes(_get(txn, _NEXT_ID) or b"", "big") + 1
    txn.put(_NEXT_ID, number.to_bytes(8, "big"))
    return number


def _prefix(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _header_key(table: str) -> bytes:
    name = table.encode()
    if len(name) > _NAME_BYTES:
        raise RequestError(f"the table name '{table}' is longer than {_NAME_BYTES} bytes")
    return _HEADER + name
