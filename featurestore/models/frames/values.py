"""Convert values between callers, Python, Arrow and models."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from featurestore.models.frames.inputs import Values
from featurestore.spines.columns import plain_arrow_type
from featurestore.values.coercion import coerce


def to_python(value: Any) -> Any:
    """Convert an Arrow scalar to Python, and any missing value (NaN, pandas.NA, NaT, Arrow NULL) to None."""
    if isinstance(value, pa.Scalar):
        value = value.as_py()
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value


def to_list(values: Values) -> list[Any]:
    """A column as Python values."""
    return values.to_pylist() if isinstance(values, pa.ChunkedArray) else list(values)


def coerce_value(value: Any, sql_type: str | None, what: str) -> Any:
    """Coerce a value to a DuckDB type; None: no change. Raises: TypeMismatch naming `what`."""
    return value if sql_type is None else coerce(value, sql_type, what)


def to_arrow(values: Values, sql_type: str | None) -> pa.Array | pa.ChunkedArray:
    """A column as Arrow with a DuckDB type; None: with the type of its values."""
    if isinstance(values, pa.ChunkedArray):
        return values
    if sql_type == "UUID":
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values) if sql_type is None else pa.array(values, plain_arrow_type(sql_type))


def to_records(columns: Mapping[str, Sequence[Any]], rows: int) -> list[dict[str, Any]]:
    """Columns as a dict for each row."""
    return [{name: values[row] for name, values in columns.items()} for row in range(rows)]
