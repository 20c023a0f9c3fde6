"""How much a piece of work may bring into memory, or onto the disk: a request's is bounded, a caller's in the same process is not."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from featurestore.engine.watch import current
from featurestore.errors import TooLarge


def bounded_result(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches. Raises: TooLarge when they take more than a request's answer may."""
    most, size, rows = current().bounds.result, 0, 0
    for batch in batches:
        size, rows = size + batch.nbytes, rows + batch.num_rows
        if most is not None and size > most:
            raise TooLarge(
                f"the first {rows:,} rows take more than {most:,} bytes, the most that one answer may; ask for fewer rows, or build a"
                " training set, whose rows are streamed",
                limit=most,
            )
        yield batch


def check_spine(size: int, rows: int) -> None:
    """Raises: TooLarge when so many bytes are more than a request's spine may take."""
    most = current().bounds.spine
    if most is not None and size > most:
        raise TooLarge(
            f"the first {rows:,} rows of the spine take more than {most:,} bytes, the most that one request's may (spine_limit)", limit=most
        )
