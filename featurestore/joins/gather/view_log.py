"""The log of one view: the newest relevant rows first, older ones only while spine rows are unmatched."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from itertools import tee
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.joins.gather.as_of import NEVER, NO_ROW, AsOf, Matches, SortedSpine, to_micros
from featurestore.joins.gather.engine_rows import engine_rows, rows_in_memory
from featurestore.joins.gather.key_codes import UNKNOWN, Keys
from featurestore.joins.gather.log_buckets import SORT_BYTES, LogBuckets
from featurestore.joins.gather.log_columns import FileRows, LogRows, file_rows
from featurestore.joins.gather.log_times import times_of_log
from featurestore.joins.gather.row_groups import LogFiles
from featurestore.joins.gather.sections import Section, sections
from featurestore.joins.gather.workspace import Workspace
from featurestore.joins.view_join import ViewJoin
from featurestore.spines.spine import SpineRows
from featurestore.values.int64 import Flags, Numbers, to_arrow, validity

ORDER_BYTES = 16
"""Bytes per row of a log's sort order."""
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
    """A log whose newest rows, from `since` on, are kept sorted, or in buckets. `older` are the older sections.

    `bytes` is its size in memory.
    """

    def __init__(
        self,
        workspace: Workspace,
        view: ViewJoin,
        newest: LogRows,
        *,
        in_buckets: bool,
        since: int | None = None,
        older: Iterable[tuple[Section, Callable[[], LogRows]]] = (),
    ) -> None:
        self.view = view
        self._workspace = workspace
        self._times, self._keys = times_of_log(view), [key for key, _ in view.use.keys]
        self._older = iter(older)
        self._newest, self._since = newest, since
        self._order: AsOf | None = None
        self._buckets: dict[int | None, LogBuckets] = {}
        if in_buckets:
            self._buckets[since] = self._divide(newest, Section((), since))
        self.bytes = newest.bytes + (0 if in_buckets else newest.rows * ORDER_BYTES)

    def prepare(self) -> None:
        """Sort the newest rows if they are kept in memory, once, before the first match; several views can be sorted concurrently."""
        if self._order is None and self._since not in self._buckets:
            log = self._newest.read([*self._keys, *self._times.columns])
            self._order = self._times.sort([log.column(key) for key in self._keys], log, self._since)

    def match(self, spine: SpineRows, orders: Orders) -> Match:
        """Match each row of the spine. `orders` caches the sorted spine for views with the same key columns."""
        names = [name for _, name in self.view.use.keys]
        keys, spine_times = [spine.keys[name] for name in names], spine.times_of(self.view.use)
        newest = self._match_newest(keys, spine_times, orders, (*names, self.view.use.time))
        sections, times = [(self._newest, newest.positions)], newest.times
        left = np.flatnonzero((newest.positions == NO_ROW) & _matchable_rows(keys, spine_times))
        self._older, older = tee(self._older)
        while len(left) and (before := next(older, None)) is not None:
            section, read = before
            near = left[section.may_have(self._keys, [key.take(to_arrow(left)) for key in keys])]
            if not len(near):
                continue
            rows = read()
            matches = self._match_section(section, rows, [key.take(to_arrow(near)) for key in keys], spine_times.take(to_arrow(near)))
            if matches is None:
                continue
            positions = np.full(spine.rows, NO_ROW)
            positions[near] = matches.positions
            sections.append((rows, positions))
            if times is not None and matches.times is not None:
                times[near] = matches.times
            left = left[positions[left] == NO_ROW]
        return Match(sections, times)

    def _match_newest(
        self, keys: Sequence[pa.ChunkedArray], times: pa.ChunkedArray, orders: Orders, same: tuple[str | None, ...]
    ) -> Matches:
        if self._order is None:
            return self._buckets[self._since].match(keys, times)
        if same not in orders:
            orders[same] = self._order.near(keys, times)
        return self._order.match(orders[same])

    def _match_section(self, section: Section, rows: LogRows, keys: Sequence[pa.ChunkedArray], times: pa.ChunkedArray) -> Matches | None:
        """The matches in an older section; None if it has none of the keys."""
        if rows.rows * SORT_BYTES > self._workspace.room:
            if section.since not in self._buckets:
                self._buckets[section.since] = self._divide(rows, section)
            return self._buckets[section.since].match(keys, times)
        section_keys = rows.read(self._keys).columns
        # Key columns are small: if a section does not have the keys, only its key columns are read.
        here = np.flatnonzero(Keys(section_keys).of(keys) != UNKNOWN)
        if not len(here):
            return None
        # Rows later than the section were matched before, or never are; but their tombstones may be missing here, so they are left out.
        until = section.until if self._times.deletions else None
        order = self._times.sort(section_keys, rows.read(self._times.columns), section.since, until)
        matches = order.match(order.near([key.take(to_arrow(here)) for key in keys], times.take(to_arrow(here))))
        return matches.spread(here, len(times))

    def _divide(self, rows: LogRows, section: Section) -> LogBuckets:
        return LogBuckets(self._workspace, rows, self._keys, self._times, section.since, section.until)


def open_log(workspace: Workspace, view: ViewJoin, keep: int) -> ViewLog:
    """Open the log of a view. Its newest rows are kept in memory if that and their sort take at most `keep` bytes.

    Otherwise they are divided into buckets on disk.
    """
    files = view.files()
    if files is None or view.first is None or view.upper is None:
        return _read_once(workspace, view, keep)
    older = sections(files, view.lower, view.upper, view.first, max(workspace.room // SORT_BYTES, 1))
    newest = next(older, Section((), None))
    rows: LogRows | None = file_rows(files, newest.groups)
    # For remote files, one stream is faster if most rows are needed.
    if files.remote is not None and newest.rows * 2 > sum(extent.rows for extent in files.extents):
        in_memory = rows_in_memory(workspace.session, view, view.rows(), keep)
        if in_memory is not None:
            return ViewLog(workspace, view, in_memory, in_buckets=False)
    if rows is None:
        return _read_once(workspace, view, keep)
    read_older = ((section, partial(_rows, workspace, view, files, section)) for section in older)
    return ViewLog(workspace, view, rows, in_buckets=rows.rows * SORT_BYTES > keep, since=newest.since, older=read_older)


def _read_once(workspace: Workspace, view: ViewJoin, keep: int) -> ViewLog:
    rows = engine_rows(workspace, view, view.rows(), keep)
    return ViewLog(workspace, view, rows, in_buckets=isinstance(rows, FileRows))


def _rows(workspace: Workspace, view: ViewJoin, files: LogFiles, section: Section) -> LogRows:
    paths = dict.fromkeys(group.path for group in section.groups)
    return file_rows(files, section.groups) or engine_rows(workspace, view, files.relation(paths), workspace.room)


def _matchable_rows(keys: Sequence[pa.ChunkedArray], times: pa.ChunkedArray) -> Flags:
    """A mask of the spine rows that can have a match: those with keys and a time."""
    asking: Flags = to_micros(times) != NEVER
    for key in keys:
        asking &= validity(key)
    return asking
