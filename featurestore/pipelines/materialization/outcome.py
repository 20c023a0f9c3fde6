"""Materialize several views: if one fails, the others are still brought up to date."""

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from featurestore.errors import FeatureStoreError, MaterializationFailed, NotReady, OutOfResources, copy_error, message_of
from featurestore.library_messages import PRIVATE, own_message
from featurestore.masking import logger_of
from featurestore.pipelines.lineage_events.materializations import MaterializationReports
from featurestore.pipelines.materialization.edition import EditionPublisher
from featurestore.pipelines.materialization.materialize import Materialization, OnViewProgress, StopRun, ViewProgress, materialize_view
from featurestore.pipelines.materialization.run_maintenance import maintain_copies
from featurestore.records import health, stored_definition
from featurestore.records.definitions import Applied
from featurestore.records.leases import Leases
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.refresh import CopyRefresh
from featurestore.values.arguments import WAIT

logger = logger_of(__name__)


@dataclass(frozen=True)
class Failure:
    """A version of a view that could not be brought up to date, with its feature table and the error. No row of it was added."""

    view: str
    table: str
    error: FeatureStoreError

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form, without the error's cause."""
        return {"view": self.view, "table": self.table, "type": type(self.error).__name__, "message": self.error.message}


class Materializations(list[Materialization]):
    """The results of the views that were brought up to date, in order; `failures` are the others."""

    def __init__(self, done: Iterable[Materialization] = (), failures: Sequence[Failure] = ()) -> None:
        super().__init__(done)
        self.failures = tuple(failures)

    @property
    def error(self) -> FeatureStoreError | None:
        """The error to raise: None without failures, the error itself for one failure, and an error that lists all for several.

        The class of the last is that of the errors if they have the same, and MaterializationFailed otherwise. Its details have the
        `failures`, and the tables that were `materialized`.
        """
        if not self.failures:
            return None
        details = {"failures": [failure.to_dict() for failure in self.failures], "materialized": [run.table for run in self]}
        first = self.failures[0].error
        if len(self.failures) == 1:
            first.details.update(details)
            return first
        same_class = {type(failure.error) for failure in self.failures} == {type(first)}
        error_class = type(first) if same_class else MaterializationFailed
        error = error_class.__new__(error_class)
        lines = "".join(f"\n  {failure.error}" for failure in self.failures)
        total = len(self) + len(self.failures)
        FeatureStoreError.__init__(error, f"{len(self.failures)} of {total} views were not brought up to date:{lines}", **details)
        return error


def materialize_views(
    runtime: Runtime,
    versions: Iterable[Applied],
    start: int | None,
    end: int | None,
    report: OnViewProgress,
    staged: set[str] | None = None,
    wait: timedelta = WAIT,
) -> Materializations:
    """Bring each version up to `end`, one after the other, and publish all in one edition; arguments as for `materialize_view`.

    A view that another process is computing is waited for, for up to `wait`; then it is a failure, LeaseHeld.

    Tables that are ready to be published are added to `staged`, which `versions` may read while it is iterated.

    A `report` that raises StopRun ends the run after the views that are done, which are published. It ends early after an error that every
    view would have: a full disk, an unreachable catalog, an interrupt, or another exception raised by `report`.
    """
    # Whoever may write a view has its rows computed: who applied its definition could read all that it reads.
    withheld = runtime.reader.is_under_policies
    runtime = runtime.as_operator()
    done: list[Materialization] = []
    failures: list[Failure] = []
    report_errors: list[Exception] = []

    def report_or_stop(progress: ViewProgress) -> None:
        try:
            report(progress)
        except Exception as error:
            report_errors.append(error)
            raise

    with (
        MaterializationReports(runtime) as reports,
        EditionPublisher(runtime) as publisher,
        Leases(runtime, wait.total_seconds()) as leases,
    ):
        copies = CopyRefresh(runtime, leases)
        for applied in versions:
            reports.start(applied)
            try:
                view = stored_definition.checked_stored_view(applied.name, applied.version, applied.document, applied.columns)
                copies.refresh(view.source, partial(_report_copy, report_or_stop, view.name))
                done.append(materialize_view(runtime, leases, publisher, applied, view, start, end, report_or_stop))
                if staged is not None:
                    staged.add(applied.table)
            except StopRun:
                break
            except FeatureStoreError as error:
                if report_errors:
                    raise
                failures.append(Failure(applied.name, applied.table, _name_view(applied.name, error)))
                if _is_for_all(runtime, error):
                    break
            except Exception as error:  # the other views are brought up to date
                if report_errors:
                    raise
                logger.exception("view %s could not be materialized", applied.name)
                failures.append(Failure(applied.name, applied.table, _unexpected_error(applied.name, error)))
                if _is_full(error):
                    break
        outcome = _commit_edition(publisher, done, failures, report)
        maintain_copies(runtime, copies.to_maintain)
        for failure in outcome.failures if withheld else ():
            # The words of other libraries may have values of rows.
            failure.error.message = own_message(failure.error)
            failure.error.details.pop(PRIVATE, None)
        reports.end({run.table: run.snapshot_id for run in outcome}, {failure.table: failure.error for failure in outcome.failures})
        return outcome


def _report_copy(report: OnViewProgress, view: str, done: int, total: int) -> None:
    report(ViewProgress(view, "copy", done, total, 0))


def _commit_edition(
    publisher: EditionPublisher, done: Sequence[Materialization], failures: Sequence[Failure], report: OnViewProgress
) -> Materializations:
    """Make the edition visible. Returns the published views, and those that failed now or before."""
    outcome = publisher.commit()
    unpublished = [
        Failure(run.view, run.table, _name_view(run.view, copy_error(outcome.errors[run.table])))
        for run in done
        if run.table in outcome.errors
    ]
    runs = [
        replace(run, snapshot_id=published.snapshot_id, published=published.rows)
        for run in done
        if (published := outcome.published.get(run.table)) is not None
    ]
    for run in runs:
        report(ViewProgress(run.view, "done", 1, 1, run.rows_appended))
    return Materializations(runs, [*failures, *unpublished])


def _name_view(view: str, error: FeatureStoreError) -> FeatureStoreError:
    if not error.message.startswith(f"view {view}"):
        error.message = f"view {view}: {error.message}"
    return error


def _unexpected_error(view: str, error: Exception) -> FeatureStoreError:
    unexpected = FeatureStoreError(f"view {view}: unexpected error ({type(error).__name__})", reason=message_of(error))
    unexpected.__cause__ = error
    return unexpected


def _is_for_all(runtime: Runtime, error: FeatureStoreError) -> bool:
    if isinstance(error, OutOfResources):
        return error.details.get("resource") == "disk"
    return isinstance(error, NotReady) and health.check_components(runtime)["catalog"] is not None


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ENOSPC
