"""SQL of windows of the latest rows: computed at each event, so that a grid point has the values of the last event before it.

The events of a key are ordered by (time, created time, value), an unknown created time and NULL first. A window has the latest events
for which the condition holds, whether or not they have a value; one of `last_n` only those that have one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from featurestore.compiler import aggregates
from featurestore.compiler.events import CREATED, TIME
from featurestore.compiler.features import WindowedFeature


@dataclass(frozen=True)
class RowWindow:
    """One feature over a number of rows: the `number`-th of its view. `parts` are window functions over its frame, of which those that
    are `narrow` must stay below NARROW; `result` computes the value from them, with `{0}` for the first.

    `order` is the column whose values order events of one time, and `condition` says which events count; None: all of them.
    """

    feature: WindowedFeature
    number: int
    order: str | None
    condition: str | None
    parts: tuple[str, ...]
    narrow: tuple[bool, ...]
    result: str

    @property
    def tile(self) -> str:
        """The column of tiles with the parts at the last event of each tile as fields of a struct; NULL if no event counts."""
        return f"__fs_v{self.number}"

    @property
    def latest(self) -> str:
        """The column of grid points with the struct of the last tile that has one."""
        return f"__fs_l{self.number}"

    @property
    def value(self) -> str:
        """SQL of the feature at a grid point."""
        return self.result.format(*(f"{self.latest}.p{index}" for index in range(len(self.parts))))

    @property
    def created(self) -> str:
        """SQL of the latest created time of the events in the window at a grid point, in microseconds."""
        return f"{self.latest}.c"

    @property
    def narrow_sums(self) -> tuple[str, ...]:
        """SQL of the narrow sums of a tile."""
        return tuple(f"{self.tile}.p{index}" for index, is_narrow in enumerate(self.narrow) if is_narrow)

    def tile_column(self, has_created: bool) -> str:
        """The SELECT item of `tile`, an aggregate over the events of `with_row_windows`."""
        fields = [f"'p{index}': {self._part(index)}" for index in range(len(self.parts))]
        fields += [f"'c': {self._part('c')}"] if has_created else []
        keep = f" FILTER (WHERE {self.condition})" if self.condition else ""
        return f"arg_max({{{', '.join(fields)}}}, {self._part('n')}){keep} AS {self.tile}"

    def event_columns(self, has_created: bool) -> Iterable[str]:
        """The SELECT items of an event: the parts, the latest created time, and the event's number in order."""
        yield from (f"{part} AS {self._part(index)}" for index, part in enumerate(self.parts))
        yield f"row_number() OVER {_frame(self.number)} AS {self._part('n')}"
        if has_created:
            yield f"max(epoch_us({CREATED})) OVER {_frame(self.number)} AS {self._part('c')}"

    def frame(self, key_list: str, has_created: bool) -> str:
        """The definition of the window's frame of events."""
        partition = f"{key_list}, coalesce({self.condition}, false)" if self.condition else key_list
        order = [
            f"epoch_us({TIME})",
            *([f"{CREATED} NULLS FIRST"] if has_created else []),
            *([f"{self.order} NULLS FIRST"] if self.order else []),
        ]
        rows = f"ROWS BETWEEN {(self.feature.rows or 1) - 1} PRECEDING AND CURRENT ROW"
        return f"{_frame(self.number)} AS (PARTITION BY {partition} ORDER BY {', '.join(order)} {rows})"

    def _part(self, name: object) -> str:
        return f"__fs_f{self.number}_{name}"


def row_window(
    feature: WindowedFeature, number: int, value: str | None, where: str | None, sql_type: str, shortcuts: aggregates.Shortcuts
) -> RowWindow:
    """The window of a feature over a number of rows. `sql_type` is the DuckDB type of the column `value`; `where` is the condition."""
    aggregation, frame = feature.aggregation, _frame(number)
    # Which columns are never NULL is known only after the tiles are computed.
    tiled = aggregates.tiled_aggregate(aggregation, value, None, sql_type, replace(shortcuts, filled=frozenset()))
    if tiled is not None:
        parts, narrow = tuple(part.over(frame) for part in tiled.parts), tuple(part.narrow for part in tiled.parts)
        return RowWindow(feature, number, value, where, parts, narrow, tiled.value)
    if aggregation.function == "last_n":
        condition = f"({where} AND {value} IS NOT NULL)" if where else f"({value} IS NOT NULL)"
        listed = f"list({aggregates.normalize_zero(value, sql_type)}) OVER {frame}"
        return RowWindow(feature, number, value, condition, (listed,), (False,), "list_reverse({0})")
    ordered = aggregates.OrderedAggregate(aggregation, str(value), None, sql_type)
    result = "coalesce({0}, 0)" if aggregation.function == "count_distinct" else "{0}"
    return RowWindow(feature, number, value, where, (ordered.sql(over=f" OVER {frame}"),), (False,), result)


def with_row_windows(windows: Iterable[RowWindow], events: str, key_list: str, has_created: bool) -> str:
    """A SELECT of the events with the columns of their row windows."""
    windows = tuple(windows)
    columns = ",\n  ".join(column for window in windows for column in window.event_columns(has_created))
    frames = ",\n  ".join(window.frame(key_list, has_created) for window in windows)
    return f"SELECT *,\n  {columns}\nFROM {events}\nWINDOW {frames}"


def _frame(number: int) -> str:
    return f"r{number}"
