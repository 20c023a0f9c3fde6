"""The serving signature: keys and request fields are required, features may be sent to override the looked-up ones."""

from typing import Any

from featurestore.compiler.service_plan import ServicePlan
from featurestore.models.mlflow_client import mlflow

# MLflow checks a declared type more narrowly than we read values: an int is no double to it, a NULL among integers no
# integer, a time with a zone no time. So a type is declared where its check is right, and left open where ours is.
_KEYS = {"INTEGER": "long", "BIGINT": "long", "VARCHAR": "string", "BOOLEAN": "boolean"}
_NULLABLE = {"VARCHAR": "string"}


def serving_signature(plan: ServicePlan, outputs: Any = None) -> Any:
    """The signature of a service's models; `outputs` is the native model's output schema, None if it has none."""
    kinds = {column: kind for use in plan.uses for (_, column), kind in zip(use.keys, use.key_types, strict=True)}
    columns = [_column(name, _KEYS.get(kinds[name]), required=True) for name in plan.entity_columns]
    columns += [_column(name, _NULLABLE.get(kind), required=True) for name, kind in plan.request]
    features = {name: kind for use in plan.uses for (_, name), kind in zip(use.features, use.feature_types, strict=True)}
    columns += [_column(name, _NULLABLE.get(features.get(name, "")), required=False) for name in plan.feature_names]
    return mlflow.models.ModelSignature(inputs=mlflow.types.schema.Schema(columns), outputs=outputs)


def _column(name: str, kind: str | None, *, required: bool) -> Any:
    schema = mlflow.types.schema
    return schema.ColSpec(type=kind or schema.AnyType(), name=name, required=required)
