"""Deletes as Spark, Flink or Trino write them, by position, by vector, or by equality: pyiceberg itself has no writer for them."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.conversions import to_bytes
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
)
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.typedef import Record
from pyiceberg.types import PrimitiveType
from pyroaring import BitMap

from featurestore.lakehouse.table import Table

_FILE_PATH, _POSITION = 2147483546, 2147483545


class _Deletes(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES


class _DeleteRows(_FastAppendFiles):
    deletes: DataFile

    def _manifests(self) -> list[ManifestFile]:
        writer = _Deletes(
            spec=self._transaction.table_metadata.spec(),
            schema=self.schema(),
            output_file=self.new_manifest_output(),
            snapshot_id=self._snapshot_id,
            avro_compression=self._compression,
        )
        with writer:
            writer.add(ManifestEntry.from_args(status=ManifestEntryStatus.ADDED, snapshot_id=self._snapshot_id, data_file=self.deletes))
        return [writer.to_manifest_file(), *self._existing_manifests()]


def delete_rows(
    table: Table, content: DataFileContent, positions: list[int], operation: Operation = Operation.OVERWRITE, number: int = 0
) -> None:
    """Delete rows of one of an unpartitioned table's data files by a Parquet delete file of this kind."""
    data = _data_file(table, number)
    schema = pa.schema([_field("file_path", pa.string(), _FILE_PATH), _field("pos", pa.int64(), _POSITION)])
    rows = pa.table({"file_path": [data] * len(positions), "pos": positions}, schema=schema)
    _commit(table, content, operation, *_parquet(table, rows), FileFormat.PARQUET, len(positions))


def delete_equal(table: Table, rows: pa.Table, columns: list[str], operation: Operation = Operation.OVERWRITE) -> None:
    """Delete the rows that are equal to one of these in some columns: the file has whole rows and their bounds, as Flink's have."""
    ids = {field.name: field.field_id for field in table.iceberg.schema().fields}
    given = rows.cast(pa.schema([_field(name, kind, ids[name]) for name, kind in zip(rows.schema.names, rows.schema.types, strict=True)]))
    bounds: dict[str, Any] = {"value_counts": {}, "null_value_counts": {}, "lower_bounds": {}, "upper_bounds": {}}
    for field in table.iceberg.schema().fields:
        assert isinstance(field.field_type, PrimitiveType)
        column = rows.column(field.name).to_pylist()
        bounds["value_counts"][field.field_id], bounds["null_value_counts"][field.field_id] = len(column), 0
        for which, value in (("lower_bounds", min(column)), ("upper_bounds", max(column))):
            stored = round(value.timestamp() * 1_000_000) if hasattr(value, "timestamp") else value
            bounds[which][field.field_id] = to_bytes(field.field_type, stored)
    more = {"equality_ids": [ids[name] for name in columns], **bounds}
    _commit(table, DataFileContent.EQUALITY_DELETES, operation, *_parquet(table, given), FileFormat.PARQUET, rows.num_rows, more)


def delete_by_vector(table: Table, positions: list[int], operation: Operation = Operation.DELETE, number: int = 0) -> None:
    """Delete rows of one of an unpartitioned table's data files by a deletion vector in a Puffin file, as tables of format 3 have them."""
    data = _data_file(table, number)
    bitmap = (1).to_bytes(8, "little") + (0).to_bytes(4, "little") + BitMap(positions).serialize()
    framed = b"\xd1\xd3\x39\x64" + bitmap
    blob = len(framed).to_bytes(4, "big") + framed + bytes(4)
    footer = {
        "blobs": [
            {
                "type": "deletion-vector-v1",
                "fields": [],
                "snapshot-id": -1,
                "sequence-number": -1,
                "offset": 4,
                "length": len(blob),
                "properties": {"referenced-data-file": data, "cardinality": str(len(positions))},
            }
        ]
    }
    told = json.dumps(footer).encode()
    content = b"PFA1" + blob + b"PFA1" + told + len(told).to_bytes(4, "little") + bytes(4) + b"PFA1"
    location = f"{table.iceberg.location()}/data/{uuid.uuid4()}-deletes.puffin"
    with table.iceberg.io.new_output(location).create() as stream:
        stream.write(content)
    _commit(table, DataFileContent.POSITION_DELETES, operation, location, len(content), FileFormat.PUFFIN, len(positions))


def add_foreign(table: Table, file_format: FileFormat) -> None:
    """Add a data file of another format, which is never opened."""
    _commit(
        table,
        DataFileContent.DATA,
        Operation.APPEND,
        f"{table.iceberg.location()}/data/other.{file_format.value.lower()}",
        100,
        file_format,
        1,
    )


def _field(name: str, kind: pa.DataType, number: int) -> pa.Field:
    return pa.field(name, kind, metadata={"PARQUET:field_id": str(number)})


def _data_file(table: Table, number: int) -> str:
    return sorted(task.file.file_path for task in table.iceberg.scan().plan_files())[number]


def _parquet(table: Table, rows: pa.Table) -> tuple[str, int]:
    location = f"{table.iceberg.location()}/data/{uuid.uuid4()}-deletes.parquet"
    output = table.iceberg.io.new_output(location)
    with output.create() as stream:
        pq.write_table(rows, stream)
    return location, len(output)


def _commit(
    table: Table,
    content: DataFileContent,
    operation: Operation,
    location: str,
    size: int,
    file_format: FileFormat,
    rows: int,
    more: Mapping[str, Any] | None = None,
) -> None:
    transaction = table.iceberg.transaction()
    producer = (_FastAppendFiles if content == DataFileContent.DATA else _DeleteRows)(
        operation=operation, transaction=transaction, io=table.iceberg.io
    )
    file = DataFile.from_args(
        content=content,
        file_path=location,
        file_format=file_format,
        partition=Record(),
        record_count=rows,
        file_size_in_bytes=size,
        spec_id=0,
        **(more or {}),
    )
    if isinstance(producer, _DeleteRows):
        producer.deletes = file
    else:
        producer.append_data_file(file)
    producer.commit()
    transaction.commit_transaction()
