"""Rows of a caller as JSON bodies: lists of objects, with NaN as NULL where the server has no floats."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from featurestore.errors import RequestError, brief


def check_entities(rows: Any, argument: str) -> list[Any]:
    """Check that rows are a list. Raises: RequestError naming the argument."""
    if not is_list(rows):
        raise RequestError(f"{argument} must be a list of objects, one for each entity", field=argument)
    return list(rows)


def check_records(rows: Any) -> list[Mapping[str, Any]]:
    """Check that `records` are a list of objects. Raises: RequestError."""
    if not is_list(rows) or not all(isinstance(row, Mapping) for row in rows):
        raise RequestError(f"records={brief(rows)} is not a list of objects, one for each row", field="records")
    return list(rows)


def check_params(params: Any) -> dict[str, Any]:
    """Check that `params` are an object with names. Raises: RequestError."""
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        raise RequestError(f"params={brief(params)} is not an object of parameters of the model's signature", field="params")
    return dict(params)


def is_list(value: Any) -> bool:
    """Whether a value is a list or a tuple, or the like."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def has_nan(rows: Sequence[Any]) -> bool:
    """Whether a row has a NaN."""
    return any(_is_nan(value) for row in rows if isinstance(row, Mapping) for value in row.values())


def without_nan(rows: Sequence[Any], floats: Collection[str] = ()) -> list[Any]:
    """The rows with None for each NaN, as frames mean it, except in the columns `floats`."""
    return [
        {name: None if _is_nan(value) and name not in floats else value for name, value in row.items()} if isinstance(row, Mapping) else row
        for row in rows
    ]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value
