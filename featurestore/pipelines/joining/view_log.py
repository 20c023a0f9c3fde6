"""One view's log as it is gathered from: the newest files that can matter first, older ones only while spine rows are left."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.expressions import quoted
from featurestore.compiler.relations import Extent, IcebergFiles
from featurestore.engine.session import Relation, Session
from featurestore.pipelines.joining.as_of import NEVER, NOTHING, Asked, AsOf, micros
from featurestore.pipelines.joining.key_numbers import UNKNOWN, Keys
from featurestore.pipelines.joining.log_rows import HeldRows, LogRows, file_rows
from featurestore.pipelines.joining.spine import SpineRows
from featurestore.pipelines.joining.view_join import LOG, ViewJoin
from featurestore.pipelines.numbers import Flags, Numbers, arrow, valid

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
    """A log of which the newest section is kept in order; `bytes` is what it takes in memory."""

    def __init__(self, session: Session, view: ViewJoin, newest: LogRows, older: Sequence[IcebergFiles] = ()) -> None:
        self.view = view
        self._session, self._older = session, older
        self._newest, self._order = newest, _ordered(view, newest)
        self.bytes = newest.bytes + newest.rows * ORDER_BYTES

    def match(self, spine: SpineRows, orders: Orders) -> Match:
        """What each row of the spine sees. `orders` keeps, from view to view, the order of its rows by the same key columns."""
        names = tuple(name for _, name in self.view.use.keys)
        keys = [spine.keys[name] for name in names]
        if names not in orders:
            orders[names] = self._order.near(keys, spine.times)
        newest = self._order.seen(orders[names])
        sections, times = [(self._newest, newest.positions)], newest.times
        left = np.flatnonzero((newest.positions == NOTHING) & _asking(keys, spine.times))
        for files in self._older:
            if not len(left):
                break
            rows = file_rows(files) or HeldRows(_all(self._session, self.view, files))
            own = np.full(spine.rows, NOTHING)
            # Keys in order take little room in a file: for those that a section does not have, no more than its keys is read.
            here = left[Keys(_keys(self.view, rows)).of([key.take(arrow(left)) for key in keys]) != UNKNOWN]
            if len(here):
                order = _ordered(self.view, rows)
                older = order.seen(order.near([key.take(arrow(here)) for key in keys], spine.times.take(arrow(here))))
                own[here] = older.positions
                sections.append((rows, own))
                if times is not None and older.times is not None:
                    times[here] = older.times
            left = left[own[left] == NOTHING]
        return Match(sections, times)


def opened(session: Session, view: ViewJoin, room: int) -> ViewLog | None:
    """The log of a view in at most `room` bytes; None when it takes more."""
    relation = view.rows()
    if isinstance(relation, IcebergFiles) and relation.paths and view.upper is not None:
        newest, *older = in_sections(relation, view.first, room // MAKING_BYTES)
        rows = file_rows(newest)
        if rows is not None:
            return ViewLog(session, view, rows, older) if rows.rows * MAKING_BYTES <= room else None
    table = _all(session, view, relation, room)
    return None if table is None else ViewLog(session, view, HeldRows(table))


def in_sections(files: IcebergFiles, first: int | None, most: int) -> list[IcebergFiles]:
    """The files by when their rows are: those with rows at `first` or later, and then, backwards in time, what came before.

    Every row of a section is later than every row of the next. An older one has about as many rows as all those before it, so that
    few are read for what is found soon and no more than a handful for what is not found at all; and about `most` rows at most.
    """
    if not files.extents or first is None:
        return [files]
    ascending = sorted(zip(files.paths, files.extents, strict=True), key=lambda file: file[1].lower_us)
    bands: list[list[tuple[str, Extent]]] = []
    through = None
    for path, extent in ascending:
        if through is None or extent.lower_us > through:
            bands.append([])
        bands[-1].append((path, extent))
        through = extent.upper_us if through is None else max(through, extent.upper_us)
    sections = [bands.pop()]
    while bands and max(extent.upper_us for _, extent in bands[-1]) >= first:
        sections[0] += bands.pop()
    seen = _rows(sections[0])
    while bands:
        section = bands.pop()
        while bands and _rows(section) + _rows(bands[-1]) <= min(seen, most):
            section += bands.pop()
        seen += _rows(section)
        sections.append(section)
    return [
        replace(files, paths=tuple(path for path, _ in part), extents=tuple(extent for _, extent in part), rows=_rows(part))
        for part in sections
    ]


def _rows(files: Sequence[tuple[str, Extent]]) -> int:
    return sum(extent.rows for _, extent in files)


def _ordered(view: ViewJoin, rows: LogRows) -> AsOf:
    names = [key for key, _ in view.use.keys]
    asked = ["feature_timestamp", *(["created_timestamp"] if view.known == "then" or view.log.corrected else [])]
    columns = rows.read([*names, *asked]).columns
    times, created = [*columns[len(names) :], None][:2]
    return AsOf(columns[: len(names)], times, created, view.known)


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
