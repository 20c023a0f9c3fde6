"""The log of pushed events: what is acknowledged is durable in it until the rows are in the source's Iceberg table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import pyarrow as pa

from featurestore.errors import NotReady, OutOfResources
from featurestore.push.lot import Lot

PUSH_LOG = "featurestore.push-log"
"""The property of a table with the id of the log whose events are copied into it."""
THROUGH = "featurestore.pushed-through"
"""The property, and the entry of a snapshot's summary, with the offset up to which events were copied."""

SINCE = "featurestore.push-log-since"
"""The property with the time (microseconds) from which on the log knows ids, if it took the place of one that was lost."""


class Acknowledged(NamedTuple):
    """What became of one lot: its offset (of a lot without new rows, the last of the stream), when it was acknowledged (microseconds), how
    many of its rows were new, and of how many the id was known.
    """

    offset: int
    at: int
    rows: int
    known: int


class Tail(NamedTuple):
    """Rows after an offset, in the order of offsets: the pushed columns, and `acknowledged`. `first` and `last` are offsets of lots."""

    rows: pa.Table
    first: int
    last: int


@dataclass(frozen=True)
class StreamStatus:
    """What a log has seen of a stream.

    `last` is the offset of its last lot, `at` when that was acknowledged, `newest` the greatest event time (microseconds; 0 before the
    first lot), `rows` the number of rows ever counted, `recent` that of the last minute. `waiting` is the number of rows after the offset
    that was asked for, the first of which were acknowledged at `oldest`. `refused` is the number of rows that were refused, and `refusal`
    says why the last ones were; empty if none was.
    """

    last: int = 0
    at: int = 0
    newest: int = 0
    rows: int = 0
    recent: int = 0
    waiting: int = 0
    oldest: int = 0
    refused: int = 0
    refusal: str = ""


class EventLog(Protocol):
    """A durable log of several streams, each with offsets that grow in the order in which readers see lots. May be used from several
    threads and processes. A stream is named by the UUID of the table that it is copied to, so that stores share a log without harm.

    Methods raise NotReady if the log cannot be reached, or is not the one that was opened; OutOfResources if it is full.
    """

    def append(self, stream: str, lots: Sequence[Lot]) -> list[Acknowledged]:
        """Add lots durably, each whole or not at all. Of rows with an id that the stream remembers, none is added again."""
        ...

    def read(self, stream: str, after: int, rows: int) -> Tail | None:
        """The lots after this offset with about so many rows, at least one lot; None if there is none.

        Raises: NotReady if lots after the offset were trimmed, or the log ends before it: it has lost what it had.
        """
        ...

    def last(self, stream: str) -> int:
        """The offset of the last lot; 0 if there was none."""
        ...

    def status(self, stream: str, after: int = 0) -> StreamStatus:
        """What the log has seen of a stream; `after` is the offset up to which its events were copied."""
        ...

    def refuse(self, stream: str, rows: int, reason: str) -> None:
        """Count rows that were refused."""
        ...

    def trim(self, stream: str, through: int, older_than: int) -> None:
        """Drop the lots up to an offset that were acknowledged before a time (microseconds), and ids that need not be remembered."""
        ...

    def drop(self, stream: str) -> None:
        """Forget a stream with all lots and ids."""
        ...

    def identity(self) -> str:
        """The id that the log got at its creation."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def trimmed(stream: str, after: int, kept: int) -> NotReady:
    """The error of a reader that asks for lots that are trimmed."""
    return NotReady(
        f"the push log has no entries of stream {stream} between {after} and {kept} any more: they were copied into the source's table, so"
        " read them there",
        stream=stream,
        after=after,
        trimmed=kept,
    )


def lost(stream: str, after: int, last: int) -> NotReady:
    """The error of a log that ends before what was copied from it."""
    return NotReady(
        f"the push log ends at {last} of stream {stream}, of which {after} was read before: it was emptied, or is an older copy. Check the"
        " setting push_log, and restore the log; featurestore doctor --repair goes on without what was lost",
        stream=stream,
        after=after,
        last=last,
    )


def log_is_full(name: str) -> OutOfResources:
    """The error of a log that has as much as it may."""
    return OutOfResources(
        f"the push log {name} is full, by the setting push_log_limit; nothing was added. A run, or a server, copies its entries into the"
        " tables of their sources, and some minutes later there is room again",
        resource="disk",
    )


def log_was_replaced(name: str) -> NotReady:
    """The error of a log that is not the one that was opened."""
    return NotReady(f"the push log {name} was emptied, or replaced by another one, while it was in use; restore it, and start again")
