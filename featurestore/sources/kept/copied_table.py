"""The Iceberg table with the copy of a source's rows: its columns, and what the next copy needs to know."""

from collections.abc import Iterable

import pyarrow as pa

from featurestore.dsl.source import Source
from featurestore.errors import TypeMismatch
from featurestore.files import widening
from featurestore.files.merged_columns import incompatible_types, too_many_digits
from featurestore.lakehouse import tables
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.row_swap import METRICS
from featurestore.records.authors import created_property
from featurestore.records.runtime import Runtime
from featurestore.redaction import without_secrets

FILE, STATE = "__fs_copied_file", "__fs_copied_state"
"""The columns of a copy of files with the path and the state of the file of each row."""
ORIGIN = "featurestore.origin"
"""The property with the place that the rows are copied from."""
FILES = "featurestore.copied-files"
"""The property with a digest of all files and their states at the last complete copy."""
WATERMARK = "featurestore.copied-watermark"
"""The property with the greatest value in the watermark column of a database's table up to which rows were copied."""


def find_copy(runtime: Runtime, source: Source) -> Granted | None:
    """The copy, for the store to read and write; None if there is none yet."""
    table = tables.find(runtime.catalog, source.kept_table)
    return None if table is None else runtime.operator.grant(table)


def make_copy(runtime: Runtime, source: Source, schema: pa.Schema) -> Granted:
    """The copy, which is created without rows if there is none yet, with these columns. Raises: as `tables.load_or_create`."""
    columns = schema
    if source.url is None:
        columns = schema.append(pa.field(FILE, pa.string())).append(pa.field(STATE, pa.string()))
    # Files are found by the bounds of these columns.
    exact = [FILE] if source.url is None else [source.id] if source.id is not None else []
    properties = {
        ORIGIN: without_secrets(source.origin),
        **{f"{METRICS}{name}": "full" for name in exact},
        **created_property(runtime.author),
    }
    table, _ = tables.load_or_create(runtime.catalog, source.kept_table, columns, properties=properties)
    return runtime.operator.grant(table)


def copied_columns(granted: Granted) -> pa.Schema:
    """The columns of a copy that come from its origin."""
    return pa.schema([field for field in tables.arrow_schema(granted.table) if field.name not in (FILE, STATE)])


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """The columns as a copy stores them. Raises: TypeMismatch naming a column with a type that no table can store."""
    fields: list[pa.Field] = []
    for field in schema:
        plain = pa.int64() if pa.types.is_duration(field.type) else widening.plain(field.type)
        try:
            fields.append(pa.field(field.name, tables.stored_type(plain)))
        except TypeMismatch as error:
            raise TypeMismatch(f"column '{field.name}' is {field.type}, which cannot be stored; write it as another type") from error
    return pa.schema(fields)


def merged_columns(known: pa.Schema | None, files: Iterable[tuple[str, pa.Schema]], copy: str) -> pa.Schema:
    """The columns of a copy (None: there is none yet) and of files (path and columns), with types that hold the values of all.

    Names are those of the first that has them; case does not tell names apart. Raises: TypeMismatch naming a column and the files.
    """
    merged: dict[str, tuple[pa.Field, str]] = {field.name.lower(): (field, copy) for field in known or ()}
    for path, schema in files:
        for field in schema:
            if widening.has_wide_decimals(field.type):
                raise too_many_digits(field.name, path, field.type)
            new = stored_schema(pa.schema([field])).field(0)
            before, first = merged.setdefault(field.name.lower(), (new, path))
            if before.type == new.type:
                continue
            common = widening.common_type([before.type, new.type])
            if common is None:
                raise incompatible_types(before.name, (first, before.type), (path, new.type))
            merged[field.name.lower()] = (pa.field(before.name, tables.stored_type(common)), first)
    return pa.schema([field for field, _ in merged.values()])
