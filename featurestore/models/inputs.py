"""A model's inputs: which columns it reads, in which order, and how their values become the frame it was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import RequestError, near
from featurestore.values.value_types import STORED_TYPES

Values: TypeAlias = "Sequence[Any] | pa.ChunkedArray"
"""One column: Python values with None for NULL, or Arrow."""

_INTEGERS = {"int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64}
_FLOATS = {"float": np.float32, "double": np.float64}
_OTHERS = {
    "string": pa.string(),
    "binary": pa.binary(),
    "date32[day]": pa.date32(),
    "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
}
# The types of keys and request fields, which the service declares.
_SENT = {stored.sql: stored.arrow for stored in STORED_TYPES if stored.arrow is not None and stored.sql != "UUID"}
# The types of a model's signature.
_DECLARED = {"boolean": "bool", "integer": "int32", "long": "int64", "float": "float", "double": "double", "string": "string"}


@dataclass(frozen=True)
class Input:
    """One column that a model reads. `role` is key, request or feature; `type` the Arrow type it had when training, by
    name, or the one that the model's signature declares; `nullable` whether training saw a NULL in it.
    """

    name: str
    role: str
    type: str
    nullable: bool

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers or truth values."""
        return self.type in _INTEGERS or self.type in _FLOATS or self.type == "bool" or self.type.startswith("decimal")


def choose_inputs(
    native: Any, signature: Any, manifest: Mapping[str, Any], plan: ServicePlan, given: Sequence[str] | None
) -> tuple[list[Input], bool]:
    """The inputs of a model, and whether it knows their names.

    Named by `given`, else by the signature, else by the model itself; a model that knows no names reads the service's
    features in their order. Raises: RequestError for a column that a caller could not send and the store not look up.
    """
    declared = _declared(signature)
    own = list(declared) or _own_names(native)
    names = list(given) if given is not None else own or list(plan.feature_names)
    if own and sorted(names) != sorted(own):
        raise RequestError(f"inputs={names} are not the columns that the model was trained on: {own}")
    _check_count(native, names, manifest)
    types = {column["name"]: column["type"] for column in manifest["columns"]}
    keys = {column: kind for use in plan.uses for (_, column), kind in zip(use.keys, use.key_types, strict=True)}
    types.update({name: _SENT.get(kind, types.get(name, "")) for name, kind in (*keys.items(), *plan.request)})
    inputs = [_input(name, declared.get(name) or types.get(name, ""), manifest, plan) for name in own or names]
    return inputs, bool(own) or not hasattr(native, "n_features_in_")


def frame(inputs: Sequence[Input], columns: Mapping[str, Values], *, named: bool, matrix: bool, nullable: bool) -> Any:
    """The model's columns as it saw them in training: a DataFrame, or a bare array for a model that knows no names.

    `matrix` makes all of them doubles in one block, which is several times faster; for models that read nothing else. `nullable`
    makes integers and booleans with NULL columns of pandas' nullable types, as `to_pandas` does, and not doubles.
    """
    if matrix and all(one.numeric for one in inputs):
        block = np.column_stack([_doubles(columns[one.name]) for one in inputs])
        return pd.DataFrame(block, columns=[one.name for one in inputs], copy=False) if named else block
    made = pd.DataFrame({one.name: _column(one, columns[one.name], named and nullable) for one in inputs})
    return made if named else made.to_numpy()


def _input(name: str, kind: str, manifest: Mapping[str, Any], plan: ServicePlan) -> Input:
    if name == manifest["label"]:
        raise RequestError(
            f"the model was trained on '{name}', the label of {manifest['id']}: what it has to tell cannot be an input", field=name
        )
    if name in plan.feature_names:
        return Input(name, "feature", kind, bool(manifest["nulls"].get(name)))
    role = "request" if name in dict(plan.request) else "key" if name in plan.entity_columns else None
    if role is None:
        known = [*plan.entity_columns, *dict(plan.request), *plan.feature_names]
        raise RequestError(
            f"the model was trained on '{name}', which is no feature, request field or key of service {plan.service}, so nobody"
            f" could look it up; make it a request field{near(name, known)}",
            field=name,
        )
    return Input(name, role, kind, False)


def _declared(signature: Any) -> dict[str, str]:
    """The columns of a signature with the types it declares, by Arrow's names; "" for one that has no such name."""
    schema = getattr(signature, "inputs", None)
    if schema is None or not schema.has_input_names() or schema.is_tensor_spec():
        return {}
    return {column.name: _DECLARED.get(getattr(column.type, "name", ""), "") for column in schema.inputs}


def _own_names(native: Any) -> list[str]:
    """The column names that a model itself remembers; none if it was trained on a bare matrix."""
    for attribute in ("feature_names_in_", "feature_name_", "feature_names_", "feature_names", "feature_name"):
        names = getattr(native, attribute, None)
        if callable(names):
            # Of LightGBM's Booster it is a method.
            names = names() if attribute == "feature_name" else None
        if names is not None and all(isinstance(name, str) for name in names):
            # LightGBM names the columns of a matrix itself.
            found = [str(name) for name in names]
            return [] if found == [f"Column_{index}" for index in range(len(found))] else found
    return []


def _check_count(native: Any, names: Sequence[str], manifest: Mapping[str, Any]) -> None:
    count = getattr(native, "n_features_in_", len(names))
    if count != len(names):
        raise RequestError(
            f"the model was trained on a matrix of {count} columns, and {manifest['service']['name']} has {len(names)} features;"
            " train it on a DataFrame, or say which columns they were with inputs=[...]"
        )


def _column(one: Input, values: Values, nullable: bool) -> Any:
    if not one.numeric:
        return _others(one, values)
    if one.type in _FLOATS:
        return _doubles(values).astype(_FLOATS[one.type], copy=False)
    missing = _missing(values)
    if one.type.startswith("decimal") or ((one.nullable or missing.any()) and not nullable):
        return _doubles(values)
    exact = _present(values)
    kind = np.dtype(bool if one.type == "bool" else _INTEGERS[one.type])
    fits = kind.kind == "b" or exact.dtype.kind not in "if" or _holds(kind, exact)
    if exact.dtype.kind == "f" and not (fits and (exact == np.floor(exact)).all()):
        # A caller's 80.5 for what was an integer in training stays 80.5.
        return _doubles(values)
    # What does not fit is of a feature that has become wider since.
    kind = kind if fits else exact.dtype
    if not (one.nullable or missing.any()):
        return exact.astype(kind)
    filled = np.zeros(len(missing), kind)
    filled[~missing] = exact.astype(kind)
    return pd.arrays.BooleanArray(filled, missing) if kind.kind == "b" else pd.arrays.IntegerArray(filled, missing)


def _missing(values: Values) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Where there is no value."""
    if isinstance(values, pa.ChunkedArray):
        return np.asarray(values.is_null().to_numpy(), dtype=bool)
    return np.fromiter((value is None for value in values), dtype=bool, count=len(values))


def _present(values: Values) -> "np.ndarray[Any, Any]":
    """The values that are there, in numpy's own type for them."""
    if isinstance(values, pa.ChunkedArray):
        return np.asarray(values.drop_null().to_numpy())
    return np.asarray([value for value in values if value is not None])


def _holds(kind: "np.dtype[Any]", numbers: "np.ndarray[Any, Any]") -> bool:
    """Whether all numbers lie in the range of an integer type."""
    ends = np.iinfo(kind)
    return not len(numbers) or bool(numbers.min() >= ends.min and numbers.max() < ends.max + 1)


def _doubles(values: Values) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Numbers as doubles, NULL as NaN."""
    if not isinstance(values, pa.ChunkedArray):
        return np.array(values, dtype=np.float64)
    numbers = values.cast(pa.uint8()) if pa.types.is_boolean(values.type) else values
    return np.asarray(numbers.cast(pa.float64(), safe=False).to_numpy())


def _others(one: Input, values: Values) -> Any:
    if isinstance(values, pa.ChunkedArray):
        return values.to_pandas()
    kind = _OTHERS.get(one.type)
    return pd.Series(list(values), dtype=object) if kind is None else pa.array(values, kind).to_pandas()
