"""SQL of windowed aggregates on a sparse grid: events are aggregated into tiles of one grid step, and windows run over tiles.

The window [g - w, g) consists of the tiles in (g - w, g], and the whole history of those up to g. A value can change only at the tile of
an event and, for each window, w later, where that tile leaves the window: rows are stored at these points. Aggregates that need the
events in order (exact quantiles, distinct counts, ordered lists, standard deviations) run over one sequence of events and points per
key, and windows of a number of rows over the events. No result depends on threads or on where a run started.
"""

from collections.abc import Iterator

from featurestore.compiler import aggregates
from featurestore.compiler.events import CREATED, DAY, FIRST_DAY, TIME, Events
from featurestore.compiler.expressions import quote_name
from featurestore.compiler.features import WindowedFeature
from featurestore.compiler.grid import GRID, GridPlan, combined_name, created_timestamp, known_at, more_columns, same_columns, tile_of
from featurestore.compiler.limited_windows import LOW_AT, ROWS, in_reach, limited_points, limited_tiles, reach
from featurestore.compiler.parameters import Bounds, Relations, bound_sql
from featurestore.compiler.query import from_sql
from featurestore.compiler.relations import Handle
from featurestore.compiler.row_windows import with_row_windows
from featurestore.compiler.running_distinct import distinct_columns, distinct_counts, distinct_joins
from featurestore.compiler.running_sums import RUNNING, running_columns, summed_parts, with_leaving_tiles
from featurestore.dsl.agg import ALL


def tile_steps(plan: GridPlan, events: Events, bounds: Bounds, relations: Relations) -> list[tuple[str, str]]:
    """(table, SELECT) of the tables that are created once: the tiles, and before them the events if a feature needs them."""
    rows = events.within(relations.source, bounds)
    # Only ordered aggregates read the events a second time; without these the events need not be stored.
    if plan.ordered:
        return [(str(relations.events), str(rows)), (str(relations.tiles), _tiles(plan, from_sql(relations.events), bounds))]
    return [(str(relations.tiles), _tiles(plan, f"(\n{rows}\n)", bounds))]


def grid_points(plan: GridPlan, bounds: Bounds, relations: Relations) -> str:
    """A SELECT of the keys and grid points at which values can change: the points of all tiles, and those within the bounds at which a
    tile leaves a window.

    `bounds.carry_in` carries each key's earlier history into a run that starts at `bounds.lower`.
    """
    first, tiles = _first_point(plan, bounds), from_sql(relations.tiles)
    moved = [f"SELECT {plan.key_list}, {GRID} + {shift} AS {GRID} FROM {tiles}" for shift in plan.windows]
    carried = f"SELECT {plan.key_list}, {first} AS {GRID} FROM {tiles} WHERE {bound_sql(bounds.carry_in)} AND {GRID} < {first}"
    union = "\nUNION ALL ".join([*moved, carried])
    within = f"SELECT * FROM (\n{union}\n) WHERE {_within(GRID, bounds)}"
    return f"SELECT DISTINCT {plan.key_list}, {GRID} FROM (\nSELECT {plan.key_list}, {GRID} FROM {tiles}\nUNION ALL {within}\n)"


def tile_facts(plan: GridPlan, tiles: Handle | str) -> str | None:
    """A SELECT of one row over the tiles: `fits`, whether every narrow sum stays in bounds in any window, and for every part that counts a
    column, under its name, whether the count equals that of the rows. None: there is nothing to find out."""
    sums = [f"coalesce(sum(abs(CAST({part.name} AS DOUBLE))), 0) < {aggregates.NARROW:.1f}" for part in plan.parts if part.narrow]
    of_rows = [part for window in plan.latest for part in window.narrow_sums]
    sums += [f"coalesce(max(abs(CAST({part} AS DOUBLE))), 0) < {aggregates.NARROW:.1f}" for part in of_rows]
    names = {part.name for part in plan.parts}
    pairs = [pair for pair in (aggregates.count_part_names(value, where) for value, where in plan.counted) if set(pair) <= names]
    equal_counts = [f"coalesce(bool_and({count} = {rows}), true) AS {count}" for count, rows in pairs]
    if not sums and not equal_counts:
        return None
    # For each key separately, since a window has only one.
    by_key = f"SELECT {' AND '.join(sums) or 'true'} AS fits{more_columns(equal_counts)}\nFROM {from_sql(tiles)}\nGROUP BY {plan.key_list}"
    facts = [f"coalesce(bool_and({name}), true) AS {name}" for name in ("fits", *(count for count, _ in pairs))]
    return f"SELECT {', '.join(facts)} FROM (\n{by_key}\n)"


def _first_point(plan: GridPlan, bounds: Bounds) -> str:
    """SQL of the first grid point within the bounds."""
    lower = bound_sql(bounds.lower)
    return f"({lower} + (({plan.step} - {lower} % {plan.step}) % {plan.step}))"


def _tiles(plan: GridPlan, events: str, bounds: Bounds) -> str:
    columns = [f"{part.sql()} AS {part.name}" for part in plan.parts]
    columns += [window.tile_column(plan.has_created) for window in plan.latest]
    columns += [] if plan.limit is None else [f"count(*) AS {ROWS}"]
    created = [f"max({known_at()}) AS __fs_c"] if plan.has_created else []
    tile = tile_of(TIME, plan.step)
    if plan.is_unbounded:
        # Earlier events are in no window of time of a point within the bounds: one tile is enough for all of them.
        tile = f"greatest({tile}, {_first_point(plan, bounds)} - {plan.longest + plan.step})"
    if plan.latest:
        events = f"(\n{with_row_windows(plan.latest, events, plan.key_list, plan.has_created)}\n)"
    tiles = f"SELECT {', '.join([plan.key_list, f'{tile} AS {GRID}', *columns, *created])}\nFROM {events}\nGROUP BY {plan.key_list}, {GRID}"
    return limited_tiles(plan, tiles)


def _within(point: str, bounds: Bounds) -> str:
    return f"{point} BETWEEN {bound_sql(bounds.lower)} AND {bound_sql(bounds.upper)}"


def window_values(plan: GridPlan, bounds: Bounds, relations: Relations) -> str:
    """A SELECT of keys, both times and every windowed feature at each point within the bounds."""
    points = limited_points(plan, relations.points, relations.tiles)
    windows = ",\n  ".join(_window_definitions(plan))
    running = {combined_name(part, feature) for feature, part in summed_parts(plan)}
    combined = dict.fromkeys(
        f"{_over(plan, part, feature)} AS {combined_name(part, feature)}"
        for feature, aggregate in plan.tiled
        for part in aggregate.parts
        if combined_name(part, feature) not in running
    )
    latest = [f"last_value({window.tile} IGNORE NULLS) OVER w{ALL} AS {window.latest}" for window in plan.latest]
    columns = [*combined, *running_columns(plan, bounds), *distinct_columns(plan, RUNNING), *latest]
    known = created_timestamp(plan, GRID, _known(plan))
    joined = (
        f"(\nSELECT {plan.key_list}, {GRID}, {known} AS created_timestamp{more_columns(columns)}"
        f"\nFROM {with_leaving_tiles(plan, bounds, points, relations.tiles)}{distinct_joins(plan, bounds, relations)}"
        f"{f'{chr(10)}WINDOW {windows}' if windows else ''}\n) v"
    )
    framed = _framed(plan)
    if framed:
        joined += f"\nJOIN (\n{_select_ordered(plan, bounds, relations)}\n) o ON {same_columns((*plan.keys, GRID), 'v', 'o')}"
    added = [
        f"{aggregate.value.format(*(combined_name(part, feature) for part in aggregate.parts))} AS {quote_name(feature.name)}"
        for feature, aggregate in plan.tiled
    ]
    added += [f"{window.value} AS {quote_name(window.feature.name)}" for window in plan.latest]
    added += [f"v.{quote_name(feature.name)}" for feature, _ in distinct_counts(plan)]
    other = [f"o.{quote_name(feature.name)}" for feature, _ in framed]
    keys = ", ".join(f"v.{key}" for key in plan.keys)
    created = "v.created_timestamp"
    if plan.latest and plan.has_created:
        of_rows = [f"make_timestamptz({window.created})" for window in plan.latest]
        created = f"greatest({', '.join([created, *of_rows])}) AS created_timestamp"
    times = f"make_timestamptz(v.{GRID}) AS feature_timestamp, {created}"
    return f"SELECT {keys}, {times}{more_columns([*added, *other])}\nFROM {joined}\nWHERE {_within(f'v.{GRID}', bounds)}"


def _window_definitions(plan: GridPlan) -> Iterator[str]:
    for window in plan.windows:
        if window != plan.step:
            back = reach(plan, window - plan.step, f"greatest({GRID} - {LOW_AT}, 0)")
            frame = f"RANGE BETWEEN {back} PRECEDING AND CURRENT ROW"
            yield f"w{window} AS (PARTITION BY {plan.key_list} ORDER BY {GRID} {frame})"
    if summed_parts(plan) or distinct_counts(plan):
        yield f"{RUNNING} AS (PARTITION BY {plan.key_list} ORDER BY {GRID} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    if plan.is_unbounded:
        yield f"w{ALL} AS (PARTITION BY {plan.key_list} ORDER BY {GRID} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"


def _known(plan: GridPlan) -> str:
    """The latest created time of the events in all windows but those of rows, in microseconds."""
    if plan.has_lifetime:
        return f"max(__fs_c) OVER w{ALL}"
    if not plan.windows:
        return "NULL"
    return "__fs_c" if plan.longest == plan.step else in_reach(plan, f"max(__fs_c) OVER w{plan.longest}")


def _over(plan: GridPlan, part: aggregates.PartialAggregate, feature: WindowedFeature) -> str:
    """A part combined over the feature's window; a window of one step is the tile itself."""
    if feature.window == plan.step:
        return part.name
    combined = part.combine.format(part.name, over=f"OVER w{feature.label}")
    return combined if feature.window is None else in_reach(plan, combined)


def _framed(plan: GridPlan) -> tuple[tuple[WindowedFeature, aggregates.OrderedAggregate], ...]:
    """The features whose windows are frames over events and points."""
    return tuple(item for item in plan.ordered if item not in distinct_counts(plan))


def _select_ordered(plan: GridPlan, bounds: Bounds, relations: Relations) -> str:
    """The features that need the events in order: events and points of a key are merged, and a window is a frame that ends at a point."""
    time = f"epoch_us({TIME})"
    values = [f"{item.sql(over=f' OVER w{feature.label}')} AS {quote_name(feature.name)}" for feature, item in _framed(plan)]
    # A frame of the whole history begins in the first year.
    frames = {feature.label: feature.window or f"{time} + {FIRST_DAY * DAY}" for feature, _ in _framed(plan)}
    reads = dict.fromkeys(column for _, item in _framed(plan) for column in item.reads)
    points = limited_points(plan, relations.points, relations.tiles)
    low = "" if plan.limit is None else f", {LOW_AT}"
    windows = ",\n  ".join(
        # The frame of an event row, whose result is dropped, is empty.
        f"w{label} AS (PARTITION BY {plan.key_list} ORDER BY {time}"
        f" RANGE BETWEEN CASE WHEN {GRID} IS NULL THEN 0 ELSE"
        f" {length if label == ALL else reach(plan, length, f'{GRID} - {LOW_AT} + 1')} END PRECEDING AND 1 PRECEDING)"
        for label, length in sorted(frames.items(), key=lambda item: (item[0] == ALL, item[1]))
    )
    return (
        f"SELECT * FROM (\nSELECT {plan.key_list}, {GRID}{more_columns(values)}\nFROM (\n"
        f"SELECT {', '.join([plan.key_list, TIME, CREATED, *reads])} FROM {from_sql(relations.events)}\n"
        f"UNION ALL BY NAME SELECT {plan.key_list}, make_timestamptz({GRID}) AS {TIME}, {GRID}{low} FROM {points}"
        f" WHERE {_within(GRID, bounds)}\n)"
        f"\nWINDOW {windows}\n)\nWHERE {GRID} IS NOT NULL"
    )
