"""The rows of a Redis store, as its readers and writers reach them: all in one server."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from featurestore.online.redis.lease import Lease

SCAN_ROWS = 5000
Values = list[bytes | None]
# Runs on the server, since transferring the names would cost more than deleting the rows.
_UNLINK_SOME = """
local found = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
for _, name in ipairs(found[2]) do redis.call('UNLINK', name) end
return found[1]
"""


class RedisRows(Protocol):
    """Access to rows by the names of their keys."""

    def fetch(self, headers: Sequence[bytes], names: Sequence[bytes]) -> Values:
        """The values of headers and then of rows. In one server they are from one state; in a cluster the headers are fetched last."""

    def write(self, lease: Lease, values: Mapping[bytes, bytes], sequence: int) -> None:
        """Set the values of rows, for a publish with this sequence. Raises: Lost if another writer has taken over."""

    def unlink(self, lease: Lease, names: Sequence[bytes], head: bytes) -> None:
        """Delete rows whose values begin with this head, as they were just read. Raises: Lost."""

    def count(self, names: Sequence[bytes]) -> int:
        """How many of the rows exist."""

    def find(self, prefix: bytes) -> Iterator[list[bytes]]:
        """The names of all rows with a prefix, in batches, possibly repeated."""

    def delete(self, prefix: bytes) -> None:
        """Delete all rows with a prefix."""


class ServerRows:
    """Rows in one server, where a step of a lease writes them."""

    def __init__(self, commands: Any) -> None:
        self._commands = commands
        self._unlink_some = commands.register_script(_UNLINK_SOME)

    def fetch(self, headers: Sequence[bytes], names: Sequence[bytes]) -> Values:
        """See RedisRows.fetch."""
        values: Values = self._commands.mget([*headers, *names])
        return values

    def write(self, lease: Lease, values: Mapping[bytes, bytes], sequence: int) -> None:
        """See RedisRows.write."""
        with lease.step() as step:
            step.mset(values)

    def unlink(self, lease: Lease, names: Sequence[bytes], head: bytes) -> None:
        """See RedisRows.unlink."""
        with lease.step() as step:
            step.unlink(*names)

    def count(self, names: Sequence[bytes]) -> int:
        """See RedisRows.count."""
        return int(self._commands.exists(*names))

    def find(self, prefix: bytes) -> Iterator[list[bytes]]:
        """See RedisRows.find."""
        position = -1
        while position:
            position, names = self._commands.scan(max(position, 0), match=prefix + b"*", count=SCAN_ROWS)
            if names:
                yield names

    def delete(self, prefix: bytes) -> None:
        """See RedisRows.delete."""
        position = 0
        while position := int(self._unlink_some(args=[position, prefix + b"*", SCAN_ROWS])):
            continue
