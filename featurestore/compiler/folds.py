"""Aggregations as SQL: those that fold from tiles, and those that need a window's events in order.

Sums of doubles are exact and so independent of order: each value is split into its whole part and its fraction
scaled by 2**86, both of which are summed as 128-bit integers (both below 2**86, so 2**40 of them cannot overflow);
what is left out is below 2**-86 a value. Values beyond that, infinities and NaN are summed apart.
"""

import hashlib
from dataclasses import dataclass, replace

from featurestore.compiler.events import CREATED, TIME
from featurestore.dsl.agg import Aggregation

NUMERIC = frozenset({"sum", "mean", "stddev", "percentile"})
_INTEGERS = frozenset("TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT HUGEINT UHUGEINT BOOLEAN".split())
_SCALE = f"{2.0**86:.1f}::DOUBLE"


@dataclass(frozen=True)
class Part:
    """What a tile holds of an aggregation, and the window function that combines tiles: `combine` holds `{}` for the column."""

    sql: str
    combine: str = "sum({})"

    @property
    def name(self) -> str:
        """The column of a tile that holds this part."""
        return "__fs_p" + hashlib.sha256(self.sql.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Fold:
    """An aggregation that folds: `value` computes it from its parts combined over a window, `{0}` being the first."""

    parts: tuple[Part, ...]
    value: str = "{0}"


def is_numeric(kind: str) -> bool:
    """Whether values of a DuckDB type can be added; booleans count as 0 and 1."""
    return kind in _INTEGERS or kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL")


def fold(aggregation: Aggregation, value: str | None, where: str | None, kind: str) -> Fold | None:
    """How the aggregation folds, or None when it needs the events. `kind` is the DuckDB type of the column `value`."""
    keep = f" FILTER (WHERE {where})" if where else ""
    match aggregation.function:
        case "count":
            return Fold((_count(value, keep),), "CAST(coalesce({0}, 0) AS BIGINT)")
        case "sum":
            total = _sum(_number(value, kind), kind, where)
            return replace(total, value=f"CAST({total.value} AS BIGINT)") if kind in _INTEGERS else total
        case "mean":
            total = _sum(_number(value, kind), kind, where)
            mean = f"CAST({total.value} AS DOUBLE) / nullif({{{len(total.parts)}}}, 0)"
            return Fold((*total.parts, _count(value, keep)), mean)
        case "min" | "max":
            return Fold((Part(f"{aggregation.function}({value}){keep}", f"{aggregation.function}({{}})"),))
        case "first":
            return Fold((Part(f"arg_min({value}, row({', '.join(_order(''))}, {value})){keep}", "first_value({} IGNORE NULLS)"),))
        case "last":
            return Fold((Part(f"arg_max({value}, row({', '.join(_order(''))}, {value})){keep}", "last_value({} IGNORE NULLS)"),))
    return None


def _count(value: str | None, keep: str) -> Part:
    """A count kept as a double, which is exact below 2**53 and adds up in half the time of a 64-bit integer."""
    return Part(f"CAST(count({value or '*'}){keep} AS DOUBLE)")


def ordered(aggregation: Aggregation, value: str, where: str | None, window: int) -> str:
    """The aggregation over the events `e` of the window that ends at the point `p`."""
    keep = f" FILTER (WHERE epoch_us(e.{TIME}) >= p.__fs_g - {window} AND {value} IS NOT NULL{f' AND {where}' if where else ''})"
    order = [*_order("e."), value]
    match aggregation.function:
        case "count_distinct":
            return f"count(DISTINCT {value}){keep}"
        case "stddev":
            return f"stddev_samp(CAST({value} AS DOUBLE) ORDER BY {', '.join(order)}){keep}"
        case "percentile":
            return f"quantile_cont(CAST({value} AS DOUBLE), {aggregation.q!r}){keep}"
        case "last_n":
            newest = ", ".join(f"{column} DESC" for column in order)
            return f"list({value} ORDER BY {newest}){keep}[1:{aggregation.n}]"
    raise ValueError(f"unknown aggregation {aggregation.function}")


def when_empty(aggregation: Aggregation, column: str) -> str:
    """The value where the window, and with it the row of ordered aggregates, may be missing."""
    return f"coalesce({column}, 0)" if aggregation.function == "count_distinct" else column


def _order(prefix: str) -> tuple[str, str]:
    """The order of events: time, then created time, an unknown one first."""
    return f"epoch_us({prefix}{TIME})", f"coalesce(epoch_us({prefix}{CREATED}), -9223372036854775807)"


def _number(value: str | None, kind: str) -> str:
    return f"CAST({value} AS INTEGER)" if kind == "BOOLEAN" else f"CAST({value} AS DOUBLE)" if kind == "FLOAT" else str(value)


def _sum(value: str, kind: str, where: str | None) -> Fold:
    """The exact sum as HUGEINT, DECIMAL(38, s) or DOUBLE; NULL for no values."""
    keep = f" FILTER (WHERE {where})" if where else ""
    if kind not in ("FLOAT", "DOUBLE"):
        return Fold((Part(f"sum({value}){keep}"),))
    ordinary = f"isfinite({value}) AND abs({value}) < {_SCALE}"
    also = f" AND {where}" if where else ""
    # CASE, not FILTER: a filtered aggregate still computes its argument for every row, and infinity has no integer.
    whole = f"sum(CASE WHEN {ordinary}{also} THEN CAST(trunc({value}) AS HUGEINT) END)"
    fraction = f"sum(CASE WHEN {ordinary}{also} THEN CAST(({value} - trunc({value})) * {_SCALE} AS HUGEINT) END)"
    other = f"sum({value}) FILTER (WHERE NOT ({ordinary}){also})"
    exact = f"CAST({{0}} * {2**86}::HUGEINT + {{1}} AS DOUBLE) / {_SCALE}"
    large = f"CAST({{0}} AS DOUBLE) + CAST({{1}} AS DOUBLE) / {_SCALE}"
    total = f"CASE WHEN abs({{0}}) < {2**40} THEN {exact} ELSE {large} END"
    return Fold((Part(whole), Part(fraction), Part(other)), f"(CASE WHEN {{2}} IS NULL THEN {total} ELSE coalesce({total}, 0) + {{2}} END)")
