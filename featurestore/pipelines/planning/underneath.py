"""A view whose definition did not change, over a source that did: what the next run would make of it, before it runs."""

from dataclasses import replace

from featurestore.dsl.view import FeatureView
from featurestore.lakehouse import tables
from featurestore.pipelines import feature_table, source_pins, sources
from featurestore.pipelines.feature_table import State
from featurestore.pipelines.inspect import inspect
from featurestore.pipelines.inspected import Inspected
from featurestore.pipelines.materialization import source_columns
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.registry import Applied


def inspect_if_changed(parts: Parts, view: FeatureView, held: Applied) -> Inspected | None:
    """The view against its source as it is now; None where that has the columns from which the version was filled."""
    name = parts.features_table(held.table)
    if not tables.exists(parts.catalog, name):
        return None
    state = feature_table.state(tables.load(parts.catalog, name).properties)
    if _is_as_it_was(parts, view, state):
        return None
    return inspect(parts, replace(view, source=sources.as_before(view.source, state.types)))


def _is_as_it_was(parts: Parts, view: FeatureView, state: State) -> bool:
    """Whether the names of the view's source have the same meanings and types as in the last run."""
    source = view.source
    names = sources.source_tables(source)
    if not all(tables.exists(parts.catalog, name) for name in names):
        return False
    now = sources.pins(parts, source)
    if source.path is not None or set(names) != set(state.columns):
        return dict(now) == dict(state.sources)
    if source.table is not None:
        read = source_columns.read_columns(parts, source, now, list(state.columns[source.table]))
        return not source_columns.have_changed(parts, source, state, read)
    return all(source_pins.schema_id(now[name]) == source_pins.schema_id(state.sources[name]) for name in names)
