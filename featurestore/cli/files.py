"""Write rows to files, for `--out`."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.errors import OutOfResources, RequestError


def write_parquet(rows: pa.RecordBatchReader, path: Path) -> None:
    """Write the rows batch by batch; the file appears complete or not at all. Raises: RequestError if it cannot be written."""
    part = path.with_name(f".{path.name}.part")
    try:
        with pq.ParquetWriter(part, rows.schema, compression="zstd") as writer:
            for batch in rows:
                writer.write_batch(batch)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno == 28:
            raise OutOfResources(f"the disk is full: {path} was not written") from error
        raise RequestError(f"cannot write {path}: {error.strerror or error}", field="out") from error
