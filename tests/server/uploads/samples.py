"""Small uploads with many types, in each format."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pyarrow as pa

from tests import forged

COLUMNS = {
    "customer_id": pa.array([1, 2, None] * 20),
    "basket": pa.array([0.5, None, 2.0] * 20),
    "asked_at": pa.array([datetime(2026, 3, 1, tzinfo=UTC)] * 60, pa.timestamp("us", "UTC")),
    "label": pa.array(["no", None, "yes"] * 20).dictionary_encode(),
    "lists": pa.array([[1.0, 2.0], None, []] * 20),
    "structs": pa.array([{"a": "x" * 30, "b": 1}] * 60),
    "decimals": pa.array([1, 2, 3] * 20, pa.decimal128(38, 4)),
}
ROWS = pa.table(COLUMNS)
ARROW_ROWS = pa.table({**COLUMNS, "views": pa.array(["abc", "y" * 40, None] * 20, pa.string_view())})

SAMPLES: Mapping[str, bytes] = {
    "parquet": forged.parquet(ROWS),
    "arrow file": forged.file(ARROW_ROWS, "zstd"),
    "arrow stream": forged.stream(ARROW_ROWS),
    "compressed arrow stream": forged.stream(ARROW_ROWS, "lz4"),
}
