"""SQL of windowed aggregates at one grid point, directly from events without tiles: cheap for one more day of a long history.

All windows end at the same point, so they are nested. Events are divided into bands by age, at the boundaries of windows and of the
last grid step: each band is aggregated once per key, and a window combines all bands younger than its length.
"""

from collections.abc import Iterable
from itertools import pairwise

from featurestore.compiler import aggregates
from featurestore.compiler.aggregates import BAND
from featurestore.compiler.events import TIME
from featurestore.compiler.expressions import quote_name
from featurestore.compiler.grid import GRID, GridPlan, combined_name, created_timestamp, known_at, more_columns
from featurestore.compiler.parameters import bound_sql
from featurestore.compiler.query import from_sql
from featurestore.compiler.relations import Handle

_CREATED = "__fs_c"


def single_point(plan: GridPlan, point: int, events: Handle) -> str:
    """A SELECT of the rows at the grid point `point` (UTC microseconds): keys, both times and every windowed feature, bit for bit the
    rows that `windows` gives there.

    All windows must be windows of time. It reads the relation `events` once per band, and again for features that need the events in
    order. `events` must have every event of the longest window and of one grid step before it.
    """
    added = [
        f"{aggregate.value.format(*(combined_name(part, feature) for part in aggregate.parts))} AS {quote_name(feature.name)}"
        for feature, aggregate in plan.tiled
    ]
    other = [quote_name(feature.name) for feature, _ in plan.ordered]
    times = f"make_timestamptz({GRID}) AS feature_timestamp, {created_timestamp(plan, GRID, _CREATED)} AS created_timestamp"
    joined = f"(\n{_select_tiled(plan, point, events)}\n)"
    if plan.ordered:
        joined += f"\nJOIN (\n{_select_ordered(plan, point, events)}\n) USING ({plan.key_list})"
    columns = f"{plan.key_list}, {times}{more_columns([*added, *other])}"
    return f"SELECT {columns}\nFROM (SELECT {bound_sql(point)} AS {GRID}, * FROM {joined}){_within_bounds(plan)}"


def _select_tiled(plan: GridPlan, point: int, events: Handle) -> str:
    """The keys whose values may have changed, because an event entered or left a window."""
    merged = dict.fromkeys(
        f"{part.merge.format(part.name, within=f'{BAND} < {feature.length}')} AS {combined_name(part, feature)}"
        for feature, aggregate in plan.tiled
        for part in aggregate.parts
    )
    created = [f"max({_CREATED}) FILTER (WHERE {BAND} < {plan.longest}) AS {_CREATED}"] if plan.has_created else []
    moves = ", ".join(map(str, _moves(plan)))
    return (
        f"SELECT {plan.key_list}{more_columns([*created, *merged])}\nFROM (\n{_bands(plan, point, events)}\n)"
        f"\nGROUP BY {plan.key_list}\nHAVING bool_or({BAND} IN ({moves}))"
    )


def _bands(plan: GridPlan, point: int, events: Handle) -> str:
    """The partial aggregates of each band by key; a band is identified by the age of its youngest event, in microseconds."""
    ages = sorted({age for move in _moves(plan) for age in (move, move + plan.step)})
    columns = [f"{part.sql()} AS {part.name}" for part in plan.parts]
    created = [f"max({known_at()}) AS {_CREATED}"] if plan.has_created else []
    bands = [
        f"SELECT {plan.key_list}, {age} AS {BAND}{more_columns([*columns, *created])}\nFROM {from_sql(events)}"
        f"\nWHERE {TIME} >= {_ago(point, older)} AND {TIME} < {_ago(point, age)}\nGROUP BY {plan.key_list}"
        for age, older in pairwise(ages)
    ]
    return "\nUNION ALL\n".join(bands)


def _select_ordered(plan: GridPlan, point: int, events: Handle) -> str:
    """The features that need the events in order, for every key with an event in range."""
    values = [f"{item.sql(f'{TIME} >= {_ago(point, feature.length)}')} AS {quote_name(feature.name)}" for feature, item in plan.ordered]
    reach = f"{TIME} >= {_ago(point, plan.longest + plan.step)} AND {TIME} < {_ago(point, 0)}"
    return f"SELECT {plan.key_list}{more_columns(values)}\nFROM {from_sql(events)}\nWHERE {reach}\nGROUP BY {plan.key_list}"


def _within_bounds(plan: GridPlan) -> str:
    """The condition that fails for narrow sums beyond NARROW; integer overflow fails by itself, but only later."""
    tests: Iterable[str] = dict.fromkeys(
        f"CASE WHEN abs({combined_name(part, feature)}) >= {aggregates.NARROW} THEN error('a sum is too large') ELSE true END"
        for feature, aggregate in plan.tiled
        for part in aggregate.parts
        if part.narrow
    )
    return f"\nWHERE {' AND '.join(tests)}" if tests else ""


def _moves(plan: GridPlan) -> tuple[int, ...]:
    """The ages at which grid steps begin whose events entered or left a window since the previous point."""
    return (0, *plan.windows)


def _ago(point: int, age: int) -> str:
    return f"make_timestamptz({bound_sql(point - age)})"
