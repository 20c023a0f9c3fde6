"""The online store for many machines: Redis. Rows keep their previous version until the table's header makes a publish visible.

A publish takes the next number of a counter, its sequence, and writes rows that contain their new version, marked with the
sequence, and the previous version. Finally it writes the table's header with the sequence and the cursor, atomically. A reader
fetches headers and rows with one MGET, so at one instant, and uses the new version of a row if its sequence is not after that
of the header. Sequences of interrupted publishes are listed in the next header.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from struct import Struct
from typing import Any

import pyarrow as pa
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from featurestore.errors import CommitConflict, NotReady, RequestError
from featurestore.online.header import Header, decode_header, next_header, readable_header
from featurestore.online.publish_buffer import PublishBuffer
from featurestore.online.redis_client import Lease, Lost, RedisClient
from featurestore.online.rows import Shape, encode_rows, merge_shapes, removed_keys, replaces, shape_of
from featurestore.online.store import ANY, Cursor, EncodedKeys, EncodedRead, EncodedReads, From, Read, check_since
from featurestore.online.stored_table import StoredTable, StoredTables, read_rows

_STEP_ROWS = 2000
_SCAN_ROWS = 5000
_LEASE_SECONDS = 5.0
_WAIT_SECONDS = 60.0
_ATTEMPTS = 3
_HEAD = Struct(">QI")
# Runs on the server, since transferring the names would cost more than deleting the rows.
_UNLINK_SOME = """
local found = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
for _, name in ipairs(found[2]) do redis.call('UNLINK', name) end
return found[1]
"""


class RedisStore:
    """An OnlineStore in a Redis database. Writers of a table take turns; the lease of a killed one expires after some seconds."""

    def __init__(self, url: str, *, readonly: bool = False, allow_eviction: bool = False, lease_seconds: float = _LEASE_SECONDS) -> None:
        """Raises: RequestError for an invalid address; NotReady if the server does not respond, or evicts rows."""
        self._client = RedisClient(url)
        self._commands = self._client.commands
        self._unlink_some = self._commands.register_script(_UNLINK_SOME)
        self._readonly = readonly
        self._allow_eviction = allow_eviction
        self._lease_seconds = lease_seconds
        self._tables = StoredTables(self._rows_prefix)
        try:
            self.check()
        except NotReady:
            self.close()
            raise

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
        with self._client.errors():
            header = self._header(table)
            offered = shape_of(rows.schema, keys)
            shape = merge_shapes(offered, Shape() if header is None or replace else header.shape, table)
            with PublishBuffer() as buffer:
                buffer.fill(encode_rows(rows, shape) if offered.keys else ())
                gone = removed_keys(removed, shape)
                return self._as_only_writer(table, lambda lease: self._publish(lease, table, shape, buffer, cursor, since, replace, gone))

    def read(self, wanted: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> list[Read]:
        """See OnlineStore.read."""
        return read_rows(self, wanted)

    def read_encoded(self, wanted: EncodedKeys) -> EncodedReads:
        """See OnlineStore.read_encoded."""
        headers = [self._key(b"g"), *(self._key(b"t", name) for name, _ in wanted)]
        with self._client.errors():
            while True:
                known = [self._tables.get(name) for name, _ in wanted]
                names = headers.copy()
                for table, (_, keys) in zip(known, wanted, strict=True):
                    if table is not None:
                        names += [table.prefix + key for key in keys if key is not None]
                found = self._commands.mget(names)
                tables = [self._tables.update(name, data) for (name, _), data in zip(wanted, found[1:], strict=False)]
                # If a table is new or was replaced, its rows have other keys than those that were requested: read again.
                if [_number(table) for table in known] == [_number(table) for table in tables]:
                    rows = iter(found[len(headers) :])
                    reads = [_encoded_read(table, keys, rows) for table, (_, keys) in zip(tables, wanted, strict=True)]
                    return EncodedReads(int(found[0] or 0), reads)

    def decoding(self) -> AbstractContextManager[None]:
        """See OnlineStore.decoding."""
        return self._client.errors()

    def keys(self, table: str) -> Iterator[list[bytes]]:
        """See OnlineStore.keys."""
        with self._client.errors():
            header = self._header(table)
            if header is None:
                return
            prefix, position = self._rows_prefix(header.id), -1
            while position:
                position, names = self._commands.scan(max(position, 0), match=prefix + b"*", count=_SCAN_ROWS)
                rows = self._commands.mget(names) if names else []
                yield [name.removeprefix(prefix) for name, row in zip(names, rows, strict=True) if _visible(row, header) is not None]

    def cursor(self, table: str) -> Cursor | None:
        """See OnlineStore.cursor."""
        with self._client.errors():
            header = self._header(table)
        return header.cursor if header is not None else None

    def drop(self, table: str) -> None:
        """See OnlineStore.drop."""
        self._check_writable()
        with self._client.errors():
            self._as_only_writer(table, lambda lease: self._drop(lease, table))

    def generation(self) -> int:
        """See OnlineStore.generation."""
        with self._client.errors():
            return int(self._commands.get(self._key(b"g")) or 0)

    def check(self) -> None:
        """See OnlineStore.check."""
        if not self._allow_eviction and (policy := self._client.eviction()) is not None:
            raise NotReady(
                f"Redis at {self._client.address} evicts keys when its memory is full (maxmemory-policy is {policy}), and lookups would"
                " return NOT_FOUND for existing rows; set it to noeviction, or allow it with the setting online_allow_eviction",
                address=self._client.address,
                policy=policy,
                state="evicts keys",
            )
        self.generation()

    def touch(self) -> None:
        """See OnlineStore.touch."""
        self._check_writable()
        with self._client.errors():
            self._commands.incr(self._key(b"g"))

    def close(self) -> None:
        """See OnlineStore.close."""
        self._commands.close()

    def _check_writable(self) -> None:
        if self._readonly:
            raise RequestError(f"the online store at {self._client.address} was opened for reading only")

    def _key(self, sort: bytes, table: str | None = None) -> bytes:
        """Key names: g generation, n counter; per table: t header, l lease, p unfinished sequences, d obsolete row ids; r rows by id."""
        return self._client.base + sort + (b"" if table is None else b":" + table.encode())

    def _rows_prefix(self, number: int) -> bytes:
        return self._client.base + b"r:%d:" % number

    def _header(self, table: str) -> Header | None:
        data = self._commands.get(self._key(b"t", table))
        return readable_header(data)

    def _stored_id(self, table: str) -> int | None:
        """The id of a table's rows, whether they can be read or not; None if there is no table."""
        data = self._commands.get(self._key(b"t", table))
        return decode_header(data).id if data is not None else None

    def _as_only_writer(self, table: str, function: Callable[[Lease], tuple[int, set[bytes]]]) -> int:
        """Call the function as the only writer of the table and return its first result; then delete the obsolete rows of its second."""

        def attempt() -> tuple[int, set[bytes]]:
            with self._client.lease(self._key(b"l", table), self._lease_seconds, _WAIT_SECONDS) as lease:
                if lease is None:
                    message = f"another publish of '{table}' has been running for {_WAIT_SECONDS:.0f} s; retry when it has ended"
                    raise CommitConflict(message, table=table)
                return function(lease)

        # Waits between the attempts, without the lease.
        retry = Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.02), _ATTEMPTS - 1, supported_errors=(Lost,))
        try:
            written, numbers = retry.call_with_retry(attempt, lambda lost: None)
        except Lost as lost:
            message = f"gave up after other writers interrupted {_ATTEMPTS} publishes of '{table}'; nothing is visible."
            raise CommitConflict(f"{message} Retry when writers are idle.", table=table) from lost
        self._delete_obsolete(table, numbers)
        return written

    def _publish(
        self,
        lease: Lease,
        table: str,
        shape: Shape,
        buffer: PublishBuffer,
        cursor: Cursor,
        since: From,
        replace: bool,
        removed: Sequence[bytes],
    ) -> tuple[int, set[bytes]]:
        held, stored_id = self._header(table), self._stored_id(table)
        check_since(table, since, None if held is None else held.cursor)
        sequence = int(self._commands.incr(self._key(b"n")))
        unfinished = tuple(int(number) for number in self._commands.lrange(self._key(b"p", table), 0, -1))
        header = next_header(held, shape, cursor, replace=replace, new_id=lambda: sequence, sequence=sequence, unfinished=unfinished)
        with lease.step() as step:
            step.rpush(self._key(b"p", table), sequence)
            if held is None or held.id != header.id:
                step.sadd(self._key(b"d", table), header.id)
        self._remove(lease, removed, held, header)
        written = self._write(lease, buffer, held, header)
        with lease.step() as step:
            step.srem(self._key(b"d", table), header.id)
            if stored_id is not None and stored_id != header.id:
                step.sadd(self._key(b"d", table), stored_id)
            step.delete(self._key(b"p", table))
            step.set(self._key(b"t", table), header.encode())
            step.incr(self._key(b"g"))
        self._unlink_removed(lease, removed, header)
        return written, self._commands.smembers(self._key(b"d", table))

    def _remove(self, lease: Lease, removed: Sequence[bytes], held: Header | None, header: Header) -> None:
        """Write empty rows, which mean deleted, over the stored ones: readers see the previous version until the header is written."""
        if held is None or held.id != header.id:
            return
        for keys, there in self._stored_batches(removed, header):
            changed = {
                key: _HEAD.pack(header.sequence, 0) + before
                for key, old in zip(keys, there, strict=True)
                if (before := _visible(old, held)) is not None
            }
            if changed:
                with lease.step() as step:
                    step.mset(changed)

    def _unlink_removed(self, lease: Lease, removed: Sequence[bytes], header: Header) -> None:
        """Delete the keys of removed rows, once all readers see them as removed."""
        for keys, there in self._stored_batches(removed, header):
            left = [key for key, old in zip(keys, there, strict=True) if old is not None and _HEAD.unpack_from(old) == (header.sequence, 0)]
            if left:
                with lease.step() as step:
                    step.unlink(*left)

    def _stored_batches(self, encoded_keys: Sequence[bytes], header: Header) -> Iterator[tuple[list[bytes], list[bytes | None]]]:
        """Batches of keys, with their stored values."""
        prefix = self._rows_prefix(header.id)
        for start in range(0, len(encoded_keys), _STEP_ROWS):
            keys = [prefix + key for key in encoded_keys[start : start + _STEP_ROWS]]
            yield keys, self._commands.mget(keys)

    def _write(self, lease: Lease, buffer: PublishBuffer, held: Header | None, header: Header) -> int:
        """Write the rows that are not older than the stored ones. A new table has none, so that ascending keys need no lookup."""
        fresh = held is None or held.id != header.id or not held.shape.keys
        prefix, written, last = self._rows_prefix(header.id), 0, b""
        for key_array, row_array in buffer:
            for start in range(0, len(key_array), _STEP_ROWS):
                keys: list[bytes] = [prefix + key for key in key_array[start : start + _STEP_ROWS].to_pylist()]
                rows: list[bytes] = row_array[start : start + _STEP_ROWS].to_pylist()
                fresh = fresh and keys[0] > last
                last = keys[-1]
                there = [None] * len(keys) if fresh else self._commands.mget(keys)
                changed = {
                    key: data
                    for key, row, old in zip(keys, rows, there, strict=True)
                    if (data := _stored(row, old, held, header)) is not None
                }
                if changed:
                    with lease.step() as step:
                        step.mset(changed)
                written += len(changed)
        return written

    def _drop(self, lease: Lease, table: str) -> tuple[int, set[bytes]]:
        stored_id = self._stored_id(table)
        with lease.step() as step:
            if stored_id is not None:
                step.sadd(self._key(b"d", table), stored_id)
            step.delete(self._key(b"t", table), self._key(b"p", table))
            step.incr(self._key(b"g"))
        return 0, self._commands.smembers(self._key(b"d", table))

    def _delete_obsolete(self, table: str, numbers: set[bytes]) -> None:
        """Delete rows of ids that no header refers to any more. The table's next writer deletes what a crash leaves behind."""
        for number in numbers:
            pattern, position = self._rows_prefix(int(number)) + b"*", 0
            while position := int(self._unlink_some(args=[position, pattern, _SCAN_ROWS])):
                continue
            self._commands.srem(self._key(b"d", table), number)


def _encoded_read(table: StoredTable | None, keys: Sequence[bytes | None], found: Iterator[bytes | None]) -> EncodedRead:
    """The rows of one table; consumes as many of the found values as were requested for it."""
    if table is None:
        return EncodedRead(None, [None] * len(keys))
    return EncodedRead(table.state, [None if key is None else _visible(next(found), table.header) for key in keys])


def _number(table: StoredTable | None) -> int | None:
    return table.header.id if table is not None else None


def _visible(data: bytes | None, header: Header) -> bytes | None:
    """The version of a row that is visible with this header."""
    if data is None:
        return None
    sequence, length = _HEAD.unpack_from(data)
    if sequence <= header.sequence and sequence not in header.aborted:
        return data[12 : 12 + length] or None
    return data[12 + length :] or None


def _stored(row: bytes, old: bytes | None, held: Header | None, header: Header) -> bytes | None:
    """The value to write for a published row; None if the stored one is kept."""
    before = current = None
    if old is not None:
        sequence, length = _HEAD.unpack_from(old)
        if sequence == header.sequence:
            current, before = old[12 : 12 + length], old[12 + length :]
        elif held is not None and held.id == header.id:
            before = current = _visible(old, held)
    if not replaces(row, current):
        return None
    return _HEAD.pack(header.sequence, len(row)) + row + (before or b"")
