"""The values that stand for NULL in the features of a use of a view."""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from featurestore.compiler.service_plan import ViewUse
from featurestore.values.coercion import coerce


@lru_cache(maxsize=1024)
def default_values(use: ViewUse) -> Mapping[str, Any]:
    """The defaults, by the features' names in the service, as values of their types. Raises: TypeMismatch for one that does not fit."""
    types = {name: sql_type for (_, name), sql_type in zip(use.features, use.feature_types, strict=True)}
    return MappingProxyType({name: coerce(value, types[name], f"the default of '{name}'") for name, value in use.defaults})
