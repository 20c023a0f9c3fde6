"""One view's part in a join: what is read of its log, how it meets the spine, and the proof that nothing leaked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from featurestore.compiler.point_in_time import CREATED_TIME, FEATURE_TIME, ROW, T, as_of_join, key_column
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.engine.session import Relation, Session
from featurestore.errors import Conflict
from featurestore.pipelines import times
from featurestore.pipelines.spine import Spine, time_range

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

    def rows(self, columns: Sequence[str], lower: int | None, upper: int | None) -> Relation:
        """These columns; rows with feature_timestamp outside [lower, upper], in microseconds, may be left out."""


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


@dataclass(frozen=True)
class ViewJoin:
    """A use of a view with its log. `table` is the temporary table for what it had for each spine row, `spine` the SELECT
    of the spine's keys in the log's types; `lower` and `upper` bound the times that can matter, in microseconds, None: no bound.
    """

    use: ViewUse
    table: str
    log: Log
    known: str
    spine: str
    lower: int | None
    upper: int | None

    @property
    def columns(self) -> list[str]:
        """The log's columns that the join reads."""
        own = [*(key for key, _ in self.use.keys), "feature_timestamp", "created_timestamp"]
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
        return as_of_join(self.use, self.spine, self.within, known=self.known, corrected=self.log.corrected)

    def rows(self) -> Relation:
        """The log's rows, anew at each call."""
        return self.log.rows(self.columns, self.lower, self.upper)


def view_table(index: int) -> str:
    """The temporary table in which a join leaves what the view at this position of the plan had for each spine row."""
    return f"v{index}"


def view_joins(plan: ServicePlan, spine: Spine, logs: Mapping[str, Log], known: str) -> list[ViewJoin]:
    """The plan's uses, each with its log."""
    ends = time_range(spine.times)
    request_columns = list(spine.keys)
    joins: list[ViewJoin] = []
    for index, use in enumerate(plan.uses):
        keys = [
            f"CAST(__fs_c{request_columns.index(column)} AS {kind}) AS {key_column(i)}"
            for i, ((_, column), kind) in enumerate(zip(use.keys, use.key_types, strict=True))
        ]
        own = f"(SELECT {ROW}, {T}, {', '.join(keys)} FROM {SPINE})"
        lower = None if ends is None or use.ttl is None else max(ends[0] - use.ttl, times.FIRST)
        joins.append(ViewJoin(use, view_table(index), logs[use.table], known, own, lower, None if ends is None else ends[1]))
    return joins


def facts_of(session: Session, view: ViewJoin) -> ViewFacts:
    """What the view's temporary table says. Raises: Conflict if it holds a row from after its spine row."""
    past = "true" if view.log.through is None else f"epoch_us({T}) > {view.log.through}"
    row = (
        session.batches(
            f"SELECT count(*) FILTER (WHERE {FEATURE_TIME} IS NULL) AS missing, count(*) FILTER (WHERE {past}) AS past,"
            f" max(epoch_us({FEATURE_TIME}) - epoch_us({T})) AS feature, max(epoch_us({CREATED_TIME}) - epoch_us({T})) AS created"
            f" FROM {SPINE} JOIN {view.table} USING ({ROW})"
        )
        .read_all()
        .to_pylist()[0]
    )
    return proven(view, ViewFacts(row["missing"], row["past"], row["feature"], row["created"]))


def proven(view: ViewJoin, facts: ViewFacts) -> ViewFacts:
    """The facts, if they show no leak. Raises: Conflict if a row is from after its spine row."""
    late = [facts.feature_minus_spine, *([facts.created_minus_spine] if view.known == "then" else [])]
    if any(distance is not None and distance > 0 for distance in late):
        raise Conflict(f"the join of {view.use.label} would leak: it holds a row from after its spine row ({facts}); nothing was written")
    return facts
