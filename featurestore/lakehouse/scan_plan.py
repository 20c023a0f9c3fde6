"""Plan a scan from Iceberg's metadata: which columns and files of a snapshot it reads."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce

from pyiceberg import types as ice
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.expressions.visitors import _InclusiveMetricsEvaluator
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, ManifestGroupPlanner

from featurestore.errors import NotFound, NotYet
from featurestore.lakehouse import delete_files, tables
from featurestore.lakehouse.catalog_errors import to_store_error
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table
from featurestore.values.epoch import EPOCH

_FORMATS = (FileFormat.PARQUET, FileFormat.ORC)
_DELETE_FORMATS = (*_FORMATS, FileFormat.PUFFIN)


@dataclass(frozen=True)
class TimeRange:
    """Rows with `column` from `lower_us` to `upper_us`, both inclusive, in microseconds since the epoch; None: unbounded."""

    column: str
    lower_us: int | None = None
    upper_us: int | None = None


def projected_schema(table: Table, snapshot_id: int | None, columns: Sequence[str] | None, schema_id: int | None = None) -> Schema:
    """The schema of these columns (None: all), from the schema with this id, or by default the snapshot's. Raises: NotFound."""
    schema = tables.schema_of(table, snapshot_id) if schema_id is None else tables.schema_by_id(table, schema_id)
    if columns is None:
        return schema
    fields = {field.name: field for field in schema.fields}
    for name in columns:
        if name not in fields:
            raise NotFound("column", name, fields, where=table.name)
    return Schema(*(fields[name] for name in columns))


def plan_scan(granted: Granted, snapshot_id: int, time: TimeRange | None, schema_id: int | None = None) -> list[FileScanTask]:
    """The data files of a snapshot, without those entirely outside of the time range.

    Raises: NotFound if the snapshot has expired; else as `collect_tasks`.
    """
    table = granted.table
    bounds = _time_filter(table, projected_schema(table, snapshot_id, None, schema_id), time) if time else AlwaysTrue()
    # Not `table.scan`: it would read the manifest list once more.
    manifests = delete_files.load_manifests(table, tables.snapshot(table, snapshot_id))
    delete_files.refuse_equality_deletes(table, manifests)
    return collect_tasks(granted, lambda: ManifestGroupPlanner(table.iceberg.metadata, table.iceberg.io, bounds).plan_files(manifests))


def within(granted: Granted, tasks: Sequence[FileScanTask], schema: Schema, time: TimeRange | None) -> list[FileScanTask]:
    """Those of a snapshot's data files that are not entirely outside of the time range, by the bounds in their manifest entries."""
    bounds = _time_filter(granted.table, schema, time) if time else AlwaysTrue()
    if isinstance(bounds, AlwaysTrue):
        return list(tasks)
    evaluator = _InclusiveMetricsEvaluator(granted.table.iceberg.schema(), bounds)
    return [task for task in tasks if evaluator.eval(task.file)]


def collect_tasks(granted: Granted, plan_files: Callable[[], Iterable[FileScanTask]]) -> list[FileScanTask]:
    """Run scan planning; returns the data files with the delete files of each.

    Raises: NotYet for equality deletes and for file formats that cannot be read; NotReady.
    """
    name = granted.name
    try:
        tasks = list(plan_files())
    except ValueError as error:
        if "equality deletes" not in str(error):
            raise
        raise delete_files.equality_deletes_error(granted.table) from error
    except OSError as error:
        raise to_store_error(error, f"reading the metadata of {name}") from error
    for file in (file for task in tasks for file in (task.file, *task.delete_files)):
        if file.file_format not in (_FORMATS if file.content == DataFileContent.DATA else _DELETE_FORMATS):
            raise NotYet(f"{name} has {file.file_format.value} files, which cannot be read: rewrite them as Parquet", path=file.file_path)
    return tasks


def _time_filter(table: Table, schema: Schema, time: TimeRange) -> BooleanExpression:
    """The time range as a filter on the current schema, which pyiceberg binds filters to; no filter if it lacks the column."""
    field_id = tables.column_id(schema, time.column, table.name)
    current = next((field for field in table.iceberg.schema().fields if field.field_id == field_id), None)
    if current is None:
        return AlwaysTrue()
    literals = [_literal(current.field_type, bound) for bound in (time.lower_us, time.upper_us)]
    tests = (GreaterThanOrEqual, LessThanOrEqual)
    bounds = [test(current.name, value) for test, value in zip(tests, literals, strict=True) if value is not None]
    everything: BooleanExpression = AlwaysTrue()
    return reduce(And, bounds, everything)


def _literal(iceberg_type: ice.IcebergType, bound: int | None) -> str | None:
    if bound is None:
        return None
    when = EPOCH + timedelta(microseconds=bound)
    if isinstance(iceberg_type, ice.DateType):
        return when.date().isoformat()
    if isinstance(iceberg_type, ice.TimestamptzType):
        return when.isoformat()
    return when.replace(tzinfo=None).isoformat() if isinstance(iceberg_type, ice.TimestampType) else None
