"""One view's log as it is gathered from: the newest rows that can matter first, older ones only while spine rows are left."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import tee
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.expressions import quoted
from featurestore.compiler.relations import IcebergFiles
from featurestore.engine.session import Relation, Session
from featurestore.pipelines.joining.as_of import NEVER, NOTHING, Asked, AsOf, micros
from featurestore.pipelines.joining.key_numbers import UNKNOWN, Keys
from featurestore.pipelines.joining.log_rows import HeldRows, LogRows, file_rows
from featurestore.pipelines.joining.sections import Section, sections
from featurestore.pipelines.joining.spine import SpineRows
from featurestore.pipelines.joining.view_join import LOG, ViewJoin
from featurestore.pipelines.numbers import Flags, Numbers, arrow, valid

ORDER_BYTES = 16
"""What the order of a log takes for each of its rows while it is kept."""
MAKING_BYTES = 64
"""What it takes while it is made."""
BATCH = 65_536
NO_FILES = IcebergFiles((), ())


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

    `older` are the sections before these, of `files`.
    """

    def __init__(
        self,
        session: Session,
        view: ViewJoin,
        newest: LogRows,
        since: int | None = None,
        files: IcebergFiles = NO_FILES,
        older: Iterable[Section] = (),
    ) -> None:
        self.view = view
        self._session, self._files, self._older = session, files, iter(older)
        self._newest, self._since = newest, since
        self._order: AsOf | None = None
        self.bytes = newest.bytes + newest.rows * ORDER_BYTES

    def order(self) -> AsOf:
        """The newest rows in order. It is made once, before the first match: several views can do so side by side."""
        if self._order is None:
            self._order = _ordered(self.view, self._newest, _keys(self.view, self._newest), self._since)
        return self._order

    def match(self, spine: SpineRows, orders: Orders) -> Match:
        """What each row of the spine sees. `orders` keeps, from view to view, the order of its rows by the same key columns."""
        names = tuple(name for _, name in self.view.use.keys)
        keys = [spine.keys[name] for name in names]
        if names not in orders:
            orders[names] = self.order().near(keys, spine.times)
        newest = self.order().seen(orders[names])
        sections, times = [(self._newest, newest.positions)], newest.times
        left = np.flatnonzero((newest.positions == NOTHING) & _asking(keys, spine.times))
        self._older, older = tee(self._older)
        while len(left) and (section := next(older, None)) is not None:
            near = left[section.may_have([name for name, _ in self.view.use.keys], [key.take(arrow(left)) for key in keys])]
            if not len(near):
                continue
            rows = self._rows(section)
            held = _keys(self.view, rows)
            # Keys take little room in a file: for those that a section does not have, no more than its keys is read.
            here = near[Keys(held).of([key.take(arrow(near)) for key in keys]) != UNKNOWN]
            if not len(here):
                continue
            order = _ordered(self.view, rows, held, section.since)
            found = order.seen(order.near([key.take(arrow(here)) for key in keys], spine.times.take(arrow(here))))
            own = np.full(spine.rows, NOTHING)
            own[here] = found.positions
            sections.append((rows, own))
            if times is not None and found.times is not None:
                times[here] = found.times
            left = left[own[left] == NOTHING]
        return Match(sections, times)

    def _rows(self, section: Section) -> LogRows:
        rows = file_rows(section.groups, self._files.columns)
        if rows is not None:
            return rows
        paths = tuple(dict.fromkeys(group.path for group in section.groups))
        return HeldRows(_all(self._session, self.view, replace(self._files, paths=paths, extents=())))


def opened(session: Session, view: ViewJoin, room: int) -> ViewLog | None:
    """The log of a view in at most `room` bytes; None when it takes more."""
    files = view.rows()
    if isinstance(files, IcebergFiles) and view.first is not None and view.upper is not None:
        older = sections(files, view.lower, view.upper, view.first, room // MAKING_BYTES)
        newest = next(older, Section((), None))
        rows = file_rows(newest.groups, files.columns)
        if rows is not None:
            return ViewLog(session, view, rows, newest.since, files, older) if rows.rows * MAKING_BYTES <= room else None
    table = _all(session, view, files, room)
    return None if table is None else ViewLog(session, view, HeldRows(table))


def _ordered(view: ViewJoin, rows: LogRows, keys: Sequence[pa.ChunkedArray], since: int | None) -> AsOf:
    asked = ["feature_timestamp", *(["created_timestamp"] if view.known == "then" or view.log.corrected else [])]
    times, created = [*rows.read(asked).columns, None][:2]
    return AsOf(keys, times, created, view.known, since)


def _keys(view: ViewJoin, rows: LogRows) -> list[pa.ChunkedArray]:
    return list(rows.read([key for key, _ in view.use.keys]).columns)


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
