"""The online store for many machines: Redis. A row keeps its previous version until the table's header makes a publish visible.

A publish takes the next number of a counter as its sequence. It writes rows with their new version, marked with the sequence, and their
previous version. Finally, it writes the headers of all tables, with the sequence and the cursor, in one step. A reader fetches headers
and rows with one MGET, so from one state, and uses the new version of a row if its sequence is not greater than that of the header.
Sequences of interrupted publishes are listed in the next header. In a cluster, where no MGET spans slots, a reader fetches the headers
after the rows, and reads again if they have changed since they were fetched before.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa

from featurestore.errors import NotReady, RequestError
from featurestore.online.edition import BufferedEdition
from featurestore.online.header import OLD_FORMAT, Header, decode_header, readable_header, size_of
from featurestore.online.key_sample import KeySample
from featurestore.online.redis.client import RedisClient
from featurestore.online.redis.reads import ATTEMPTS, RedisReads
from featurestore.online.redis.rows import visible
from featurestore.online.redis.writer import LEASE_SECONDS, RedisWriter
from featurestore.online.rows import Shape
from featurestore.online.store import ANY, Cursor, EncodedKeys, EncodedReads, From, Read, StoreSize, first_generation
from featurestore.online.stored_table import read_rows

_FILL_SECONDS = 10.0


class RedisStore:
    """An OnlineStore in a Redis database. Writers of a table take turns; the lease of a killed writer expires after a few seconds."""

    def __init__(self, url: str, *, readonly: bool = False, allow_eviction: bool = False, lease_seconds: float = LEASE_SECONDS) -> None:
        """Raises: RequestError for an invalid address; NotReady if the server does not respond, or evicts rows."""
        self._client = RedisClient(url)
        self._commands, self._names = self._client.commands, self._client.names
        self._readonly = readonly
        self._allow_eviction = allow_eviction
        self._writer = RedisWriter(self._client, lease_seconds)
        self._reads = RedisReads(self._names)
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
        return BufferedEdition(self._stored_shape, self._writer.commit)

    def read(self, requests: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> list[Read]:
        """See OnlineStore.read."""
        return read_rows(self, requests)

    def read_encoded(self, requests: EncodedKeys) -> EncodedReads:
        """See OnlineStore.read_encoded."""
        with self._client.errors():
            for _ in range(ATTEMPTS):
                plan = self._reads.plan(requests)
                reads = self._reads.decode(plan, self._client.rows.fetch(plan.headers, plan.rows))
                if reads is not None:
                    return reads
        raise self._reads.unstable_error(requests, self._client.address)

    def decoding(self) -> AbstractContextManager[None]:
        """See OnlineStore.decoding."""
        return self._client.errors()

    def keys(self, table: str) -> Iterator[list[bytes]]:
        """See OnlineStore.keys."""
        with self._client.errors():
            header = self._header(table)
            if header is None:
                return
            for names in self._client.rows.find(self._names.rows_prefix(header.id)):
                rows = self._client.rows.fetch((), names)
                there = [name for name, row in zip(names, rows, strict=True) if visible(row, header) is not None]
                yield self._names.keys_of(header.id, there)

    def cursor(self, table: str) -> Cursor | None:
        """See OnlineStore.cursor."""
        with self._client.errors():
            header = self._header(table)
        return header.cursor if header is not None else None

    def drop(self, table: str) -> None:
        """See OnlineStore.drop."""
        self._check_writable()
        self._writer.drop(table)

    def identity(self) -> str | None:
        """See OnlineStore.identity."""
        with self._client.errors():
            data = self._commands.get(self._names.key(b"i"))
        return None if data is None else data.decode()

    def incomplete(self, tables: Collection[str]) -> dict[str, str]:
        """See OnlineStore.incomplete."""
        with self._client.errors():
            incomplete = {}
            for table in tables:
                if (missing := self._missing(table)) is not None:
                    incomplete[table] = missing
            return incomplete

    def size(self, tables: Collection[str]) -> StoreSize:
        """See OnlineStore.size."""
        with self._client.errors():
            headers = {table: header for table in tables if (header := self._header(table)) is not None}
        return size_of(headers, self._client.used_bytes())

    def claim_filling(self) -> AbstractContextManager[Callable[[bytes], None] | None]:
        """See OnlineStore.claim_filling."""
        self._check_writable()
        return self._client.claim(self._names.key(b"f"), _FILL_SECONDS)

    def filling(self) -> bytes | None:
        """See OnlineStore.filling."""
        with self._client.errors():
            claim, progress = self._commands.mget(self._names.key(b"f"), self._names.key(b"f", "progress"))
        return None if claim is None else progress or b""

    def overwrite_freed(self) -> list[str]:
        """See OnlineStore.overwrite_freed."""
        return ["online store: files that Redis writes (RDB, AOF, replicas, backups) have deleted rows until Redis writes them again"]

    def generation(self) -> int:
        """See OnlineStore.generation."""
        with self._client.errors():
            return int(self._commands.get(self._names.key(b"g")) or 0)

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
            pipeline.set(self._names.key(b"g"), first_generation(), nx=True)
            pipeline.incr(self._names.key(b"g"))
            pipeline.execute()

    def close(self) -> None:
        """See OnlineStore.close."""
        self._commands.close()

    def _check_writable(self) -> None:
        if self._readonly:
            raise RequestError(f"the online store at {self._client.address} was opened for reading only")

    def _header(self, table: str) -> Header | None:
        return readable_header(self._client.header(table))

    def _stored_shape(self, table: str) -> Shape:
        with self._client.errors():
            header = self._header(table)
        return Shape() if header is None else header.shape

    def _missing(self, table: str) -> str | None:
        """Describe which sampled rows of a table are missing; None if none is."""
        while True:
            data, sampled = self._commands.mget(self._names.key(b"t", table), self._names.key(b"s", table))
            header = None if data is None else decode_header(data)
            if header is not None and not header.readable:
                return OLD_FORMAT
            if header is None or sampled is None:
                return None
            keys = KeySample.decode(sampled).keys
            count = self._client.rows.count(self._names.rows(header.id, keys)) if keys else 0
            # Rows of the sample may have been deleted by a publish meanwhile: then the header has changed.
            if count == len(keys):
                return None
            if self._commands.get(self._names.key(b"t", table)) == data:
                return f"{len(keys) - count:,} of {len(keys):,} sampled rows are missing"
