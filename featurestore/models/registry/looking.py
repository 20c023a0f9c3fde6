"""Whether there is an MLflow to look at, without importing it."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from featurestore.errors import NotReady
from featurestore.models.mlflow_access import location
from featurestore.records.runtime import Runtime

if TYPE_CHECKING:
    from featurestore.models.registry.registry_look import RegistryLook


def open_look(runtime: Runtime) -> "RegistryLook | None":
    """The looks at the MLflow of a store; None if MLflow is not installed, or the store has no models and no configured MLflow."""
    if find_spec("mlflow") is None or not _has_address(runtime):
        return None
    # Imported here: MLflow takes a second to import.
    from featurestore.models.registry.registry_look import RegistryLook  # noqa: PLC0415

    return RegistryLook(runtime)


def _has_address(runtime: Runtime) -> bool:
    try:
        return location.tracking_uri(runtime.settings) is not None
    except NotReady:
        # The look says what is wrong with the address.
        return True
