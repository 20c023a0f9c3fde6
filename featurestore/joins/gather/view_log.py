"""One view's log as it is gathered from: the newest rows that can matter first, older ones only while spine rows are left."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from itertools import tee
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.expressions import quoted
from featurestore.compiler.log_diff import DELETED
from featurestore.engine.session import Relation, Session
from featurestore.joins.gather.as_of import NEVER, NOTHING, Asked, AsOf, micros
from featurestore.joins.gather.key_codes import UNKNOWN, Keys
from featurestore.joins.gather.log_columns import HeldRows, LogRows, file_rows
from featurestore.joins.gather.row_groups import LogFiles
from featurestore.joins.gather.sections import Section, sections
from featurestore.joins.view_join import LOG, ViewJoin
from featurestore.spines.spine import SpineRows
from featurestore.values.int64 import Flags, Numbers, arrow, filled, valid

ORDER_BYTES = 16
"""What the order of a log takes for each of its rows while it is kept."""
MAKING_BYTES = 64
"""What it takes while it is made."""
BATCH = 65_536


Orders: TypeAlias = dict[tuple[str, ...], Asked]
"""By the names of key columns, a spine in an order in which rows of near keys and times are neighbours."""


@dataclass(frozen=True)
class Match:
    """Which rows of a log the rows of a spine see: for each section of the log their positions, NOTHING for none of it; and the `times`
    of those, None where they are to be read.
    """

    sections: Sequence[tuple[LogRows, Numbers]]
    seen: Numbers | None

    @cached_property
    def times(self) -> Numbers:
        """The feature_timestamp of what each spine row sees, NEVER for nothing."""
        return micros(self.take(["feature_timestamp"])[0]) if self.seen is None else self.seen

    def take(self, names: Sequence[str]) -> list[pa.ChunkedArray]:
        """These columns of what each spine row sees, NULL for nothing."""
        found = [rows.take(names, positions) for rows, positions in self.sections]
        return [reduce(pc.coalesce, columns) for columns in zip(*found, strict=True)]

    def without(self, gone: Flags) -> "Match":
        """The match in which the spine rows where `gone` is true see nothing."""
        left = [(rows, np.where(gone, NOTHING, positions)) for rows, positions in self.sections]
        return Match(left, np.where(gone, NEVER, self.times))


class ViewLog:
    """A log whose newest rows, those from `since` on, are kept in order; `bytes` is what it takes in memory.

    `older` are the sections before these.
    """

    def __init__(
        self,
        view: ViewJoin,
        newest: LogRows,
        since: int | None = None,
        older: Iterable[tuple[Section, Callable[[], LogRows]]] = (),
    ) -> None:
        self.view = view
        self._older = iter(older)
        self._newest, self._since = newest, since
        self._order: AsOf | None = None
        self.bytes = newest.bytes + newest.rows * ORDER_BYTES

    def order(self) -> AsOf:
        """The newest rows in order. It is made once, before the first match: several views can do so side by side."""
        if self._order is None:
            self._order = _ordered(self.view, self._newest, Section((), self._since))
        return self._order

    def match(self, spine: SpineRows, orders: Orders) -> Match:
        """What each row of the spine sees. `orders` keeps, from view to view, the order of its rows by the same key columns."""
        log_keys, names = zip(*self.view.use.keys, strict=True)
        keys = [spine.keys[name] for name in names]
        if names not in orders:
            orders[names] = self.order().near(keys, spine.times)
        newest = self.order().seen(orders[names])
        sections, times = [(self._newest, newest.positions)], newest.times
        left = np.flatnonzero((newest.positions == NOTHING) & _asking(keys, spine.times))
        self._older, older = tee(self._older)
        while len(left) and (before := next(older, None)) is not None:
            section, read = before
            near = left[section.may_have(log_keys, [key.take(arrow(left)) for key in keys])]
            if not len(near):
                continue
            rows = read()
            held = rows.read(log_keys).columns
            # Keys take little room in a file: for those that a section does not have, no more than its keys is read.
            here = near[Keys(held).of([key.take(arrow(near)) for key in keys]) != UNKNOWN]
            if not len(here):
                continue
            order = _ordered(self.view, rows, section, held)
            found = order.seen(order.near([key.take(arrow(here)) for key in keys], spine.times.take(arrow(here))))
            own = np.full(spine.rows, NOTHING)
            own[here] = found.positions
            sections.append((rows, own))
            if times is not None and found.times is not None:
                times[here] = found.times
            left = left[own[left] == NOTHING]
        return Match(sections, times)


def opened(session: Session, view: ViewJoin, room: int) -> ViewLog | None:
    """The log of a view in at most `room` bytes; None when it takes more."""
    files = view.files()
    if files is None or view.first is None or view.upper is None:
        table = _all(session, view, view.rows(), room)
        return None if table is None else ViewLog(view, HeldRows(table))
    older = sections(files, view.lower, view.upper, view.first, room // MAKING_BYTES)
    newest = next(older, Section((), None))
    rows = file_rows(files, newest.groups)
    # Of files that are far away most of all rows are had sooner in one stream.
    if rows is None or (files.filesystem is not None and newest.rows * 2 > sum(extent.rows for extent in files.extents)):
        table = _all(session, view, view.rows(), room)
        if table is not None:
            return ViewLog(view, HeldRows(table))
    if rows is None or rows.rows * MAKING_BYTES > room:
        return None
    return ViewLog(view, rows, newest.since, ((section, partial(_rows, session, view, files, section)) for section in older))


def _rows(session: Session, view: ViewJoin, files: LogFiles, section: Section) -> LogRows:
    paths = dict.fromkeys(group.path for group in section.groups)
    return file_rows(files, section.groups) or HeldRows(_all(session, view, files.relation(paths)))


def _ordered(view: ViewJoin, rows: LogRows, section: Section, keys: Sequence[pa.ChunkedArray] | None = None) -> AsOf:
    """The rows of a section's time in order; `keys` are theirs, where they have been read."""
    names = [] if keys is not None else [key for key, _ in view.use.keys]
    times = ["feature_timestamp", *(["created_timestamp"] if view.known == "then" or view.log.corrected else [])]
    if view.log.deletions:
        times = ["feature_timestamp", "created_timestamp", DELETED]
    columns = rows.read([*names, *times]).columns
    feature, created, deleted = [*columns[len(names) :], None, None][:3]
    tombstones = None if deleted is None else filled(deleted.cast(pa.int64()), 0) == 1
    # A later row that is here is seen by nobody, or was seen before; but its tombstone may not be here.
    until = None if deleted is None else section.until
    return AsOf(keys or columns[: len(names)], feature, created, view.known, section.since, until, tombstones)


def _asking(keys: Sequence[pa.ChunkedArray], times: pa.ChunkedArray) -> Flags:
    """The spine rows that can see anything: those with keys and a time."""
    asking: Flags = micros(times) != NEVER
    for key in keys:
        asking &= valid(key)
    return asking


def _all(session: Session, view: ViewJoin, relation: Relation, room: int | None = None) -> pa.Table | None:
    """The rows of a relation that can matter, read by the engine; None when they are more than `room` bytes."""
    session.add(LOG, relation)
    reader = session.batches(f"SELECT {', '.join(map(quoted, view.columns))} FROM {view.within}", BATCH)
    batches: list[pa.RecordBatch] = []
    taken = 0
    for batch in reader:
        taken += batch.nbytes
        if room is not None and taken > room:
            return None
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)
