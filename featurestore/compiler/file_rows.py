"""Queries that read files: Parquet files by Iceberg field id, and Parquet or CSV files by column name."""

from featurestore.compiler.expressions import literal, quote_name
from featurestore.compiler.query import Query, text_query
from featurestore.compiler.relations import FILE, FilePart, IcebergFiles, LocalFiles
from featurestore.dsl.csv_format import Csv


def iceberg_rows(files: IcebergFiles) -> Query:
    """The columns of all rows of an Iceberg snapshot's files; NULL where a file was written before a column was added."""
    if not files.paths:
        columns = ", ".join(f"CAST(NULL AS {column.sql_type}) AS {quote_name(column.name)}" for column in files.columns)
        return text_query(f"SELECT {columns} WHERE false")
    fields = ", ".join(
        f"{column.id}: {{name: {literal(column.name)}, type: {literal(column.sql_type)}, default_value: NULL}}" for column in files.columns
    )
    paths = ", ".join(literal(path) for path in files.paths)
    selected = ", ".join(quote_name(column.name) for column in files.columns)
    return text_query(f"SELECT {selected} FROM read_parquet([{paths}], schema=MAP {{{fields}}})")


def local_rows(files: LocalFiles) -> Query:
    """The rows of all parts of local files, one part after the other."""
    return text_query("\nUNION ALL ".join(_part(part, files.csv) for part in files.parts))


def _part(part: FilePart, csv: Csv | None) -> str:
    selected = ", ".join(f"{sql} AS {quote_name(name)}" for name, sql in part.select) or "*"
    paths = ", ".join(literal(path) for path in part.paths)
    options = ["hive_partitioning = false"]
    if any(FILE in sql for _, sql in part.select):
        options.append(f"filename = {literal(FILE)}")
    if csv is None:
        return f"SELECT {selected} FROM read_parquet([{paths}], {', '.join(options)})"
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in part.header)
    options += [
        "auto_detect = false",
        "header = true",
        f"columns = {{{columns}}}",
        f"delim = {literal(csv.delimiter)}",
        f"quote = {literal(csv.quote)}",
        f"escape = {literal(csv.escape)}",
        f"nullstr = [{', '.join(map(literal, csv.null))}]",
        f"encoding = {literal(csv.encoding)}",
    ]
    return f"SELECT {selected} FROM read_csv([{paths}], {', '.join(options)})"
