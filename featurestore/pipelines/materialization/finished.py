"""A finished run: its result, and the session and table that the publish after it can reuse."""

from dataclasses import dataclass, replace

from featurestore.compiler.relations import IcebergFiles
from featurestore.engine.session import Session
from featurestore.lakehouse.table import Table
from featurestore.pipelines.materialization.checks import Outcome


@dataclass(frozen=True)
class RunResult:
    """The figures of a run (see `Materialization`). `lower` and `upper` are in microseconds; None if there was nothing to compute."""

    lower: int | None = None
    upper: int | None = None
    computed: int = 0
    appended: int = 0
    corrections: int = 0
    future_rows: int = 0
    null_keys: int = 0
    checks: tuple[Outcome, ...] = ()


@dataclass(frozen=True)
class AppendedRows:
    """The rows that a commit added (None if the engine cannot read their files by itself), and the snapshots before it and of it."""

    before: int | None
    snapshot_id: int
    rows: IcebergFiles | None


@dataclass(frozen=True)
class FinishedRun:
    """The result of a run, and what a publish can reuse.

    `session` is the session of the run, with the tables that were created in it; None if it needed none. `table` is the feature table
    after the run's commit; None if nothing was committed, since others may have changed the table meanwhile. `appended` are the rows of
    that commit.
    """

    result: RunResult
    session: Session | None
    table: Table | None
    appended: AppendedRows | None = None


def combine(first: RunResult, second: RunResult) -> RunResult:
    """The result of two consecutive runs."""
    if second.lower is None:
        return first
    lower = second.lower if first.lower is None else min(first.lower, second.lower)
    sums = {name: getattr(first, name) + getattr(second, name) for name in ("computed", "appended", "corrections", "checks")}
    return replace(second, lower=lower, **sums)
