"""SQL of windowed aggregates on a sparse grid: events are aggregated into tiles of one grid step, and windows run over tiles.

The window [g - w, g) consists of the tiles in (g - w, g]. A value can change only at the tile of an event and, for each window, w
later, where that tile leaves the window: rows are stored at these points. Aggregates that need the events in order (exact quantiles,
distinct counts, ordered lists, standard deviations) run over one sequence of events and points per key. No result depends on threads or
on where a run started.
"""

from featurestore.compiler import aggregates
from featurestore.compiler.events import CREATED, EVENTS, TIME, Events
from featurestore.compiler.expressions import quoted
from featurestore.compiler.features import WindowedFeature
from featurestore.compiler.grid import GRID, GridPlan, created_timestamp, known_at, more_columns, same_columns, tile_of

TILES = "__fs_tiles"
POINTS = "__fs_points"


def tile_steps(plan: GridPlan, events: Events) -> list[tuple[str, str]]:
    """(table, SELECT) of the tables that are created once: the tiles, and before them the events if a feature needs them."""
    # Only ordered aggregates read the events a second time; without these the events need not be stored.
    if plan.ordered:
        return [(EVENTS, str(events.sql)), (TILES, _tiles(plan, EVENTS))]
    return [(TILES, _tiles(plan, f"(\n{events.sql}\n)"))]


def window_steps(plan: GridPlan, values: str) -> list[tuple[str, str]]:
    """(table, SELECT) of the points, and of `values`: keys, both times and every windowed feature at each point.

    The variables lower and upper (UTC microseconds) bound the points. `carry_in` adds, for every key with an event before lower, the
    first grid point at or after lower, which carries the key's earlier history into a run that starts there.
    """
    return [(POINTS, _points(plan)), (values, _values(plan))]


def tile_facts(plan: GridPlan) -> str | None:
    """A SELECT of one row over TILES: `fits`, whether every narrow sum stays in bounds in any window, and for every part that counts a
    column, under its name, whether the count equals that of the rows. None: there is nothing to find out."""
    sums = [f"coalesce(sum(abs(CAST({part.name} AS DOUBLE))), 0) < {aggregates.NARROW:.1f}" for part in plan.parts if part.narrow]
    names = {part.name for part in plan.parts}
    pairs = [pair for pair in (aggregates.count_part_names(value, where) for value, where in plan.counted) if set(pair) <= names]
    equal_counts = [f"coalesce(bool_and({count} = {rows}), true) AS {count}" for count, rows in pairs]
    if not sums and not equal_counts:
        return None
    # For each key separately, since a window has only one.
    by_key = f"SELECT {' AND '.join(sums) or 'true'} AS fits{more_columns(equal_counts)}\nFROM {TILES}\nGROUP BY {plan.key_list}"
    facts = [f"coalesce(bool_and({name}), true) AS {name}" for name in ("fits", *(count for count, _ in pairs))]
    return f"SELECT {', '.join(facts)} FROM (\n{by_key}\n)"


def _tiles(plan: GridPlan, events: str) -> str:
    columns = [f"{part.sql()} AS {part.name}" for part in plan.parts]
    created = [f"max({known_at()}) AS __fs_c"] if plan.has_created else []
    return (
        f"SELECT {', '.join([plan.key_list, f'{tile_of(TIME, plan.step)} AS {GRID}', *columns, *created])}"
        f"\nFROM {events}\nGROUP BY {plan.key_list}, {GRID}"
    )


def _points(plan: GridPlan) -> str:
    """The grid points of all tiles, and the points within the bounds where a tile leaves a window or history is carried in."""
    first = f"(getvariable('lower') + (({plan.step} - getvariable('lower') % {plan.step}) % {plan.step}))"
    moved = [f"SELECT {plan.key_list}, {GRID} + {shift} AS {GRID} FROM {TILES}" for shift in plan.windows]
    carried = f"SELECT {plan.key_list}, {first} AS {GRID} FROM {TILES} WHERE getvariable('carry_in') AND {GRID} < {first}"
    union = "\nUNION ALL ".join([*moved, carried])
    within = f"SELECT * FROM (\n{union}\n) WHERE {_within(GRID)}"
    return f"SELECT DISTINCT {plan.key_list}, {GRID} FROM (\nSELECT {plan.key_list}, {GRID} FROM {TILES}\nUNION ALL {within}\n)"


def _within(point: str) -> str:
    return f"{point} BETWEEN getvariable('lower') AND getvariable('upper')"


def _values(plan: GridPlan) -> str:
    windows = ",\n  ".join(
        f"w{window} AS (PARTITION BY {plan.key_list} ORDER BY {GRID} RANGE BETWEEN {window - plan.step} PRECEDING AND CURRENT ROW)"
        for window in plan.windows
        if window != plan.step
    )
    combined = dict.fromkeys(
        f"{_over(plan, part, feature)} AS {_combined(part, feature)}" for feature, aggregate in plan.tiled for part in aggregate.parts
    )
    known = "__fs_c" if plan.longest == plan.step else f"max(__fs_c) OVER w{plan.longest}"
    joined = (
        f"(\nSELECT {plan.key_list}, {GRID}, {created_timestamp(plan, GRID, known)} AS created_timestamp{more_columns(combined)}"
        f"\nFROM {POINTS} LEFT JOIN {TILES} USING ({plan.key_list}, {GRID})"
        f"{f'{chr(10)}WINDOW {windows}' if windows else ''}\n) v"
    )
    if plan.ordered:
        joined += f"\nJOIN (\n{_ordered(plan)}\n) o ON {same_columns((*plan.keys, GRID), 'v', 'o')}"
    own = [
        f"{aggregate.value.format(*(_combined(part, feature) for part in aggregate.parts))} AS {quoted(feature.name)}"
        for feature, aggregate in plan.tiled
    ]
    other = [f"o.{quoted(feature.name)}" for feature, _ in plan.ordered]
    keys = ", ".join(f"v.{key}" for key in plan.keys)
    times = f"make_timestamptz(v.{GRID}) AS feature_timestamp, v.created_timestamp"
    return f"SELECT {keys}, {times}{more_columns([*own, *other])}\nFROM {joined}\nWHERE {_within(f'v.{GRID}')}"


def _over(plan: GridPlan, part: aggregates.PartialAggregate, feature: WindowedFeature) -> str:
    """A part combined over the feature's window; a window of one step is the tile itself."""
    return part.name if feature.window == plan.step else part.combine.format(part.name, over=f"OVER w{feature.window}")


def _combined(part: aggregates.PartialAggregate, feature: WindowedFeature) -> str:
    return f"{part.name}_{feature.window // 1_000_000}"


def _ordered(plan: GridPlan) -> str:
    """The features that need the events in order: events and points of a key are merged, and a window is a frame that ends at a point."""
    time = f"epoch_us({TIME})"
    values = [f"{item.sql(over=f' OVER w{feature.window}')} AS {quoted(feature.name)}" for feature, item in plan.ordered]
    reads = dict.fromkeys(column for _, item in plan.ordered for column in item.reads)
    windows = ",\n  ".join(
        # The frame of an event row, whose result is dropped, is empty.
        f"w{window} AS (PARTITION BY {plan.key_list} ORDER BY {time}"
        f" RANGE BETWEEN CASE WHEN {GRID} IS NULL THEN 0 ELSE {window} END PRECEDING AND 1 PRECEDING)"
        for window in sorted({feature.window for feature, _ in plan.ordered})
    )
    return (
        f"SELECT * FROM (\nSELECT {plan.key_list}, {GRID}{more_columns(values)}\nFROM (\n"
        f"SELECT {', '.join([plan.key_list, TIME, CREATED, *reads])} FROM {EVENTS}\n"
        f"UNION ALL BY NAME SELECT {plan.key_list}, make_timestamptz({GRID}) AS {TIME}, {GRID} FROM {POINTS} WHERE {_within(GRID)}\n)"
        f"\nWINDOW {windows}\n)\nWHERE {GRID} IS NOT NULL"
    )
