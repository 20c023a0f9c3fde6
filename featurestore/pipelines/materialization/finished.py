"""What a run hands on when it is over: what it landed, and what it has open that a publish can use."""

from dataclasses import dataclass, replace

from featurestore.engine.session import Session
from featurestore.lakehouse.tables import Table
from featurestore.pipelines.materialization.checks import Outcome


@dataclass(frozen=True)
class Landed:
    """What a run appended; see `Materialization`. `lower` and `upper` in microseconds, None when nothing was to be computed."""

    lower: int | None = None
    upper: int | None = None
    computed: int = 0
    appended: int = 0
    corrections: int = 0
    future_rows: int = 0
    null_keys: int = 0
    checks: tuple[Outcome, ...] = ()


@dataclass(frozen=True)
class Finished:
    """A run that is over, and what a publish can use of it.

    `session` is the one that it computed in, with all that it made there. `table` is the feature table as the run's commit left
    it; None where nothing was committed, as it may have changed since the run began.
    """

    landed: Landed
    session: Session
    table: Table | None


def add(first: Landed, then: Landed) -> Landed:
    """What two runs, one after the other, did."""
    if then.lower is None:
        return first
    lower = then.lower if first.lower is None else min(first.lower, then.lower)
    added = {name: getattr(first, name) + getattr(then, name) for name in ("computed", "appended", "corrections", "checks")}
    return replace(then, lower=lower, **added)
