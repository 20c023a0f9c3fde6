"""SQL that recognizes and converts texts of CSV files, with one rule per type."""

from dataclasses import dataclass
from re import escape

from featurestore.compiler.expressions import literal
from featurestore.dsl.csv_format import Csv
from featurestore.dsl.value_types import sql_type_of_name
from featurestore.values import value_types

ISO_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
ISO_TIME = f"{ISO_DATE}[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\\.[0-9]+)?)?"
ZONE = "(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
EXACT = 2**53
"""Up to here doubles represent all integers exactly."""
WHOLE, LARGE, NUMBER, BOOLEAN, DATE, NAIVE, ZONED, OTHER = (1 << bit for bit in range(8))
_INFERRED = (
    (WHOLE | LARGE, "BIGINT"),
    (WHOLE | NUMBER, "DOUBLE"),
    (BOOLEAN, "BOOLEAN"),
    (DATE, "DATE"),
    (DATE | NAIVE, "TIMESTAMP"),
    (DATE | NAIVE | ZONED, value_types.ZONED),
)
BITS = {column_type: taken for taken, column_type in _INFERRED} | {"VARCHAR": 2 * OTHER - 1}
"""The bit set of the kinds of text that each type accepts."""


@dataclass(frozen=True)
class Rule:
    """How a column is read: `fits` is true for the texts that it takes, `value` is what it makes of one, `noun` says so in words."""

    column_type: str
    fits: str
    value: str
    noun: str


def kinds_sql(column: str, csv: Csv, *, time: bool) -> str:
    """SQL of the bit of a text's kind, NULL for NULL; `column` is quoted. `time`: only dates and times are recognized."""
    x = f"trim({column})"
    date, naive, zoned = (_date(x, csv), *_times(x, csv))
    numbers = [
        (f"{_matches(x, _integer_pattern(csv))} AND TRY_CAST({_plain_number(x, csv)} AS BIGINT) BETWEEN -{EXACT} AND {EXACT}", WHOLE),
        (f"{_matches(x, _integer_pattern(csv))} AND TRY_CAST({_plain_number(x, csv)} AS BIGINT) IS NOT NULL", LARGE),
        (f"NOT {_matches(x, _integer_pattern(csv))} AND {_finite(x, csv)}", NUMBER),
        (f"lower({x}) IN ('true', 'false')", BOOLEAN),
    ]
    moments = [(f"{date} IS NOT NULL", DATE), (f"{naive} IS NOT NULL", NAIVE), (f"{zoned} IS NOT NULL", ZONED)]
    cases = " ".join(f"WHEN {test} THEN {bit}" for test, bit in (moments if time else [*numbers, *moments]))
    return f"CASE WHEN {column} IS NULL THEN NULL {cases} ELSE {OTHER} END"


def inferred_type(bits: int) -> str | None:
    """The type of a column with texts of these kinds; None if there are no texts."""
    return None if not bits else next((column_type for taken, column_type in _INFERRED if not bits & ~taken), "VARCHAR")


def rule(column: str, column_type: str, csv: Csv) -> Rule:
    """How texts of a column (quoted) are read as a DuckDB type that was inferred or declared."""
    x = f"trim({column})"
    naive, zoned = _times(x, csv)
    if column_type in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT"):
        value = f"TRY_CAST({_plain_number(x, csv)} AS {column_type})"
        return Rule(column_type, f"{_matches(x, _digits_pattern(csv))} AND {value} IS NOT NULL", value, "a whole number")
    if column_type in ("FLOAT", "DOUBLE"):
        special = f"lower(ltrim({x}, '+-')) IN ('nan', 'inf', 'infinity')"
        value = f"TRY_CAST({_plain_number(x, csv)} AS {column_type})"
        number = f"{_matches(x, _number_pattern(csv, leading=True))} AND isfinite({value})"
        return Rule(column_type, f"(({number}) OR {special})", value, _describe_number("a number", csv))
    if column_type.startswith("DECIMAL"):
        return _decimal(x, column_type, csv)
    if column_type == "BOOLEAN":
        value = f"(lower({x}) IN ('true', 't', '1'))"
        return Rule(column_type, f"lower({x}) IN ('true', 'false', 't', 'f', '1', '0')", value, "true or false")
    if column_type == "DATE":
        value = _date(x, csv)
        return Rule(column_type, f"{value} IS NOT NULL", f"CAST({value} AS DATE)", f"a date{_as(csv.date, 'such as 2026-03-31')}")
    if column_type == "TIMESTAMP":
        value = f"coalesce({naive}, CAST({_date(x, csv)} AS TIMESTAMP))"
        return Rule(column_type, f"{value} IS NOT NULL", value, _moment(csv))
    if column_type == value_types.ZONED:
        value = f"coalesce({zoned}, CAST(coalesce({naive}, CAST({_date(x, csv)} AS TIMESTAMP)) AS TIMESTAMP WITH TIME ZONE))"
        return Rule(column_type, f"{value} IS NOT NULL", value, _moment(csv))
    if column_type == "UUID":
        return Rule(column_type, f"TRY_CAST({x} AS UUID) IS NOT NULL", f"TRY_CAST({x} AS UUID)", "a UUID")
    return Rule(column_type, "true", column, "text")


def declared_types(csv: Csv) -> dict[str, str]:
    """The DuckDB types of the columns that the format declares."""
    return {name: sql_type_of_name(column_type) for name, column_type in csv.types.items()}


def _decimal(x: str, column_type: str, csv: Csv) -> Rule:
    scale = int(column_type.rstrip(")").rpartition(",")[2])
    plain = _plain_number(x, csv)
    value = f"TRY_CAST({plain} AS {column_type})"
    places = f"length(rtrim(split_part({plain}, '.', 2), '0')) <= {scale}"
    number = _matches(x, _number_pattern(csv, leading=True, exponent=False))
    return Rule(
        column_type, f"{number} AND {places} AND {value} IS NOT NULL", value, _describe_number(f"a number that fits {column_type}", csv)
    )


def _date(x: str, csv: Csv) -> str:
    if csv.date is not None:
        return _parse_time(x, csv.date)
    return f"CASE WHEN {_matches(x, ISO_DATE)} THEN TRY_CAST({x} AS DATE) END"


def _times(x: str, csv: Csv) -> tuple[str, str]:
    """SQL of the value of a time without a zone, and of one with a zone."""
    if csv.timestamp is not None:
        time = _parse_time(x, csv.timestamp)
        none = "CAST(NULL AS TIMESTAMP WITH TIME ZONE)"
        return ("CAST(NULL AS TIMESTAMP)", time) if "%z" in csv.timestamp else (time, none)
    naive = f"CASE WHEN {_matches(x, ISO_TIME)} THEN TRY_CAST({x} AS TIMESTAMP) END"
    return naive, f"CASE WHEN {_matches(x, f'{ISO_TIME} ?{ZONE}')} THEN TRY_CAST({x} AS TIMESTAMP WITH TIME ZONE) END"


def _parse_time(x: str, pattern: str) -> str:
    time = f"try_strptime({x}, {literal(pattern)})"
    # %Y accepts `26` as the year 26.
    return f"CASE WHEN year({time}) >= 1000 THEN {time} END" if "%Y" in pattern else time


def _plain_number(x: str, csv: Csv) -> str:
    """SQL of a number's text in DuckDB's notation."""
    if csv.thousands:
        x = f"replace({x}, {literal(csv.thousands)}, '')"
    return x if csv.decimal == "." else f"replace({x}, {literal(csv.decimal)}, '.')"


def _integer_pattern(csv: Csv) -> str:
    """The pattern of an integer; a leading zero, as in codes, or a sign before zero means that it is not a number."""
    return f"0|-?({_unsigned_pattern(csv)})"


def _unsigned_pattern(csv: Csv) -> str:
    return "[1-9][0-9]*" + (f"|[1-9][0-9]{{0,2}}({escape(csv.thousands)}[0-9]{{3}})+" if csv.thousands else "")


def _digits_pattern(csv: Csv) -> str:
    return f"[+-]?([0-9]+|{_unsigned_pattern(csv)})"


def _number_pattern(csv: Csv, *, leading: bool = False, exponent: bool = True) -> str:
    whole, point = ("[0-9]+|" if leading else "0|") + _unsigned_pattern(csv), escape(csv.decimal)
    sign = "[+-]?" if leading else "-?"
    return f"{sign}(({whole})({point}[0-9]*)?|{point}[0-9]+)" + ("([eE][+-]?[0-9]+)?" if exponent else "")


def _finite(x: str, csv: Csv) -> str:
    return f"{_matches(x, _number_pattern(csv))} AND isfinite(TRY_CAST({_plain_number(x, csv)} AS DOUBLE))"


def _matches(x: str, pattern: str) -> str:
    return f"regexp_full_match({x}, {literal(pattern)})"


def _moment(csv: Csv) -> str:
    return f"a date or time{_as(csv.timestamp or csv.date, 'in ISO 8601, such as 2026-03-31T18:00:00Z')}"


def _describe_number(what: str, csv: Csv) -> str:
    return what if csv.decimal == "." else f"{what} with '{csv.decimal}' before its decimals"


def _as(pattern: str | None, default: str) -> str:
    return f" {default}" if pattern is None else f" written as {pattern}"
