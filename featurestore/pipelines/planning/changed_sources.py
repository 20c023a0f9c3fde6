"""Check unchanged views whose sources have changed, before the next run would fail on them."""

from dataclasses import replace

from featurestore.dsl.view import FeatureView
from featurestore.errors import FeatureStoreError, NotFound, NotReady, RequestError
from featurestore.lakehouse.table import Table
from featurestore.pipelines.materialization import source_columns
from featurestore.records import feature_table, source_pins
from featurestore.records.feature_table import State
from featurestore.sources import reading
from featurestore.sources.bind import Inspected
from featurestore.sources.inspect_source import SourceInspector
from featurestore.sources.pinned_source import PinnedSource, source_tables


def inspect_if_changed(
    inspector: SourceInspector, view: FeatureView, source: PinnedSource | FeatureStoreError, table: Table | None
) -> Inspected | None:
    """Inspect a view against its source (or the error in its place); None if the source's columns are those of the last run.

    `table` is the view's feature table, if it exists.
    """
    if table is None:
        return None
    state = feature_table.state_of(table.properties)
    if isinstance(source, FeatureStoreError):
        # A database that is down must not keep other definitions from being applied.
        known = NotFound | RequestError | NotReady if view.source.kept else NotFound | RequestError
        if view.source.files is None and isinstance(source, known):
            return inspector.inspect(view, source)
        raise source
    if _has_same_columns(source, state):
        return None
    definition = reading.with_known_types(view.source, state.types)
    return inspector.inspect(replace(view, source=definition), replace(source, source=definition))


def _has_same_columns(source: PinnedSource, state: State) -> bool:
    """Whether the names of the source stand for the same columns and types as in the last run."""
    names = source_tables(source.source)
    if source.origin is not None:
        return False
    if source.source.files is not None or set(names) != set(state.columns):
        return dict(source.pins) == dict(state.sources)
    if (table := source.source.catalog_table) is not None:
        read = source_columns.read_columns(source, list(state.columns[table]))
        return not source_columns.have_changed(source, state, read)
    return all(source_pins.schema_id(source.pins[name]) == source_pins.schema_id(state.sources[name]) for name in names)
