"""What a model gets where there is no feature: NULL, an error, or a default of its own."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import RequestError, TypeMismatch, brief, near
from featurestore.models.frames.inputs import Input, Values
from featurestore.models.frames.values import coerce_value
from featurestore.values import json_encoding

POLICIES = ("nan", "error")
Missing: TypeAlias = "str | Mapping[str, Any]"
"""A policy, or the defaults of features by name."""
NUMERIC = "DOUBLE"
"""The type of defaults of derived features, which have no declared type, where the model reads a number."""


def check_policy(missing: Any) -> None:
    """Raises: RequestError for what is neither a policy nor a dict of defaults."""
    if not isinstance(missing, Mapping) and missing not in POLICIES:
        raise RequestError(
            f"missing={brief(missing)} must be 'nan' (a key without features is scored with NULLs), 'error', or the defaults of features,"
            " as in {'spend_30d': 0.0}",
            field="missing",
        )


def policy_and_defaults(missing: Missing, plan: ServicePlan, inputs: Sequence[Input]) -> tuple[str, dict[str, Any]]:
    """The policy, and the defaults as JSON values. Raises: RequestError and TypeMismatch naming the feature."""
    check_policy(missing)
    if isinstance(missing, str):
        return missing, {}
    known = {column.name: column for column in inputs if column.role == "feature"}
    defaults = {}
    for name, value in missing.items():
        if name not in known:
            raise RequestError(f"missing: {brief(name)} is not a feature that the model reads{near(str(name), known)}", field="missing")
        if value is None:
            raise RequestError(f"missing: the default of '{name}' is None; leave it out, and the model gets NULL", field="missing")
        coerced = coerce_value(value, _sql_type(plan, known[name]), f"missing: the default of '{name}'")
        if isinstance(coerced, list | dict):
            raise TypeMismatch(f"missing: the default of '{name}' is {type(coerced).__name__}; give a single value", field="missing")
        defaults[name] = orjson.loads(json_encoding.dumps(coerced))
    return POLICIES[0], defaults


def with_defaults(
    defaults: Mapping[str, Any], plan: ServicePlan, inputs: Sequence[Input], columns: Mapping[str, Values]
) -> Mapping[str, Values]:
    """The columns with the defaults where they are NULL; derived features are not computed again from them."""
    if not defaults:
        return columns
    filled = {}
    for column in inputs:
        if column.name in defaults:
            value = coerce_value(defaults[column.name], _sql_type(plan, column), column.name)
            filled[column.name] = _fill_nulls(columns[column.name], value)
    return {**columns, **filled}


def _fill_nulls(values: Values, default: Any) -> Values:
    if isinstance(values, pa.ChunkedArray):
        return pc.fill_null(values, pa.scalar(default).cast(values.type))
    return [default if value is None else value for value in values]


def _sql_type(plan: ServicePlan, column: Input) -> str | None:
    """The type of a feature; None for a derived one that is no number."""
    return plan.sql_types.get(column.name) or (NUMERIC if column.numeric and column.type != "bool" else None)
