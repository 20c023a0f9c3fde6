"""Writers of a Redis store take turns: the lease of a killed one expires after a few seconds."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from featurestore.errors import CommitConflict
from featurestore.online.edition import TableChange
from featurestore.online.header import decode_header
from featurestore.online.redis.client import RedisClient
from featurestore.online.redis.lease import Lease, Lost
from featurestore.online.redis.publish import RedisPublish
from featurestore.online.store import first_generation

T = TypeVar("T")
LEASE_SECONDS = 5.0
_WAIT_SECONDS = 60.0
_ATTEMPTS = 3


class RedisWriter:
    """Changes tables of a store, each as its only writer."""

    def __init__(self, client: RedisClient, lease_seconds: float) -> None:
        self._client, self._commands, self._names = client, client.commands, client.names
        self._lease_seconds = lease_seconds

    def commit(self, changes: Sequence[TableChange], rows_only: bool = False) -> dict[str, int]:
        """Publish all changes in one step, and return the rows written by table. Raises: as Edition.commit."""
        with self._client.errors():
            return self._as_only_writer(
                [change.table for change in changes], lambda lease: RedisPublish(self._client, lease).run(changes, rows_only)
            )

    def drop(self, table: str) -> None:
        """See OnlineStore.drop."""
        with self._client.errors():
            self._as_only_writer([table], lambda lease: self._drop(lease, table))

    def _as_only_writer(self, tables: Sequence[str], function: Callable[[Lease], T]) -> T:
        """Call the function as the only writer of the tables, and return its result; then delete the rows that it made obsolete."""
        names = "', '".join(tables)

        def attempt() -> T:
            with self._client.lease([self._names.key(b"l", table) for table in tables], self._lease_seconds, _WAIT_SECONDS) as lease:
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
            self._delete_obsolete(table, self._commands.smembers(self._names.key(b"d", table)))
        return result

    def _drop(self, lease: Lease, table: str) -> None:
        data = self._client.header(table)
        with lease.step() as step:
            if data is not None:
                step.sadd(self._names.key(b"d", table), decode_header(data).id)
            step.delete(self._names.key(b"t", table), self._names.key(b"p", table), self._names.key(b"s", table))
            step.set(self._names.key(b"g"), first_generation(), nx=True)
            step.incr(self._names.key(b"g"))

    def _delete_obsolete(self, table: str, numbers: set[bytes]) -> None:
        """Delete the rows of ids that no header refers to. After a crash, the table's next writer does this."""
        for number in numbers:
            self._client.rows.delete(self._names.rows_prefix(int(number)))
            self._commands.srem(self._names.key(b"d", table), number)
