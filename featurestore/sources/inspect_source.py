"""Holding a view against its source as it was opened, without reading rows."""

from collections.abc import Mapping

from featurestore.dsl.view import FeatureView
from featurestore.errors import FeatureStoreError
from featurestore.records.runtime import Runtime
from featurestore.sources import reading
from featurestore.sources.bind import Inspected, check_problems, failed, inspected, name_problems
from featurestore.sources.pinned_source import PinnedSource

__all__ = ["Inspected", "inspect", "inspect_checks", "inspect_names"]


def inspect(runtime: Runtime, view: FeatureView, source: PinnedSource | FeatureStoreError) -> Inspected:
    """Compile a checked view against its source, or against the error for which that could not be opened, without reading rows."""
    if isinstance(source, FeatureStoreError):
        return failed((f"source {view.source.name}", source.message))
    with runtime.engine.brief() as session:
        try:
            reading.add(runtime, session, source, rows=False)
            reading.require_keys(runtime, source, view.entity.keys)
        except FeatureStoreError as error:
            return failed((f"source {view.source.name}", error.message))
        found = inspected(session, view)
    unknown = [] if found.events is None else reading.unknown_types(runtime, source, found.events.reads)
    return failed(*((f"source {view.source.name}.format", message) for message in unknown)) if unknown else found


def inspect_names(runtime: Runtime, view: FeatureView, source: PinnedSource | FeatureStoreError) -> list[tuple[str, str]]:
    """(field, message) of what a view of a checked source, itself perhaps wrong, names that the source does not have."""
    if isinstance(source, FeatureStoreError):
        return [(f"source {view.source.name}", source.message)]
    with runtime.engine.brief() as session:
        try:
            reading.add(runtime, session, source, rows=False)
        except FeatureStoreError as error:
            return [(f"source {view.source.name}", error.message)]
        return name_problems(session, view)


def inspect_checks(runtime: Runtime, view: FeatureView, columns: Mapping[str, str]) -> list[tuple[str, str]]:
    """(field, message) of the checks of a checked view that are not true or false on a feature table's columns (name -> type)."""
    with runtime.engine.brief() as session:
        return check_problems(session, view, columns)
