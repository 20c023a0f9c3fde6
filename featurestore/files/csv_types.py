"""What texts of a CSV file stand for: one rule for each type, with what it takes and what it makes of it, as SQL."""

from dataclasses import dataclass
from re import escape

from featurestore.compiler.expressions import literal
from featurestore.dsl.csv import Csv
from featurestore.dsl.types import sql_type

ISO_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
ISO_TIME = f"{ISO_DATE}[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\\.[0-9]+)?)?"
ZONE = "(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
EXACT = 2**53
"""Up to here a double tells whole numbers apart."""
WHOLE, LARGE, NUMBER, BOOLEAN, DATE, NAIVE, ZONED, OTHER = (1 << bit for bit in range(8))
_INFERRED = (
    (WHOLE | LARGE, "BIGINT"),
    (WHOLE | NUMBER, "DOUBLE"),
    (BOOLEAN, "BOOLEAN"),
    (DATE, "DATE"),
    (DATE | NAIVE, "TIMESTAMP"),
    (DATE | NAIVE | ZONED, "TIMESTAMP WITH TIME ZONE"),
)
BITS = {kind: taken for taken, kind in _INFERRED} | {"VARCHAR": 2 * OTHER - 1}
"""The kinds of text that a type takes."""


@dataclass(frozen=True)
class Rule:
    """How a column is read: `fits` is true for the texts that it takes, `value` is what it makes of one, `wanted` says so in words."""

    kind: str
    fits: str
    value: str
    wanted: str


def kinds_sql(column: str, written: Csv, *, time: bool) -> str:
    """SQL of one of the bits above for a text of a column (quoted), NULL for NULL; `time`: it can be nothing but a date or time."""
    x = f"trim({column})"
    date, naive, zoned = (_date(x, written), *_times(x, written))
    numbers = [
        (f"{_full(x, _whole(written))} AND TRY_CAST({_plain(x, written)} AS BIGINT) BETWEEN -{EXACT} AND {EXACT}", WHOLE),
        (f"{_full(x, _whole(written))} AND TRY_CAST({_plain(x, written)} AS BIGINT) IS NOT NULL", LARGE),
        (f"NOT {_full(x, _whole(written))} AND {_finite(x, written)}", NUMBER),
        (f"lower({x}) IN ('true', 'false')", BOOLEAN),
    ]
    moments = [(f"{date} IS NOT NULL", DATE), (f"{naive} IS NOT NULL", NAIVE), (f"{zoned} IS NOT NULL", ZONED)]
    cases = " ".join(f"WHEN {test} THEN {bit}" for test, bit in (moments if time else [*numbers, *moments]))
    return f"CASE WHEN {column} IS NULL THEN NULL {cases} ELSE {OTHER} END"


def inferred(bits: int) -> str | None:
    """The type of a column with texts of these kinds; None when it has none."""
    return None if not bits else next((kind for taken, kind in _INFERRED if not bits & ~taken), "VARCHAR")


def rule(column: str, kind: str, written: Csv) -> Rule:
    """How texts of a column (quoted) are read as a DuckDB type that was inferred or declared."""
    x = f"trim({column})"
    naive, zoned = _times(x, written)
    if kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT"):
        value = f"TRY_CAST({_plain(x, written)} AS {kind})"
        return Rule(kind, f"{_full(x, _digits(written))} AND {value} IS NOT NULL", value, "a whole number")
    if kind in ("FLOAT", "DOUBLE"):
        special = f"lower(ltrim({x}, '+-')) IN ('nan', 'inf', 'infinity')"
        value = f"TRY_CAST({_plain(x, written)} AS {kind})"
        number = f"{_full(x, _number(written, leading=True))} AND isfinite({value})"
        return Rule(kind, f"(({number}) OR {special})", value, _shown("a number", written))
    if kind.startswith("DECIMAL"):
        return _decimal(x, kind, written)
    if kind == "BOOLEAN":
        value = f"(lower({x}) IN ('true', 't', '1'))"
        return Rule(kind, f"lower({x}) IN ('true', 'false', 't', 'f', '1', '0')", value, "true or false")
    if kind == "DATE":
        value = _date(x, written)
        return Rule(kind, f"{value} IS NOT NULL", f"CAST({value} AS DATE)", f"a date{_as(written.date, 'such as 2026-03-31')}")
    if kind == "TIMESTAMP":
        value = f"coalesce({naive}, CAST({_date(x, written)} AS TIMESTAMP))"
        return Rule(kind, f"{value} IS NOT NULL", value, _moment(written))
    if kind == "TIMESTAMP WITH TIME ZONE":
        value = f"coalesce({zoned}, CAST(coalesce({naive}, CAST({_date(x, written)} AS TIMESTAMP)) AS TIMESTAMP WITH TIME ZONE))"
        return Rule(kind, f"{value} IS NOT NULL", value, _moment(written))
    if kind == "UUID":
        return Rule(kind, f"TRY_CAST({x} AS UUID) IS NOT NULL", f"TRY_CAST({x} AS UUID)", "a UUID")
    return Rule(kind, "true", column, "text")


def declared(written: Csv) -> dict[str, str]:
    """The DuckDB types of the columns that the format declares."""
    return {name: sql_type(kind) for name, kind in written.types.items()}


def _decimal(x: str, kind: str, written: Csv) -> Rule:
    scale = int(kind.rstrip(")").rpartition(",")[2])
    plain = _plain(x, written)
    value = f"TRY_CAST({plain} AS {kind})"
    places = f"length(rtrim(split_part({plain}, '.', 2), '0')) <= {scale}"
    number = _full(x, _number(written, leading=True, exponent=False))
    return Rule(kind, f"{number} AND {places} AND {value} IS NOT NULL", value, _shown(f"a number that fits {kind}", written))


def _date(x: str, written: Csv) -> str:
    if written.date is not None:
        return _formatted(x, written.date)
    return f"CASE WHEN {_full(x, ISO_DATE)} THEN TRY_CAST({x} AS DATE) END"


def _times(x: str, written: Csv) -> tuple[str, str]:
    """The value of a time without a zone, and of one with."""
    if written.timestamp is not None:
        found = _formatted(x, written.timestamp)
        none = "CAST(NULL AS TIMESTAMP WITH TIME ZONE)"
        return ("CAST(NULL AS TIMESTAMP)", found) if "%z" in written.timestamp else (found, none)
    naive = f"CASE WHEN {_full(x, ISO_TIME)} THEN TRY_CAST({x} AS TIMESTAMP) END"
    return naive, f"CASE WHEN {_full(x, f'{ISO_TIME} ?{ZONE}')} THEN TRY_CAST({x} AS TIMESTAMP WITH TIME ZONE) END"


def _formatted(x: str, form: str) -> str:
    found = f"try_strptime({x}, {literal(form)})"
    # `26` is taken for a whole year, of the first century.
    return f"CASE WHEN year({found}) >= 1000 THEN {found} END" if "%Y" in form else found


def _plain(x: str, written: Csv) -> str:
    """A number as the engine writes numbers."""
    if written.thousands:
        x = f"replace({x}, {literal(written.thousands)}, '')"
    return x if written.decimal == "." else f"replace({x}, {literal(written.decimal)}, '.')"


def _whole(written: Csv) -> str:
    """A whole number as anyone would write it: a zero in front, as of a code, or a sign before zero makes it another thing."""
    return f"0|-?({_unsigned(written)})"


def _unsigned(written: Csv) -> str:
    return "[1-9][0-9]*" + (f"|[1-9][0-9]{{0,2}}({escape(written.thousands)}[0-9]{{3}})+" if written.thousands else "")


def _digits(written: Csv) -> str:
    return f"[+-]?([0-9]+|{_unsigned(written)})"


def _number(written: Csv, *, leading: bool = False, exponent: bool = True) -> str:
    whole, point = ("[0-9]+|" if leading else "0|") + _unsigned(written), escape(written.decimal)
    sign = "[+-]?" if leading else "-?"
    return f"{sign}(({whole})({point}[0-9]*)?|{point}[0-9]+)" + ("([eE][+-]?[0-9]+)?" if exponent else "")


def _finite(x: str, written: Csv) -> str:
    return f"{_full(x, _number(written))} AND isfinite(TRY_CAST({_plain(x, written)} AS DOUBLE))"


def _full(x: str, pattern: str) -> str:
    return f"regexp_full_match({x}, {literal(pattern)})"


def _moment(written: Csv) -> str:
    return f"a date or time{_as(written.timestamp or written.date, 'in ISO 8601, such as 2026-03-31T18:00:00Z')}"


def _shown(what: str, written: Csv) -> str:
    return what if written.decimal == "." else f"{what} with '{written.decimal}' before its decimals"


def _as(form: str | None, default: str) -> str:
    return f" {default}" if form is None else f" written as {form}"
