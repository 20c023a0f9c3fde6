"""Convert values between callers, Python, Arrow and models."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from featurestore.compiler.service_plan import ServicePlan
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


def sql_types_of(plan: ServicePlan) -> dict[str, str]:
    """The DuckDB types of keys, request fields and looked-up features; derived features have none."""
    keys = {column: sql_type for use in plan.uses for (_, column), sql_type in zip(use.keys, use.key_types, strict=True)}
    features = {name: sql_type for use in plan.uses for (_, name), sql_type in zip(use.features, use.feature_types, strict=True)}
    return {**keys, **dict(plan.request), **features}


def to_predictions(result: Any) -> list[Any]:
    """A model's result as a list with a Python value for each row; several values per row are a list or dict."""
    if isinstance(result, pd.DataFrame):
        return to_predictions(result.iloc[:, 0]) if result.shape[1] == 1 else result.to_dict("records")
    if getattr(result, "ndim", 1) == 2 and result.shape[1] == 1:
        result = result[:, 0]
    values = result.tolist() if hasattr(result, "tolist") else list(result)
    return values if isinstance(values, list) else [values]


def to_prediction_array(result: Any) -> pa.Array:
    """A model's result as Arrow: the array of `to_predictions`, without making a Python value of each number of a numpy array."""
    if isinstance(result, np.ndarray) and result.dtype.kind in "fiub" and result.ndim in (1, 2):
        # As Python's numbers have them.
        kinds: dict[str, Any] = {"f": np.float64, "b": np.bool_}
        numbers: np.ndarray[Any, Any] = result.astype(kinds.get(result.dtype.kind, np.int64))
        values = pa.array(numbers.ravel())
        if result.ndim == 1 or result.shape[1] == 1:
            return values
        return pa.ListArray.from_arrays(pa.array(np.arange(len(result) + 1, dtype=np.int32) * result.shape[1]), values)
    return pa.array(to_predictions(result))


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
