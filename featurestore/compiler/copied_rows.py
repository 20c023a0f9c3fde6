"""Queries over the rows that the store copies: which files they are from, and which of them a copy does not have yet."""

from sqlglot import exp

from featurestore.compiler.query import Query, Source, column, columns, template

_DISTINCT = template("SELECT DISTINCT $columns FROM $rows")
_NEW = template("SELECT * FROM $rows EXCEPT ALL SELECT $columns FROM $stored")
_NEWEST = template("SELECT * FROM $rows QUALIFY row_number() OVER (PARTITION BY $id ORDER BY $watermark DESC, $values) = 1")


def distinct_files(rows: Source, *names: str) -> Query:
    """The distinct values of columns."""
    return _DISTINCT(rows=rows, columns=columns(names))


def new_rows(rows: Source, stored: Source, names: list[str]) -> Query:
    """The rows that `stored` does not have; of equal rows, as many as there are more. Both have the columns `names`, in this order."""
    return _NEW(rows=rows, stored=stored, columns=columns(names))


def newest_rows(rows: Source, id: str, watermark: str, names: list[str]) -> Query:
    """The row with the greatest watermark of each id; of several, the greatest in the order of all columns `names`."""
    order = [exp.Ordered(this=item, desc=True) for item in columns(names)]
    return _NEWEST(rows=rows, id=columns([id]), watermark=column(watermark), values=order)
