"""The join of one view: which part of its log is read, the join's SQL, and the check that no feature row is later than its spine row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from featurestore.compiler.join_rows import log_between, spine_at, spine_of_view
from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.point_in_time import as_of_join
from featurestore.compiler.policy_join import raw_use, under_policy
from featurestore.compiler.query import Query, Source
from featurestore.compiler.relations import Handle
from featurestore.compiler.row_policy import BoundPolicy
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.engine.session import Relation
from featurestore.errors import Conflict
from featurestore.joins.gather.row_groups import LogFiles
from featurestore.records.defaults import default_values
from featurestore.spines.spine import Spine
from featurestore.values import times

SPINE = Handle("spine")
LOG = Handle("log")
"""The relations that joins add to their session: a batch of the spine, and the log of one view after another."""


class Log(Protocol):
    """The feature rows of one version of a view: keys, feature_timestamp, created_timestamp, features."""

    @property
    def through(self) -> int | None:
        """The watermark in microseconds; None when nothing was ever materialized."""

    @property
    def corrected(self) -> bool:
        """Whether there may be several versions of a row, of which the latest created one is current."""

    @property
    def deletions(self) -> bool:
        """Whether there is a column DELETED, which is true in tombstones: versions that mark a row as deleted."""

    @property
    def policy(self) -> BoundPolicy | None:
        """What is in force on the rows that the join selects, for whom it reads; None: they are shown as they are."""

    def rows(self, columns: Sequence[str], lower: int | None, upper: int | None) -> Relation:
        """The rows with these columns; rows with feature_timestamp outside [lower, upper], in microseconds, may be missing."""

    def files(self, columns: Sequence[str], lower: int | None, upper: int | None) -> LogFiles | None:
        """The files with these rows; None if only `rows` can read them."""


@dataclass(frozen=True)
class ViewFacts:
    """Facts about the join of one view: the number of spine rows without a match and past its watermark, and the maximum distances.

    The distances are feature_timestamp - t and created_timestamp - t over the matched rows, in microseconds; None without matches. They
    are positive only if a later row was joined.
    """

    not_covered: int
    past_watermark: int
    feature_minus_spine: int | None
    created_minus_spine: int | None

    def beside(self, others: "ViewFacts | None") -> "ViewFacts":
        """The facts of these spine rows and of others together; None: there are no others."""
        if others is None:
            return self
        distances = (
            [distance for distance in both if distance is not None]
            for both in (
                (self.feature_minus_spine, others.feature_minus_spine),
                (self.created_minus_spine, others.created_minus_spine),
            )
        )
        return ViewFacts(
            self.not_covered + others.not_covered,
            self.past_watermark + others.past_watermark,
            *(max(both) if both else None for both in distances),
        )

    def refuse_leak(self, view: "ViewJoin") -> "ViewFacts":
        """Return the facts, unless the join leaks. Raises: Conflict if a feature row is later than its spine row."""
        late = [self.feature_minus_spine, *([self.created_minus_spine] if view.known == "then" else [])]
        if any(distance is not None and distance > 0 for distance in late):
            raise Conflict(
                f"the join of {view.use.label} would leak: a feature row is later than its spine row ({self}); nothing was written"
            )
        return self


Facts: TypeAlias = dict[str, ViewFacts]
"""Facts by the label of the view."""


@dataclass(frozen=True)
class ViewJoin:
    """A use of a view with its log, from which `table` is made: a row for each spine row.

    `spine_keys` are the spine's key columns, each with its type in the log. `lower` and `upper` bound the relevant times in microseconds
    (None: no bound). `first` is the spine's first time, None if it has none. `time` is the spine's column with times of this view's own.
    """

    use: ViewUse
    table: Handle
    log: Log
    known: str
    spine_keys: tuple[tuple[str, str], ...]
    first: int | None
    lower: int | None
    upper: int | None
    time: str | None = None
    policy: BoundPolicy | None = None

    @property
    def columns(self) -> list[str]:
        """The log's columns that the join reads."""
        log_columns = [
            *(key for key, _ in self.use.keys),
            "feature_timestamp",
            "created_timestamp",
            *([DELETED] if self.log.deletions else []),
        ]
        read = self.use.columns if self.policy is None else self.policy.reads(self.use.columns)
        return list(dict.fromkeys([*log_columns, *read]))

    def relevant_rows(self, log: Handle) -> Query:
        """The log's rows in the relevant time range."""
        return log_between(log, self.lower, self.upper)

    def query(self, spine: Handle, log: Handle) -> Query:
        """The join with all features, as the rows are: for people to read, since what a policy hides may stand in its SQL."""
        return self._join(self.use, spine, log, default_values(self.use))

    def policy_query(self, spine: Handle, log: Handle) -> Query:
        """The join with all features, as the policy shows them."""
        if self.policy is None:
            return self.query(spine, log)
        return under_policy(self.use, self.policy, self._join(raw_use(self.use, self.policy), spine, log, {}), default_values(self.use))

    def _join(self, use: ViewUse, spine: Handle, log: Handle, defaults: Mapping[str, Any]) -> Query:
        return as_of_join(
            use,
            spine_of_view(self.spine_in_time(spine), self.spine_keys),
            self.relevant_rows(log),
            known=self.known,
            corrected=self.log.corrected,
            deletions=self.log.deletions,
            defaults=defaults,
        )

    def spine_in_time(self, spine: Handle) -> Source:
        """The spine with the times as of which this view is looked up."""
        return spine_at(spine, self.time)

    def rows(self) -> Relation:
        """The log's rows; each call reads them again."""
        return self.log.rows(self.columns, self.lower, self.upper)

    def files(self) -> LogFiles | None:
        """The log's files, if they can be read in parts; else None."""
        return self.log.files(self.columns, self.lower, self.upper)


def view_table(index: int) -> Handle:
    """The table of the session with the rows of the view at this position of the plan, one per spine row."""
    return Handle(f"v{index}")


def spine_key_column(index: int) -> str:
    """The column in SPINE of the service's key column at this position."""
    return f"__fs_c{index}"


def spine_time_column(plan: ServicePlan, use: ViewUse) -> str | None:
    """The column in SPINE of the times of a use's own; None if it has none."""
    return None if use.time is None else f"__fs_t{plan.times.index(use.time)}"


def view_joins(plan: ServicePlan, spine: Spine, logs: Mapping[str, Log], known: str) -> list[ViewJoin]:
    """The plan's uses, each with its log."""
    request_columns = spine.key_columns
    joins: list[ViewJoin] = []
    for index, use in enumerate(plan.uses):
        keys = tuple(
            (spine_key_column(request_columns.index(column)), sql_type)
            for (_, column), sql_type in zip(use.keys, use.key_types, strict=True)
        )
        ends = spine.ends if use.time is None else spine.ends_of(use.time)
        lower = None if ends is None or use.ttl is None else max(ends[0] - use.ttl, times.FIRST)
        first, upper = (None, None) if ends is None else ends
        log, time = logs[use.table], spine_time_column(plan, use)
        joins.append(ViewJoin(use, view_table(index), log, known, keys, first, lower, upper, time, log.policy))
    return joins
