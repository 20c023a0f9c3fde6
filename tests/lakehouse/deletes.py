"""Position deletes, which pyiceberg reads and Spark or Trino write: pyiceberg itself has no writer for them."""

import uuid

import pyarrow as pa
import pyarrow.parquet as pq
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
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.typedef import Record

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


def delete_rows(table: Table, content: DataFileContent, positions: list[int]) -> None:
    """Delete rows of an unpartitioned table's first data file by a delete file of this kind."""
    data = next(iter(table.scan().plan_files())).file.file_path
    location = f"{table.location()}/data/{uuid.uuid4()}-deletes.parquet"
    schema = pa.schema(
        [
            pa.field("file_path", pa.string(), metadata={"PARQUET:field_id": str(_FILE_PATH)}),
            pa.field("pos", pa.int64(), metadata={"PARQUET:field_id": str(_POSITION)}),
        ]
    )
    output = table.io.new_output(location)
    with output.create() as stream:
        pq.write_table(pa.table({"file_path": [data] * len(positions), "pos": positions}, schema=schema), stream)
    transaction = table.transaction()
    producer = _DeleteRows(operation=Operation.OVERWRITE, transaction=transaction, io=table.io)
    producer.deletes = DataFile.from_args(
        content=content,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=len(positions),
        file_size_in_bytes=len(output),
        spec_id=0,
    )
    producer.commit()
    transaction.commit_transaction()
