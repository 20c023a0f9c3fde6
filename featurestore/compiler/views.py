"""Compile a view to SQL: a sequence of temporary tables, the last of which has the feature rows."""

from collections.abc import Mapping
from dataclasses import dataclass

from featurestore.compiler.aggregates import NONE, Shortcuts
from featurestore.compiler.events import CREATED, TIME, Events
from featurestore.compiler.expressions import quote_name
from featurestore.compiler.features import ExpressionFeature, RowFeature, ViewFeature, features_of
from featurestore.compiler.grid import grid_plan
from featurestore.compiler.parameters import NAMES, PARAMETERS, Bounds, Relations
from featurestore.compiler.query import Query, text_query, write_steps
from featurestore.compiler.relations import Handle
from featurestore.compiler.single_point import single_point
from featurestore.compiler.windows import grid_points, tile_facts, tile_steps, window_values
from featurestore.compiler.zero_divisors import row_sql
from featurestore.compiler.zeros import has_zeros, zero_signs
from featurestore.dsl.view import FeatureView

ROWS = "__fs_rows"


@dataclass(frozen=True)
class CompiledView:
    """SQL that computes a view's rows within bounds.

    `once` and then `each` are (temporary table, its query), in order. The last table, ROWS, has the keys, feature_timestamp,
    created_timestamp (NULL if the source has none) and the features; its rows are unique in keys, feature_timestamp and
    created_timestamp. The tables of `once` can be partitioned by keys, and `each` be run on every partition. `facts` is a SELECT over
    the tables of `once` (`windows.tile_facts`); None if there is nothing to find out.
    """

    once: tuple[tuple[str, Query], ...]
    each: tuple[tuple[str, Query], ...]
    facts: Query | None = None

    @property
    def steps(self) -> tuple[tuple[str, Query], ...]:
        """Every step."""
        return (*self.once, *self.each)

    @property
    def sql(self) -> str:
        """The whole computation as one text, to be read by people."""
        return write_steps(self.steps)


def compile_view(
    view: FeatureView,
    events: Events,
    types: Mapping[str, str],
    shortcuts: Shortcuts = NONE,
    bounds: Bounds = PARAMETERS,
    relations: Relations = NAMES,
) -> CompiledView:
    """Compile a checked view to SQL that reads `relations.source` and creates the other relations.

    `types` has the DuckDB type of every column of the events. Without `bounds` the SQL is for people, and for the types of its columns.
    """
    if view.every is None:
        return CompiledView((), ((ROWS, row_view_rows(view, events, types, events.within(relations.source, bounds))),))
    plan = grid_plan(view, events, types, shortcuts)
    once = tuple((name, text_query(sql)) for name, sql in tile_steps(plan, events, bounds, relations))
    points = text_query(grid_points(plan, bounds, relations))
    facts = tile_facts(plan, relations.tiles)
    rows = _windowed_rows(view, events, window_values(plan, bounds, relations))
    return CompiledView(once, ((str(relations.points), points), (ROWS, rows)), None if facts is None else text_query(facts))


def rows_at_point(
    view: FeatureView, events: Events, types: Mapping[str, str], shortcuts: Shortcuts, point: int, event_rows: Handle
) -> Query:
    """The rows of an aggregate view at one grid point (microseconds), from its events in the relation `event_rows`.

    Otherwise as `compile_view` with both bounds at the point.
    """
    return _windowed_rows(view, events, single_point(grid_plan(view, events, types, shortcuts), point, event_rows))


def _windowed_rows(view: FeatureView, events: Events, values: str) -> Query:
    """All features of an aggregate view, from a SELECT of the windowed ones."""
    columns = [*map(quote_name, events.keys), "feature_timestamp", "created_timestamp", *feature_columns(features_of(view), {})]
    return text_query(f"SELECT {', '.join(columns)}\nFROM (\n{values}\n)")


def feature_columns(features: tuple[ViewFeature, ...], inputs: Mapping[str, str]) -> list[str]:
    """The SELECT list of the features. `inputs` maps the text of row SQL to the column with its value."""
    scope: dict[str, str] = {}
    columns: list[str] = []
    for feature in features:
        if isinstance(feature, ExpressionFeature):
            scope[feature.name] = f"({row_sql(feature.sql, scope)})"
        elif isinstance(feature, RowFeature):
            scope[feature.name] = inputs[feature.sql]
        else:
            scope[feature.name] = quote_name(feature.name)
        columns.append(f"{scope[feature.name]} AS {quote_name(feature.name)}")
    return columns


def row_view_rows(view: FeatureView, events: Events, types: Mapping[str, str], event_rows: Query, unique: bool = False) -> Query:
    """The rows of a row view, in which each source row is a feature row; of rows with equal keys and times, the greatest by features
    is kept.

    `event_rows` are the events, and `types` has the DuckDB type of each of their columns. Of rows that differ only in the sign of
    zeros, 0.0 is greater.
    `unique`: keys and times are unique in the events, so no rows need to be dropped.
    """
    features = features_of(view)
    keys = ", ".join(map(quote_name, events.keys))
    inputs = {item.text: item.name for item in events.inputs}
    columns = feature_columns(features, inputs)
    sql_types = {feature.name: types[inputs[feature.sql]] for feature in features if isinstance(feature, RowFeature)}
    zeros = [zero_signs(quote_name(name), sql_type) for name, sql_type in sql_types.items() if has_zeros(sql_type)]
    order = ", ".join([*(f"{quote_name(feature.name)} DESC NULLS LAST" for feature in features), *zeros])
    rows = f"SELECT {keys}, {TIME} AS feature_timestamp, {CREATED} AS created_timestamp, {', '.join(columns)}\nFROM (\n{event_rows}\n)"
    if unique:
        return text_query(rows)
    first_of_equal = f"row_number() OVER (PARTITION BY {keys}, feature_timestamp, created_timestamp ORDER BY {order}) = 1"
    return text_query(f"SELECT * FROM (\n{rows}\n)\nQUALIFY {first_of_equal}")
