"""The online store for many machines: Redis. A row keeps its previous version until the table's header makes a publish visible.

A publish takes the next number of a counter as its sequence. It writes rows with their new version, marked with the sequence, and their
previous version. Finally, it writes the headers of all tables, with the sequence and the cursor, in one step. A reader fetches headers
and rows with one MGET, so from one state, and uses the new version of a row if its sequence is not greater than that of the header.
Sequences of interrupted publishes are listed in the next header.
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
    """The publish of one table before it is visible: the change, the headers before and after, and the number of rows so far.

    `stored_id` is the id of the rows before the publish, whether they can be read or not.
    """

    change: TableChange
    stored: Header | None
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
    """An OnlineStore in a Redis database. Writers of a table take turns; the lease of a killed writer expires after a few seconds."""

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

    def read(self, requests: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> list[Read]:
        """See OnlineStore.read."""
        return read_rows(self, requests)

    def read_encoded(self, requests: EncodedKeys) -> EncodedReads:
        """See OnlineStore.read_encoded."""
        headers = [self._key(b"g"), *(self._key(b"t", name) for name, _ in requests)]
        with self._client.errors():
            while True:
                known = [self._tables.get(name) for name, _ in requests]
                names = headers.copy()
                for table, (_, keys) in zip(known, requests, strict=True):
                    if table is not None:
                        names += [table.prefix + key for key in keys if key is not None]
                values = self._commands.mget(names)
                tables = [self._tables.update(name, data) for (name, _), data in zip(requests, values[1:], strict=False)]
                # If a table is new or was replaced, its rows have other key names than those that were fetched: read again.
                if [_number(table) for table in known] == [_number(table) for table in tables]:
                    rows = iter(values[len(headers) :])
                    reads = [_encoded_read(table, keys, rows) for table, (_, keys) in zip(tables, requests, strict=True)]
                    return EncodedReads(int(values[0] or 0), reads)

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
            incomplete = {}
            for table in tables:
                if (missing := self._missing(table)) is not None:
                    incomplete[table] = missing
            return incomplete

    def claim_filling(self) -> AbstractContextManager[Callable[[bytes], None] | None]:
        """See OnlineStore.claim_filling."""
        self._check_writable()
        return self._client.claim(self._key(b"f"), _FILL_SECONDS)

    def filling(self) -> bytes | None:
        """See OnlineStore.filling."""
        with self._client.errors():
            claim, progress = self._commands.mget(self._key(b"f"), self._key(b"f", "progress"))
        return None if claim is None else progress or b""

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

    def _key(self, letter: bytes, table: str | None = None) -> bytes:
        """A key name. Of the store: g generation, i identity, n counter, f right to fill. Of a table: t header, l lease, p sequences of
        interrupted publishes, d obsolete row ids, s sample of its rows' keys. `_rows_prefix` names rows.
        """
        return self._client.base + letter + (b"" if table is None else b":" + table.encode())

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
        """Call the function as the only writer of the tables, and return its result; then delete the rows that it made obsolete."""
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
        for publish in pending:
            self._remove(lease, publish)
            self._write(lease, publish)
        self._make_visible(lease, pending)
        for publish in pending:
            self._unlink_removed(lease, publish)
        return {publish.change.table: publish.written for publish in pending}

    def _begin(self, lease: Lease, change: TableChange) -> _Pending:
        """Register a publish, so that its rows are known if it is interrupted."""
        table = change.table
        stored, stored_id = self._header(table), self._stored_id(table)
        check_since(table, change.since, None if stored is None else stored.cursor)
        sequence = int(self._commands.incr(self._key(b"n")))
        interrupted = tuple(int(number) for number in self._commands.lrange(self._key(b"p", table), 0, -1))
        header = next_header(
            stored, change.shape, change.cursor, replace=change.replace, new_id=lambda: sequence, sequence=sequence, interrupted=interrupted
        )
        with lease.step() as step:
            step.rpush(self._key(b"p", table), sequence)
            if stored is None or stored.id != header.id:
                step.sadd(self._key(b"d", table), header.id)
        kept = stored is not None and stored.id == header.id
        rows = stored.rows if kept and stored is not None and stored.shape.keys else 0
        sample = KeySample.decode(self._commands.get(self._key(b"s", table)) if kept else None)
        return _Pending(change, stored, stored_id, header, rows, sample)

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
                    for publish in pending:
                        self._write_header(step, publish, edition)
                return
            except Lost:
                # If another table was published meanwhile, only the generation has changed: try again.
                if not lease.is_held():
                    raise

    def _write_header(self, step: Any, publish: _Pending, edition: int) -> None:
        table = publish.change.table
        step.srem(self._key(b"d", table), publish.header.id)
        if publish.stored_id is not None and publish.stored_id != publish.header.id:
            step.sadd(self._key(b"d", table), publish.stored_id)
        step.delete(self._key(b"p", table))
        step.set(self._key(b"s", table), publish.sample.encode())
        step.set(self._key(b"t", table), msgspec.structs.replace(publish.header, rows=publish.rows, edition=edition).encode())

    def _remove(self, lease: Lease, publish: _Pending) -> None:
        """Replace the stored rows with empty ones, which mean deleted; readers see the previous version until the header is written."""
        stored, header = publish.stored, publish.header
        if stored is None or stored.id != header.id:
            return
        for keys, values in self._stored_batches(publish.change.removed, header):
            changed = {
                key: _HEAD.pack(header.sequence, 0) + before
                for key, value in zip(keys, values, strict=True)
                if (before := _visible(value, stored)) is not None
            }
            if changed:
                with lease.step() as step:
                    step.mset(changed)
                publish.count(-len(changed))
        publish.sample.remove(publish.change.removed)

    def _unlink_removed(self, lease: Lease, publish: _Pending) -> None:
        """Delete the keys of removed rows, once all readers see them as removed."""
        for keys, values in self._stored_batches(publish.change.removed, publish.header):
            empty = (publish.header.sequence, 0)
            removed = [key for key, value in zip(keys, values, strict=True) if value is not None and _HEAD.unpack_from(value) == empty]
            if removed:
                with lease.step() as step:
                    step.unlink(*removed)

    def _stored_batches(self, encoded_keys: Sequence[bytes], header: Header) -> Iterator[tuple[list[bytes], list[bytes | None]]]:
        """Batches of keys, with their stored values."""
        prefix = self._rows_prefix(header.id)
        for start in range(0, len(encoded_keys), _STEP_ROWS):
            keys = [prefix + key for key in encoded_keys[start : start + _STEP_ROWS]]
            yield keys, self._commands.mget(keys)

    def _write(self, lease: Lease, publish: _Pending) -> None:
        """Write the rows that are not older than the stored ones. A new table has none, so ascending keys need not be read first."""
        stored, header = publish.stored, publish.header
        fresh = stored is None or stored.id != header.id or not stored.shape.keys
        prefix, last = self._rows_prefix(header.id), b""
        for key_array, row_array in publish.change.buffer:
            for start in range(0, len(key_array), _STEP_ROWS):
                keys: list[bytes] = [prefix + key for key in key_array[start : start + _STEP_ROWS].to_pylist()]
                rows: list[bytes] = row_array[start : start + _STEP_ROWS].to_pylist()
                fresh = fresh and keys[0] > last
                last = keys[-1]
                values: list[bytes | None] = [None] * len(keys) if fresh else self._commands.mget(keys)
                changed, added = _changes(keys, rows, values, stored, header)
                if changed:
                    with lease.step() as step:
                        step.mset(changed)
                publish.written += len(changed)
                publish.count(len(added))
                publish.sample.add([key[len(prefix) :] for key in added], publish.rows)

    def _drop(self, lease: Lease, table: str) -> None:
        stored_id = self._stored_id(table)
        with lease.step() as step:
            if stored_id is not None:
                step.sadd(self._key(b"d", table), stored_id)
            step.delete(self._key(b"t", table), self._key(b"p", table), self._key(b"s", table))
            step.set(self._key(b"g"), first_generation(), nx=True)
            step.incr(self._key(b"g"))

    def _missing(self, table: str) -> str | None:
        """Describe which sampled rows of a table are missing; None if none is."""
        prefix_of = self._rows_prefix
        while True:
            data, sampled = self._commands.mget(self._key(b"t", table), self._key(b"s", table))
            if data is None or sampled is None:
                return None
            header, keys = decode_header(data), KeySample.decode(sampled).keys
            count = self._commands.exists(*(prefix_of(header.id) + key for key in keys)) if keys else 0
            # Rows of the sample may have been deleted by a publish meanwhile: then the header has changed.
            if count == len(keys):
                return None
            if self._commands.get(self._key(b"t", table)) == data:
                return f"{len(keys) - count:,} of {len(keys):,} sampled rows are missing"

    def _delete_obsolete(self, table: str, numbers: set[bytes]) -> None:
        """Delete the rows of ids that no header refers to. After a crash, the table's next writer does this."""
        for number in numbers:
            pattern, position = self._rows_prefix(int(number)) + b"*", 0
            while position := int(self._unlink_some(args=[position, pattern, _SCAN_ROWS])):
                continue
            self._commands.srem(self._key(b"d", table), number)


def _encoded_read(table: StoredTable | None, keys: Sequence[bytes | None], values: Iterator[bytes | None]) -> EncodedRead:
    """The rows of one table; consumes as many of the values as it has keys."""
    if table is None:
        return EncodedRead(None, [None] * len(keys))
    return EncodedRead(table.state, [None if key is None else _visible(next(values), table.header) for key in keys])


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
    keys: Sequence[bytes], rows: Sequence[bytes], values: Sequence[bytes | None], stored: Header | None, header: Header
) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The values to write by key, and the keys of rows that the table did not have before."""
    changed, added = dict[bytes, bytes](), list[bytes]()
    for key, row, old in zip(keys, rows, values, strict=True):
        data = _new_value(row, old, stored, header)
        if data is not None:
            changed[key] = data
            if old is None or _latest(old, stored, header) is None:
                added.append(key)
    return changed, added


def _latest(old: bytes | None, stored: Header | None, header: Header) -> bytes | None:
    """The version of a row that this publish has written, else the visible version; None if there is neither."""
    if old is None:
        return None
    sequence, length = _HEAD.unpack_from(old)
    if sequence == header.sequence:
        return old[12 : 12 + length] or None
    return _visible(old, stored) if stored is not None and stored.id == header.id else None


def _new_value(row: bytes, old: bytes | None, stored: Header | None, header: Header) -> bytes | None:
    """The value to write for a published row; None if the stored row is kept."""
    before = current = None
    if old is not None:
        sequence, length = _HEAD.unpack_from(old)
        if sequence == header.sequence:
            current, before = old[12 : 12 + length], old[12 + length :]
        elif stored is not None and stored.id == header.id:
            before = current = _visible(old, stored)
    if not replaces(row, current):
        return None
    return _HEAD.pack(header.sequence, len(row)) + row + (before or b"")
