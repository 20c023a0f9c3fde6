"""SQL of distinct counts in continuous views, as running sums: a value counts from where it enters a window to where its last event leaves.

Of the events of a key with one value, an event adds one where it enters unless the event before it is still in the window, and takes one
away where it leaves unless the event after it has entered.
"""

from collections.abc import Iterator

from featurestore.compiler.aggregates import OrderedAggregate
from featurestore.compiler.events import TIME
from featurestore.compiler.expressions import quote_name
from featurestore.compiler.features import WindowedFeature
from featurestore.compiler.grid import GRID, GridPlan, tile_of
from featurestore.compiler.limited_windows import OUT, leaves
from featurestore.compiler.parameters import Bounds, Relations, bound_sql
from featurestore.compiler.query import from_sql

Distinct = tuple[WindowedFeature, OrderedAggregate]


def distinct_counts(plan: GridPlan) -> tuple[Distinct, ...]:
    """The distinct counts over windows of time of a continuous view."""
    if not plan.is_continuous:
        return ()
    return tuple((feature, item) for feature, item in plan.ordered if item.aggregation.function == "count_distinct" and feature.window)


def distinct_columns(plan: GridPlan, running: str) -> Iterator[str]:
    """The SELECT items of `distinct_counts` at points, over the relation of `distinct_joins`; `running` is the window of running sums."""
    for feature, _ in distinct_counts(plan):
        change = f"coalesce({_change(feature)}, 0)"
        yield f"CAST(sum({change}) OVER {running} AS BIGINT) AS {quote_name(feature.name)}"


def distinct_joins(plan: GridPlan, bounds: Bounds, relations: Relations) -> str:
    """Joins that give each point by how much each distinct count changes there."""
    groups: dict[tuple[str, str | None], list[WindowedFeature]] = {}
    for feature, item in distinct_counts(plan):
        groups.setdefault((item.value, item.where), []).append(feature)
    return "".join(
        f"\nLEFT JOIN (\n{_changes(plan, bounds, relations, *read, features)}\n) USING ({plan.key_list}, {GRID})"
        for read, features in groups.items()
    )


def _changes(plan: GridPlan, bounds: Bounds, relations: Relations, value: str, where: str | None, features: list[WindowedFeature]) -> str:
    keep = f"{value} IS NOT NULL AND {where}" if where else f"{value} IS NOT NULL"
    columns, events = f"{plan.key_list}, {value} AS __fs_x, {tile_of(TIME, plan.step)} AS {GRID}", from_sql(relations.events)
    tiles, out = f"SELECT DISTINCT {columns} FROM {events} WHERE {keep}", ""
    if plan.limit is not None:
        outs = f"SELECT {plan.key_list}, {GRID}, {OUT} FROM {from_sql(relations.tiles)}"
        tiles = f"SELECT * FROM ({tiles}) JOIN ({outs}) USING ({plan.key_list}, {GRID})"
        out = f", {OUT}, lag({OUT}) OVER p AS __fs_before_out"
    neighbors = (
        f"SELECT {plan.key_list}, {GRID}, lag({GRID}) OVER p AS __fs_before, lead({GRID}) OVER p AS __fs_after{out}"
        f"\nFROM ({tiles})\nWINDOW p AS (PARTITION BY {plan.key_list}, __fs_x ORDER BY {GRID})"
    )
    selects = []
    for feature in features:
        # An event that left the window before the bounds is in none of their windows, and so is not before another.
        lower, end = bound_sql(bounds.lower), leaves(plan, feature.length)
        before = leaves(plan, feature.length, "__fs_before_out", "__fs_before")
        enters = f"{end} >= {lower} AND (__fs_before IS NULL OR {before} < {lower} OR {before} <= {GRID})"
        left = f"{end} >= {lower} AND (__fs_after IS NULL OR __fs_after >= {end})"
        for point, change, condition in ((GRID, 1, enters), (end, -1, left)):
            selects.append(f"SELECT {plan.key_list}, {point} AS {GRID}, {change} AS {_change(feature)} FROM s WHERE {condition}")
    sums = ", ".join(f"sum({_change(feature)}) AS {_change(feature)}" for feature in features)
    union = "\nUNION ALL BY NAME ".join(selects)
    select = f"SELECT {plan.key_list}, {GRID}, {sums} FROM (\n{union}\n) GROUP BY {plan.key_list}, {GRID}"
    return f"WITH s AS MATERIALIZED (\n{neighbors}\n)\n{select}"


def _change(feature: WindowedFeature) -> str:
    return quote_name(f"__fs_d_{feature.name}")
