"""The inputs of a model: its columns in order, and the conversion of values to the frame that it was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import RequestError, near
from featurestore.models.frames.categories import Categories, categories_of
from featurestore.values.value_types import STORED_TYPES

Values: TypeAlias = "Sequence[Any] | pa.ChunkedArray"
"""A column: Python values with None for NULL, or Arrow."""

_STEP_ROWS = 2048
_PART_ROWS = 65_536
_INTEGERS = {"int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64}
_FLOATS = {"float": np.float32, "double": np.float64}
_OTHERS = {
    "string": pa.string(),
    "binary": pa.binary(),
    "date32[day]": pa.date32(),
    "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
}
# Arrow types of keys and request fields by the DuckDB types in the service.
_SENT = {stored.sql: stored.arrow for stored in STORED_TYPES if stored.arrow is not None and stored.sql != "UUID"}
# Arrow types by the types of MLflow signatures.
_DECLARED = {"boolean": "bool", "integer": "int32", "long": "int64", "float": "float", "double": "double", "string": "string"}


@dataclass(frozen=True)
class Input:
    """A column that a model reads.

    `role` is key, request or feature; `type` is the name of its Arrow type in the training set, or of the one that the model's signature
    declares; `nullable` says whether it had a NULL in the training set. `categories` are those of a pandas category column, in order.
    """

    name: str
    role: str
    type: str
    nullable: bool
    categories: Categories | None = None

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers or booleans."""
        return self.type in _INTEGERS or self.type in _FLOATS or self.type == "bool" or self.type.startswith("decimal")


def choose_inputs(
    native: Any, signature: Any, manifest: Mapping[str, Any], plan: ServicePlan, requested: Sequence[str] | None, *, by_name: bool
) -> tuple[list[Input], bool]:
    """Determine the inputs of a model, and whether the model has their names.

    Names come from `requested`, else the signature, else the model itself. `by_name`: the model reads its columns by name, like an
    mlflow.pyfunc.PythonModel; without names it gets all request fields and features.
    Raises: RequestError for a column that is neither a feature nor a key or request field, and for a model whose columns nobody names.
    """
    declared = _signature_types(signature)
    trained_names = list(declared) or _own_names(native)
    if requested is None and not trained_names and not by_name:
        raise RequestError(
            "the model does not name the columns that it was trained on, and in another order they would give wrong predictions; pass"
            f" inputs=[...], their names in the order of its matrix. {plan.service} has the features {', '.join(plan.feature_names)}",
            field="inputs",
        )
    names = list(requested) if requested is not None else trained_names or [*dict(plan.request), *plan.feature_names]
    if trained_names and sorted(names) != sorted(trained_names):
        raise RequestError(f"inputs={names} are not the columns that the model was trained on: {trained_names}")
    _check_count(native, names, manifest)
    types = {column["name"]: column["type"] for column in manifest["columns"]}
    keys = {column: sql_type for use in plan.uses for (_, column), sql_type in zip(use.keys, use.key_types, strict=True)}
    types.update({name: _SENT.get(sql_type, types.get(name, "")) for name, sql_type in (*keys.items(), *plan.request)})
    categories = categories_of(native)
    inputs = [
        replace(_input(name, declared.get(name) or types.get(name, ""), manifest, plan), categories=categories.get(name))
        for name in trained_names or names
    ]
    return inputs, bool(trained_names) or by_name or not hasattr(native, "n_features_in_")


def make_frame(
    inputs: Sequence[Input], columns: Mapping[str, Values], *, named: bool, matrix: bool, nullable: bool, exact: bool = False
) -> Any:
    """The model's columns with the types of the training: a DataFrame, or without `named` a bare array.

    `matrix` converts all columns, which must be numbers, to one block of doubles: several times faster, for models that do so themselves.
    `nullable` converts integers and booleans with NULL to pandas' nullable types, as `to_pandas` does, instead of doubles.
    `exact` gives decimals as Decimal, as `to_pandas` does, where they are not converted to a block.
    """
    if matrix:
        block = _to_block([columns[column.name] for column in inputs])
        return pd.DataFrame(block, columns=[column.name for column in inputs], copy=False) if named else block
    result = pd.DataFrame({column.name: _column(column, columns[column.name], named and nullable, exact) for column in inputs})
    return result if named else result.to_numpy()


def are_numbers(inputs: Sequence[Input]) -> bool:
    """Whether all columns are numbers or booleans, and none is a category."""
    return all(column.numeric and column.categories is None for column in inputs)


def _input(name: str, arrow_name: str, manifest: Mapping[str, Any], plan: ServicePlan) -> Input:
    if name == manifest["label"]:
        raise RequestError(f"the model was trained on '{name}', the label of {manifest['id']}; train it without the label", field=name)
    if name in plan.feature_names:
        return Input(name, "feature", arrow_name, bool(manifest["nulls"].get(name)))
    role = "request" if name in dict(plan.request) else "key" if name in plan.entity_columns else None
    if role is None:
        known = [*plan.entity_columns, *dict(plan.request), *plan.feature_names]
        raise RequestError(
            f"the model was trained on '{name}', which is not a feature, request field or key of service {plan.service};"
            f" make it a request field{near(name, known)}",
            field=name,
        )
    return Input(name, role, arrow_name, False)


def _signature_types(signature: Any) -> dict[str, str]:
    """The columns of a signature with the names of their Arrow types, "" for other types."""
    schema = getattr(signature, "inputs", None)
    if schema is None or not schema.has_input_names() or schema.is_tensor_spec():
        return {}
    return {column.name: _DECLARED.get(getattr(column.type, "name", ""), "") for column in schema.inputs}


def _own_names(native: Any) -> list[str]:
    """The column names in the model itself; none if it was trained on a bare matrix."""
    for attribute in ("feature_names_in_", "feature_name_", "feature_names_", "feature_names", "feature_name"):
        names = getattr(native, attribute, None)
        if callable(names):
            # A method of LightGBM's Booster.
            names = names() if attribute == "feature_name" else None
        if names is not None and all(isinstance(name, str) for name in names):
            # LightGBM generates names for the columns of a matrix.
            texts = [str(name) for name in names]
            return [] if texts == [f"Column_{index}" for index in range(len(texts))] else texts
    return []


def _check_count(native: Any, names: Sequence[str], manifest: Mapping[str, Any]) -> None:
    count = getattr(native, "n_features_in_", len(names))
    if count != len(names):
        raise RequestError(
            f"the model was trained on a matrix of {count} columns, but inputs={list(names)} names {len(names)}; name each of its columns,"
            " in order, or train it on a DataFrame"
        )


def _column(column: Input, values: Values, nullable: bool, exact_decimals: bool) -> Any:
    if column.categories is not None:
        # A value that is no category becomes NULL.
        raw = values.to_pandas() if isinstance(values, pa.ChunkedArray) else list(values)
        return pd.Categorical(raw, categories=list(column.categories))
    if column.type.startswith("decimal") and nullable and exact_decimals:
        return _decimals(values)
    if not column.numeric:
        return _others(column, values)
    if column.type in _FLOATS:
        return _doubles(values).astype(_FLOATS[column.type], copy=False)
    missing = is_missing(values)
    if column.type.startswith("decimal") or ((column.nullable or missing.any()) and not nullable):
        return _doubles(values)
    exact = _present(values)
    dtype = np.dtype(bool if column.type == "bool" else _INTEGERS[column.type])
    fits = dtype.kind == "b" or exact.dtype.kind not in "if" or _holds(dtype, exact)
    if exact.dtype.kind == "f" and not (fits and (exact == np.floor(exact)).all()):
        # A caller's 80.5 for an integer column stays 80.5.
        return _doubles(values)
    # Values that do not fit are those of a feature whose type has been widened since.
    dtype = dtype if fits else exact.dtype
    if not (column.nullable or missing.any()):
        return exact.astype(dtype)
    filled = np.zeros(len(missing), dtype)
    filled[~missing] = exact.astype(dtype)
    return pd.arrays.BooleanArray(filled, missing) if dtype.kind == "b" else pd.arrays.IntegerArray(filled, missing)


def is_missing(values: Values) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """A mask of the NULLs."""
    if isinstance(values, pa.ChunkedArray):
        return np.asarray(values.is_null().to_numpy(), dtype=bool)
    return np.fromiter((value is None for value in values), dtype=bool, count=len(values))


def _present(values: Values) -> "np.ndarray[Any, Any]":
    """The values that are not NULL."""
    if isinstance(values, pa.ChunkedArray):
        return np.asarray(values.drop_null().to_numpy())
    return np.asarray([value for value in values if value is not None])


def _holds(dtype: "np.dtype[Any]", numbers: "np.ndarray[Any, Any]") -> bool:
    """Whether all numbers are in the range of an integer type."""
    ends = np.iinfo(dtype)
    return not len(numbers) or bool(numbers.min() >= ends.min and numbers.max() < ends.max + 1)


def _to_block(columns: Sequence[Values]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Columns of numbers as one block of doubles, a row after another, NULL as NaN."""
    if not any(isinstance(values, pa.ChunkedArray) for values in columns):
        # For a row, an array for each column would take ten times as long.
        return np.array(list(zip(*columns, strict=True)), dtype=np.float64).reshape(-1, len(columns))
    arrays = [values if isinstance(values, pa.ChunkedArray) else _doubles(values) for values in columns]
    block = np.empty((len(arrays[0]), len(arrays)))
    # Part by part: to convert whole columns takes memory for a second copy, which may take longer to get than to fill.
    for start in range(0, len(block), _PART_ROWS):
        part = slice(start, start + _PART_ROWS)
        _fill(block[part], [_doubles(values[part]) for values in arrays])
    return block


def _fill(block: "np.ndarray[Any, np.dtype[np.float64]]", columns: Sequence["np.ndarray[Any, np.dtype[np.float64]]"]) -> None:
    """Copy columns into a block. Some rows at a time, which the processor's cache holds, take a third of the time of all."""
    for start in range(0, len(block), _STEP_ROWS):
        for place, column in enumerate(columns):
            block[start : start + _STEP_ROWS, place] = column[start : start + _STEP_ROWS]


def _doubles(values: Values) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Numbers as doubles, NULL as NaN."""
    if not isinstance(values, pa.ChunkedArray):
        return np.array(values, dtype=np.float64)
    numbers = values.cast(pa.uint8()) if pa.types.is_boolean(values.type) else values
    return np.asarray(numbers.cast(pa.float64(), safe=False).to_numpy())


def _decimals(values: Values) -> Any:
    """Decimals as objects, None for NULL; a caller's number that is no decimal by its digits."""
    items = values.to_pylist() if isinstance(values, pa.ChunkedArray) else values
    exact = [value if value is None or isinstance(value, Decimal) else Decimal(str(value)) for value in items]
    return pd.Series(exact, dtype=object)


def _others(column: Input, values: Values) -> Any:
    if isinstance(values, pa.ChunkedArray):
        return values.to_pandas()
    dtype = _OTHERS.get(column.type)
    return pd.Series(list(values), dtype=object) if dtype is None else pa.array(values, dtype).to_pandas()
