"""Items of a SELECT list: the stars in them, the names that they give, and the reads of struct fields that stand for dotted names."""

from sqlglot import exp

from featurestore.compiler.parsing import SqlProblem


def struct_field(struct: exp.Expr, name: str) -> exp.Expr:
    """A read of a struct field, in the only form that cannot be read as a column of a table."""
    return exp.StructExtract(this=struct, expression=exp.Literal.string(name))


def replace_column(column: exp.Column, parts: list[str], fields: list[str]) -> None:
    """Put a column of these name parts, and the reads of fields of it, in the place of a column."""
    made: exp.Expr = exp.column(*reversed(parts), quoted=True)
    for name in fields:
        made = struct_field(made, name)
    column.replace(made)


def star_of(item: exp.Expr) -> exp.Star | None:
    """The star of an item, with or without a table; None for another item."""
    star = item.this if isinstance(item, exp.Column) else item
    return star if isinstance(star, exp.Star) else None


def plain_column(column: exp.Expr) -> str:
    """The name in EXCLUDE or RENAME. Raises: SqlProblem for one with a table."""
    if not isinstance(column, exp.Column | exp.Identifier) or (isinstance(column, exp.Column) and len(column.parts) != 1):
        raise SqlProblem("EXCLUDE and RENAME take only column names")
    return column.name


def projection_name(item: exp.Expr) -> tuple[str, bool]:
    """The name of a projection, and whether it is certain."""
    if isinstance(item, exp.Alias):
        return item.alias, True
    if isinstance(item, exp.Column):
        return item.name, True
    return "", False


def label_of(item: exp.Expr) -> str | None:
    """DuckDB's name for a projection without an alias, if names in it are about to change; else None."""
    if isinstance(item, exp.Column):
        return item.name if len(item.parts) > 1 else None
    if not any(len(column.parts) > 1 for column in item.find_all(exp.Column)):
        return None
    plain = item.copy()
    for name in plain.find_all(exp.Identifier):
        name.set("quoted", not name.name.isidentifier())
    text = plain.sql(dialect="duckdb", comments=False, normalize_functions="lower")
    return f"({text})" if isinstance(item, exp.Binary) else text
