"""Convert Arrow's chunked columns to single arrays."""

import pyarrow as pa


def single_array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, copied only if it has several chunks: `combine_chunks` also copies a single one."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
