"""SQL of windows of time that hold at most a number of events: a window is cut to the latest whole microseconds that have so many together.

The tile of a microsecond leaves all windows where a later one brings the events from it on above the limit. One that has more by itself
counts nowhere. Windows of all time and of a number of rows are not cut.
"""

from featurestore.compiler.grid import GRID, GridPlan
from featurestore.compiler.query import from_sql
from featurestore.compiler.relations import Handle

ROWS = "__fs_n"
"""The column of tiles with their number of events."""
OUT = "__fs_out"
"""The column of tiles with the grid point at which later ones push them out of every window; NULL if none does."""
LOW = "__fs_low"
"""The column of tiles with the first tile that is still in a window there."""
LOW_AT = "__fs_low_at"
"""The same of points."""


def limited_tiles(plan: GridPlan, tiles: str) -> str:
    """The tiles, which have ROWS, with OUT and LOW."""
    if plan.limit is None:
        return tiles
    until = f"sum({ROWS}) OVER (PARTITION BY {plan.key_list} ORDER BY {GRID} ROWS UNBOUNDED PRECEDING)"
    following = f"RANGE BETWEEN greatest({plan.limit + 1} - {ROWS}, 0) FOLLOWING AND UNBOUNDED FOLLOWING"
    preceding = f"RANGE BETWEEN greatest({plan.limit} - {ROWS}, 0) PRECEDING AND CURRENT ROW"
    low = f"min({GRID}) OVER (PARTITION BY {plan.key_list} ORDER BY __fs_until - {ROWS} {preceding})"
    return (
        f"SELECT *,\n  min({GRID}) OVER (PARTITION BY {plan.key_list} ORDER BY __fs_until {following}) AS {OUT},"
        f"\n  CASE WHEN {ROWS} <= {plan.limit} THEN {low} ELSE {GRID} + 1 END AS {LOW}"
        f"\nFROM (SELECT *, CAST({until} AS BIGINT) AS __fs_until FROM (\n{tiles}\n))"
    )


def limited_points(plan: GridPlan, points: Handle | str, tiles: Handle | str) -> str:
    """The points, in a view with a limit with LOW_AT."""
    if plan.limit is None:
        return from_sql(points)
    low = f"last_value({LOW} IGNORE NULLS) OVER (PARTITION BY {plan.key_list} ORDER BY {GRID} ROWS UNBOUNDED PRECEDING) AS {LOW_AT}"
    lows = f"SELECT {plan.key_list}, {GRID}, {LOW} FROM {from_sql(tiles)}"
    return f"(SELECT {plan.key_list}, {GRID}, {low} FROM {from_sql(points)} LEFT JOIN ({lows}) USING ({plan.key_list}, {GRID}))"


def leaves(plan: GridPlan, window: int, out: str = OUT, grid: str = GRID) -> str:
    """SQL of the grid point at which a tile leaves a window of this length."""
    return f"{grid} + {window}" if plan.limit is None else f"least({grid} + {window}, coalesce({out}, {grid} + {window}))"


def in_reach(plan: GridPlan, value: str) -> str:
    """SQL of a value over a frame of tiles, NULL at a point whose own tile counts nowhere: a frame has at least that."""
    return value if plan.limit is None else f"CASE WHEN {GRID} >= {LOW_AT} THEN {value} END"


def reach(plan: GridPlan, length: int | str, to_low: str) -> str:
    """SQL of how far a frame reaches back: the window's length, or less where the limit cuts it."""
    return str(length) if plan.limit is None else f"least({length}, {to_low})"
