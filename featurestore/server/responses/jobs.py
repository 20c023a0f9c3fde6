"""States of jobs, with their results."""

from typing import Any

from featurestore.server.jobs.job import State
from featurestore.server.responses.answer import Answer, ErrorDetail
from featurestore.server.responses.runs import OnlineComparison, PublishedView, Repair, Run, TableMaintenance
from featurestore.server.responses.training_sets import Comparison, RebuildResult


class AcceptedJob(Answer):
    """A job that was queued; `url` has its state."""

    id: str
    state: State
    url: str


class JobState(Answer):
    """The state of a job, with its `result` when it is done and the `error` if it failed."""

    id: str
    state: State
    progress: dict[str, Any] | None = None
    result: Any = None
    error: ErrorDetail | None = None


class Materialization(JobState):
    """The state of a materialization. `result` has the runs of all views that succeeded, even if others failed."""

    result: list[Run] | None = None


class Publication(JobState):
    """The state of a publication."""

    result: list[PublishedView] | None = None


class Verification(JobState):
    """The state of a verification of the online store."""

    result: list[OnlineComparison] | None = None


class Rebuild(JobState):
    """The state of a rebuild. If the rows differ, it fails with DigestMismatch."""

    result: RebuildResult | None = None


class ComparisonState(JobState):
    """The state of a comparison."""

    result: Comparison | None = None


class Maintenance(JobState):
    """The state of table maintenance."""

    result: list[TableMaintenance] | None = None


class Repairs(JobState):
    """The state of a repair."""

    result: list[Repair] | None = None
