"""Windowed aggregates at one grid point: a single pass over the events of the longest window, without tiles.

This is what the next day of a long history costs: the same rows as the windows over tiles give at that point.
"""

from featurestore.compiler import folds
from featurestore.compiler.events import TIME, Events
from featurestore.compiler.expressions import quoted
from featurestore.compiler.grid import GRID, GridPlan, created_timestamp, known_at, tail

POINT = "getvariable('point')"


def single_point(plan: GridPlan, events: Events) -> str:
    """A SELECT of the rows stored at the grid point `point` (variable, UTC microseconds): keys, both times, every
    windowed feature. It needs every event of the longest window and one grid step before it."""
    time = f"epoch_us({TIME})"
    within = {window: f"{time} >= {POINT} - {window}" for window in plan.windows}
    parts = dict.fromkeys(
        f"{part.sql(within[feature.window])} AS {part.name}_{feature.window // 1_000_000}"
        for feature, fold in plan.folded
        for part in fold.parts
    )
    ordered = [f"{item.sql(within[feature.window])} AS {quoted(feature.name)}" for feature, item in plan.ordered]
    # A value can change where an event comes in, and where one leaves a window.
    moves = [f"{time} >= {POINT} - {shift + plan.step} AND {time} < {POINT} - {shift}" for shift in (0, *plan.windows)]
    grouped = (
        f"SELECT {plan.key_list}, max({known_at()}) FILTER (WHERE {within[plan.longest]}) AS __fs_c{tail([*parts, *ordered])}"
        f"\nFROM (\n{events.sql}\n)\nWHERE {time} < {POINT} AND {time} >= {POINT} - {plan.longest + plan.step}"
        f"\nGROUP BY {plan.key_list}\nHAVING bool_or({' OR '.join(moves)})"
    )
    own = [
        f"{fold.value.format(*(f'{part.name}_{feature.window // 1_000_000}' for part in fold.parts))} AS {quoted(feature.name)}"
        for feature, fold in plan.folded
    ]
    # An aggregate of an integer that has no room for the sum fails by itself; a sum that only just has room must fail as well.
    bounds = [
        f"CASE WHEN abs({part.name}_{feature.window // 1_000_000}) >= {folds.NARROW} THEN error('a sum is too large') ELSE true END"
        for feature, fold in plan.folded
        for part in fold.parts
        if part.narrow
    ]
    within_bounds = f"\nWHERE {' AND '.join(dict.fromkeys(bounds))}" if bounds else ""
    other = [quoted(feature.name) for feature, _ in plan.ordered]
    times = f"make_timestamptz({GRID}) AS feature_timestamp, {created_timestamp(plan, GRID, '__fs_c')} AS created_timestamp"
    return f"SELECT {plan.key_list}, {times}{tail([*own, *other])}\nFROM (SELECT {POINT} AS {GRID}, * FROM (\n{grouped}\n)){within_bounds}"
