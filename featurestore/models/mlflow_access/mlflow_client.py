"""Import MLflow in one place, and convert its errors to ours."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from featurestore.errors import MissingExtra, NotFound, NotReady, RequestError
from featurestore.redaction import without_secrets

_MODULES = ("artifacts", "entities", "exceptions", "models", "pyfunc", "types.schema", "utils.validation")
_REPOSITORIES = "mlflow.store.artifact.artifact_repository_registry"

try:
    # Only parts of MLflow are typed.
    mlflow: Any = import_module("mlflow")
except ModuleNotFoundError as error:
    if error.name != "mlflow":
        raise
    raise MissingExtra("mlflow", "mlflow") from error

for _name in _MODULES:
    import_module(f"mlflow.{_name}")

artifact_repository: Any = import_module(_REPOSITORIES)

# MLflow reports unknown aliases and unreadable URIs as invalid parameters.
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE")
STAGED_VERSIONS = 1000
"""Versions of a model among which those with a stage are looked for."""
UNAVAILABLE = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
"""Codes of errors of a server that does not respond, or not as MLflow."""
LATEST = "latest"
"""MLflow's word for the newest version in an address; any other word there is a stage."""
_PART = r"[^/@\s](?:[^/@]*[^/@\s])?"
_ADDRESS = re.compile(rf"models:/+{_PART}([/@]{_PART})?|runs:/+{_PART}/.+", re.DOTALL)
_OF_STAGE = re.compile(rf"models:/+(?P<name>{_PART})/(?P<stage>(?!{LATEST}$){_PART})", re.IGNORECASE)


# It has the code of an unavailable server.
_EMPTY_STAGE = "No versions of model"


@contextmanager
def translate_mlflow_errors(kind: str, name: str, uri: str | None = None) -> Iterator[None]:
    """A context that converts MLflow's errors about the object `kind` `name`; `uri` None: at the tracking address in use.

    Raises: NotFound with the nearest registered models; NotReady if MLflow does not respond; RequestError for an invalid address, for which
    MLflow has the same error as for an unavailable server.
    """
    try:
        yield
    except mlflow.exceptions.MlflowException as error:
        if name.startswith(("models:", "runs:")) and not _ADDRESS.fullmatch(name):
            raise RequestError(
                f"{name} is not the address of a model; write models:/name/1, models:/name@alias, models:/m-... or runs:/<run id>/model"
            ) from error
        stage = _OF_STAGE.fullmatch(name)
        if stage is not None and not stage["stage"].isdigit() and (error.error_code in ABSENT or str(error).startswith(_EMPTY_STAGE)):
            raise no_such_stage(stage["name"], stage["stage"], uri) from error
        if error.error_code not in ABSENT:
            raise NotReady(f"{place(uri)} did not respond to a request for {kind} {name}: {error}") from error
        raise NotFound(kind, name, _registered_addresses(name, uri), place(uri)) from error
    except FileNotFoundError as error:
        known = _registered_addresses(name, uri)
        if name in known:
            raise RequestError(
                f"{name} is the name of a model, not the address of one; write models:/{name}/1 or models:/{name}@alias"
            ) from error
        raise NotFound(kind, name, known, place(uri)) from error


def check_new_alias(alias: str) -> None:
    """Raises: RequestError for an alias that MLflow would refuse, which must not be recorded first."""
    try:
        mlflow.utils.validation._validate_model_alias_name(alias)
        mlflow.utils.validation._validate_model_alias_name_reserved(alias)
    except mlflow.exceptions.MlflowException as error:
        raise RequestError(f"alias: {error.message}", field="alias") from error


def local_path(model_uri: str) -> str:
    """A model's address as all functions of MLflow accept it: `file:///folder` as a path, others unchanged."""
    return mlflow.utils.file_utils.local_file_uri_to_path(model_uri) if model_uri.startswith("file:") else model_uri


def place(uri: str | None = None) -> str:
    """MLflow with its address, without passwords; `uri` None: the tracking address in use."""
    return f"MLflow at {without_secrets(uri or mlflow.get_tracking_uri())}"


def no_such_stage(name: str, stage: str, uri: str | None = None) -> NotFound:
    """The error for the address of a stage without a version of the model, with the stages that have one.

    Raises: as `translate_mlflow_errors`.
    """
    with translate_mlflow_errors("model", name, uri):
        mlflow.MlflowClient(uri).get_registered_model(name)
        versions = mlflow.MlflowClient(uri).search_model_versions(name_filter(name), max_results=STAGED_VERSIONS)
    stages = {str(version.current_stage) for version in versions} - {"None"}
    where = f"model {name}; MLflow advises aliases, as in models:/{name}@champion, instead of stages"
    return NotFound("version in stage", stage, stages, where)


def name_filter(name: str) -> str:
    """The filter of MLflow's searches for a registered model of this name."""
    quote = '"' if "'" in name else "'"
    return f"name = {quote}{name}{quote}"


def _registered_addresses(name: str, uri: str | None) -> list[str]:
    """The addresses of the registered models in the form of `name`; none if MLflow stops responding."""
    try:
        models = mlflow.MlflowClient(uri).search_registered_models(max_results=100)
    except mlflow.exceptions.MlflowException:
        return []
    if not name.startswith("models:/"):
        return [model.name for model in models]
    aliases = [f"models:/{model.name}@{alias}" for model in models for alias in model.aliases]
    if "@" in name and aliases:
        return aliases
    return [f"models:/{model.name}/{version.version}" for model in models for version in model.latest_versions or []]
