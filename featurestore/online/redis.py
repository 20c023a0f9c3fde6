"""The online store for many machines: Redis. Rows keep their previous version until the table's header makes a publish visible.

A publish takes the next number of a counter, its sequence, and writes rows that contain their new version, marked with the
sequence, and the previous version. Finally it writes the header of each table with the sequence and the cursor, all at once. A reader
fetches headers and rows with one MGET, so at one instant, and uses the new version of a row if its sequence is not after that
of the header. Sequences of interrupted publishes are listed in the next header.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from struct import Struct
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
import pyarrow as pa
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from featurestore.errors import CommitConflict, NotReady, RequestError
from featurestore.online.edition import BufferedEdition, TableChange
from featurestore.online.header import Header, decode_header, next_header, readable_header
from featurestore.online.key_sample import KeySample
from featurestore.online.redis_client import Lease, Lost, RedisClient
from featurestore.online.rows import Shape, replaces
from featurestore.online.store import ANY, Cursor, EncodedKeys, EncodedRead, EncodedReads, From, Read, check_since, first_generation
from featurestore.online.stored_table import StoredTable, StoredTables, read_rows

T = TypeVar("T")
_STEP_ROWS = 2000
_SCAN_ROWS = 5000
_LEASE_SECONDS = 5.0
_WAIT_SECONDS = 60.0
_FILL_SECONDS = 10.0
_ATTEMPTS = 3
_HEAD = Struct(">QI")
# Runs on the server, since transferring the names would cost more than deleting the rows.
_UNLINK_SOME = """
local found = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
for _, name in ipairs(found[2]) do redis.call('UNLINK', name) end
return found[1]
"""


@dataclass
class _Pending:
    """The publish of one table, not yet visible: its change, the headers before and after, and the table's rows so far.

    `stored_id` is the id of the rows before, whether they can be read or not.
    """

    change: TableChange
    held: Header | None
    stored_id: int | None
    header: Header
    rows: int | None
    sample: KeySample
    written: int = 0

    def count(self, added: int) -> None:
        """Add to the number of rows, if it is known."""
        if self.rows is not None:
            self.rows += added


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
        with self.edition() as edition:
            edition.add(table, rows, keys=keys, cursor=cursor, since=since, replace=replace, removed=removed)
            return edition.commit()[table]

    def edition(self) -> BufferedEdition:
        """See OnlineStore.edition."""
        self._check_writable()
        return BufferedEdition(self._stored_shape, self._commit)

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
            self._as_only_writer([table], lambda lease: self._drop(lease, table))

    def identity(self) -> str | None:
        """See OnlineStore.identity."""
        with self._client.errors():
            data = self._commands.get(self._key(b"i"))
        return None if data is None else data.decode()

    def incomplete(self, tables: Collection[str]) -> dict[str, str]:
        """See OnlineStore.incomplete."""
        with self._client.errors():
            found = {}
            for table in tables:
                if (missing := self._missing(table)) is not None:
                    found[table] = missing
            return found

    def claim_filling(self) -> AbstractContextManager[Callable[[bytes], None] | None]:
        """See OnlineStore.claim_filling."""
        self._check_writable()
        return self._client.claim(self._key(b"f"), _FILL_SECONDS)

    def filling(self) -> bytes | None:
        """See OnlineStore.filling."""
        with self._client.errors():
            shown, data = self._commands.mget(self._key(b"f"), self._key(b"f", "progress"))
        return None if shown is None else data or b""

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
        with self._client.errors(), self._commands.pipeline(transaction=True) as pipeline:
            pipeline.set(self._key(b"g"), first_generation(), nx=True)
            pipeline.incr(self._key(b"g"))
            pipeline.execute()

    def close(self) -> None:
        """See OnlineStore.close."""
        self._commands.close()

    def _check_writable(self) -> None:
        if self._readonly:
            raise RequestError(f"the online store at {self._client.address} was opened for reading only")

    def _key(self, sort: bytes, table: str | None = None) -> bytes:
        """Key names: g generation, i identity, n counter, f right to fill; per table: t header, l lease, p unfinished sequences, d obsolete
        row ids, s sample of its rows' keys; r rows by id.
        """
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

    def _stored_shape(self, table: str) -> Shape:
        with self._client.errors():
            header = self._header(table)
        return Shape() if header is None else header.shape

    def _commit(self, changes: Sequence[TableChange]) -> dict[str, int]:
        with self._client.errors():
            return self._as_only_writer([change.table for change in changes], lambda lease: self._publish(lease, changes))

    def _as_only_writer(self, tables: Sequence[str], function: Callable[[Lease], T]) -> T:
        """Call the function as the only writer of the tables and return its result; then delete rows that became obsolete."""
        names = "', '".join(tables)

        def attempt() -> T:
            with self._client.lease([self._key(b"l", table) for table in tables], self._lease_seconds, _WAIT_SECONDS) as lease:
                if lease is None:
                    message = f"another publish of '{names}' has been running for {_WAIT_SECONDS:.0f} s; retry when it has ended"
                    raise CommitConflict(message, table=tables[0])
                return function(lease)

        # Waits between the attempts, without the lease.
        retry = Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.02), _ATTEMPTS - 1, supported_errors=(Lost,))
        try:
            result: T = retry.call_with_retry(attempt, lambda lost: None)
        except Lost as lost:
            message = f"gave up after other writers interrupted {_ATTEMPTS} publishes of '{names}'; nothing is visible."
            raise CommitConflict(f"{message} Retry when writers are idle.", table=tables[0]) from lost
        for table in tables:
            self._delete_obsolete(table, self._commands.smembers(self._key(b"d", table)))
        return result

    def _publish(self, lease: Lease, changes: Sequence[TableChange]) -> dict[str, int]:
        pending = [self._begin(lease, change) for change in changes]
        for one in pending:
            self._remove(lease, one)
            self._write(lease, one)
        self._make_visible(lease, pending)
        for one in pending:
            self._unlink_removed(lease, one)
        return {one.change.table: one.written for one in pending}

    def _begin(self, lease: Lease, change: TableChange) -> _Pending:
        """Register a publish, so that the rows of one that is interrupted are known."""
        table = change.table
        held, stored_id = self._header(table), self._stored_id(table)
        check_since(table, change.since, None if held is None else held.cursor)
        sequence = int(self._commands.incr(self._key(b"n")))
        unfinished = tuple(int(number) for number in self._commands.lrange(self._key(b"p", table), 0, -1))
        header = next_header(
            held, change.shape, change.cursor, replace=change.replace, new_id=lambda: sequence, sequence=sequence, unfinished=unfinished
        )
        with lease.step() as step:
            step.rpush(self._key(b"p", table), sequence)
            if held is None or held.id != header.id:
                step.sadd(self._key(b"d", table), header.id)
        kept = held is not None and held.id == header.id
        rows = held.rows if kept and held is not None and held.shape.keys else 0
        sample = KeySample.decode(self._commands.get(self._key(b"s", table)) if kept else None)
        return _Pending(change, held, stored_id, header, rows, sample)

    def _make_visible(self, lease: Lease, pending: Sequence[_Pending]) -> None:
        """Write the headers of all tables in one step, with the next generation as their edition. Raises: Lost."""
        generation = self._key(b"g")
        while True:
            before = self._commands.get(generation)
            edition = int(before or first_generation()) + 1
            try:
                with lease.step({generation: before}) as step:
                    step.set(self._key(b"i"), uuid4().hex, nx=True)
                    step.set(generation, edition)
                    for one in pending:
                        self._write_header(step, one, edition)
                return
            except Lost:
                # Another table may have been published meanwhile; then the generation has another value.
                if not lease.is_held():
                    raise

    def _write_header(self, step: Any, one: _Pending, edition: int) -> None:
        table = one.change.table
        step.srem(self._key(b"d", table), one.header.id)
        if one.stored_id is not None and one.stored_id != one.header.id:
            step.sadd(self._key(b"d", table), one.stored_id)
        step.delete(self._key(b"p", table))
        step.set(self._key(b"s", table), one.sample.encode())
        step.set(self._key(b"t", table), msgspec.structs.replace(one.header, rows=one.rows, edition=edition).encode())

    def _remove(self, lease: Lease, one: _Pending) -> None:
        """Write empty rows, which mean deleted, over the stored ones: readers see the previous version until the header is written."""
        held, header = one.held, one.header
        if held is None or held.id != header.id:
            return
        for keys, there in self._stored_batches(one.change.removed, header):
            changed = {
                key: _HEAD.pack(header.sequence, 0) + before
                for key, old in zip(keys, there, strict=True)
                if (before := _visible(old, held)) is not None
            }
            if changed:
                with lease.step() as step:
                    step.mset(changed)
                one.count(-len(changed))
        one.sample.remove(one.change.removed)

    def _unlink_removed(self, lease: Lease, one: _Pending) -> None:
        """Delete the keys of removed rows, once all readers see them as removed."""
        for keys, there in self._stored_batches(one.change.removed, one.header):
            empty = (one.header.sequence, 0)
            left = [key for key, old in zip(keys, there, strict=True) if old is not None and _HEAD.unpack_from(old) == empty]
            if left:
                with lease.step() as step:
                    step.unlink(*left)

    def _stored_batches(self, encoded_keys: Sequence[bytes], header: Header) -> Iterator[tuple[list[bytes], list[bytes | None]]]:
        """Batches of keys, with their stored values."""
        prefix = self._rows_prefix(header.id)
        for start in range(0, len(encoded_keys), _STEP_ROWS):
            keys = [prefix + key for key in encoded_keys[start : start + _STEP_ROWS]]
            yield keys, self._commands.mget(keys)

    def _write(self, lease: Lease, one: _Pending) -> None:
        """Write the rows that are not older than the stored ones. A new table has none, so that ascending keys need no lookup."""
        held, header = one.held, one.header
        fresh = held is None or held.id != header.id or not held.shape.keys
        prefix, last = self._rows_prefix(header.id), b""
        for key_array, row_array in one.change.buffer:
            for start in range(0, len(key_array), _STEP_ROWS):
                keys: list[bytes] = [prefix + key for key in key_array[start : start + _STEP_ROWS].to_pylist()]
                rows: list[bytes] = row_array[start : start + _STEP_ROWS].to_pylist()
                fresh = fresh and keys[0] > last
                last = keys[-1]
                there: list[bytes | None] = [None] * len(keys) if fresh else self._commands.mget(keys)
                changed, added = _changes(keys, rows, there, held, header)
                if changed:
                    with lease.step() as step:
                        step.mset(changed)
                one.written += len(changed)
                one.count(len(added))
                one.sample.add([key[len(prefix) :] for key in added], one.rows)

    def _drop(self, lease: Lease, table: str) -> None:
        stored_id = self._stored_id(table)
        with lease.step() as step:
            if stored_id is not None:
                step.sadd(self._key(b"d", table), stored_id)
            step.delete(self._key(b"t", table), self._key(b"p", table), self._key(b"s", table))
            step.set(self._key(b"g"), first_generation(), nx=True)
            step.incr(self._key(b"g"))

    def _missing(self, table: str) -> str | None:
        """Look for the sampled rows of a table: what is missing; None if nothing is."""
        prefix_of = self._rows_prefix
        while True:
            data, sampled = self._commands.mget(self._key(b"t", table), self._key(b"s", table))
            if data is None or sampled is None:
                return None
            header, keys = decode_header(data), KeySample.decode(sampled).keys
            count = self._commands.exists(*(prefix_of(header.id) + key for key in keys)) if keys else 0
            # During a publish, rows are deleted that a sample read before it names.
            if count == len(keys):
                return None
            if self._commands.get(self._key(b"t", table)) == data:
                return f"{len(keys) - count:,} of {len(keys):,} sampled rows are missing"

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


def _changes(
    keys: Sequence[bytes], rows: Sequence[bytes], stored: Sequence[bytes | None], held: Header | None, header: Header
) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The values to write by key, and the keys of rows that the table did not have before."""
    changed, added = dict[bytes, bytes](), list[bytes]()
    for key, row, old in zip(keys, rows, stored, strict=True):
        data = _stored(row, old, held, header)
        if data is not None:
            changed[key] = data
            if old is None or _latest(old, held, header) is None:
                added.append(key)
    return changed, added


def _latest(old: bytes | None, held: Header | None, header: Header) -> bytes | None:
    """The version of a stored row that this publish has written, or else the one that is visible; None if there is no such row."""
    if old is None:
        return None
    sequence, length = _HEAD.unpack_from(old)
    if sequence == header.sequence:
        return old[12 : 12 + length] or None
    return _visible(old, held) if held is not None and held.id == header.id else None


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
