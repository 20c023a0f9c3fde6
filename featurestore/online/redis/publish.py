"""A publish to Redis: rows beside their previous versions, and then the headers that make them visible, in one step."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec

from featurestore.online.edition import TableChange
from featurestore.online.header import Header, decode_header, next_header, readable_header
from featurestore.online.key_sample import KeySample
from featurestore.online.redis.client import RedisClient
from featurestore.online.redis.lease import Lease, Lost
from featurestore.online.redis.rows import HEAD, changes, visible
from featurestore.online.redis.server_rows import Values
from featurestore.online.store import check_since, next_generation

_STEP_ROWS = 2000


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


class RedisPublish:
    """Publishes changes of tables as the only writer of them."""

    def __init__(self, client: RedisClient, lease: Lease) -> None:
        self._client, self._lease = client, lease
        self._commands, self._names = client.commands, client.names

    def run(self, table_changes: Sequence[TableChange], rows_only: bool = False) -> dict[str, int]:
        """Publish all changes, and return the rows written by table. Raises: CommitConflict; Lost, and nothing is visible then."""
        pending = [self._begin(change) for change in table_changes]
        for publish in pending:
            self._remove(publish)
            self._write(publish)
        self._make_visible(pending, rows_only)
        for publish in pending:
            self._unlink_removed(publish)
        return {publish.change.table: publish.written for publish in pending}

    def _begin(self, change: TableChange) -> _Pending:
        """Register a publish, so that its rows are known if it is interrupted."""
        table = change.table
        data = self._client.header(table)
        stored, stored_id = readable_header(data), None if data is None else decode_header(data).id
        check_since(table, change.since, None if stored is None else stored.cursor)
        sequence = int(self._commands.incr(self._names.key(b"n")))
        interrupted = tuple(int(number) for number in self._commands.lrange(self._names.key(b"p", table), 0, -1))
        header = next_header(
            stored, change.shape, change.cursor, replace=change.replace, new_id=lambda: sequence, sequence=sequence, interrupted=interrupted
        )
        with self._lease.step() as step:
            step.rpush(self._names.key(b"p", table), sequence)
            if stored is None or stored.id != header.id:
                step.sadd(self._names.key(b"d", table), header.id)
        kept = stored is not None and stored.id == header.id
        rows = stored.rows if kept and stored is not None and stored.shape.keys else 0
        sample = KeySample.decode(self._commands.get(self._names.key(b"s", table)) if kept else None)
        return _Pending(change, stored, stored_id, header, rows, sample)

    def _make_visible(self, pending: Sequence[_Pending], rows_only: bool) -> None:
        """Write the headers of all tables in one step, with the next generation as their edition; with `rows_only`, it is not that of the
        store. Raises: Lost.
        """
        generation = self._names.key(b"g")
        known = max((publish.stored.edition or 0 for publish in pending if publish.stored is not None), default=0)
        while True:
            before = self._commands.get(generation)
            edition = next_generation(max(int(before or 0), known))
            try:
                with self._lease.step({generation: before}) as step:
                    step.set(self._names.key(b"i"), uuid4().hex, nx=True)
                    if not rows_only:
                        step.set(generation, edition)
                    for publish in pending:
                        self._write_header(step, publish, edition)
                return
            except Lost:
                # If another table was published meanwhile, only the generation has changed: try again.
                if not self._lease.is_held():
                    raise

    def _write_header(self, step: Any, publish: _Pending, edition: int) -> None:
        table = publish.change.table
        step.srem(self._names.key(b"d", table), publish.header.id)
        if publish.stored_id is not None and publish.stored_id != publish.header.id:
            step.sadd(self._names.key(b"d", table), publish.stored_id)
        step.delete(self._names.key(b"p", table))
        step.set(self._names.key(b"s", table), publish.sample.encode())
        step.set(self._names.key(b"t", table), msgspec.structs.replace(publish.header, rows=publish.rows, edition=edition).encode())

    def _remove(self, publish: _Pending) -> None:
        """Replace the stored rows with empty ones, which mean deleted; readers see the previous version until the header is written."""
        stored, header = publish.stored, publish.header
        if stored is None or stored.id != header.id:
            return
        for keys, values in self._stored_batches(publish.change.removed, header):
            changed = {
                key: HEAD.pack(header.sequence, 0) + before
                for key, value in zip(keys, values, strict=True)
                if (before := visible(value, stored)) is not None
            }
            if changed:
                self._client.rows.write(self._lease, changed, header.sequence)
                publish.count(-len(changed))
        publish.sample.remove(publish.change.removed)

    def _unlink_removed(self, publish: _Pending) -> None:
        """Delete the keys of removed rows, once all readers see them as removed."""
        for keys, values in self._stored_batches(publish.change.removed, publish.header):
            empty = HEAD.pack(publish.header.sequence, 0)
            removed = [key for key, value in zip(keys, values, strict=True) if value is not None and value.startswith(empty)]
            if removed:
                self._client.rows.unlink(self._lease, removed, empty)

    def _stored_batches(self, encoded_keys: Sequence[bytes], header: Header) -> Iterator[tuple[list[bytes], list[bytes | None]]]:
        """Batches of keys, with their stored values."""
        for start in range(0, len(encoded_keys), _STEP_ROWS):
            keys = self._names.rows(header.id, encoded_keys[start : start + _STEP_ROWS])
            yield keys, self._client.rows.fetch((), keys)

    def _write(self, publish: _Pending) -> None:
        """Write the rows that are not older than the stored ones. A new table has none, so ascending keys need not be read first."""
        stored, header = publish.stored, publish.header
        fresh = stored is None or stored.id != header.id or not stored.shape.keys
        last = b""
        with ThreadPoolExecutor(1, "read-ahead") as pool:
            for key_array, row_array in publish.change.buffer:
                names = self._names.rows(header.id, key_array.to_pylist())
                fresh = fresh and names[0] > last
                last = names[-1]
                batches = [names[start : start + _STEP_ROWS] for start in range(0, len(names), _STEP_ROWS)]
                none: Iterator[Values] = ([None] * len(keys) for keys in batches)
                stored_values = none if fresh else self._read_ahead(pool, batches)
                start = 0
                for keys, values in zip(batches, stored_values, strict=True):
                    rows: list[bytes] = row_array[start : start + _STEP_ROWS].to_pylist()
                    start += len(keys)
                    changed, added = changes(keys, rows, values, stored, header)
                    if changed:
                        self._client.rows.write(self._lease, changed, header.sequence)
                    publish.written += len(changed)
                    publish.count(len(added))
                    publish.sample.add(self._names.keys_of(header.id, added), publish.rows)

    def _read_ahead(self, pool: ThreadPoolExecutor, batches: Sequence[list[bytes]]) -> Iterator[Values]:
        """The stored values of each batch of keys, all of them different: the next batch is read while one is worked on."""
        following = pool.submit(self._client.rows.fetch, (), batches[0])
        for batch in batches[1:]:
            values = following.result()
            following = pool.submit(self._client.rows.fetch, (), batch)
            yield values
        yield following.result()
