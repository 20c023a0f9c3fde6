"""The grid of an aggregate view: its step, its windows, and how each feature is computed over them.

A grid point g is a multiple of the grid's step, in microseconds from the Unix epoch; the window of length w at g is
[g - w, g). The tile of g has the partial aggregates of the events in [g - step, g).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from featurestore.compiler import aggregates
from featurestore.compiler.events import CREATED, Events
from featurestore.compiler.expressions import quote_name
from featurestore.compiler.features import WindowedFeature, features_of
from featurestore.compiler.row_windows import RowWindow, row_window
from featurestore.dsl.definitions import owner_of
from featurestore.dsl.durations import microseconds
from featurestore.dsl.problems import FieldProblem
from featurestore.dsl.view import CONTINUOUS, FeatureView

GRID = "__fs_g"


@dataclass(frozen=True)
class GridPlan:
    """What the statements of an aggregate view share; times are microseconds, `windows` are the lengths of windows of time, ascending.

    `latest` are the features over a number of rows. `limit` is the most events of a window of time. `counted` has the
    columns whose values are counted, each with its condition.
    """

    keys: tuple[str, ...]
    step: int
    windows: tuple[int, ...]
    tiled: tuple[tuple[WindowedFeature, aggregates.TiledAggregate], ...]
    ordered: tuple[tuple[WindowedFeature, aggregates.OrderedAggregate], ...]
    latest: tuple[RowWindow, ...]
    counted: tuple[tuple[str, str | None], ...]
    has_created: bool
    limit: int | None = None

    @property
    def longest(self) -> int:
        """The longest window of time; 0 if there is none."""
        return self.windows[-1] if self.windows else 0

    @property
    def is_continuous(self) -> bool:
        """Whether every microsecond is a grid point, so that a key may have as many points as events and windows together."""
        return self.step == 1

    @property
    def has_lifetime(self) -> bool:
        """Whether a window has all events before a grid point."""
        return any(feature.window is None for feature, _ in (*self.tiled, *self.ordered))

    @property
    def is_unbounded(self) -> bool:
        """Whether values depend on events of any age."""
        return self.has_lifetime or bool(self.latest)

    @property
    def parts(self) -> tuple[aggregates.PartialAggregate, ...]:
        """The distinct parts of the tiled features."""
        return tuple(dict.fromkeys(part for _, aggregate in self.tiled for part in aggregate.parts))

    @property
    def key_list(self) -> str:
        """The key columns, quoted."""
        return ", ".join(self.keys)


def grid_step(view: FeatureView) -> int:
    """The step of an aggregate view's grid in microseconds."""
    if view.every is None:
        raise TypeError(f"{view.name} is a row view and has no grid")
    return 1 if view.every == CONTINUOUS else microseconds(view.every)


def longest_window(view: FeatureView) -> int:
    """The longest window of time of an aggregate view in microseconds; 0 if there is none."""
    return max(time_windows(view), default=0)


def time_windows(view: FeatureView) -> frozenset[int]:
    """The lengths of an aggregate view's windows of time, in microseconds."""
    return frozenset(feature.window for feature in _windowed(view) if feature.window is not None)


def has_unbounded_windows(view: FeatureView) -> bool:
    """Whether values of an aggregate view depend on events of any age."""
    return any(feature.window is None for feature in _windowed(view))


def _windowed(view: FeatureView) -> list[WindowedFeature]:
    return [feature for feature in features_of(view) if isinstance(feature, WindowedFeature)]


def type_problems(view: FeatureView, events: Events, types: Mapping[str, str]) -> list[FieldProblem]:
    """A problem for every aggregation over a column of an unsupported type."""
    names = {item.text: item for item in events.inputs}
    # As a dict, because an aggregation over several windows has each problem once.
    problems: dict[FieldProblem, None] = {}
    for feature in features_of(view):
        if isinstance(feature, WindowedFeature):
            aggregation, field = feature.aggregation, f"features.{feature.declared}"
            if aggregation.column is not None:
                sql_type = types[names[aggregation.column].name]
                if aggregation.function in aggregates.NUMERIC and not aggregates.is_numeric(sql_type):
                    message = f"agg.{aggregation.function} takes numbers; {aggregation.column!r} is {sql_type}"
                    problems[FieldProblem(owner_of(view), field, message)] = None
            if aggregation.where is not None and (sql_type := types[names[aggregation.where].name]) != "BOOLEAN":
                problems[FieldProblem(owner_of(view), field, f"where={aggregation.where!r} is {sql_type}, not true or false")] = None
    return list(problems)


def grid_plan(view: FeatureView, events: Events, types: Mapping[str, str], shortcuts: aggregates.Shortcuts = aggregates.NONE) -> GridPlan:
    """Plan how a checked view's features are computed. `types` has the DuckDB types of the events' columns."""
    names = {item.text: item.name for item in events.inputs}
    tiled: list[tuple[WindowedFeature, aggregates.TiledAggregate]] = []
    ordered: list[tuple[WindowedFeature, aggregates.OrderedAggregate]] = []
    counted: dict[tuple[str, str | None], None] = {}
    latest: list[RowWindow] = []
    for feature in _windowed(view):
        aggregation = feature.aggregation
        value = None if aggregation.column is None else names[aggregation.column]
        where = None if aggregation.where is None else names[aggregation.where]
        sql_type = "" if value is None else types[value]
        if feature.rows is not None:
            latest.append(row_window(feature, len(latest), value, where, sql_type, shortcuts))
            continue
        aggregate = aggregates.tiled_aggregate(aggregation, value, where, sql_type, shortcuts)
        if value is not None and aggregation.function in ("count", "mean"):
            counted[value, where] = None
        if aggregate is not None:
            tiled.append((feature, aggregate))
        else:
            ordered.append((feature, aggregates.OrderedAggregate(aggregation, str(value), where, sql_type)))
    return GridPlan(
        tuple(map(quote_name, events.keys)),
        grid_step(view),
        tuple(sorted(time_windows(view))),
        tuple(tiled),
        tuple(ordered),
        tuple(latest),
        tuple(counted),
        view.source.created is not None,
        view.limit,
    )


def tile_of(time: str, step: int) -> str:
    """SQL of the first grid point after an event, with floored division, also before 1970."""
    return f"(epoch_us({time}) - ((epoch_us({time}) % {step}) + {step}) % {step} + {step})"


def created_timestamp(plan: GridPlan, point: str, known: str) -> str:
    """SQL of the later of a grid point and `known`, the latest created time of its events, both in microseconds."""
    if not plan.has_created:
        return "CAST(NULL AS TIMESTAMP WITH TIME ZONE)"
    return f"make_timestamptz(greatest({point}, coalesce({known}, {point})))"


def known_at() -> str:
    """SQL of an event's created time in microseconds."""
    return f"epoch_us({CREATED})"


def combined_name(part: aggregates.PartialAggregate, feature: WindowedFeature) -> str:
    """The column of a part that is combined over a feature's window."""
    return f"{part.name}_{feature.label if feature.window is None else feature.window // 1_000_000}"


def same_columns(columns: Iterable[str], left: str, right: str) -> str:
    """The condition that two relations are equal in these columns."""
    return " AND ".join(f"{left}.{column} = {right}.{column}" for column in columns)


def more_columns(columns: Iterable[str]) -> str:
    """Further columns of a SELECT list, one per line."""
    return "".join(f",\n  {column}" for column in columns)
