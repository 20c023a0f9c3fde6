"""Small Arrow tables of feature rows for publishing."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from featurestore.online.store import OnlineStore

Opener = Callable[..., OnlineStore]
IN_A_CLUSTER_TOO = pytest.mark.parametrize("url", ["lmdb", "redis", pytest.param("cluster", marks=pytest.mark.slow)], indirect=True)
TIME = pa.timestamp("us", "UTC")


def table(rows: list[tuple[Any, ...]], *, key: pa.DataType | None = None, feature: pa.DataType | None = None) -> pa.Table:
    """Rows of (customer_id, feature_timestamp, created_timestamp, orders); times in microseconds."""
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    return pa.table(
        {
            "customer_id": pa.array(columns[0], key or pa.int64()),
            "feature_timestamp": pa.array(columns[1], TIME),
            "created_timestamp": pa.array(columns[2], TIME),
            "orders": pa.array(columns[3], feature or pa.int64()),
        }
    )


def table_of(array: pa.Array) -> pa.Table:
    """One row per value, with keys 0, 1, ... and the values as the feature."""
    count = len(array)
    times = pa.array([1_000_000] * count, TIME)
    return pa.table(
        {"customer_id": pa.array(range(count), pa.int64()), "feature_timestamp": times, "created_timestamp": times, "value": array}
    )
