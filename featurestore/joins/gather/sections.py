"""A log in sections, backwards in time: the row groups that a spine's own time needs, then what came before, for who asks for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.relations import Extent
from featurestore.joins.gather.row_groups import LogFiles, RowGroup, row_groups
from featurestore.values.int64 import Flags, filled


@dataclass(frozen=True)
class Section:
    """Row groups of a log. Their rows from `since` on (microseconds; None: all) and before `until` (None: no bound) are all that the
    log has of that time. Of later times, which sections before it have, there may be some rows and not all.
    """

    groups: tuple[RowGroup, ...]
    since: int | None
    until: int | None = None

    @property
    def rows(self) -> int:
        """How many rows the groups have."""
        return sum(group.extent.rows for group in self.groups)

    def may_have(self, names: Sequence[str], keys: Sequence[pa.ChunkedArray]) -> Flags:
        """Of keys those that the groups may have rows of: that lie within the bounds of their columns, where these are known."""
        found = np.ones(len(keys[0]), np.bool_)
        for name, key in zip(names, keys, strict=True):
            bounds = [group.bounds(name) for group in self.groups]
            known = [ends for ends in bounds if ends is not None]
            if len(known) == len(bounds) and (pa.types.is_integer(key.type) or pa.types.is_string(key.type)):
                least, most = min(low for low, _ in known), max(high for _, high in known)
                inside = pc.and_(pc.greater_equal(key, least), pc.less_equal(key, most))
                found &= filled(inside.cast(pa.int64()), 0) == 1
        return found


def sections(files: LogFiles, lower: int | None, upper: int, first: int, most: int) -> Iterator[Section]:
    """First the row groups with rows at `first` or later (or the latest ones), then, backwards in time, those before.

    What has no row within [lower, upper] is left out; all times in microseconds, `lower` None: no bound. An older section has about as
    many rows as all before it, so that few are read for what is found soon and no more than a handful for what is not found at all;
    and about `most` rows at most. A file is opened when its time has come. Where files lie across the time at which two sections
    meet, both have them.
    """

    def near(extent: Extent) -> bool:
        return extent.lower_us <= upper and (lower is None or extent.upper_us >= lower)

    extents = dict(zip(files.paths, files.extents, strict=True))
    numbers = count()
    # What is latest comes out first: files, which give their row groups, and those.
    waiting: list[tuple[int, int, str | RowGroup]] = [
        (-extent.upper_us, next(numbers), path) for path, extent in extents.items() if near(extent)
    ]
    heapify(waiting)
    seen, across = 0, list[RowGroup]()
    since: int | None = None
    while waiting or across:
        taken, rows, wanted = list[RowGroup](), 0, min(max(seen, 1), most)
        while waiting and (
            (rows < wanted if seen else -waiting[0][0] >= first or not taken)
            # What ends at the same moment would not count, one without the other.
            or -waiting[0][0] == taken[-1].extent.upper_us
        ):
            _, _, found = heappop(waiting)
            if isinstance(found, RowGroup):
                taken.append(found)
                rows += found.extent.rows
                continue
            for group in row_groups(files, found, extents[found]):
                if near(group.extent):
                    heappush(waiting, (-group.extent.upper_us, next(numbers), group))
        until, since = since, 1 - waiting[0][0] if waiting else None
        groups = sorted([*across, *taken], key=lambda group: (extents[group.path].lower_us, group.path, group.number))
        if groups:
            yield Section(tuple(groups), since, until)
        across = [] if since is None else [group for group in groups if group.extent.lower_us < since]
        seen += rows
