"""A view whose definition did not change, over a source that did: what the next run would make of it, before it runs."""

from dataclasses import replace

from featurestore.dsl.view import FeatureView
from featurestore.lakehouse import tables
from featurestore.pipelines.materialization import source_columns
from featurestore.records import feature_table, source_pins
from featurestore.records.definitions import Applied
from featurestore.records.feature_table import State
from featurestore.records.runtime import Runtime
from featurestore.sources import reading
from featurestore.sources.bind import Inspected
from featurestore.sources.inspect_source import inspect


def inspect_if_changed(runtime: Runtime, view: FeatureView, held: Applied) -> Inspected | None:
    """The view against its source as it is now; None where that has the columns from which the version was filled."""
    name = runtime.features_table(held.table)
    if not tables.exists(runtime.catalog, name):
        return None
    state = feature_table.state(tables.load(runtime.catalog, name).properties)
    if _is_as_it_was(runtime, view, state):
        return None
    return inspect(runtime, replace(view, source=reading.as_before(view.source, state.types)))


def _is_as_it_was(runtime: Runtime, view: FeatureView, state: State) -> bool:
    """Whether the names of the view's source have the same meanings and types as in the last run."""
    source = view.source
    names = reading.source_tables(source)
    if not all(tables.exists(runtime.catalog, name) for name in names):
        return False
    now = reading.pins(runtime, source)
    if source.path is not None or set(names) != set(state.columns):
        return dict(now) == dict(state.sources)
    if source.table is not None:
        read = source_columns.read_columns(runtime, source, now, list(state.columns[source.table]))
        return not source_columns.have_changed(runtime, source, state, read)
    return all(source_pins.schema_id(now[name]) == source_pins.schema_id(state.sources[name]) for name in names)
