"""Add the impact of each step of a plan: models on older versions, backfills to run, and services that wait for them."""

from collections.abc import Sequence
from dataclasses import replace

from featurestore.lakehouse import tables
from featurestore.pipelines.materialization.checkpoint import load_checkpoint
from featurestore.pipelines.planning import cost
from featurestore.pipelines.planning.catalog_state import CatalogState
from featurestore.pipelines.planning.step import Step
from featurestore.pipelines.training_sets.listing import list_training_sets
from featurestore.records import feature_table
from featurestore.records.recorded_models import RecordedModel, registered_models
from featurestore.records.runtime import Runtime
from featurestore.values.humanize import format_names

WAITS = "waits for its backfill"


def with_impact(runtime: Runtime, steps: Sequence[Step], state: CatalogState) -> tuple[Step, ...]:
    """The steps with their impact, computed from the catalog's metadata."""
    with_reads = [_with_reads(runtime, step, state) if step.kind == "view" else step for step in steps]
    empty = {step.name for step in with_reads if step.kind == "view" and step.reads}
    return _with_models(runtime, [_with_waiting(step, empty) for step in with_reads])


def _with_reads(runtime: Runtime, step: Step, state: CatalogState) -> Step:
    waits = ""
    if step.word == "blocked" or step.name in state.closed:
        return step
    if step.action not in ("create", "new version"):
        table = state.tables.get(step.result.table)
        if table is None:
            table = tables.load(runtime.catalog, runtime.features_table(step.result.table))
        if feature_table.state_of(table.properties).through is not None:
            return step
        checkpoint = load_checkpoint(table)
        waits = WAITS if checkpoint is None else f"{WAITS}, which was interrupted or is running: {checkpoint.rows} rows are ready"
    reads = cost.reads(runtime, state.source(step.name))
    return replace(step, reads=reads, reason=_join_reasons(step.reason, waits))


def _with_waiting(step: Step, empty: set[str]) -> Step:
    """Note the views that a service waits for: an older version is served until they are all materialized."""
    views = [name for name in step.result.bindings if name in empty]
    if not views or step.action in ("create", "new version"):
        return step
    return replace(step, reason=_join_reasons(step.reason, f"waits for {format_names(views)}"))


def _with_models(runtime: Runtime, steps: Sequence[Step]) -> tuple[Step, ...]:
    if not any(step.action == "new version" for step in steps):
        return tuple(steps)
    known = registered_models(runtime)
    services = {training_set["id"]: training_set["service"] for training_set in list_training_sets(runtime)} if known else {}
    return tuple(
        replace(step, models=_models_on_older_versions(step, known, services)) if step.action == "new version" else step for step in steps
    )


def _models_on_older_versions(step: Step, known: Sequence[RecordedModel], services: dict[str, str]) -> tuple[str, ...]:
    """Registered model versions that were trained on an older version of the step's view or service."""
    older = {f"{step.name}_v{version}" for version in range(1, step.version)}
    if step.kind == "view":
        return tuple(model.label for model in known if model.tables & older)
    return tuple(model.label for model in known if any(services.get(id) == step.name for id in model.training_sets))


def _join_reasons(reason: str, more: str) -> str:
    return "; ".join(filter(None, (reason, more)))
