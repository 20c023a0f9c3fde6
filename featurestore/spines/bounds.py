"""Limits of results in memory and of spines on disk; they apply to server requests, not to callers in the same process."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from featurestore.engine.watch import current
from featurestore.errors import TooLarge


def bounded_result(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Pass batches on. Raises: TooLarge if they exceed the limit of a response."""
    limit, size, rows = current().bounds.result, 0, 0
    for batch in batches:
        size, rows = size + batch.nbytes, rows + batch.num_rows
        if limit is not None and size > limit:
            raise TooLarge(
                f"the first {rows:,} rows take more than {limit:,} bytes, the limit of one response; request fewer rows, or build a"
                " training set, whose rows are streamed",
                limit=limit,
            )
        yield batch


def check_spine(size: int, rows: int) -> None:
    """Raise TooLarge if `size` bytes exceed the limit of a request's spine."""
    limit = current().bounds.spine
    if limit is not None and size > limit:
        raise TooLarge(
            f"the first {rows:,} rows of the spine take more than {limit:,} bytes, the limit of one request (spine_limit)",
            limit=limit,
        )
