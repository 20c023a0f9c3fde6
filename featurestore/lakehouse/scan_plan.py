"""Which columns and files of a snapshot a scan reads, from Iceberg's metadata."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce

from pyiceberg import types as ice
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, ManifestGroupPlanner, Table

from featurestore.errors import NotFound, NotReady, NotYet
from featurestore.lakehouse import deleted, tables

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMATS = (FileFormat.PARQUET, FileFormat.ORC)
_DELETE_FORMATS = (*_FORMATS, FileFormat.PUFFIN)


@dataclass(frozen=True)
class TimeRange:
    """Rows that matter have `column` from `lower_us` to `upper_us`, both included, in microseconds since the epoch; None: no bound."""

    column: str
    lower_us: int | None = None
    upper_us: int | None = None


def projection(table: Table, snapshot_id: int | None, columns: Sequence[str] | None, schema_id: int | None = None) -> Schema:
    """The columns of a snapshot (None: all), as the schema of this id has them, or else the snapshot's own. Raises: NotFound."""
    schema = tables.schema_of(table, snapshot_id) if schema_id is None else tables.schema_by_id(table, schema_id)
    if columns is None:
        return schema
    fields = {field.name: field for field in schema.fields}
    for name in columns:
        if name not in fields:
            raise NotFound("column", name, fields, where=".".join(table.name()))
    return Schema(*(fields[name] for name in columns))


def plan(table: Table, snapshot_id: int, time: TimeRange | None, schema_id: int | None = None) -> list[FileScanTask]:
    """The data files of a snapshot, less those wholly outside of the time, whose column is the schema's.

    Raises: NotFound if the snapshot has expired; else as `planned`.
    """
    bounds = _filter(table, projection(table, snapshot_id, None, schema_id), time) if time else AlwaysTrue()
    # Not `table.scan`: it would read the list of manifests once more.
    manifests = deleted.manifests(table, tables.snapshot(table, snapshot_id))
    deleted.refuse_equality(table, manifests)
    return planned(table, lambda: ManifestGroupPlanner(table.metadata, table.io, bounds).plan_files(manifests))


def planned(table: Table, plan_files: Callable[[], Iterable[FileScanTask]]) -> list[FileScanTask]:
    """The data files that a scan plans, with the deletes that hold for each.

    Raises: NotYet for equality deletes, and for files in a format that cannot be read; NotReady.
    """
    name = ".".join(table.name())
    try:
        tasks = list(plan_files())
    except ValueError as error:
        if "equality deletes" not in str(error):
            raise
        raise deleted.equality_deletes(table) from error
    except OSError as error:
        raise NotReady(f"the metadata of {name} cannot be read: {error}") from error
    for file in (file for task in tasks for file in (task.file, *task.delete_files)):
        if file.file_format not in (_FORMATS if file.content == DataFileContent.DATA else _DELETE_FORMATS):
            raise NotYet(f"{name} has {file.file_format.value} files, which cannot be read: rewrite them as Parquet", path=file.file_path)
    return tasks


def _filter(table: Table, schema: Schema, time: TimeRange) -> BooleanExpression:
    """The range in terms of the current schema, which pyiceberg binds filters to; no filter where it has no such column."""
    field_id = tables.column_id(schema, time.column, ".".join(table.name()))
    current = next((field for field in table.schema().fields if field.field_id == field_id), None)
    if current is None:
        return AlwaysTrue()
    literals = [_literal(current.field_type, bound) for bound in (time.lower_us, time.upper_us)]
    tests = (GreaterThanOrEqual, LessThanOrEqual)
    bounds = [test(current.name, value) for test, value in zip(tests, literals, strict=True) if value is not None]
    everything: BooleanExpression = AlwaysTrue()
    return reduce(And, bounds, everything)


def _literal(kind: ice.IcebergType, bound: int | None) -> str | None:
    if bound is None:
        return None
    when = _EPOCH + timedelta(microseconds=bound)
    if isinstance(kind, ice.DateType):
        return when.date().isoformat()
    if isinstance(kind, ice.TimestamptzType):
        return when.isoformat()
    return when.replace(tzinfo=None).isoformat() if isinstance(kind, ice.TimestampType) else None
