"""Divide a log into sections, backwards in time: first the row groups of the spine's time range, then older ones on demand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.relations import Extent
from featurestore.joins.gather.row_groups import LogFiles, RowGroup, row_groups
from featurestore.values.int64 import Flags, to_numpy


@dataclass(frozen=True)
class Section:
    """Row groups of a log with all of its rows from `since` (microseconds; None: all) to before `until` (None: no bound). They may have
    some later rows too, all of which are in earlier sections.
    """

    groups: tuple[RowGroup, ...]
    since: int | None
    until: int | None = None

    @property
    def rows(self) -> int:
        """The number of rows of the groups."""
        return sum(group.extent.rows for group in self.groups)

    def may_have(self, names: Sequence[str], keys: Sequence[pa.ChunkedArray]) -> Flags:
        """A mask of the keys that the groups may have rows of: those within the bounds of the columns, if known."""
        mask = np.ones(len(keys[0]), np.bool_)
        for name, key in zip(names, keys, strict=True):
            bounds = [group.bounds(name) for group in self.groups]
            known = [ends for ends in bounds if ends is not None]
            if len(known) == len(bounds) and (pa.types.is_integer(key.type) or pa.types.is_string(key.type)):
                least, most = min(low for low, _ in known), max(high for _, high in known)
                inside = pc.and_(pc.greater_equal(key, least), pc.less_equal(key, most))
                mask &= to_numpy(inside.cast(pa.int64()), 0) == 1
        return mask


def sections(files: LogFiles, lower: int | None, upper: int, first: int, most: int) -> Iterator[Section]:
    """Yield first the row groups with rows at `first` or later (or the latest ones), then older ones, backwards in time.

    Row groups without rows within [lower, upper] are left out; times are in microseconds (`lower` None: no bound). Each older section has
    about as many rows as all sections before it, so that matches close by need few rows and missing ones only a few sections; and about
    `most` rows at most. Files are opened only when their section is reached. Files across the boundary of two sections are in both.
    """

    def near(extent: Extent) -> bool:
        return extent.lower_us <= upper and (lower is None or extent.upper_us >= lower)

    extents = dict(zip(files.paths, files.extents, strict=True))
    numbers = count()
    # A heap with the latest first: files, which are replaced by their row groups, and row groups.
    waiting: list[tuple[int, int, str | RowGroup]] = [
        (-extent.upper_us, next(numbers), path) for path, extent in extents.items() if near(extent)
    ]
    heapify(waiting)
    seen, across = 0, list[RowGroup]()
    since: int | None = None
    while waiting or across:
        taken, rows, least_rows = list[RowGroup](), 0, min(max(seen, 1), most)
        while waiting and (
            (rows < least_rows if seen else -waiting[0][0] >= first or not taken)
            # Row groups with the same end time must be in the same section.
            or -waiting[0][0] == taken[-1].extent.upper_us
        ):
            _, _, earliest = heappop(waiting)
            if isinstance(earliest, RowGroup):
                taken.append(earliest)
                rows += earliest.extent.rows
                continue
            for group in row_groups(files, earliest, extents[earliest]):
                if near(group.extent):
                    heappush(waiting, (-group.extent.upper_us, next(numbers), group))
        until, since = since, 1 - waiting[0][0] if waiting else None
        groups = sorted([*across, *taken], key=lambda group: (extents[group.path].lower_us, group.path, group.number))
        if groups:
            yield Section(tuple(groups), since, until)
        across = [] if since is None else [group for group in groups if group.extent.lower_us < since]
        seen += rows
