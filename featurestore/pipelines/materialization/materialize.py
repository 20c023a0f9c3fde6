"""Materializing a view: a run over its feature table, tried again where another was first, then the online store."""

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
from featurestore.pipelines.materialization.finished import Finished
from featurestore.pipelines.materialization.run import OnViewProgress, ViewProgress, run
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime
from featurestore.values import times

__all__ = ["Materialization", "OnViewProgress", "ViewProgress", "materialize_view"]

ATTEMPTS = 50
"""How often a run is begun: each lost try means that another run got on, and what that has ready is not computed again."""


@dataclass(frozen=True)
class Materialization:
    """What one run did to one view.

    `start` and `end` bound the feature_timestamps that were computed (UTC, inclusive; None when there was nothing to
    compute). `corrections` of the appended rows replace held ones. `future_rows` and `null_keys` of the source were
    left out. `snapshot_id` is the table's newest snapshot, None while it has no rows; `published` counts online rows.
    `checks` are the outcomes of the view's checks, none of them a failed error.
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
    publisher: EditionPublisher,
    applied: Applied,
    view: FeatureView,
    start: int | None,
    end: int | None,
    report: OnViewProgress,
) -> Materialization:
    """Bring one version of a view up to `end` (microseconds; the present when None or later) and add it to an edition, which the caller
    commits.

    A run that loses a race for the table starts over on what the winner left. Raises: RequestError for an interval
    that would leave a gap; TypeMismatch when the source's types no longer fit the table's; CheckFailed.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        finished = _finished(stack, runtime, applied, view, start, end, report)
        landed = finished.landed
        report(ViewProgress(view.name, "publish", 1, 1, landed.appended))
        publisher.add(applied, view, session=finished.session, table=finished.table)
    return Materialization(
        view=applied.name,
        table=applied.table,
        start=None if landed.lower is None else times.moment(landed.lower),
        end=None if landed.upper is None else times.moment(landed.upper),
        rows_computed=landed.computed,
        rows_appended=landed.appended,
        corrections=landed.corrections,
        future_rows=landed.future_rows,
        null_keys=landed.null_keys,
        snapshot_id=None,
        published=0,
        seconds=time.monotonic() - began,
        checks=landed.checks,
    )


def _finished(
    stack: ExitStack, runtime: Runtime, applied: Applied, view: FeatureView, start: int | None, end: int | None, report: OnViewProgress
) -> Finished:
    """The run that got through; its session is open until the stack is closed."""

    def attempt() -> Finished:
        return stack.enter_context(run(runtime, applied, view, start, end, report))

    name = runtime.features_table(applied.table)
    try:
        return commits.retry(name, attempt, undone="its last rows were not added; the next run resumes there", attempts=ATTEMPTS)
    except CommitConflict:
        raise
    except FeatureStoreError as error:
        if (beyond := _beyond(view, error)) is not None:
            raise beyond from error
        error.message = f"view {view.name}: {error.message}"
        raise


def _beyond(view: FeatureView, error: FeatureStoreError) -> RequestError | None:
    """The error of a sum that no type of the engine holds, naming the features that add up; None for any other error."""
    sums = [one.name for one in features_of(view) if isinstance(one, WindowedFeature) and one.aggregation.function in ("sum", "mean")]
    if not sums or "Overflow in " not in str(error.details.get("reason", "")):
        return None
    return RequestError(
        f"view {view.name}: the values that {' or '.join(sums[:5])} adds up have a sum beyond 38 digits; add up CAST(... AS DOUBLE), or"
        " a decimal of fewer digits after the point",
        view=view.name,
        features=sums,
    )
