"""The data files of a snapshot one by one, for programs that copy them: what determines the rows of each, and these rows."""

import hashlib
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.table import FileScanTask

from featurestore.lakehouse import scans
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table


@dataclass(frozen=True)
class ExportedFile:
    """A data file with its delete files. `identity` determines its rows: a file of the same identity has the same ones."""

    identity: str
    task: FileScanTask


def exported_files(granted: Granted, snapshot_id: int) -> list[ExportedFile]:
    """The data files of a snapshot. Raises: NotFound if it has expired; else as `scans.scan_snapshot`."""
    return [ExportedFile(_identity(granted.table, task), task) for task in scans.snapshot_files(granted, snapshot_id)]


def read_exported(granted: Granted, schema_id: int, file: ExportedFile) -> pa.RecordBatchReader:
    """The rows of a file, with the columns of one of the table's schemas. Raises: NotReady if it cannot be read."""
    return scans.read_file(granted, schema_id, file.task)


def _identity(table: Table, task: FileScanTask) -> str:
    deletes = sorted(file.file_path for file in task.delete_files)
    return hashlib.sha256("\0".join([table.uuid, task.file.file_path, *deletes]).encode()).hexdigest()
