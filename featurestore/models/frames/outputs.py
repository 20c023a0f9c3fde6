"""What a model returns, as one prediction for each row: Python values for answers, Arrow for batch scoring."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from featurestore.errors import ModelError, message_of

_UNCHANGED = frozenset({float, bool, str, bytes, type(None)})
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
"""Bounds of the integers that JSON, the prediction log and Arrow have."""
_NUMBERS = "fiub"
"""Kinds of numpy arrays of numbers and booleans."""
_TO_LIST = ("tolist", "to_pylist", "to_list")
"""The methods of columns and arrays that give their values as a list."""


def to_predictions(result: Any) -> list[Any]:
    """A model's result as a list with a Python value for each row; several values per row are a list or dict, and NaT is NULL.

    A dict of columns is read as a frame. Raises: ModelError saying what `predict` must return.
    """
    try:
        return _to_values(result)
    except (ModelError, MemoryError):
        raise
    except Exception as error:
        raise _wrong_result(f"{type(result).__name__}, whose values cannot be read", error) from error


def to_prediction_array(result: Any) -> pa.Array:
    """A model's result as Arrow: the array of `to_predictions`, without making a Python value of each number of a numpy array.

    Raises: as `to_predictions`; ModelError for values of which Arrow makes no column.
    """
    if type(result) is np.ndarray and result.dtype.kind in _NUMBERS and result.ndim in (1, 2):
        # As Python's numbers have them.
        kinds: dict[str, Any] = {"f": np.float64, "b": np.bool_}
        numbers: np.ndarray[Any, Any] = result.astype(kinds.get(result.dtype.kind, np.uint64 if _is_large(result) else np.int64))
        values = pa.array(numbers.ravel())
        if result.ndim == 1 or result.shape[1] == 1:
            return values
        return pa.ListArray.from_arrays(pa.array(np.arange(len(result) + 1, dtype=np.int32) * result.shape[1]), values)
    predictions = to_predictions(result)
    try:
        return to_column(predictions)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise ModelError(
            "the model's predictions are not a column of one type; its predict must return values of one type, such as numbers or text,"
            " or lists or dicts of them",
            reason=f"{type(error).__name__}: {message_of(error)}",
        ) from error


def to_column(values: Sequence[Any]) -> pa.Array:
    """Predictions as Arrow. Raises: pa.ArrowException, OverflowError, TypeError or ValueError for values of which Arrow makes no column."""
    return pa.array(values, _large_type(values))


def to_column_or_json(values: Sequence[Any]) -> pa.Array:
    """Predictions as Arrow; as JSON texts if Arrow makes no column of them."""
    try:
        return to_column(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([json.dumps(value, default=str) for value in values], pa.string())


def check_count(predictions: Sequence[Any], rows: int) -> Sequence[Any]:
    """The predictions. Raises: ModelError if there is not one for each row."""
    if len(predictions) != rows:
        raise ModelError(
            f"the model gave {len(predictions)} predictions for {rows} rows; its predict must return one for each, in order, such as a list"
            " or a frame with a row for each"
        )
    return predictions


def _to_values(result: Any) -> list[Any]:
    if isinstance(result, np.ndarray):
        return _array_values(result)
    pandas = _pandas()
    if pandas is not None and isinstance(result, pandas.DataFrame):
        return _rows_of([(str(name), result.iloc[:, place].tolist()) for place, name in enumerate(result.columns)])
    if isinstance(result, pa.Table | pa.RecordBatch):
        return _rows_of([(name, column.to_pylist()) for name, column in zip(result.schema.names, result.columns, strict=True)])
    if hasattr(result, "columns") and hasattr(result, "to_arrow"):
        # A frame of polars.
        return _to_values(result.to_arrow())
    if isinstance(result, Mapping):
        scalar = next((value for value in result.values() if not _is_column(value)), result)
        if scalar is not result:
            raise _wrong_result(f"a dict with {type(scalar).__name__} in place of a column")
        return _rows_of([(str(name), _to_values(values)) for name, values in result.items()])
    if not _is_column(result):
        raise _wrong_result("None" if result is None else type(result).__name__)
    method = next((name for name in _TO_LIST if hasattr(result, name)), None)
    listed = result if method is None else getattr(result, method)()
    if isinstance(listed, str) or not isinstance(listed, Sequence):
        raise _wrong_result(f"{type(result).__name__} of no dimensions")
    shape: Any = getattr(result, "shape", ())
    if len(shape) == 2 and shape[1] == 1:
        listed = [value[0] for value in listed]
    return [value if type(value) in _UNCHANGED else _to_plain(value) for value in listed]


def _pandas() -> Any:
    """The package pandas; None where nothing has imported it, so that no value is one of its own. Servers without models do without it."""
    return sys.modules.get("pandas")


def _is_column(value: Any) -> bool:
    """Whether a value is a list or the like: a Series, an array of pandas or Arrow, a tensor."""
    if isinstance(value, str | bytes | bytearray | Mapping | np.generic | pa.Scalar):
        return False
    return isinstance(value, Sequence) or any(hasattr(value, name) for name in _TO_LIST)


def _array_values(array: "np.ndarray[Any, Any]") -> list[Any]:
    if array.ndim == 0:
        raise _wrong_result("an array of no dimensions")
    if isinstance(array, np.matrix):
        array = np.asarray(array)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind in "mM":
        # In nanoseconds, numpy has them as plain integers.
        array = array.astype(f"{array.dtype.kind}8[us]")
    elif array.dtype.kind == "f":
        array = array.astype(np.float64, copy=False)
    values: list[Any] = array.tolist()
    return values if array.dtype.kind in _NUMBERS else [_to_plain(value) for value in values]


def _rows_of(columns: Sequence[tuple[str, list[Any]]]) -> list[Any]:
    """The rows of a frame: the value of its only column, or a dict. Raises: ModelError."""
    plain = {name: [_to_plain(value) for value in values] for name, values in columns}
    if len(plain) != len(columns):
        raise _wrong_result("several columns of one name")
    if len({len(values) for values in plain.values()}) > 1:
        raise _wrong_result("columns of different lengths")
    if len(plain) == 1:
        return next(iter(plain.values()))
    return [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]


def _to_plain(value: Any) -> Any:
    """A value of Python itself. Raises: ModelError for one that has no place in an answer."""
    if type(value) in _UNCHANGED:
        return value
    pandas = _pandas()
    if pandas is not None and (value is pandas.NaT or value is pandas.NA):
        return None
    if isinstance(value, Enum):
        return _to_plain(value.value)
    if isinstance(value, np.ndarray):
        return _to_plain(value.item()) if value.ndim == 0 else _array_values(value)
    if isinstance(value, np.generic):
        return _scalar_value(value)
    if isinstance(value, pa.Scalar):
        return _to_plain(value.as_py())
    if isinstance(value, int):
        if not _SMALLEST <= value <= _LARGEST:
            raise _wrong_result("an integer of more than 64 bits")
        return int(value)
    if pandas is not None and isinstance(value, pandas.Timestamp | pandas.Timedelta):
        return value.to_pydatetime(warn=False) if isinstance(value, pandas.Timestamp) else value.to_pytimedelta()
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise _wrong_result("dicts with names that are not text")
        return {str(name): _to_plain(item) for name, item in value.items()}
    if isinstance(value, str | bytes | float | date | time | timedelta | Decimal):
        return value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Sequence):
        return [_to_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _to_plain(value.tolist())
    raise _wrong_result(f"values of type {type(value).__name__}")


def _scalar_value(value: "np.generic[Any]") -> Any:
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, np.datetime64 | np.timedelta64):
        return value.astype(f"{value.dtype.kind}8[us]").item()
    return _to_plain(value.item())


def _is_large(integers: "np.ndarray[Any, Any]") -> bool:
    return bool(integers.dtype == np.uint64 and integers.size and integers.max() > np.iinfo(np.int64).max)


def _large_type(predictions: Sequence[Any]) -> pa.DataType | None:
    """The type of integers, or of lists of them, that only 64 bits without a sign hold, which Arrow does not infer; None for others."""
    if all(kind is not int and not issubclass(kind, list) for kind in set(map(type, predictions))):
        return None
    is_listed = any(isinstance(value, list) for value in predictions)
    items = [item for value in predictions if isinstance(value, list) for item in value] if is_listed else predictions
    large = any(type(item) is int and item >= 2**63 for item in items)
    return None if not large else pa.list_(pa.uint64()) if is_listed else pa.uint64()


def _wrong_result(what: str, error: Exception | None = None) -> ModelError:
    details = {} if error is None else {"reason": f"{type(error).__name__}: {message_of(error)}"}
    return ModelError(
        f"the model returned {what}; its predict must return one prediction for each row, in order: a list, an array, or a frame or dict of"
        " columns, of numbers, text, times, or lists or dicts of them",
        **details,
    )
