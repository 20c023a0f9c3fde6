"""Check what a source says of rows that are pushed to the store: columns, types, and which rows are the same."""

from collections.abc import Iterator, Mapping

from featurestore.compiler.expressions import RESERVED
from featurestore.dsl.definitions import owner_of
from featurestore.dsl.problems import FieldProblem
from featurestore.dsl.source import ACKNOWLEDGED, Source
from featurestore.dsl.value_types import column_type
from featurestore.errors import brief, near
from featurestore.values.value_types import ZONED

LONGEST_NAME = 128
ID_TYPES = ("VARCHAR", "BIGINT", "INTEGER", "UUID")
_ONLY_ELSEWHERE = ("url", "format", "partitions", "keep", "watermark", "overlap", "zone")


def pushed_problems(source: Source) -> Iterator[FieldProblem]:
    """Check the schema of a source, which is not None, and the fields that name columns of it."""
    owner = owner_of(source)
    for name in _ONLY_ELSEWHERE:
        if getattr(source, name):
            yield FieldProblem(owner, name, "says how rows are read from elsewhere, and with schema= they are pushed; leave it out")
    if not isinstance(source.schema, Mapping) or not source.schema:
        message = f"is {brief(source.schema)}; give a dict of columns and types, such as {{'user_id': 'bigint', 'at': 'timestamptz'}}"
        yield FieldProblem(owner, "schema", message)
        return
    types: dict[str, str] = {}
    for name, type_name in source.schema.items():
        field = f"schema.{name:.128}" if isinstance(name, str) else "schema"
        if (fault := _name_fault(name, types)) is not None:
            yield FieldProblem(owner, field, fault)
            continue
        try:
            types[name] = column_type(type_name)
        except ValueError as error:
            yield FieldProblem(owner, field, str(error))
            types[name] = ""
    if source.timestamp:
        yield from _column_problems(source, "timestamp", types, (ZONED,), "timestamptz")
    if source.id is not None:
        yield from _column_problems(source, "id", types, ID_TYPES, "varchar, bigint, int or uuid")


def _name_fault(name: object, before: Mapping[str, str]) -> str | None:
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        return f"{brief(name)} is no name of a column; write printable text of at most {LONGEST_NAME} characters"
    if name.startswith(RESERVED) or name.lower() == ACKNOWLEDGED:
        return f"the store's own columns begin with {RESERVED}, or are called {ACKNOWLEDGED}; call the column something else"
    if name.lower() in map(str.lower, before):
        return "there is another column of this name, and case does not tell names apart"
    return None


def _column_problems(source: Source, role: str, types: Mapping[str, str], allowed: tuple[str, ...], words: str) -> Iterator[FieldProblem]:
    owner, name = owner_of(source), getattr(source, role)
    if not isinstance(name, str) or name not in types:
        yield FieldProblem(owner, role, f"{brief(name)} is no column of schema={near(str(name), types)}")
    elif types[name] and types[name] not in allowed:
        yield FieldProblem(owner, role, f"'{name}' is {types[name]}; the {role} of pushed rows is of type {words}")
