"""Row numbers, as an Arrow column."""

import numpy as np
import pyarrow as pa


def numbers(rows: int) -> pa.Array:
    """0, 1, 2, ...; not by pa.array, which imports pandas, where that is installed, to look at what it is given."""
    return pa.Array.from_buffers(pa.int64(), rows, [None, pa.py_buffer(np.arange(rows, dtype=np.int64))])
