"""Windowed aggregates at one grid point, from the events themselves, without tiles: what the next day of a long history costs.

Windows end at the same point, so they lie one in the other. The events fall into bands of age, cut where a window or a
move ends: each band is folded once, by key alone, and a window is all bands that are younger than it is long.
"""

from collections.abc import Iterable
from itertools import pairwise

from featurestore.compiler import folds
from featurestore.compiler.events import EVENTS, TIME
from featurestore.compiler.expressions import quoted
from featurestore.compiler.features import WindowedFeature
from featurestore.compiler.folds import BAND
from featurestore.compiler.grid import GRID, GridPlan, created_timestamp, known_at, tail

POINT = "getvariable('point')"
_CREATED = "__fs_c"


def single_point(plan: GridPlan) -> str:
    """A SELECT of the rows stored at the grid point `point` (variable, UTC microseconds): keys, both times, every
    windowed feature; the rows that the windows over tiles give there, to the bit.

    It reads the relation EVENTS, once for each band, and again where a feature does not fold; that must hold every event of
    the longest window and one grid step before it.
    """
    own = [
        f"{fold.value.format(*(_combined(part, feature) for part in fold.parts))} AS {quoted(feature.name)}"
        for feature, fold in plan.folded
    ]
    other = [quoted(feature.name) for feature, _ in plan.ordered]
    times = f"make_timestamptz({GRID}) AS feature_timestamp, {created_timestamp(plan, GRID, _CREATED)} AS created_timestamp"
    joined = f"(\n{_folded(plan)}\n)"
    if plan.ordered:
        joined += f"\nJOIN (\n{_ordered(plan)}\n) USING ({plan.key_list})"
    return f"SELECT {plan.key_list}, {times}{tail([*own, *other])}\nFROM (SELECT {POINT} AS {GRID}, * FROM {joined}){_within_bounds(plan)}"


def _folded(plan: GridPlan) -> str:
    """Each key with a value that can have changed: where an event came in, and where one left a window."""
    merged = dict.fromkeys(
        f"{part.merge.format(part.name, within=f'{BAND} < {feature.window}')} AS {_combined(part, feature)}"
        for feature, fold in plan.folded
        for part in fold.parts
    )
    created = [f"max({_CREATED}) FILTER (WHERE {BAND} < {plan.longest}) AS {_CREATED}"] if plan.has_created else []
    moves = ", ".join(map(str, _moves(plan)))
    return (
        f"SELECT {plan.key_list}{tail([*created, *merged])}\nFROM (\n{_bands(plan)}\n)"
        f"\nGROUP BY {plan.key_list}\nHAVING bool_or({BAND} IN ({moves}))"
    )


def _bands(plan: GridPlan) -> str:
    """The events of each band folded by key; a band is named by the age of its youngest event, in microseconds."""
    ages = sorted({age for move in _moves(plan) for age in (move, move + plan.step)})
    columns = [f"{part.sql()} AS {part.name}" for part in plan.parts]
    created = [f"max({known_at()}) AS {_CREATED}"] if plan.has_created else []
    bands = [
        f"SELECT {plan.key_list}, {age} AS {BAND}{tail([*columns, *created])}\nFROM {EVENTS}"
        f"\nWHERE {TIME} >= {_ago(older)} AND {TIME} < {_ago(age)}\nGROUP BY {plan.key_list}"
        for age, older in pairwise(ages)
    ]
    return "\nUNION ALL\n".join(bands)


def _ordered(plan: GridPlan) -> str:
    """The features that do not fold, of every key with an event in reach."""
    values = [f"{item.sql(f'{TIME} >= {_ago(feature.window)}')} AS {quoted(feature.name)}" for feature, item in plan.ordered]
    reach = f"{TIME} >= {_ago(plan.longest + plan.step)} AND {TIME} < {_ago(0)}"
    return f"SELECT {plan.key_list}{tail(values)}\nFROM {EVENTS}\nWHERE {reach}\nGROUP BY {plan.key_list}"


def _within_bounds(plan: GridPlan) -> str:
    """An aggregate of an integer that has no room for the sum fails by itself; a sum that only just has room must fail as well."""
    tests: Iterable[str] = dict.fromkeys(
        f"CASE WHEN abs({_combined(part, feature)}) >= {folds.NARROW} THEN error('a sum is too large') ELSE true END"
        for feature, fold in plan.folded
        for part in fold.parts
        if part.narrow
    )
    return f"\nWHERE {' AND '.join(tests)}" if tests else ""


def _moves(plan: GridPlan) -> tuple[int, ...]:
    """How long before the point a grid step begins in which events came in, or left a window, since the point before."""
    return (0, *plan.windows)


def _ago(age: int) -> str:
    return f"make_timestamptz({POINT} - {age})"


def _combined(part: folds.Part, feature: WindowedFeature) -> str:
    return f"{part.name}_{feature.window // 1_000_000}"
