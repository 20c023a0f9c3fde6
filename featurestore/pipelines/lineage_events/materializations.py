"""The events of a run that materializes several views, each a job of its own."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from featurestore.errors import FeatureStoreError
from featurestore.pipelines.lineage_events.datasets import materialized_datasets
from featurestore.pipelines.lineage_events.run_report import RunReport
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime


class MaterializationReports:
    """The report of each feature table that was begun. Those that did not end with the context are aborted."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._begun: dict[str, tuple[Applied, RunReport]] = {}

    def start(self, applied: Applied) -> None:
        """A version of a view is about to be computed."""
        self._begun[applied.table] = applied, RunReport(self._runtime, f"materialize.{applied.table}", "MATERIALIZATION")

    def end(self, snapshots: Mapping[str, int | None], errors: Mapping[str, FeatureStoreError]) -> None:
        """Report the feature tables that are published, with their snapshots, and those that failed."""
        for table, snapshot_id in snapshots.items():
            applied, report = self._begun[table]
            report.complete(lambda applied=applied, at=snapshot_id: materialized_datasets(self._runtime, applied, at))  # type: ignore[misc]
        for table, error in errors.items():
            self._begun[table][1].fail(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for _, report in self._begun.values():
            report.abort()
