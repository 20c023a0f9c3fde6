"""The log of one view in the gather plan: the newest relevant rows first, older ones only while spine rows are unmatched."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from itertools import tee
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.query import columns_of
from featurestore.engine.session import Relation, Session
from featurestore.joins.gather.as_of import NEVER, NO_ROW, AsOf, SortedSpine, to_micros
from featurestore.joins.gather.key_codes import UNKNOWN, Keys
from featurestore.joins.gather.log_columns import LogRows, MemoryRows, file_rows
from featurestore.joins.gather.row_groups import LogFiles
from featurestore.joins.gather.sections import Section, sections
from featurestore.joins.view_join import LOG, ViewJoin
from featurestore.spines.spine import SpineRows
from featurestore.values.int64 import Flags, Numbers, to_arrow, to_numpy, validity

ORDER_BYTES = 16
"""Bytes per row of a log's sort order."""
SORT_BYTES = 64
"""Bytes per row while a log is sorted."""
BATCH = 65_536


Orders: TypeAlias = dict[tuple[str | None, ...], SortedSpine]
"""A spine sorted by keys and times, by the names of the key columns and of the column with times of their own, if any."""


@dataclass(frozen=True)
class Match:
    """The log rows of a spine's rows: positions in each section of the log, NO_ROW for none. `known_times`: None if the times must be
    read from the log.
    """

    sections: Sequence[tuple[LogRows, Numbers]]
    known_times: Numbers | None

    @cached_property
    def times(self) -> Numbers:
        """The feature_timestamp of each spine row's match, NEVER for none."""
        return to_micros(self.take(["feature_timestamp"])[0]) if self.known_times is None else self.known_times

    def take(self, names: Sequence[str]) -> list[pa.ChunkedArray]:
        """These columns of each spine row's match, NULL for none."""
        parts = [rows.take(names, positions) for rows, positions in self.sections]
        return [reduce(pc.coalesce, columns) for columns in zip(*parts, strict=True)]

    def without(self, gone: Flags) -> "Match":
        """The match without the spine rows where `gone` is true."""
        left = [(rows, np.where(gone, NO_ROW, positions)) for rows, positions in self.sections]
        return Match(left, np.where(gone, NEVER, self.times))


class ViewLog:
    """A log whose newest rows, from `since` on, are kept sorted; `bytes` is its size in memory. `older` are the older sections."""

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
        """Sort the newest rows, once, before the first match; several views can be sorted concurrently."""
        if self._order is None:
            self._order = _sort_section(self.view, self._newest, Section((), self._since))
        return self._order

    def match(self, spine: SpineRows, orders: Orders) -> Match:
        """Match each row of the spine. `orders` caches the sorted spine for views with the same key columns."""
        log_keys, names = zip(*self.view.use.keys, strict=True)
        keys, spine_times = [spine.keys[name] for name in names], spine.times_of(self.view.use)
        same = (*names, self.view.use.time)
        if same not in orders:
            orders[same] = self.order().near(keys, spine_times)
        newest = self.order().match(orders[same])
        sections, times = [(self._newest, newest.positions)], newest.times
        left = np.flatnonzero((newest.positions == NO_ROW) & _matchable_rows(keys, spine_times))
        self._older, older = tee(self._older)
        while len(left) and (before := next(older, None)) is not None:
            section, read = before
            near = left[section.may_have(log_keys, [key.take(to_arrow(left)) for key in keys])]
            if not len(near):
                continue
            rows = read()
            section_keys = rows.read(log_keys).columns
            # Key columns are small: if a section does not have the keys, only its key columns are read.
            here = near[Keys(section_keys).of([key.take(to_arrow(near)) for key in keys]) != UNKNOWN]
            if not len(here):
                continue
            order = _sort_section(self.view, rows, section, section_keys)
            matches = order.match(order.near([key.take(to_arrow(here)) for key in keys], spine_times.take(to_arrow(here))))
            positions = np.full(spine.rows, NO_ROW)
            positions[here] = matches.positions
            sections.append((rows, positions))
            if times is not None and matches.times is not None:
                times[here] = matches.times
            left = left[positions[left] == NO_ROW]
        return Match(sections, times)


def open_log(session: Session, view: ViewJoin, room: int) -> ViewLog | None:
    """Open the log of a view in at most `room` bytes; None if it needs more."""
    files = view.files()
    if files is None or view.first is None or view.upper is None:
        table = _read_all(session, view, view.rows(), room)
        return None if table is None else ViewLog(view, MemoryRows(table))
    older = sections(files, view.lower, view.upper, view.first, room // SORT_BYTES)
    newest = next(older, Section((), None))
    rows = file_rows(files, newest.groups)
    # For remote files, one stream is faster if most rows are needed.
    if rows is None or (files.filesystem is not None and newest.rows * 2 > sum(extent.rows for extent in files.extents)):
        table = _read_all(session, view, view.rows(), room)
        if table is not None:
            return ViewLog(view, MemoryRows(table))
    if rows is None or rows.rows * SORT_BYTES > room:
        return None
    return ViewLog(view, rows, newest.since, ((section, partial(_rows, session, view, files, section)) for section in older))


def _rows(session: Session, view: ViewJoin, files: LogFiles, section: Section) -> LogRows:
    paths = dict.fromkeys(group.path for group in section.groups)
    return file_rows(files, section.groups) or MemoryRows(_read_all(session, view, files.relation(paths)))


def _sort_section(view: ViewJoin, rows: LogRows, section: Section, keys: Sequence[pa.ChunkedArray] | None = None) -> AsOf:
    """Sort the rows in a section's time range; `keys` are their keys, if already read."""
    names = [] if keys is not None else [key for key, _ in view.use.keys]
    times = ["feature_timestamp", *(["created_timestamp"] if view.known == "then" or view.log.corrected else [])]
    if view.log.deletions:
        times = ["feature_timestamp", "created_timestamp", DELETED]
    columns = rows.read([*names, *times]).columns
    feature, created, deleted = [*columns[len(names) :], None, None][:3]
    tombstones = None if deleted is None else to_numpy(deleted.cast(pa.int64()), 0) == 1
    # Rows later than the section were matched before, or never are; but their tombstones may be missing here, so they are left out.
    until = None if deleted is None else section.until
    return AsOf(keys or columns[: len(names)], feature, created, view.known, section.since, until, tombstones)


def _matchable_rows(keys: Sequence[pa.ChunkedArray], times: pa.ChunkedArray) -> Flags:
    """A mask of the spine rows that can have a match: those with keys and a time."""
    asking: Flags = to_micros(times) != NEVER
    for key in keys:
        asking &= validity(key)
    return asking


def _read_all(session: Session, view: ViewJoin, relation: Relation, room: int | None = None) -> pa.Table | None:
    """Read the relevant rows of a relation with DuckDB; None if they need more than `room` bytes."""
    log = session.add(LOG.name, relation)
    reader = session.batches(columns_of(view.relevant_rows(log), view.columns), BATCH)
    batches: list[pa.RecordBatch] = []
    taken = 0
    for batch in reader:
        taken += batch.nbytes
        if room is not None and taken > room:
            return None
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)
