"""Rows of a caller as JSON bodies: lists of objects, with NaN as NULL where the server has no floats."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from featurestore.errors import RequestError, brief
from featurestore.values import json_encoding
from featurestore.values.coercion import beyond_64_bits


def encode_body(body: Any) -> bytes:
    """A body as JSON. Its values may be dates, decimals, NaN, and integers beyond 64 bits, which the server refuses with where they are.

    Raises: TypeError for a value without a JSON form.
    """
    try:
        return json_encoding.dumps(body)
    except TypeError:
        written = json_encoding.replace_leaves(body, _write_large_integer)
        if written is body:
            raise
        return json_encoding.dumps(written)


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


def _write_large_integer(leaf: Any) -> Any:
    """An integer beyond 64 bits as it is written in JSON; any other value as it is."""
    return orjson.Fragment(str(leaf)) if isinstance(leaf, int) and beyond_64_bits(leaf) else leaf
