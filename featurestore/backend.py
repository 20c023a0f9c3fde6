"""The stages of a store's methods, for servers, which run them in different processes."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featurestore import verbs
from featurestore.errors import RequestError
from featurestore.records.lost_tables import LostTables
from featurestore.records.runtime import Runtime
from featurestore.records.serving_version import Services
from featurestore.values.arguments import check_text

if TYPE_CHECKING:
    from pathlib import Path

    from featurestore.compiler.service_plan import ServicePlan
    from featurestore.pipelines.training_sets.build import StoredTrainingSet
    from featurestore.pipelines.training_sets.prepared import PreparedTrainingSet
    from featurestore.pipelines.training_sets.progress import OnBuildProgress
    from featurestore.pipelines.training_sets.request import TrainingSetRequest
    from featurestore.pipelines.training_sets.training_set import TrainingSet


MODELS = re.compile(r"(?:models|runs):/[^/]")
"""Model URIs that MLflow resolves with its configured server; others would make it connect to any server they name."""


def is_model_uri(runtime: Runtime, address: str, argument: str) -> bool:
    """Whether a training set is named by a model. Raises: RequestError for a URI that a confined store must not resolve."""
    check_text(address, argument)
    # An id has no slash, unlike URIs such as models:/churn/1 and the folder of a model.
    if "/" not in address:
        return False
    if runtime.source_folders is not None and not MODELS.match(address):
        raise RequestError("give the id of a training set, or a model URI such as models:/churn/1 or runs:/.../model", field=argument)
    return True


@dataclass(frozen=True)
class Backend:
    """What the methods of one store share: catalog, engine and online store, and the versions of services."""

    runtime: Runtime
    services: Services
    lost_tables: LostTables

    def fill_online(self) -> list[str] | None:
        """Publish the tables that the online store has lost. Returns their names; None if another process is filling the store."""
        return verbs.fill_lost(self.runtime, self.lost_tables)

    def prepare_training_set(self, request: TrainingSetRequest) -> PreparedTrainingSet:
        """Read the spine, pin the snapshots and compute the id: the first stage of `training_set`."""
        return verbs.prepare_training_set(self.runtime, self.services.resolve(request.service), request)

    def prepare_lookups(
        self, frame: Any, lookups: Any, label: str | None, exclude: Any, timestamp: str | None, **more: Any
    ) -> PreparedTrainingSet:
        """As `prepare_training_set`, for the arguments of `create_training_set`: the first stage of that."""
        arguments = verbs.LookupArguments.of(lookups, label, exclude, timestamp)
        with ExitStack() as stack:
            return self.prepare_training_set(verbs.request_of_lookups(self.runtime, stack, frame, arguments, **more))

    def load_spooled(self, folder: Path) -> PreparedTrainingSet:
        """Load what `spool` wrote to a folder, to build it in this process. Raises: NotFound if a pinned snapshot no longer exists."""
        return verbs.load_spooled(self.runtime, folder)

    def build_training_set(self, prepared: PreparedTrainingSet, progress: OnBuildProgress | None = None) -> TrainingSet:
        """Join and store: the second stage of `training_set`."""
        return self.store_training_set(prepared, progress).open(self.runtime)

    def store_training_set(self, prepared: PreparedTrainingSet, progress: OnBuildProgress | None = None) -> StoredTrainingSet:
        """As `build_training_set`, and the rows are not read: for whoever may build it and not read it.

        Raises: Forbidden if the policies in force are others than when it was prepared.
        """
        verbs.check_policies(self.runtime, prepared)
        on_rows_written = None if progress is None else verbs.report_rows_written(prepared.spine.rows, progress)
        return verbs.build_training_set(self.runtime, prepared, on_rows_written)

    def has_training_set(self, id: str) -> bool:
        """Whether there is a training set with this id, of which no row is read."""
        return verbs.has_training_set(self.runtime, check_text(id, "id"))

    def check_training_set(self, address: str, argument: str) -> None:
        """Check the id or the model URI of a training set, as far as that needs no MLflow.

        Raises: RequestError for a model URI that names another server; NotFound with the nearest ids.
        """
        if not is_model_uri(self.runtime, address, argument):
            verbs.get_training_set(self.runtime, address)

    def service_plan(self, service: str) -> ServicePlan:
        """The newest version of the service whose views are materialized, read from the catalog."""
        return self.services.resolve(service).plan

    def cached_plan(self, service: str) -> ServicePlan | None:
        """The version that `online_features` serves, if it is cached, else None: for callers that must not wait for the catalog."""
        return self.services.cached(service)
