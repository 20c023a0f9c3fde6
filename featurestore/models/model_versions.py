"""Resolve names, versions and aliases of registered models with MLflow."""

from typing import Any

from featurestore.errors import NotFound, RequestError
from featurestore.models.mlflow_client import asking, local_path, mlflow


def resolve_version(name: str, version: int | str | None = None, alias: str | None = None) -> str:
    """The version with this number, or with this alias, or the newest version.

    Raises: NotFound with the nearest names, or the existing versions or aliases; RequestError for both version and alias.
    """
    if version is not None and alias is not None:
        raise RequestError("pass version= or alias=, not both")
    client = mlflow.MlflowClient()
    with asking("model", name):
        model = client.get_registered_model(name)
    if alias is not None:
        if alias not in model.aliases:
            raise NotFound("alias", alias, model.aliases, f"model {name}")
        return str(model.aliases[alias])
    if version is not None:
        with asking("version", str(version)):
            return _version(client, name, str(version))
    newest = client.search_model_versions(f"name = '{name}'", max_results=1, order_by=["version_number DESC"])
    if not newest:
        raise NotFound("version", "newest", (), f"model {name}")
    return str(newest[0].version)


def versions_by_alias(name: str) -> dict[str, str]:
    """The aliases of a registered model and their versions. Raises: NotFound with the nearest names."""
    with asking("model", name):
        model = mlflow.MlflowClient().get_registered_model(name)
    return {alias: str(version) for alias, version in model.aliases.items()}


def _version(client: Any, name: str, version: str) -> str:
    try:
        return str(client.get_model_version(name, version).version)
    except mlflow.exceptions.MlflowException as error:
        known = [str(existing.version) for existing in client.search_model_versions(f"name = '{name}'")]
        raise NotFound("version", version, known, f"model {name}") from error


def name_and_version(model_uri: str) -> tuple[str, str | None]:
    """The registered or logged name of the model at an address, and its version, None if the address has no registered name."""
    name, slash, version = model_uri.removeprefix("models:/").strip("/").rpartition("/")
    if model_uri.startswith("models:/") and slash:
        return name, resolve_version(name) if version == "latest" else resolve_version(name, version)
    name, at, alias = model_uri.removeprefix("models:/").rpartition("@")
    if model_uri.startswith("models:/") and at:
        return name, resolve_version(name, alias=alias)
    with asking("model", model_uri):
        model_id = mlflow.models.get_model_info(local_path(model_uri)).model_id
        return str(mlflow.MlflowClient().get_logged_model(model_id).name) if model_id else model_uri, None
