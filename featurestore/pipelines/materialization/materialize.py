"""Materialize one view: run over its feature table, with another attempt after a commit conflict, then add it to an online edition."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from featurestore.compiler.features import WindowedFeature, features_of
from featurestore.dsl.view import FeatureView
from featurestore.errors import CommitConflict, FeatureStoreError, RequestError
from featurestore.lakehouse import commits
from featurestore.pipelines.materialization.checks import Outcome
from featurestore.pipelines.materialization.edition import EditionPublisher
from featurestore.pipelines.materialization.finished import FinishedRun
from featurestore.pipelines.materialization.run import run
from featurestore.pipelines.materialization.view_progress import OnViewProgress, StopRun, ViewProgress
from featurestore.records.definitions import Applied
from featurestore.records.leases import Leases
from featurestore.records.runtime import Runtime
from featurestore.values import times

__all__ = ["Materialization", "OnViewProgress", "StopRun", "ViewProgress", "materialize_view"]

ATTEMPTS = 50
"""Number of attempts of a run. A conflict means that another run made progress, and its finished chunks are not computed again."""


@dataclass(frozen=True)
class Materialization:
    """The result of materializing one view.

    `start` and `end` bound the feature_timestamps that were computed (UTC, inclusive; None if there was nothing to compute). Of
    the appended rows, `corrections` replace stored ones. `future_rows` and `null_keys` count source rows that were left out.
    `snapshot_id` is the table's newest snapshot, None while it has no rows. `published` is the number of rows written online.
    `checks` are the outcomes of the view's checks; none of severity error has failed.
    """

    view: str
    table: str
    start: datetime | None
    end: datetime | None
    rows_computed: int
    rows_appended: int
    corrections: int
    future_rows: int
    null_keys: int
    snapshot_id: int | None
    published: int
    seconds: float
    checks: tuple[Outcome, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form: times as RFC 3339, the snapshot id as text."""
        bounds = (("start", self.start), ("end", self.end))
        shown = {name: None if value is None else times.text(times.micros(value)) for name, value in bounds}
        outcomes = [outcome.to_dict() for outcome in self.checks]
        return {**self.__dict__, **shown, "snapshot_id": None if self.snapshot_id is None else str(self.snapshot_id), "checks": outcomes}


def materialize_view(
    runtime: Runtime,
    leases: Leases,
    publisher: EditionPublisher,
    applied: Applied,
    view: FeatureView,
    start: int | None,
    end: int | None,
    report: OnViewProgress,
) -> Materialization:
    """Bring one version of a view up to `end` (microseconds; now when None or later), and add it to an edition, which the caller commits.

    After a commit conflict the run starts again on the table that the other run left. Raises: RequestError for an interval that would
    leave a gap; TypeMismatch if the source's types no longer fit the table's; CheckFailed; CommitConflict after the last attempt;
    LeaseHeld.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        # The lease is kept while the session is open, and released with the next one that is taken.
        stack.callback(leases.release, runtime.features_table(applied.table))
        finished = _run_with_retries(stack, runtime, leases, applied, view, start, end, report)
        result = finished.result
        report(ViewProgress(view.name, "publish", 1, 1, result.appended))
        publisher.add(applied, view, session=finished.session, table=finished.table, appended=finished.appended)
    return Materialization(
        view=applied.name,
        table=applied.table,
        start=None if result.lower is None else times.moment(result.lower),
        end=None if result.upper is None else times.moment(result.upper),
        rows_computed=result.computed,
        rows_appended=result.appended,
        corrections=result.corrections,
        future_rows=result.future_rows,
        null_keys=result.null_keys,
        snapshot_id=None,
        published=0,
        seconds=time.monotonic() - started,
        checks=result.checks,
    )


def _run_with_retries(
    stack: ExitStack,
    runtime: Runtime,
    leases: Leases,
    applied: Applied,
    view: FeatureView,
    start: int | None,
    end: int | None,
    report: OnViewProgress,
) -> FinishedRun:
    """Run until the commit succeeds. The session of the run stays open until the stack is closed."""

    def attempt() -> FinishedRun:
        return stack.enter_context(run(runtime, leases, applied, view, start, end, report))

    name = runtime.features_table(applied.table)
    try:
        return commits.retry(name, attempt, undone="its last rows were not added; the next run resumes there", attempts=ATTEMPTS)
    except CommitConflict:
        raise
    except FeatureStoreError as error:
        if (overflow := _sum_overflow(view, error)) is not None:
            raise overflow from error
        error.message = f"view {view.name}: {error.message}"
        raise


def _sum_overflow(view: FeatureView, error: FeatureStoreError) -> RequestError | None:
    """An error naming the features that sum values, if a sum overflowed the engine's widest type; None for any other error."""
    windowed = [feature for feature in features_of(view) if isinstance(feature, WindowedFeature)]
    sums = [feature.name for feature in windowed if feature.aggregation.function in ("sum", "mean")]
    if not sums or "Overflow in " not in str(error.details.get("reason", "")):
        return None
    return RequestError(
        f"view {view.name}: the values that {' or '.join(sums[:5])} adds up have a sum beyond 38 digits; add up CAST(... AS DOUBLE), or"
        " a decimal of fewer digits after the point",
        view=view.name,
        features=sums,
    )
