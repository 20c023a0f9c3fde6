"""The columns that say when the rows of a log count, and the sort by keys and these times."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from featurestore.compiler.log_diff import DELETED
from featurestore.joins.gather.as_of import AsOf
from featurestore.joins.gather.row_groups import TIME
from featurestore.joins.view_join import ViewJoin
from featurestore.values.int64 import to_numpy


@dataclass(frozen=True)
class LogTimes:
    """How the rows of a log follow each other: by `known`, and whether there are corrections and tombstones."""

    known: str
    corrected: bool
    deletions: bool

    @property
    def columns(self) -> list[str]:
        """The log's columns that are sorted by, in addition to the keys."""
        created = self.known == "then" or self.corrected or self.deletions
        return [TIME, *(["created_timestamp"] if created else []), *([DELETED] if self.deletions else [])]

    def sort(self, keys: Sequence[pa.ChunkedArray], log: pa.Table, since: int | None = None, until: int | None = None) -> AsOf:
        """Sort the rows of `log`, which has these columns, with a feature_timestamp in [since, until) (microseconds; None: no bound)."""
        created = log.column("created_timestamp") if "created_timestamp" in self.columns else None
        if not self.deletions:
            return AsOf(keys, log.column(TIME), created, self.known, since, until)
        tombstones = to_numpy(log.column(DELETED).cast(pa.int64()), 0) == 1
        return AsOf(keys, log.column(TIME), created, self.known, since, until, tombstones)


def times_of_log(view: ViewJoin) -> LogTimes:
    """Those of the log of a view."""
    return LogTimes(view.known, view.log.corrected, view.log.deletions)
