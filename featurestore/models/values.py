"""Values that callers send: what counts as none, and how the rest is read."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from featurestore.compiler.service_plan import ServicePlan
from featurestore.models.inputs import Values
from featurestore.spines.columns import plain_arrow_type
from featurestore.values.coercion import coerce


def to_python(value: Any) -> Any:
    """None for whatever says that there is no value: None, NaN, pandas.NA and NaT, an Arrow NULL."""
    if isinstance(value, pa.Scalar):
        value = value.as_py()
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value


def to_list(values: Values) -> list[Any]:
    """A column as Python values."""
    return values.to_pylist() if isinstance(values, pa.ChunkedArray) else list(values)


def coerce_value(value: Any, kind: str | None, what: str) -> Any:
    """A value as the Python value of a DuckDB type; as it is where the type is not known. Raises: TypeMismatch naming `what`."""
    return value if kind is None else coerce(value, kind, what)


def sql_types_of(plan: ServicePlan) -> dict[str, str]:
    """The DuckDB type of each key, request field and looked-up feature; not of the derived ones."""
    keys = {column: kind for use in plan.uses for (_, column), kind in zip(use.keys, use.key_types, strict=True)}
    features = {name: kind for use in plan.uses for (_, name), kind in zip(use.features, use.feature_types, strict=True)}
    return {**keys, **dict(plan.request), **features}


def to_predictions(answer: Any) -> list[Any]:
    """A model's answer as Python values, one for each row: numbers, texts, or lists and dicts where it gives several values."""
    if isinstance(answer, pd.DataFrame):
        return to_predictions(answer.iloc[:, 0]) if answer.shape[1] == 1 else answer.to_dict("records")
    if getattr(answer, "ndim", 1) == 2 and answer.shape[1] == 1:
        answer = answer[:, 0]
    found = answer.tolist() if hasattr(answer, "tolist") else list(answer)
    return found if isinstance(found, list) else [found]


def to_arrow(values: Values, kind: str | None) -> pa.Array | pa.ChunkedArray:
    """A column as Arrow, of a DuckDB type; of whatever type its values have where that is not known."""
    if isinstance(values, pa.ChunkedArray):
        return values
    if kind == "UUID":
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values) if kind is None else pa.array(values, plain_arrow_type(kind))


def to_records(columns: Mapping[str, Sequence[Any]], rows: int) -> list[dict[str, Any]]:
    """Columns as a dict for each row."""
    return [{name: values[row] for name, values in columns.items()} for row in range(rows)]
