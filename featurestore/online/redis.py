"""The online store of many machines: Redis, where rows keep their previous version until one key says that a publish counts.

A publish takes the next number of a counter, its sequence, and writes rows that hold their new version, marked with the
sequence, and the version that counted before. Last, it writes the table's header with the sequence, in one step with
the cursor. A reader fetches headers and rows by one MGET, so at one instant, and takes a row's new version if its
sequence is not after the header's. Sequences of publishes that were broken off are listed in the next header.
"""

from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import Any, NamedTuple

import pyarrow as pa

from featurestore.errors import CommitConflict, NotReady, RequestError
from featurestore.online.header import Header, decode_header, following
from featurestore.online.keys import encode_key
from featurestore.online.publish_buffer import Spool
from featurestore.online.redis_client import Lease, Lost, RedisClient
from featurestore.online.rows import Shape, check_width, encoded, newer, removed_keys, rows_reader, settled, shape_of
from featurestore.online.store import ANY, Cursor, From, Read, Row, check_since

_STEP_ROWS = 2000
_SCAN_ROWS = 5000
_LEASE_SECONDS = 5.0
_WAIT_SECONDS = 60.0
_ATTEMPTS = 3
_HEAD = Struct(">QI")
# On the server, because the names would cost more to send here and back than the rows to delete.
_UNLINK_SOME = """
local found = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
for _, name in ipairs(found[2]) do redis.call('UNLINK', name) end
return found[1]
"""


class _Known(NamedTuple):
    """A header as decoded once, with what reading its rows needs."""

    data: bytes
    header: Header
    prefix: bytes
    reader: Callable[[Sequence[bytes | None]], list[Row | None]]


class RedisStore:
    """An OnlineStore in a Redis database. Writers of one table take turns; one that was killed is waited for some seconds."""

    def __init__(self, url: str, *, readonly: bool = False, allow_eviction: bool = False, lease_seconds: float = _LEASE_SECONDS) -> None:
        """Raises: RequestError for a wrong address, NotReady when the server does not answer, or evicts rows."""
        self._client = RedisClient(url)
        self._commands = self._client.commands
        self._unlink_some = self._commands.register_script(_UNLINK_SOME)
        self._readonly = readonly
        self._allow_eviction = allow_eviction
        self._lease_seconds = lease_seconds
        self._known: dict[str, _Known] = {}
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
            shape = settled(offered, Shape() if header is None or replace else header.shape, table)
            with Spool() as spool:
                spool.fill(encoded(rows, shape) if offered.keys else ())
                gone = removed_keys(removed, shape)
                return self._exclusively(table, lambda lease: self._publish(lease, table, shape, spool, cursor, since, replace, gone))

    def read(self, wanted: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> list[Read]:
        """See OnlineStore.read."""
        encoded_keys = list(_encoded_keys(wanted))
        with self._client.errors():
            while True:
                names = [self._key(b"t", table) for table, _ in wanted]
                known = [self._known.get(table) for table, _ in wanted]
                for one, keys in zip(known, encoded_keys, strict=True):
                    if one is not None:
                        names += [one.prefix + key for key in keys if key is not None]
                found = self._commands.mget(names) if names else []
                found_rows = iter(found[len(wanted) :])
                now = self._learn(wanted, found)
                # A table seen for the first time, or replaced since: its rows are under other keys than those asked for.
                if [_number(one) for one in known] == [_number(one) for one in now]:
                    return [
                        _read(table, keys, encoded_of_table, one, found_rows)
                        for (table, keys), encoded_of_table, one in zip(wanted, encoded_keys, now, strict=True)
                    ]

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
                yield [name.removeprefix(prefix) for name, row in zip(names, rows, strict=True) if _counting(row, header) is not None]

    def cursor(self, table: str) -> Cursor | None:
        """See OnlineStore.cursor."""
        with self._client.errors():
            header = self._header(table)
        return header.cursor if header is not None else None

    def drop(self, table: str) -> None:
        """See OnlineStore.drop."""
        self._check_writable()
        with self._client.errors():
            self._exclusively(table, lambda lease: self._drop(lease, table))

    def generation(self) -> int:
        """See OnlineStore.generation."""
        with self._client.errors():
            return int(self._commands.get(self._key(b"g")) or 0)

    def check(self) -> None:
        """See OnlineStore.check."""
        if not self._allow_eviction and (policy := self._client.eviction()) is not None:
            raise NotReady(
                f"Redis at {self._client.address} evicts keys when its memory is full (maxmemory-policy is {policy}), and lookups would be"
                " told NOT_FOUND for what exists; set it to noeviction there, or allow it with the setting online_allow_eviction",
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
        """g generation, n counter; of a table: t header, l lease, p unfinished sequences, d numbers to sweep; r rows by number."""
        return self._client.base + sort + (b"" if table is None else b":" + table.encode())

    def _rows_prefix(self, number: int) -> bytes:
        return self._client.base + b"r:%d:" % number

    def _header(self, table: str) -> Header | None:
        data = self._commands.get(self._key(b"t", table))
        return decode_header(data) if data is not None else None

    def _learn(self, wanted: Sequence[tuple[str, Any]], found: Sequence[bytes | None]) -> list[_Known | None]:
        """The tables as their headers, the first things found, say that they are."""
        result: list[_Known | None] = []
        for (table, _), data in zip(wanted, found, strict=False):
            known = self._known.get(table)
            if data is not None and (known is None or known.data != data):
                header = decode_header(data)
                known = self._known[table] = _Known(data, header, self._rows_prefix(header.id), rows_reader(header.shape.kinds))
            result.append(known if data is not None else None)
            if data is None:
                self._known.pop(table, None)
        return result

    def _exclusively(self, table: str, function: Callable[[Lease], tuple[int, set[bytes]]]) -> int:
        """What the function returns first, done by the only writer of the table; second, numbers of rows to sweep after."""
        for _ in range(_ATTEMPTS):
            with self._client.lease(self._key(b"l", table), self._lease_seconds, _WAIT_SECONDS) as lease:
                if lease is None:
                    raise CommitConflict(f"another publish of '{table}' has gone on for {_WAIT_SECONDS:.0f} s; try again", table=table)
                try:
                    written, numbers = function(lease)
                except Lost:
                    continue
            self._sweep(table, numbers)
            return written
        raise CommitConflict(f"the publish of '{table}' was interrupted {_ATTEMPTS} times; nothing is visible, try again", table=table)

    def _publish(
        self,
        lease: Lease,
        table: str,
        shape: Shape,
        spool: Spool,
        cursor: Cursor,
        since: From,
        replace: bool,
        removed: Sequence[bytes],
    ) -> tuple[int, set[bytes]]:
        held = self._header(table)
        check_since(table, since, None if held is None else held.cursor)
        sequence = int(self._commands.incr(self._key(b"n")))
        unfinished = tuple(int(number) for number in self._commands.lrange(self._key(b"p", table), 0, -1))
        header = following(held, shape, cursor, replace=replace, new_id=lambda: sequence, sequence=sequence, unfinished=unfinished)
        with lease.step() as step:
            step.rpush(self._key(b"p", table), sequence)
            if held is None or held.id != header.id:
                step.sadd(self._key(b"d", table), header.id)
        self._remove(lease, removed, held, header)
        written = self._write(lease, spool, held, header)
        with lease.step() as step:
            step.srem(self._key(b"d", table), header.id)
            if held is not None and held.id != header.id:
                step.sadd(self._key(b"d", table), held.id)
            step.delete(self._key(b"p", table))
            step.set(self._key(b"t", table), header.encoded())
            step.incr(self._key(b"g"))
        self._unlink_removed(lease, removed, header)
        return written, self._commands.smembers(self._key(b"d", table))

    def _remove(self, lease: Lease, removed: Sequence[bytes], held: Header | None, header: Header) -> None:
        """Write rows of no bytes, which are none, in the place of those held: readers see the rows before until the header says so."""
        if held is None or held.id != header.id:
            return
        for keys, there in self._held(removed, header):
            changed = {
                key: _HEAD.pack(header.sequence, 0) + before
                for key, old in zip(keys, there, strict=True)
                if (before := _counting(old, held)) is not None
            }
            if changed:
                with lease.step() as step:
                    step.mset(changed)

    def _unlink_removed(self, lease: Lease, removed: Sequence[bytes], header: Header) -> None:
        """Delete what is left of rows that went: all readers see that they are gone by now."""
        for keys, there in self._held(removed, header):
            left = [key for key, old in zip(keys, there, strict=True) if old is not None and _HEAD.unpack_from(old) == (header.sequence, 0)]
            if left:
                with lease.step() as step:
                    step.unlink(*left)

    def _held(self, encoded_keys: Sequence[bytes], header: Header) -> Iterator[tuple[list[bytes], list[bytes | None]]]:
        """Some keys after others, with what is stored under them."""
        prefix = self._rows_prefix(header.id)
        for start in range(0, len(encoded_keys), _STEP_ROWS):
            keys = [prefix + key for key in encoded_keys[start : start + _STEP_ROWS]]
            yield keys, self._commands.mget(keys)

    def _write(self, lease: Lease, spool: Spool, held: Header | None, header: Header) -> int:
        """Write the rows that are not older than those held. Of a fresh table none are held: its first keys need no look."""
        fresh = held is None or held.id != header.id or not held.shape.keys
        prefix, written, last = self._rows_prefix(header.id), 0, b""
        for key_array, row_array in spool:
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
        held = self._header(table)
        with lease.step() as step:
            if held is not None:
                step.sadd(self._key(b"d", table), held.id)
            step.delete(self._key(b"t", table), self._key(b"p", table))
            step.incr(self._key(b"g"))
        return 0, self._commands.smembers(self._key(b"d", table))

    def _sweep(self, table: str, numbers: set[bytes]) -> None:
        """Delete rows that no header names any more; what a crash leaves is swept by the table's next writer."""
        for number in numbers:
            pattern, position = self._rows_prefix(int(number)) + b"*", 0
            while position := int(self._unlink_some(args=[position, pattern, _SCAN_ROWS])):
                continue
            self._commands.srem(self._key(b"d", table), number)


def _encoded_keys(wanted: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> Iterator[list[bytes | None]]:
    """The encoded keys of each table; keys that are the same object as the table's before are encoded once."""
    last: Sequence[tuple[Any, ...]] | None = None
    result: list[bytes | None] = []
    for _, keys in wanted:
        if keys is not last:
            last, result = keys, [encode_key(key) for key in keys]
        yield result


def _read(
    table: str, keys: Sequence[tuple[Any, ...]], encoded_keys: list[bytes | None], known: _Known | None, found: Iterator[bytes | None]
) -> Read:
    """One table's part of a read; takes as many of the found rows as it asked for."""
    if known is None:
        return Read((), None, [None] * len(keys))
    header = known.header
    check_width(keys, header.shape, table)
    rows = [None if key is None else _counting(next(found), header) for key in encoded_keys]
    return Read(header.shape.columns, header.cursor, known.reader(rows))


def _number(known: _Known | None) -> int | None:
    return known.header.id if known is not None else None


def _counting(data: bytes | None, header: Header) -> bytes | None:
    """The version of a row that counts for readers of this header."""
    if data is None:
        return None
    sequence, length = _HEAD.unpack_from(data)
    if sequence <= header.sequence and sequence not in header.aborted:
        return data[12 : 12 + length] or None
    return data[12 + length :] or None


def _stored(row: bytes, old: bytes | None, held: Header | None, header: Header) -> bytes | None:
    """What to write for a row that comes in; None when what is there stays."""
    before = current = None
    if old is not None:
        sequence, length = _HEAD.unpack_from(old)
        if sequence == header.sequence:
            current, before = old[12 : 12 + length], old[12 + length :]
        elif held is not None and held.id == header.id:
            before = current = _counting(old, held)
    if not newer(row, current):
        return None
    return _HEAD.pack(header.sequence, len(row)) + row + (before or b"")
