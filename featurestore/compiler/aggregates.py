"""Aggregations as SQL: tiled ones, which combine partial aggregates of tiles, and those that need a window's events in order.

Sums of doubles are exact, and so independent of order, by one of three methods. Each value is split into its integer part and its
fraction scaled by 2**86, which are summed as 128-bit integers (both are below 2**86, so 2**40 of them cannot overflow). Sums below
2**39 fit into one integer, integer part * 2**86 + fraction, at half the cost: the narrow method, which is tried first. Both methods
fail for values with bits above 2**86 or below 2**-86, and for infinity and NaN. The method for any value then adds one more integer
for the bits down to 2**-172, and a list of the remaining values. Methods that do not fail give the same bits.
"""

import hashlib
from dataclasses import dataclass, replace

from featurestore.compiler.events import CREATED, TIME
from featurestore.compiler.exact_sums import exact_sum
from featurestore.compiler.expressions import SqlProblem
from featurestore.compiler.spread import stddev_input, stddev_sql
from featurestore.dsl.agg import Aggregation
from featurestore.values.value_types import FLOATING, INTEGERS

NUMERIC = frozenset({"sum", "mean", "stddev", "percentile"})
_WHOLE = INTEGERS | {"BOOLEAN"}
NARROW = 2**125
_SCALE = f"{2.0**86:.1f}::DOUBLE"
_UNFIT = "error('a value does not fit this way of summing')"
BAND = "__fs_band"
"""The column that identifies a band of events of a grid point: the age of its youngest event, in microseconds."""


@dataclass(frozen=True)
class PartialAggregate:
    """A partial aggregate over some events, with `{0}` in place of its filter.

    `combine` is the window function that combines tiles, with `{0}` for the column and `{over}` for the window; `merge` is the
    aggregate that combines the bands of a grid point that are `{within}` a window. `narrow`: its sums must stay below NARROW.
    """

    aggregate: str
    where: str | None = None
    combine: str = "sum({0}) {over}"
    merge: str = "sum({0}) FILTER (WHERE {within})"
    narrow: bool = False

    @property
    def is_sum(self) -> bool:
        """Whether the parts of tiles are added, so that they can be subtracted again."""
        return self.combine == "sum({0}) {over}"

    @property
    def name(self) -> str:
        """The column of this part."""
        return "__fs_p" + hashlib.sha256(f"{self.aggregate}{self.where}".encode()).hexdigest()[:12]

    def sql(self) -> str:
        """SQL of the aggregate over the events that meet its condition."""
        return self.aggregate.format(_filter(self.where))

    def over(self, frame: str) -> str:
        """SQL of the aggregate as a window function over events, with the name of its frame."""
        return self.aggregate.format(f"{_filter(self.where)} OVER {frame}")


@dataclass(frozen=True)
class TiledAggregate:
    """An aggregation over tiles: `value` computes it from its parts, combined over a window; `{0}` is the first part."""

    parts: tuple[PartialAggregate, ...]
    value: str = "{0}"


@dataclass(frozen=True)
class Shortcuts:
    """Faster SQL that gives the same values. `narrow`: doubles are summed in one integer; `any_value`: doubles of any magnitude, which
    is slowest; neither: two integers. All but `any_value` fail on data that do not fit. `filled`: names of parts that count a column
    which is never NULL, so that counting rows is enough."""

    narrow: bool = False
    any_value: bool = False
    filled: frozenset[str] = frozenset()


NONE = Shortcuts()
WAYS = (Shortcuts(narrow=True), NONE, Shortcuts(any_value=True))
"""The methods of summing doubles in the order in which they are tried; the last fits all data."""


@dataclass(frozen=True)
class OrderedAggregate:
    """An aggregation that needs all events of a window: over the column `value`, of the DuckDB type `sql_type`, where `where` holds."""

    aggregation: Aggregation
    value: str
    where: str | None
    sql_type: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The event columns that it reads besides the times."""
        return (self.value,) if self.where is None else (self.value, self.where)

    def sql(self, within: str | None = None, over: str = "") -> str:
        """SQL of the aggregate over the events that meet `within`, or as a window function. Both depend only on the set of events, so
        both give the same bits."""
        keep = _filter(f"{self.value} IS NOT NULL", self.where, within) + over
        value = normalize_zero(self.value, self.sql_type)
        match self.aggregation.function:
            case "count_distinct":
                return f"count(DISTINCT {value}){keep}"
            case "stddev":
                # Sorted by value, not by time: that would need a sort by times and values for each window.
                return stddev_sql(f"list_sort(list({stddev_input(value, self.sql_type)}){keep})", self.sql_type)
            case "percentile":
                return f"quantile_cont(CAST({value} AS DOUBLE), {_number_literal(self.aggregation.q)}){keep}"
            case "last_n":
                return f"arg_max({value}, {_event_order(value)}, {_number_literal(self.aggregation.n)}){keep}"
        raise ValueError(f"unknown aggregation {self.aggregation.function}")


def is_numeric(sql_type: str) -> bool:
    """Whether values of a DuckDB type can be added; booleans count as 0 and 1."""
    return sql_type in _WHOLE or sql_type in FLOATING or (sql_type.startswith("DECIMAL(") and not sql_type.endswith("[]"))


def tiled_aggregate(
    aggregation: Aggregation, value: str | None, where: str | None, sql_type: str, shortcuts: Shortcuts = NONE
) -> TiledAggregate | None:
    """The aggregation over tiles; None if it needs the events in order. `sql_type` is the DuckDB type of the column `value`."""
    counted = _count(value, where)
    if counted.name in shortcuts.filled:
        counted = _count(None, where)
    match aggregation.function:
        case "count":
            return TiledAggregate((counted,), "CAST(coalesce({0}, 0) AS BIGINT)")
        case "sum":
            total = _sum(_number(value, sql_type), sql_type, where, shortcuts)
            return replace(total, value=f"CAST({total.value} AS BIGINT)") if sql_type in _WHOLE else total
        case "mean":
            total = _sum(_number(value, sql_type), sql_type, where, shortcuts)
            mean = f"CAST({total.value} AS DOUBLE) / nullif({{{len(total.parts)}}}, 0)"
            return TiledAggregate((*total.parts, counted), mean)
        case "min" | "max":
            function = aggregation.function
            merge = f"{function}({{0}}) FILTER (WHERE {{within}})"
            return TiledAggregate(
                (PartialAggregate(f"{function}({normalize_zero(value, sql_type)}){{0}}", where, f"{function}({{0}}) {{over}}", merge),)
            )
        case "first" | "last":
            place, chosen = ("arg_min", "first_value") if aggregation.function == "first" else ("arg_max", "last_value")
            # A band is identified by its age: the first value is in the oldest band that has one.
            merge = f"{'arg_max' if place == 'arg_min' else 'arg_min'}({{0}}, {BAND}) FILTER (WHERE {{within}})"
            value = normalize_zero(value, sql_type)
            return TiledAggregate(
                (PartialAggregate(f"{place}({value}, {_event_order(value)}){{0}}", where, f"{chosen}({{0}} IGNORE NULLS) {{over}}", merge),)
            )
    return None


def count_part_names(value: str, where: str | None) -> tuple[str, str]:
    """The names of the parts that count a column's values and the rows, both where `where` holds."""
    return _count(value, where).name, _count(None, where).name


def _count(value: str | None, where: str | None) -> PartialAggregate:
    """A count as a double, which is exact below 2**53 and sums in half the time of a 64-bit integer."""
    return PartialAggregate(f"CAST(count({value or '*'}){{0}} AS DOUBLE)", where)


def _filter(*conditions: str | None) -> str:
    present = [condition for condition in conditions if condition]
    return f" FILTER (WHERE {' AND '.join(present)})" if present else ""


def _event_order(value: str) -> str:
    """The sort key of an event: time, then created time (unknown first), then value."""
    return f"row(epoch_us({TIME}), coalesce(epoch_us({CREATED}), -9223372036854775807), {value})"


def normalize_zero(value: str | None, sql_type: str) -> str:
    """The value with -0.0 replaced by 0.0: they are equal, so an aggregate could return either."""
    return f"({value} + 0)" if sql_type in FLOATING else str(value)


def _number(value: str | None, sql_type: str) -> str:
    return f"CAST({value} AS INTEGER)" if sql_type == "BOOLEAN" else f"CAST({value} AS DOUBLE)" if sql_type == "FLOAT" else str(value)


def _sum(value: str, sql_type: str, where: str | None, shortcuts: Shortcuts) -> TiledAggregate:
    """The exact sum as HUGEINT, DECIMAL(38, s) or DOUBLE; NULL for no values."""
    if sql_type not in FLOATING:
        return TiledAggregate((PartialAggregate(f"sum({value}){{0}}", where),))
    if shortcuts.narrow:
        return TiledAggregate((_narrow_sum(value, where),), f"CAST({{0}} AS DOUBLE) / {_SCALE}")
    return _sum_of_any(value, where) if shortcuts.any_value else _wide_sum(value, where)


_EXACT = f"CAST({{0}} * {2**86}::HUGEINT + {{1}} AS DOUBLE) / {_SCALE}"
_LARGE = f"CAST({{0}} AS DOUBLE) + CAST({{1}} AS DOUBLE) / {_SCALE}"
_TOTAL = f"CASE WHEN abs({{0}}) < {2**40} THEN {_EXACT} ELSE {_LARGE} END"


def _wide_sum(value: str, where: str | None) -> TiledAggregate:
    """The sum in integer parts and fractions, which fails if a value is 2**86 or more, is not finite, or has bits below 2**-86."""
    scaled = f"(({value} - trunc({value})) * {_SCALE})"
    whole = PartialAggregate(f"sum(CAST(trunc({value}) AS HUGEINT)){{0}}", where)
    checked = f"CASE WHEN abs({value}) >= {_SCALE} OR {scaled} <> trunc({scaled}) THEN {_UNFIT} ELSE CAST({scaled} AS HUGEINT) END"
    return TiledAggregate((whole, PartialAggregate(f"sum({checked}){{0}}", where)), f"({_TOTAL})")


def _sum_of_any(value: str, where: str | None) -> TiledAggregate:
    """The sum in three integers, and a list of the values that are not finite, 2**86 or more, or below 2**-120."""
    scaled = f"(({value} - trunc({value})) * {_SCALE})"
    below = f"(({scaled} - trunc({scaled})) * {_SCALE})"
    ordinary = f"isfinite({value}) AND abs({value}) < {_SCALE} AND ({value} = 0 OR abs({value}) >= {2.0**-120!r}::DOUBLE)"
    also = f" AND {where}" if where else ""
    # CASE, not FILTER: a filtered aggregate still computes its argument for every row, and infinity cannot be cast to an integer.
    parts = [
        PartialAggregate(f"sum(CASE WHEN {ordinary}{also} THEN CAST(trunc({part}) AS HUGEINT) END){{0}}") for part in (value, scaled, below)
    ]
    joined = "flatten(list({0}) FILTER (WHERE {0} IS NOT NULL) {over})"
    merge = "flatten(list({0}) FILTER (WHERE {0} IS NOT NULL AND {within}))"
    other = PartialAggregate(f"list({value}){{0}}", f"{value} IS NOT NULL AND NOT ({ordinary}){also}", joined, merge)
    sums = [f"coalesce({{{index}}}, 0)" for index in range(3)]
    # Escape the braces of the expression for `format`.
    exact = exact_sum("<0>", "<1>", "<2>", "<3>").replace("{", "{{").replace("}", "}}")
    for index, part in enumerate((*sums, "{3}")):
        exact = exact.replace(f"<{index}>", part)
    infinite = "list_filter({3}, lambda __fs_v: NOT isfinite(__fs_v))"
    return TiledAggregate(
        (*parts, other),
        f"(CASE WHEN {{3}} IS NULL AND {sums[2]} = 0 THEN {_TOTAL} WHEN len({infinite}) > 0 THEN list_sum({infinite}) ELSE {exact} END)",
    )


def _narrow_sum(value: str, where: str | None) -> PartialAggregate:
    """The sum of integer part * 2**86 + fraction, which fails if a value is 2**40 or more, or has bits below 2**-86.

    Computed from two sums of 64-bit integers, value = upper / 2**23 + lower / 2**86, in half the time of a 128-bit sum.
    """
    scaled = f"({value} * {2.0**23:.1f}::DOUBLE)"
    rest = f"(({scaled} - trunc({scaled})) * {2.0**63:.1f}::DOUBLE)"
    upper, lower = f"CAST(trunc({scaled}) AS BIGINT)", f"CASE WHEN {rest} <> trunc({rest}) THEN {_UNFIT} ELSE CAST({rest} AS BIGINT) END"
    return PartialAggregate(f"(sum({upper}){{0}} * {2**63}::HUGEINT + sum({lower}){{0}})", where, narrow=True)


def _number_literal(stddev_input: object) -> str:
    """SQL of an aggregation's number, which is checked because others may write to the registry. Raises: SqlProblem."""
    if type(stddev_input) not in (int, float):
        raise SqlProblem(f"{stddev_input!r} is not a number")
    return repr(stddev_input)
