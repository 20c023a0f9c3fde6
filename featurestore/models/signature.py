"""The serving signature: keys and request fields are required, and features are optional, to override looked-up ones."""

from typing import Any

from featurestore.compiler.service_plan import ServicePlan
from featurestore.models.mlflow_client import mlflow

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
