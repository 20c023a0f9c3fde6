"""Windowed aggregates on a sparse grid: events fold into tiles of one grid step, windows run over tiles.

A grid point g is a multiple of the grid's step, in microseconds from the Unix epoch. The tile of g holds what can be
folded of the events in [g - step, g), so the window [g - w, g) is the tiles in (g - w, g]. A value can change only at
the tile of an event and, for each window, w later, where that tile leaves it: those are the points a row is stored at.
Aggregates that do not fold (exact quantiles, distinct counts, ordered lists, standard deviations) run over the events
of each point's window, in a total order, so that no result depends on threads or on where a run began.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from featurestore.compiler import folds
from featurestore.compiler.events import CREATED, EVENTS, TIME, Events
from featurestore.compiler.expressions import quoted
from featurestore.compiler.features import WindowedFeature, features_of
from featurestore.dsl.durations import microseconds
from featurestore.dsl.view import FeatureView

TILES = "__fs_tiles"
POINTS = "__fs_points"
EXTRA_POINTS = "__fs_extra_points"
VALUES = "__fs_values"
GRID = "__fs_g"


@dataclass(frozen=True)
class _Plan:
    """What the statements of one view share."""

    keys: tuple[str, ...]
    step: int
    longest: int
    windows: tuple[int, ...]
    folded: tuple[tuple[WindowedFeature, folds.Fold], ...]
    ordered: tuple[tuple[WindowedFeature, str], ...]
    has_created: bool

    @property
    def key_list(self) -> str:
        return ", ".join(self.keys)


def grid_step(view: FeatureView) -> int:
    """The step of an aggregate view's grid in microseconds."""
    if view.every is None:
        raise TypeError(f"{view.name} is a row view and has no grid")
    return microseconds(view.every)


def longest_window(view: FeatureView) -> int:
    """The longest window of an aggregate view in microseconds."""
    return max((feature.window for feature in features_of(view) if isinstance(feature, WindowedFeature)), default=0)


def type_problems(view: FeatureView, events: Events, types: Mapping[str, str]) -> list[tuple[str, str]]:
    """(field, message) for every aggregation over a column of a type that it does not take."""
    names = {item.text: item for item in events.inputs}
    found: dict[tuple[str, str], None] = {}
    for feature in features_of(view):
        if isinstance(feature, WindowedFeature):
            aggregation = feature.aggregation
            if aggregation.column is not None:
                kind = types[names[aggregation.column].name]
                if aggregation.function in folds.NUMERIC and not folds.is_numeric(kind):
                    found[f"features.{feature.declared}", f"agg.{aggregation.function} takes numbers; {aggregation.column!r} is {kind}"] = (
                        None
                    )
            if aggregation.where is not None and (kind := types[names[aggregation.where].name]) != "BOOLEAN":
                found[f"features.{feature.declared}", f"where={aggregation.where!r} is {kind}, not true or false"] = None
    return list(found)


def window_steps(view: FeatureView, events: Events, types: Mapping[str, str]) -> list[tuple[str, str]]:
    """(table, SELECT) of tiles and points, then of the values: keys, both times and every windowed feature.

    Variables in UTC microseconds: lower and upper bound the points; `carry_in` adds, for every key with an event
    before lower, the first grid point at or after lower, where a run that begins there takes its history over.
    """
    plan = _plan(view, events, types)
    tables = [(TILES, _tiles(plan, EVENTS)), (POINTS, _points(plan)), (VALUES, _values(plan))]
    # Only ordered aggregates read the events a second time; without them they need not be kept.
    return [(EVENTS, events.sql), *tables] if plan.ordered else [(TILES, _tiles(plan, f"(\n{events.sql}\n)")), *tables[1:]]


def _plan(view: FeatureView, events: Events, types: Mapping[str, str]) -> _Plan:
    names = {item.text: item.name for item in events.inputs}
    folded: list[tuple[WindowedFeature, folds.Fold]] = []
    ordered: list[tuple[WindowedFeature, str]] = []
    for feature in features_of(view):
        if isinstance(feature, WindowedFeature):
            aggregation = feature.aggregation
            value = None if aggregation.column is None else names[aggregation.column]
            where = None if aggregation.where is None else names[aggregation.where]
            fold = folds.fold(aggregation, value, where, "" if value is None else types[value])
            if fold is not None:
                folded.append((feature, fold))
            else:
                ordered.append((feature, folds.ordered(aggregation, f"e.{value}", where and f"e.{where}", feature.window)))
    windows = tuple(sorted({feature.window for feature, _ in folded} | {feature.window for feature, _ in ordered}))
    keys = tuple(map(quoted, events.keys))
    return _Plan(keys, grid_step(view), max(windows), windows, tuple(folded), tuple(ordered), view.source.created is not None)


def _tiles(plan: _Plan, events: str) -> str:
    parts = dict.fromkeys((part.sql, part.name) for _, fold in plan.folded for part in fold.parts)
    columns = [f"{sql} AS {name}" for sql, name in parts]
    created = [f"max(epoch_us({CREATED})) AS __fs_c"] if plan.has_created else []
    return (
        f"SELECT {', '.join([plan.key_list, f'{_tile_of(TIME, plan.step)} AS {GRID}', *columns, *created])}"
        f"\nFROM {events}\nGROUP BY {plan.key_list}, {GRID}"
    )


def _tile_of(time: str, step: int) -> str:
    """The first grid point after an event; floored division, also before 1970."""
    return f"(epoch_us({time}) - ((epoch_us({time}) % {step}) + {step}) % {step} + {step})"


def _points(plan: _Plan) -> str:
    first = f"(getvariable('lower') + (({plan.step} - getvariable('lower') % {plan.step}) % {plan.step}))"
    shifts = [f"SELECT {plan.key_list}, {GRID} + {shift} AS {GRID} FROM {TILES}" for shift in (0, *plan.windows)]
    carried = f"SELECT {plan.key_list}, {first} AS {GRID} FROM {TILES} WHERE getvariable('carry_in') AND {GRID} < {first}"
    extra = (
        f"SELECT {plan.key_list}, p.{GRID} FROM {EXTRA_POINTS} p SEMI JOIN {TILES} t"
        f" ON {_same(plan.keys, 'p', 't')} AND t.{GRID} <= p.{GRID}"
    )
    union = "\nUNION ALL ".join([*shifts, carried, extra])
    return f"SELECT DISTINCT {plan.key_list}, {GRID} FROM (\n{union}\n)\nWHERE {GRID} BETWEEN getvariable('lower') AND getvariable('upper')"


def _values(plan: _Plan) -> str:
    windows = ",\n  ".join(
        f"w{window} AS (PARTITION BY {plan.key_list} ORDER BY {GRID} RANGE BETWEEN {window - plan.step} PRECEDING AND CURRENT ROW)"
        for window in plan.windows
        if window != plan.step
    )
    combined = dict.fromkeys(
        f"{_over(plan, part, feature)} AS {_combined(part, feature)}" for feature, fold in plan.folded for part in fold.parts
    )
    known = "__fs_c" if plan.longest == plan.step else f"max(__fs_c) OVER w{plan.longest}"
    newest = f"make_timestamptz(greatest({GRID}, coalesce({known}, {GRID})))"
    created = newest if plan.has_created else "CAST(NULL AS TIMESTAMP WITH TIME ZONE)"
    grid = (
        f"SELECT {plan.key_list}, {GRID}, __fs_is_point, {created} AS created_timestamp{_tail(combined)}"
        f"\nFROM {TILES} FULL JOIN (SELECT *, true AS __fs_is_point FROM {POINTS}) USING ({plan.key_list}, {GRID})"
        f"{f'{chr(10)}WINDOW {windows}' if windows else ''}"
    )
    joined = f"(\n{grid}\n) v"
    if plan.ordered:
        joined += f"\nLEFT JOIN (\n{_ordered(plan)}\n) o ON {_same((*plan.keys, GRID), 'v', 'o')}"
    own = [
        f"{fold.value.format(*(_combined(part, feature) for part in fold.parts))} AS {quoted(feature.name)}"
        for feature, fold in plan.folded
    ]
    other = [
        f"{folds.when_empty(feature.aggregation, f'o.{quoted(feature.name)}')} AS {quoted(feature.name)}" for feature, _ in plan.ordered
    ]
    keys = ", ".join(f"v.{key}" for key in plan.keys)
    times = f"make_timestamptz(v.{GRID}) AS feature_timestamp, v.created_timestamp"
    return f"SELECT {keys}, {times}{_tail([*own, *other])}\nFROM {joined}\nWHERE v.__fs_is_point"


def _over(plan: _Plan, part: folds.Part, feature: WindowedFeature) -> str:
    """A part combined over the feature's window; a window of one step is the tile itself."""
    return part.name if feature.window == plan.step else f"{part.combine.format(part.name)} OVER w{feature.window}"


def _combined(part: folds.Part, feature: WindowedFeature) -> str:
    return f"{part.name}_{feature.window // 1_000_000}"


def _ordered(plan: _Plan) -> str:
    longest = max(feature.window for feature, _ in plan.ordered)
    keys = ", ".join(f"p.{key}" for key in plan.keys)
    values = [f"{sql} AS {quoted(feature.name)}" for feature, sql in plan.ordered]
    return (
        f"SELECT {keys}, p.{GRID}{_tail(values)}\nFROM {POINTS} p JOIN {EVENTS} e ON {_same(plan.keys, 'p', 'e')}"
        f" AND epoch_us(e.{TIME}) < p.{GRID} AND epoch_us(e.{TIME}) >= p.{GRID} - {longest}\nGROUP BY {keys}, p.{GRID}"
    )


def _same(columns: Iterable[str], left: str, right: str) -> str:
    return " AND ".join(f"{left}.{column} = {right}.{column}" for column in columns)


def _tail(columns: Iterable[str]) -> str:
    return "".join(f",\n  {column}" for column in columns)
