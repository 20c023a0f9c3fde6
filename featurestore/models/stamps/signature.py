"""The serving signature: keys and request fields are required, and features are optional, to override looked-up ones."""

from collections.abc import Mapping
from typing import Any

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import RequestError, near
from featurestore.models.mlflow_access.mlflow_client import mlflow

# MLflow's checks of declared types are stricter than ours: it refuses an int for a double, integers with NULLs, and times with a zone.
# So a type is declared only if MLflow's check is right for it.
_KEYS = {"INTEGER": "long", "BIGINT": "long", "VARCHAR": "string", "BOOLEAN": "boolean"}
_NULLABLE = {"VARCHAR": "string"}


def serving_signature(plan: ServicePlan, native: Any = None) -> Any:
    """The signature of a service's models, with the outputs and parameters of the native model's signature, if it has one."""
    types = {column: sql_type for use in plan.uses for (_, column), sql_type in zip(use.keys, use.key_types, strict=True)}
    columns = [_column(name, _KEYS.get(types[name]), required=True) for name in plan.entity_columns]
    columns += [_column(name, _NULLABLE.get(sql_type), required=True) for name, sql_type in plan.request]
    features = {name: sql_type for use in plan.uses for (_, name), sql_type in zip(use.features, use.feature_types, strict=True)}
    columns += [_column(name, _NULLABLE.get(features.get(name, "")), required=False) for name in plan.feature_names]
    inputs = mlflow.types.schema.Schema(columns)
    return mlflow.models.ModelSignature(inputs=inputs, outputs=getattr(native, "outputs", None), params=getattr(native, "params", None))


def _column(name: str, mlflow_type: str | None, *, required: bool) -> Any:
    schema = mlflow.types.schema
    return schema.ColSpec(type=mlflow_type or schema.AnyType(), name=name, required=required)


def example_of_keys(example: Any, plan: ServicePlan) -> Any:
    """An input example with the columns of the service only: keys, request fields, and features that override looked-up ones.

    `example` is a frame, a record, or a list of records, also in a pair with parameters. Raises: RequestError if it lacks a key or a
    request field, as one of features does.
    """
    if isinstance(example, tuple) and len(example) == 2:
        return example_of_keys(example[0], plan), example[1]
    required = [*plan.entity_columns, *dict(plan.request)]
    records = [example] if isinstance(example, Mapping) else example
    if hasattr(example, "columns"):
        names = [str(name) for name in example.columns]
    elif isinstance(records, list) and records and all(isinstance(record, Mapping) for record in records):
        names = list(dict.fromkeys(str(name) for record in records for name in record))
    else:
        raise RequestError(f"input_example: give a frame or records with the columns {', '.join(required)}", field="input_example")
    for name in required:
        if name not in names:
            raise RequestError(
                f"input_example: it has no '{name}'{near(name, names)}; the model is called with keys and request fields"
                f" ({', '.join(required)}), and looks up the features itself",
                field="input_example",
            )
    kept = [name for name in names if name in plan.column_names]
    if hasattr(example, "columns"):
        return example[kept]
    rows = [{name: record[name] for name in kept if name in record} for record in records]
    return rows[0] if isinstance(example, Mapping) else rows
