"""The online store for one machine: an LMDB file. A publish is one write transaction, and readers never wait."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import lmdb
import msgspec
import pyarrow as pa

from featurestore import private
from featurestore.errors import RequestError
from featurestore.online.environment import ENVIRONMENTS, Environments
from featurestore.online.header import decode_header, next_header, readable_header
from featurestore.online.publish_buffer import PublishBuffer
from featurestore.online.rows import Shape, encode_rows, merge_shapes, removed_keys, replaces, shape_of
from featurestore.online.store import ANY, Cursor, EncodedKeys, EncodedRead, EncodedReads, From, Read, check_since
from featurestore.online.stored_table import StoredTables, read_rows

# A row's key is its table's number and then the encoded key, so that a table is loaded in order and dropped as a range.
# (With the entity first, 100 keys of 3 tables read in 0.7 of the time, but the third table of 1M rows takes 10 times as
# long to load, and the file is 2.3 times as large.) Numbers stay under 0xff000000: what begins with 0xff is our own.
_GENERATION = b"\xffg"
_NEXT_ID = b"\xffn"
_HEADER = b"\xfft"
_NAME_BYTES = 480
_BATCH_ROWS = 100_000

_Get = Callable[[bytes], bytes | None]


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
        self._check_writable()
        name = _header_key(table)
        held = Shape() if replace else self._environment.read(lambda txn: _shape(txn, name), Shape())
        offered = shape_of(rows.schema, keys)
        shape = merge_shapes(offered, held, table)
        private.make_folder(self._environment.path)
        with PublishBuffer(self._environment.path) as buffer:
            buffer.fill(encode_rows(rows, shape) if offered.keys else ())
            gone = removed_keys(removed, shape)
            publish = partial(_publish, table, shape=shape, buffer=buffer, cursor=cursor, since=since, replace=replace, removed=gone)
            return self._environment.write(publish, need_bytes=3 * buffer.bytes + (16 << 20))

    def read(self, wanted: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> list[Read]:
        """See OnlineStore.read."""
        return read_rows(self, wanted)

    def read_encoded(self, wanted: EncodedKeys) -> EncodedReads:
        """See OnlineStore.read_encoded."""
        self._environment.follow()
        reads = self._environment.read(lambda txn: EncodedReads(_generation(txn), [self._read(txn, *request) for request in wanted]), None)
        return EncodedReads(0, [EncodedRead(None, [None] * len(keys)) for _, keys in wanted]) if reads is None else reads

    def decoding(self) -> AbstractContextManager[None]:
        """See OnlineStore.decoding."""
        return self._environment.errors()

    def keys(self, table: str) -> Iterator[list[bytes]]:
        """See OnlineStore.keys."""
        name, after = _header_key(table), b""
        while found := self._environment.read(partial(_key_batch, name=name, after=after), list[bytes]()):
            yield found
            after = found[-1]

    def cursor(self, table: str) -> Cursor | None:
        """See OnlineStore.cursor."""
        self._environment.follow()
        name = _header_key(table)
        data = self._environment.read(lambda txn: _get(txn, name), None)
        header = readable_header(data)
        return header.cursor if header is not None else None

    def drop(self, table: str) -> None:
        """See OnlineStore.drop."""
        self._check_writable()
        self._environment.write(partial(_drop, name=_header_key(table)))

    def generation(self) -> int:
        """See OnlineStore.generation."""
        self._environment.follow()
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

    def _check_writable(self) -> None:
        if self._readonly:
            raise RequestError(f"the online store at {self._environment.path} was opened for reading only")

    def _read(self, txn: lmdb.Transaction, name: str, keys: Sequence[bytes | None]) -> EncodedRead:
        get = _getter(txn)
        table = self._tables.update(name, get(_header_key(name)))
        if table is None:
            return EncodedRead(None, [None] * len(keys))
        prefix = table.prefix
        return EncodedRead(table.state, [None if key is None else get(prefix + key) for key in keys])


def _publish(
    table: str,
    txn: lmdb.Transaction,
    *,
    shape: Shape,
    buffer: PublishBuffer,
    cursor: Cursor,
    since: From,
    replace: bool,
    removed: Sequence[bytes],
) -> int:
    name = _header_key(table)
    data = _get(txn, name)
    held = readable_header(data)
    check_since(table, since, None if held is None else held.cursor)
    header = next_header(held, shape, cursor, replace=replace, new_id=lambda: _next_id(txn))
    if data is not None and (replace or held is None):
        _delete_rows(txn, decode_header(data).id)
    for key in removed:
        txn.delete(_prefix(header.id) + key)
    newest = b"" if held is None or replace or not held.shape.keys else held.newest
    written = _write(txn, buffer, _prefix(header.id), fresh=newest is not None and buffer.oldest > newest)
    known = None if newest is None else max(newest, buffer.newest)
    txn.put(name, msgspec.structs.replace(header, newest=known).encode())
    _touch(txn)
    return written


def _write(txn: lmdb.Transaction, buffer: PublishBuffer, prefix: bytes, fresh: bool) -> int:
    """Write the rows that are not older than the stored ones. `fresh`: all are replaces, so that ascending keys need no lookup."""
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
            held = cast(dict[bytes, bytes], dict(cursor.getmulti(keys)))
            items = [(key, row) for key, row in items if replaces(row, held.get(key))]
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
            found = cursor.set_range(prefix)
            keys = list(islice(cast(Iterator[bytes], cursor.iternext(values=False)), _BATCH_ROWS)) if found else []
        for key in keys:
            if not key.startswith(prefix):
                return
            txn.delete(key)
        if len(keys) < _BATCH_ROWS:
            return


def _key_batch(txn: lmdb.Transaction, *, name: bytes, after: bytes) -> list[bytes]:
    """A batch of a table's encoded keys in order, starting after `after`."""
    data = _get(txn, name)
    header = readable_header(data)
    if header is None:
        return []
    prefix = _prefix(header.id)
    with txn.cursor() as cursor:
        found = cursor.set_range(prefix + after)
        keys = list(islice(cast(Iterator[bytes], cursor.iternext(values=False)), _BATCH_ROWS)) if found else []
    return [key[len(prefix) :] for key in keys if key.startswith(prefix) and key != prefix + after]


def _getter(txn: lmdb.Transaction) -> _Get:
    # lmdb's type hints include memoryview, which is returned only with buffers=True.
    return cast(_Get, txn.get)


def _get(txn: lmdb.Transaction, key: bytes) -> bytes | None:
    return _getter(txn)(key)


def _shape(txn: lmdb.Transaction, name: bytes) -> Shape:
    data = _get(txn, name)
    header = readable_header(data)
    return header.shape if header is not None else Shape()


def _generation(txn: lmdb.Transaction) -> int:
    return int.from_bytes(_get(txn, _GENERATION) or b"", "big")


def _touch(txn: lmdb.Transaction) -> None:
    txn.put(_GENERATION, (_generation(txn) + 1).to_bytes(8, "big"))


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
