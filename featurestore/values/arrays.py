"""Arrow's chunked columns as single arrays."""

import pyarrow as pa


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, copied only if it is several: Arrow copies also what is one already."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
