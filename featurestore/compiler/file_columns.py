"""DuckDB expressions of the columns of files, which `FilePart.select` has as text, and queries over CSV files read as text."""

import re
from collections.abc import Sequence

from sqlglot import exp

from featurestore.compiler import csv_types
from featurestore.compiler.expressions import literal, quote_name
from featurestore.compiler.nanoseconds import truncate_sql
from featurestore.compiler.query import Query, Source, column, source, template, text_expression, text_items, with_name
from featurestore.compiler.relations import FILE
from featurestore.dsl.csv_format import Csv

NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
"""The value of a folder's column that means NULL."""

_MISFIT = template(f"SELECT {FILE} AS file, $column AS text FROM $rows WHERE NOT $column IS NULL AND NOT coalesce($fits, false) LIMIT 1")


def file_column(name: str | None, sql_type: str | None, nanoseconds: str = "") -> str:
    """A column of a file (None: NULL), cast to `sql_type` (None: as it is).

    `nanoseconds`: the column's type if it has nanoseconds, which are truncated.
    """
    value = "NULL" if name is None else quote_name(name)
    return truncate_sql(value, nanoseconds) or (value if sql_type is None else _cast(value, sql_type))


def folder_column(name: str, folder_type: str, sql_type: str | None) -> str:
    """The column in the folder names of a file, of the type that the folders' texts have, cast to `sql_type`."""
    text = f"url_decode(regexp_extract({FILE}, {literal(f'(?:^|/){re.escape(name)}=([^/]*)/')}, 1))"
    return _cast(_cast(f"nullif({text}, {literal(NULL_FOLDER)})", folder_type), sql_type or folder_type)


def csv_column(name: str, sql_type: str, csv: Csv) -> str:
    """The values of a column of texts in a CSV file."""
    return _cast(csv_types.rule(quote_name(name), sql_type, csv).value, sql_type)


def text_kinds(rows: Source, kinds: Sequence[str]) -> Query:
    """One row with the bits of each of these expressions over all rows, as b0, b1, ..."""
    items = [with_name(exp.BitwiseOrAgg(this=item), f"b{index}") for index, item in enumerate(text_items(kinds))]
    return Query(exp.Select(expressions=items, from_=exp.From(this=source(rows))))


def fits_kind(name: str, sql_type: str, csv: Csv) -> str:
    """The kind of a text in a column of a declared type: 1 if it fits, 2 if it does not."""
    fits = csv_types.rule(quote_name(name), sql_type, csv).fits
    return f"CASE WHEN {quote_name(name)} IS NULL THEN NULL WHEN {fits} THEN 1 ELSE 2 END"


def first_misfit(rows: Source, name: str, sql_type: str, csv: Csv, *, inferred: bool, time: bool) -> Query:
    """The file and the text of the first value of a column that is not of a type, which was declared or `inferred` by an earlier run."""
    fits = csv_types.rule(quote_name(name), sql_type, csv).fits
    if inferred and not time:
        fits = f"({csv_types.kinds_sql(quote_name(name), csv, time=time)} & {~csv_types.BITS[sql_type] & 255}) = 0"
    return _MISFIT(rows=rows, column=column(name), fits=text_expression(fits))


def _cast(sql: str, sql_type: str) -> str:
    return f"CAST({sql} AS {sql_type})"
