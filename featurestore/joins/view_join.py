"""One view's part in a join: what is read of its log, how it meets the spine, and the proof that nothing leaked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.point_in_time import ROW, T, as_of_join, key_column
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.engine.session import Relation
from featurestore.errors import Conflict
from featurestore.joins.gather.row_groups import LogFiles
from featurestore.spines.spine import Spine
from featurestore.values import times

SPINE = "spine"
LOG = "log"


class Log(Protocol):
    """The feature rows of one version of a view: keys, feature_timestamp, created_timestamp, features."""

    @property
    def through(self) -> int | None:
        """The watermark in microseconds; None when nothing was ever materialized."""

    @property
    def corrected(self) -> bool:
        """Whether there may be several versions of a row, of which the latest created one holds."""

    @property
    def deletions(self) -> bool:
        """Whether there is a column DELETED, true in tombstones: versions that say that there is no such row any more."""

    def rows(self, columns: Sequence[str], lower: int | None, upper: int | None) -> Relation:
        """These columns; rows with feature_timestamp outside [lower, upper], in microseconds, may be left out."""

    def files(self, columns: Sequence[str], lower: int | None, upper: int | None) -> LogFiles | None:
        """The files that have these rows; None where rows are to be read as `rows` alone gives them."""


@dataclass(frozen=True)
class ViewFacts:
    """What the join saw of one view: spine rows that found no row of it, or are past its watermark, and the greatest distances
    that prove no leak.

    Distances are feature_timestamp - t and created_timestamp - t over the rows that found a feature row, in
    microseconds; None when none did.
    """

    not_covered: int
    past_watermark: int
    feature_minus_spine: int | None
    created_minus_spine: int | None

    def beside(self, others: "ViewFacts | None") -> "ViewFacts":
        """What was seen of these spine rows and of others; None: there are no others."""
        if others is None:
            return self
        distances = (
            [own for own in both if own is not None]
            for both in (
                (self.feature_minus_spine, others.feature_minus_spine),
                (self.created_minus_spine, others.created_minus_spine),
            )
        )
        return ViewFacts(
            self.not_covered + others.not_covered,
            self.past_watermark + others.past_watermark,
            *(max(found) if found else None for found in distances),
        )

    def proven(self, view: "ViewJoin") -> "ViewFacts":
        """The same, if it shows no leak. Raises: Conflict if a row is from after its spine row."""
        late = [self.feature_minus_spine, *([self.created_minus_spine] if view.known == "then" else [])]
        if any(distance is not None and distance > 0 for distance in late):
            raise Conflict(
                f"the join of {view.use.label} would leak: it holds a row from after its spine row ({self}); nothing was written"
            )
        return self


Facts: TypeAlias = dict[str, ViewFacts]
"""By the label of the view."""


@dataclass(frozen=True)
class ViewJoin:
    """A use of a view with its log. `table` is the temporary table for what it had for each spine row, `spine` the SELECT
    of the spine's keys in the log's types; `lower` and `upper` bound the times that can matter, in microseconds, None: no bound.
    `first` is the spine's first time; None where it has none.
    """

    use: ViewUse
    table: str
    log: Log
    known: str
    spine: str
    first: int | None
    lower: int | None
    upper: int | None

    @property
    def columns(self) -> list[str]:
        """The log's columns that the join reads."""
        own = [*(key for key, _ in self.use.keys), "feature_timestamp", "created_timestamp", *([DELETED] if self.log.deletions else [])]
        return list(dict.fromkeys([*own, *(name for name, _ in self.use.features)]))

    @property
    def within(self) -> str:
        """The log's rows that can matter."""
        if self.upper is None:
            return f"(SELECT * FROM {LOG} WHERE false)"
        lower = "" if self.lower is None else f" AND feature_timestamp >= make_timestamptz({self.lower})"
        return f"(SELECT * FROM {LOG} WHERE feature_timestamp <= make_timestamptz({self.upper}){lower})"

    @property
    def sql(self) -> str:
        """The join with all features, over SPINE and LOG."""
        return as_of_join(self.use, self.spine, self.within, known=self.known, corrected=self.log.corrected, deletions=self.log.deletions)

    def rows(self) -> Relation:
        """The log's rows, anew at each call."""
        return self.log.rows(self.columns, self.lower, self.upper)

    def files(self) -> LogFiles | None:
        """The log's files, if it has any that can be read a part at a time."""
        return self.log.files(self.columns, self.lower, self.upper)


def view_table(index: int) -> str:
    """The temporary table in which a join leaves what the view at this position of the plan had for each spine row."""
    return f"v{index}"


def view_joins(plan: ServicePlan, spine: Spine, logs: Mapping[str, Log], known: str) -> list[ViewJoin]:
    """The plan's uses, each with its log."""
    ends = spine.ends
    request_columns = spine.key_columns
    joins: list[ViewJoin] = []
    for index, use in enumerate(plan.uses):
        keys = [
            f"CAST(__fs_c{request_columns.index(column)} AS {kind}) AS {key_column(i)}"
            for i, ((_, column), kind) in enumerate(zip(use.keys, use.key_types, strict=True))
        ]
        own = f"(SELECT {ROW}, {T}, {', '.join(keys)} FROM {SPINE})"
        lower = None if ends is None or use.ttl is None else max(ends[0] - use.ttl, times.FIRST)
        first, upper = (None, None) if ends is None else ends
        joins.append(ViewJoin(use, view_table(index), logs[use.table], known, own, first, lower, upper))
    return joins
