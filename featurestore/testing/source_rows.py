"""Add the source rows of a test, given as literals, frames or Arrow tables, to a session, with the types of a real source."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlglot import exp

from featurestore.compiler.expressions import parse_query, query_tables, resolve
from featurestore.compiler.relations import Handle
from featurestore.compiler.typed_columns import typed_columns
from featurestore.dsl.source import Source
from featurestore.dsl.value_types import sql_type_of_name
from featurestore.engine.session import ValueSession
from featurestore.errors import FeatureStoreError, NotFound, RequestError
from featurestore.testing.literal_types import literal_type, to_python
from featurestore.values import frames
from featurestore.values.coercion import coerce
from featurestore.values.value_types import ZONED

TEXT = "VARCHAR"
Schema = Mapping[str, Mapping[str, str]]
"""Types of columns by source or table: {"orders": {"amount": "decimal(10,2)"}}."""


def add_sources(session: ValueSession, sources: Sequence[Source], rows: Mapping[str, Any], schema: Schema) -> dict[str, Handle]:
    """Add the rows of every source; returns the relation of each name in `rows`.

    Rows are given by the name of a source or of the table that it reads; for a query, by the tables that it reads. Raises: NotFound for
    an unknown name; RequestError for missing rows; TypeMismatch for values of incompatible types.
    """
    times: dict[str, set[str]] = {}
    for source in sources:
        for name, columns in _reads(source, rows).items():
            times.setdefault(name, set()).update(columns)
    known = {*times, *(source.name for source in sources if source.sql is None)}
    for name in [*rows, *schema]:
        if name not in known:
            raise NotFound("source or table", name, known, "what is tested")
    for source in sources:
        _refuse_missing(source, rows)
    return {
        name: add_rows(session, f"__fs_given_{index}", rows[name], f"rows[{name!r}]", _types(name, schema.get(name, {})), columns)
        for index, (name, columns) in enumerate(times.items())
    }


def relation_names(source: Source, rows: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in `rows` that have a source's rows."""
    return tuple(_reads(source, rows))


def add_rows(session: ValueSession, relation: str, rows: Any, what: str, types: Mapping[str, str], times: Collection[str]) -> Handle:
    """Add rows as a relation. Columns in `types` get that DuckDB type; other columns in `times` are timestamps in UTC."""
    if isinstance(rows, list):
        columns = frames.rows_to_columns(rows, what)
        columns.update({name: [None] * len(rows) for name in types if name not in columns})
        if not columns:
            raise RequestError(f"{what} is empty, so its columns are not known; give a row, or the columns with their types in schema=")
        wanted_types = {resolve(name, columns): ZONED for name in times} | dict(types)
        typed = {name: _with_type(values, wanted_types.get(name), f"{what}: column '{name}'") for name, values in columns.items()}
        with _naming_rows(what):
            return session.add_values(relation, typed)
    table = frames.to_arrow_table(rows, what)
    if table is None:
        raise RequestError(f"{what} is {rows!r}; give {frames.MEMORY}")
    with _naming_rows(what):
        raw = session.add(f"{relation}_given", table)
        schema = session.schema(raw)
        texts = {name: ZONED for name in (resolve(time, schema) for time in times) if name is not None and schema[name] == TEXT}
        all_types = schema | texts | dict(types)
        return session.create_table(relation, typed_columns(raw, all_types, schema))


@contextmanager
def _naming_rows(what: str) -> Iterator[None]:
    """Add to errors of the engine which rows they are about."""
    try:
        yield
    except FeatureStoreError as error:
        error.message = f"{what}: {error.message}"
        raise


def _with_type(values: Sequence[Any], sql_type: str | None, what: str) -> tuple[str | None, list[Any]]:
    plain_values = [to_python(value) for value in values]
    return (
        (literal_type(plain_values, what), plain_values)
        if sql_type is None
        else (sql_type, [coerce(value, sql_type, what) for value in plain_values])
    )


def _types(name: str, columns: Mapping[str, str]) -> dict[str, str]:
    types: dict[str, str] = {}
    for column, type_name in columns.items():
        try:
            types[column] = sql_type_of_name(type_name)
        except ValueError as error:
            raise RequestError(f"schema of {name}, column '{column}': {error}") from error
    return types


def _reads(source: Source, rows: Mapping[str, Any]) -> dict[str, set[str]]:
    """The names in `rows` that have a source's rows, each with its time columns."""
    times = {column for column in (source.timestamp, source.created) if column and column not in source.columns}
    if source.sql is not None:
        tree = parse_query(source.sql)
        traced = {column.name for select in tree.find_all(exp.Select) for column in _selected_columns(select, times)}
        return dict.fromkeys(query_tables(tree), traced)
    return {source.table if source.table is not None and not source.kept and source.name not in rows else source.name: times}


def _refuse_missing(source: Source, rows: Mapping[str, Any]) -> None:
    for name in _reads(source, rows):
        if name not in rows:
            spelled = f"'{source.name}', or for its table '{name}'" if source.table is not None and not source.kept else f"'{name}'"
            reader = f"the query of source {source.name}" if source.sql is not None else f"source {source.name}"
            raise RequestError(f"rows has none for {spelled}, which {reader} reads; give a list of dicts, also an empty one", field=name)


def _selected_columns(select: exp.Select, names: Collection[str]) -> Iterator[exp.Column]:
    """The plain columns that a SELECT returns under these names."""
    for item in select.expressions:
        column = item.this if isinstance(item, exp.Alias) else item
        if item.alias_or_name in names and isinstance(column, exp.Column):
            yield column
