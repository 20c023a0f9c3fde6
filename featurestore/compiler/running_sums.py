"""SQL of sums over windows as running sums: a tile is added where it enters a window, and subtracted where it leaves it.

A frame with a bound in time is searched for each point, and a heavy key is one partition: that costs more the more points are in a window.
A running sum costs the same for each point. Sums are of integers and decimals, so what is subtracted leaves nothing behind.
"""

from collections.abc import Iterator

from featurestore.compiler.aggregates import PartialAggregate
from featurestore.compiler.expressions import quote_name
from featurestore.compiler.features import WindowedFeature
from featurestore.compiler.grid import GRID, GridPlan, combined_name
from featurestore.compiler.limited_windows import leaves
from featurestore.compiler.parameters import Bounds, bound_sql
from featurestore.compiler.query import from_sql
from featurestore.compiler.relations import Handle

RUNNING = "wrunning"
"""The window that has all points of a key up to the current one."""


def summed_parts(plan: GridPlan) -> tuple[tuple[WindowedFeature, PartialAggregate], ...]:
    """The parts that are added over windows of time in a continuous view, each with a feature that reads it."""
    if not plan.is_continuous:
        return ()
    pairs = [(feature, part) for feature, aggregate in plan.tiled if feature.window for part in aggregate.parts if part.is_sum]
    return tuple({combined_name(part, feature): (feature, part) for feature, part in pairs}.values())


def running_columns(plan: GridPlan, bounds: Bounds) -> Iterator[str]:
    """The SELECT items of `summed_parts` at points, over the relation of `with_leaving_tiles`; NULL where a window has no value."""
    for feature, part in summed_parts(plan):
        counts = _counts(plan, feature.length, bounds)
        entering, leaving = f"CASE WHEN {counts} THEN {part.name} END", _leaving(part, feature)
        total, values = (
            f"sum(coalesce({enter}, 0) - coalesce({leave}, 0)) OVER {RUNNING}"
            for enter, leave in (
                (entering, leaving),
                (f"CAST(({entering}) IS NOT NULL AS INTEGER)", f"CAST({leaving} IS NOT NULL AS INTEGER)"),
            )
        )
        yield f"CASE WHEN {values} > 0 THEN {total} END AS {combined_name(part, feature)}"


def with_leaving_tiles(plan: GridPlan, bounds: Bounds, points: str, tiles: Handle | str) -> str:
    """The points with the tiles that enter at each, and those that leave each window there."""
    joins: list[str] = []
    for window in sorted({feature.length for feature, _ in summed_parts(plan)}):
        parts = dict.fromkeys(
            f"{_together(plan, part)} AS {_leaving(part, feature)}" for feature, part in summed_parts(plan) if feature.window == window
        )
        names = dict.fromkeys(_leaving(part, feature) for feature, part in summed_parts(plan) if feature.window == window)
        end, counts = leaves(plan, window), _counts(plan, window, bounds)
        grouped = "" if plan.limit is None else f" GROUP BY {plan.key_list}, {end}"
        # The point where a tile leaves gets the name of its own only outside, since conditions and groups mean that.
        leaving = f"SELECT {plan.key_list}, {end} AS __fs_leaves, {', '.join(parts)} FROM {from_sql(tiles)} WHERE {counts}{grouped}"
        select = f"SELECT {plan.key_list}, __fs_leaves AS {GRID}, {', '.join(names)} FROM ({leaving})"
        joins.append(f"\nLEFT JOIN ({select}) USING ({plan.key_list}, {GRID})")
    return f"{points} LEFT JOIN {from_sql(tiles)} USING ({plan.key_list}, {GRID}){''.join(joins)}"


def _together(plan: GridPlan, part: PartialAggregate) -> str:
    """The part of the tiles that leave at a point: one, or with a limit several."""
    return part.name if plan.limit is None else f"sum({part.name})"


def _counts(plan: GridPlan, window: int, bounds: Bounds) -> str:
    """The condition of tiles that are added and subtracted: those that leave the window before the bounds need not have a point there."""
    return f"{leaves(plan, window)} >= {bound_sql(bounds.lower)}"


def _leaving(part: PartialAggregate, feature: WindowedFeature) -> str:
    return quote_name(f"{combined_name(part, feature)}_out")
