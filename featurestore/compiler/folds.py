"""Aggregations as SQL: those that fold from tiles, and those that need a window's events in order.

Sums of doubles are exact and so independent of order, in one of three ways. Each value is split into its whole part and
its fraction scaled by 2**86, both of which are summed as 128-bit integers (both below 2**86, so 2**40 of them cannot
overflow). Sums below 2**39 fit into one integer, whole * 2**86 + fraction, at half the cost: the narrow way, tried first.
Both fail where a value has bits beyond 2**86 or below 2**-86, and where it is infinite or NaN: then comes the way for any
value, which has one more integer for the bits down to 2**-172, and a list of the values that are left. Where ways do not
fail, they give the same bits.
"""

import hashlib
from dataclasses import dataclass, replace

from featurestore.compiler.events import CREATED, TIME
from featurestore.compiler.exact_sums import exact_sum
from featurestore.compiler.expressions import SqlProblem
from featurestore.compiler.spread import number, spread
from featurestore.compiler.zeros import FLOATING
from featurestore.dsl.agg import Aggregation

NUMERIC = frozenset({"sum", "mean", "stddev", "percentile"})
_INTEGERS = frozenset("TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT HUGEINT UHUGEINT BOOLEAN".split())
NARROW = 2**125
_SCALE = f"{2.0**86:.1f}::DOUBLE"
_UNFIT = "error('a value does not fit this way of summing')"
BAND = "__fs_band"
"""The column that names a band of events of one grid point: the age of its youngest, in microseconds."""


@dataclass(frozen=True)
class Part:
    """What is held of an aggregation over some events: an aggregate, with `{0}` where its filter goes.

    `combine` is the window function that combines tiles, with `{0}` for the column and `{over}` for the window; `merge` the
    aggregate that combines the bands of a grid point which are `{within}` a window. `narrow`: its sums must stay below NARROW.
    """

    aggregate: str
    where: str | None = None
    combine: str = "sum({0}) {over}"
    merge: str = "sum({0}) FILTER (WHERE {within})"
    narrow: bool = False

    @property
    def name(self) -> str:
        """The column that holds this part."""
        return "__fs_p" + hashlib.sha256(f"{self.aggregate}{self.where}".encode()).hexdigest()[:12]

    def sql(self) -> str:
        """The aggregate over the events that its own condition lets pass."""
        return self.aggregate.format(_filter(self.where))


@dataclass(frozen=True)
class Fold:
    """An aggregation that folds: `value` computes it from its parts combined over a window, `{0}` being the first."""

    parts: tuple[Part, ...]
    value: str = "{0}"


@dataclass(frozen=True)
class Shortcuts:
    """What saves time without changing a value. `narrow`: sums of doubles in one integer, `any_value`: of doubles of all
    magnitudes, which takes longest; without either, in two integers. The first and the last but one fail on data that they
    do not fit. `filled`: names of parts that count a column which is never NULL, so that they count the rows."""

    narrow: bool = False
    any_value: bool = False
    filled: frozenset[str] = frozenset()


NONE = Shortcuts()
WAYS = (Shortcuts(narrow=True), NONE, Shortcuts(any_value=True))
"""The ways of summing doubles in the order in which they are tried; the last fits all data."""


@dataclass(frozen=True)
class Ordered:
    """An aggregation that needs a window's events themselves: of the column `value`, of the DuckDB type `kind`, where
    `where` holds."""

    aggregation: Aggregation
    value: str
    where: str | None
    kind: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the events that it reads besides their times."""
        return (self.value,) if self.where is None else (self.value, self.where)

    def sql(self, within: str | None = None, over: str = "") -> str:
        """The aggregate over the events that `within` lets pass, or as a window function. Either way it is a function of
        the set of these events, so that both give the same bits."""
        keep = _filter(f"{self.value} IS NOT NULL", self.where, within) + over
        value = _one_zero(self.value, self.kind)
        match self.aggregation.function:
            case "count_distinct":
                return f"count(DISTINCT {value}){keep}"
            case "stddev":
                # Not in order of time: that would have to be made of times, created times and values, for each window anew.
                return spread(f"list_sort(list({number(value, self.kind)}){keep})", self.kind)
            case "percentile":
                return f"quantile_cont(CAST({value} AS DOUBLE), {_plain(self.aggregation.q)}){keep}"
            case "last_n":
                return f"arg_max({value}, {_place(value)}, {_plain(self.aggregation.n)}){keep}"
        raise ValueError(f"unknown aggregation {self.aggregation.function}")


def is_numeric(kind: str) -> bool:
    """Whether values of a DuckDB type can be added; booleans count as 0 and 1."""
    return kind in _INTEGERS or kind in FLOATING or (kind.startswith("DECIMAL(") and not kind.endswith("[]"))


def fold(aggregation: Aggregation, value: str | None, where: str | None, kind: str, shortcuts: Shortcuts = NONE) -> Fold | None:
    """How the aggregation folds, or None when it needs the events. `kind` is the DuckDB type of the column `value`."""
    counted = _count(value, where)
    if counted.name in shortcuts.filled:
        counted = _count(None, where)
    match aggregation.function:
        case "count":
            return Fold((counted,), "CAST(coalesce({0}, 0) AS BIGINT)")
        case "sum":
            total = _sum(_number(value, kind), kind, where, shortcuts)
            return replace(total, value=f"CAST({total.value} AS BIGINT)") if kind in _INTEGERS else total
        case "mean":
            total = _sum(_number(value, kind), kind, where, shortcuts)
            mean = f"CAST({total.value} AS DOUBLE) / nullif({{{len(total.parts)}}}, 0)"
            return Fold((*total.parts, counted), mean)
        case "min" | "max":
            function = aggregation.function
            merge = f"{function}({{0}}) FILTER (WHERE {{within}})"
            return Fold((Part(f"{function}({_one_zero(value, kind)}){{0}}", where, f"{function}({{0}}) {{over}}", merge),))
        case "first" | "last":
            place, chosen = ("arg_min", "first_value") if aggregation.function == "first" else ("arg_max", "last_value")
            # A band is named by its age: the first value is in the oldest that has one.
            merge = f"{'arg_max' if place == 'arg_min' else 'arg_min'}({{0}}, {BAND}) FILTER (WHERE {{within}})"
            value = _one_zero(value, kind)
            return Fold((Part(f"{place}({value}, {_place(value)}){{0}}", where, f"{chosen}({{0}} IGNORE NULLS) {{over}}", merge),))
    return None


def counting(value: str, where: str | None) -> tuple[str, str]:
    """The names of the parts that count a column's values and that count the rows, both where `where` holds."""
    return _count(value, where).name, _count(None, where).name


def _count(value: str | None, where: str | None) -> Part:
    """A count kept as a double, which is exact below 2**53 and adds up in half the time of a 64-bit integer."""
    return Part(f"CAST(count({value or '*'}){{0}} AS DOUBLE)", where)


def _filter(*conditions: str | None) -> str:
    given = [condition for condition in conditions if condition]
    return f" FILTER (WHERE {' AND '.join(given)})" if given else ""


def _place(value: str) -> str:
    """The place of an event in the order of events: time, then created time, an unknown one first, then value."""
    return f"row(epoch_us({TIME}), coalesce(epoch_us({CREATED}), -9223372036854775807), {value})"


def _one_zero(value: str | None, kind: str) -> str:
    """The value, with one zero: -0.0 equals 0.0, so that which of them an aggregate takes would be chance."""
    return f"({value} + 0)" if kind in FLOATING else str(value)


def _number(value: str | None, kind: str) -> str:
    return f"CAST({value} AS INTEGER)" if kind == "BOOLEAN" else f"CAST({value} AS DOUBLE)" if kind == "FLOAT" else str(value)


def _sum(value: str, kind: str, where: str | None, shortcuts: Shortcuts) -> Fold:
    """The exact sum as HUGEINT, DECIMAL(38, s) or DOUBLE; NULL for no values."""
    if kind not in FLOATING:
        return Fold((Part(f"sum({value}){{0}}", where),))
    if shortcuts.narrow:
        return Fold((_narrow_sum(value, where),), f"CAST({{0}} AS DOUBLE) / {_SCALE}")
    return _sum_of_any(value, where) if shortcuts.any_value else _wide_sum(value, where)


_EXACT = f"CAST({{0}} * {2**86}::HUGEINT + {{1}} AS DOUBLE) / {_SCALE}"
_LARGE = f"CAST({{0}} AS DOUBLE) + CAST({{1}} AS DOUBLE) / {_SCALE}"
_TOTAL = f"CASE WHEN abs({{0}}) < {2**40} THEN {_EXACT} ELSE {_LARGE} END"


def _wide_sum(value: str, where: str | None) -> Fold:
    """In whole parts and fractions, which fails where a value is 2**86 or more, is not finite, or has bits below 2**-86."""
    scaled = f"(({value} - trunc({value})) * {_SCALE})"
    whole = Part(f"sum(CAST(trunc({value}) AS HUGEINT)){{0}}", where)
    checked = f"CASE WHEN abs({value}) >= {_SCALE} OR {scaled} <> trunc({scaled}) THEN {_UNFIT} ELSE CAST({scaled} AS HUGEINT) END"
    return Fold((whole, Part(f"sum({checked}){{0}}", where)), f"({_TOTAL})")


def _sum_of_any(value: str, where: str | None) -> Fold:
    """In three integers, and a list of the values that are not finite, 2**86 or more, or below 2**-120."""
    scaled = f"(({value} - trunc({value})) * {_SCALE})"
    below = f"(({scaled} - trunc({scaled})) * {_SCALE})"
    ordinary = f"isfinite({value}) AND abs({value}) < {_SCALE} AND ({value} = 0 OR abs({value}) >= {2.0**-120!r}::DOUBLE)"
    also = f" AND {where}" if where else ""
    # CASE, not FILTER: a filtered aggregate still computes its argument for every row, and infinity has no integer.
    parts = [Part(f"sum(CASE WHEN {ordinary}{also} THEN CAST(trunc({part}) AS HUGEINT) END){{0}}") for part in (value, scaled, below)]
    joined = "flatten(list({0}) FILTER (WHERE {0} IS NOT NULL) {over})"
    merge = "flatten(list({0}) FILTER (WHERE {0} IS NOT NULL AND {within}))"
    other = Part(f"list({value}){{0}}", f"{value} IS NOT NULL AND NOT ({ordinary}){also}", joined, merge)
    sums = [f"coalesce({{{index}}}, 0)" for index in range(3)]
    # Braces of its own: the format takes double ones for single.
    exact = exact_sum("<0>", "<1>", "<2>", "<3>").replace("{", "{{").replace("}", "}}")
    for index, part in enumerate((*sums, "{3}")):
        exact = exact.replace(f"<{index}>", part)
    infinite = "list_filter({3}, lambda __fs_v: NOT isfinite(__fs_v))"
    return Fold(
        (*parts, other),
        f"(CASE WHEN {{3}} IS NULL AND {sums[2]} = 0 THEN {_TOTAL} WHEN len({infinite}) > 0 THEN list_sum({infinite}) ELSE {exact} END)",
    )


def _narrow_sum(value: str, where: str | None) -> Part:
    """The sum of whole * 2**86 + fraction, which fails where a value is 2**40 or more, or has bits below 2**-86.

    Taken from two sums of 64-bit integers, value = upper / 2**23 + lower / 2**86, which takes half the time of one of 128 bits.
    """
    scaled = f"({value} * {2.0**23:.1f}::DOUBLE)"
    rest = f"(({scaled} - trunc({scaled})) * {2.0**63:.1f}::DOUBLE)"
    upper, lower = f"CAST(trunc({scaled}) AS BIGINT)", f"CASE WHEN {rest} <> trunc({rest}) THEN {_UNFIT} ELSE CAST({rest} AS BIGINT) END"
    return Part(f"(sum({upper}){{0}} * {2**63}::HUGEINT + sum({lower}){{0}})", where, narrow=True)


def _plain(number: object) -> str:
    """A number of an aggregation as SQL: it may come from a registry that anybody wrote to. Raises: SqlProblem."""
    if type(number) not in (int, float):
        raise SqlProblem(f"{number!r} is not a number")
    return repr(number)
