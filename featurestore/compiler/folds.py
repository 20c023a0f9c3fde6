"""Aggregations as SQL: those that fold from tiles, and those that need a window's events in order.

Sums of doubles are exact and so independent of order: each value is split into its whole part and its fraction
scaled by 2**86, both of which are summed as 128-bit integers (both below 2**86, so 2**40 of them cannot overflow);
what is left out is below 2**-86 a value. Values beyond that, infinities and NaN are summed apart. Sums below 2**40 fit
into one integer, whole * 2**86 + fraction, at half the cost: the narrow way, tried first; it fails on other data.
"""

import hashlib
from dataclasses import dataclass, replace

from featurestore.compiler.events import CREATED, TIME
from featurestore.dsl.agg import Aggregation

NUMERIC = frozenset({"sum", "mean", "stddev", "percentile"})
FLOATING = frozenset({"FLOAT", "DOUBLE"})
_INTEGERS = frozenset("TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT HUGEINT UHUGEINT BOOLEAN".split())
NARROW = 2**126
_SCALE = f"{2.0**86:.1f}::DOUBLE"


@dataclass(frozen=True)
class Part:
    """What is held of an aggregation over some events: an aggregate, with `{}` where its filter goes.

    `combine` is the window function that combines tiles, with `{}` for the column. `narrow`: its sums must stay below
    NARROW.
    """

    aggregate: str
    where: str | None = None
    combine: str = "sum({})"
    narrow: bool = False

    @property
    def name(self) -> str:
        """The column that holds this part."""
        return "__fs_p" + hashlib.sha256(f"{self.aggregate}{self.where}".encode()).hexdigest()[:12]

    def sql(self, within: str | None = None) -> str:
        """The aggregate over the events that its own condition, and `within`, let pass."""
        return self.aggregate.format(_filter(self.where, within))


@dataclass(frozen=True)
class Fold:
    """An aggregation that folds: `value` computes it from its parts combined over a window, `{0}` being the first."""

    parts: tuple[Part, ...]
    value: str = "{0}"


@dataclass(frozen=True)
class Shortcuts:
    """What saves time without changing a value. `narrow`: sums of doubles in one integer, which fails on data that it does
    not fit. `filled`: names of parts that count a column which is never NULL, so that they count the rows."""

    narrow: bool = False
    filled: frozenset[str] = frozenset()


NONE = Shortcuts()


@dataclass(frozen=True)
class Ordered:
    """An aggregation that needs a window's events themselves: of the column `value`, where `where` holds."""

    aggregation: Aggregation
    value: str
    where: str | None

    def sql(self, within: str, alias: str = "") -> str:
        """The aggregate over the events of the relation `alias` that `within` lets pass."""
        value = alias + self.value
        keep = _filter(f"{value} IS NOT NULL", self.where and alias + self.where, within)
        order = [*_order(alias), value]
        match self.aggregation.function:
            case "count_distinct":
                return f"count(DISTINCT {value}){keep}"
            case "stddev":
                return f"stddev_samp(CAST({value} AS DOUBLE) ORDER BY {', '.join(order)}){keep}"
            case "percentile":
                return f"quantile_cont(CAST({value} AS DOUBLE), {self.aggregation.q!r}){keep}"
            case "last_n":
                newest = ", ".join(f"{column} DESC" for column in order)
                return f"list({value} ORDER BY {newest}){keep}[1:{self.aggregation.n}]"
        raise ValueError(f"unknown aggregation {self.aggregation.function}")

    def when_empty(self, column: str) -> str:
        """The value where the window, and with it the row that holds the aggregate, may be missing."""
        return f"coalesce({column}, 0)" if self.aggregation.function == "count_distinct" else column


def is_numeric(kind: str) -> bool:
    """Whether values of a DuckDB type can be added; booleans count as 0 and 1."""
    return kind in _INTEGERS or kind in FLOATING or kind.startswith("DECIMAL")


def fold(aggregation: Aggregation, value: str | None, where: str | None, kind: str, shortcuts: Shortcuts = NONE) -> Fold | None:
    """How the aggregation folds, or None when it needs the events. `kind` is the DuckDB type of the column `value`."""
    counted = _count(value, where)
    if counted.name in shortcuts.filled:
        counted = _count(None, where)
    match aggregation.function:
        case "count":
            return Fold((counted,), "CAST(coalesce({0}, 0) AS BIGINT)")
        case "sum":
            total = _sum(_number(value, kind), kind, where, shortcuts.narrow)
            return replace(total, value=f"CAST({total.value} AS BIGINT)") if kind in _INTEGERS else total
        case "mean":
            total = _sum(_number(value, kind), kind, where, shortcuts.narrow)
            mean = f"CAST({total.value} AS DOUBLE) / nullif({{{len(total.parts)}}}, 0)"
            return Fold((*total.parts, counted), mean)
        case "min" | "max":
            return Fold((Part(f"{aggregation.function}({value}){{}}", where, f"{aggregation.function}({{}})"),))
        case "first":
            return Fold((Part(f"arg_min({value}, row({', '.join(_order(''))}, {value})){{}}", where, "first_value({} IGNORE NULLS)"),))
        case "last":
            return Fold((Part(f"arg_max({value}, row({', '.join(_order(''))}, {value})){{}}", where, "last_value({} IGNORE NULLS)"),))
    return None


def counting(value: str, where: str | None) -> tuple[str, str]:
    """The names of the parts that count a column's values and that count the rows, both where `where` holds."""
    return _count(value, where).name, _count(None, where).name


def _count(value: str | None, where: str | None) -> Part:
    """A count kept as a double, which is exact below 2**53 and adds up in half the time of a 64-bit integer."""
    return Part(f"CAST(count({value or '*'}){{}} AS DOUBLE)", where)


def _filter(*conditions: str | None) -> str:
    given = [condition for condition in conditions if condition]
    return f" FILTER (WHERE {' AND '.join(given)})" if given else ""


def _order(prefix: str) -> tuple[str, str]:
    """The order of events: time, then created time, an unknown one first."""
    return f"epoch_us({prefix}{TIME})", f"coalesce(epoch_us({prefix}{CREATED}), -9223372036854775807)"


def _number(value: str | None, kind: str) -> str:
    return f"CAST({value} AS INTEGER)" if kind == "BOOLEAN" else f"CAST({value} AS DOUBLE)" if kind == "FLOAT" else str(value)


def _sum(value: str, kind: str, where: str | None, narrow: bool) -> Fold:
    """The exact sum as HUGEINT, DECIMAL(38, s) or DOUBLE; NULL for no values."""
    if kind not in FLOATING:
        return Fold((Part(f"sum({value}){{}}", where),))
    whole, fraction = f"CAST(trunc({value}) AS HUGEINT)", f"CAST(({value} - trunc({value})) * {_SCALE} AS HUGEINT)"
    if narrow:
        return Fold((Part(f"sum({whole} * {2**86}::HUGEINT + {fraction}){{}}", where, narrow=True),), f"CAST({{0}} AS DOUBLE) / {_SCALE}")
    ordinary = f"isfinite({value}) AND abs({value}) < {_SCALE}"
    also = f" AND {where}" if where else ""
    # CASE, not FILTER: a filtered aggregate still computes its argument for every row, and infinity has no integer.
    parts = [Part(f"sum(CASE WHEN {ordinary}{also} THEN {part} END){{}}") for part in (whole, fraction)]
    other = Part(f"sum({value}){{}}", f"NOT ({ordinary}){also}")
    exact = f"CAST({{0}} * {2**86}::HUGEINT + {{1}} AS DOUBLE) / {_SCALE}"
    large = f"CAST({{0}} AS DOUBLE) + CAST({{1}} AS DOUBLE) / {_SCALE}"
    total = f"CASE WHEN abs({{0}}) < {2**40} THEN {exact} ELSE {large} END"
    return Fold((*parts, other), f"(CASE WHEN {{2}} IS NULL THEN {total} ELSE coalesce({total}, 0) + {{2}} END)")
