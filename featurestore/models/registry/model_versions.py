"""Resolve names, versions and aliases of registered models with MLflow."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featurestore.errors import NotFound, NotReady, RequestError
from featurestore.models.mlflow_access.mlflow_client import (
    ABSENT,
    LATEST,
    STAGED_VERSIONS,
    local_path,
    mlflow,
    name_filter,
    no_such_stage,
    translate_mlflow_errors,
)

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
MOST_NAMED = 100
"""Versions read for a message."""


@dataclass(frozen=True)
class RegisteredVersions:
    """The aliases of a registered model with their versions, and its only version, None if it has several or none.

    `empty`: it has no version at all.
    """

    name: str
    aliases: Mapping[str, str]
    only: str | None
    empty: bool = False

    def resolve(self, alias: str | None, default_alias: str) -> str:
        """The version with this alias; None: that with the default alias, or else the only one.

        Raises: NotFound with the existing aliases; NotReady for a model of no version, or of several of which none is approved.
        """
        if alias is not None:
            if alias not in self.aliases:
                raise NotFound("alias", alias, self.aliases, f"model {self.name}")
            return self.aliases[alias]
        version = self.aliases.get(default_alias, self.only)
        if version is None and self.empty:
            raise NotReady(
                f"model {self.name} has no version: log one with registered_model_name={self.name!r}", model=self.name, aliases=[]
            )
        if version is None:
            raise NotReady(
                f"model {self.name} has several versions, and none has the alias '{default_alias}': request a version or an alias, or"
                f" approve a version with models.set_alias({self.name!r}, {default_alias!r}, VERSION)",
                model=self.name,
                aliases=sorted(self.aliases),
            )
        return version


def registered_versions(name: str) -> RegisteredVersions:
    """What MLflow says of a registered model. Raises: NotFound with the nearest names; NotReady if MLflow does not respond."""
    client = mlflow.MlflowClient()
    with translate_mlflow_errors("model", name):
        model = client.get_registered_model(name)
        versions = client.search_model_versions(name_filter(name), max_results=2)
    aliases = {alias: str(version) for alias, version in model.aliases.items()}
    return RegisteredVersions(name, aliases, str(versions[0].version) if len(versions) == 1 else None, not versions)


def resolve_version(name: str, version: int | str | None = None, alias: str | None = None) -> str:
    """The version with this number, or with this alias, or the newest version.

    Raises: NotFound with the nearest names, or the existing versions or aliases; RequestError for both version and alias.
    """
    if version is not None and alias is not None:
        raise RequestError("pass version= or alias=, not both")
    if alias is not None:
        return registered_versions(name).resolve(alias, alias)
    client = mlflow.MlflowClient()
    if version is not None:
        return str(_model_version(client, name, str(version)).version)
    with translate_mlflow_errors("model", name):
        client.get_registered_model(name)
    with translate_mlflow_errors("model", name):
        newest = client.search_model_versions(name_filter(name), max_results=1, order_by=["version_number DESC"])
    if not newest:
        raise NotFound("version", "newest", (), f"model {name}")
    return str(newest[0].version)


def _model_version(client: Any, name: str, version: str) -> Any:
    cause: Exception | None = None
    with translate_mlflow_errors("model", name):
        # MLflow also takes other spellings of a number, such as 01, which would be other versions in caches and logs.
        if _NUMBER.fullmatch(version):
            try:
                return client.get_model_version(name, version)
            except mlflow.exceptions.MlflowException as error:
                if error.error_code not in ABSENT:
                    raise
                cause = error
        # Of a model that does not exist, that is the error.
        client.get_registered_model(name)
        known = [str(existing.version) for existing in client.search_model_versions(name_filter(name), max_results=MOST_NAMED)]
    raise NotFound("version", version, known, f"model {name}") from cause


def version_in_stage(name: str, stage: str) -> str:
    """The newest version in one of MLflow's stages, which it reads in any case. Raises: NotFound with the stages that have versions."""
    with translate_mlflow_errors("model", name):
        mlflow.MlflowClient().get_registered_model(name)
        versions = mlflow.MlflowClient().search_model_versions(
            name_filter(name), max_results=STAGED_VERSIONS, order_by=["version_number DESC"]
        )
    numbers = [str(version.version) for version in versions if str(version.current_stage).lower() == stage.lower()]
    if not numbers:
        raise no_such_stage(name, stage)
    return numbers[0]


def name_and_version(model_uri: str) -> tuple[str, str | None]:
    """The registered or logged name of the model at an address, and its version, None if the address has no registered name."""
    name, slash, version = model_uri.removeprefix("models:/").strip("/").rpartition("/")
    if model_uri.startswith("models:/") and slash:
        if version.lower() == LATEST:
            return name, resolve_version(name)
        return name, resolve_version(name, version) if version.isdigit() else version_in_stage(name, version)
    name, at, alias = model_uri.removeprefix("models:/").rpartition("@")
    if model_uri.startswith("models:/") and at:
        return name, resolve_version(name, alias=alias)
    with translate_mlflow_errors("model", model_uri):
        model_id = mlflow.models.get_model_info(local_path(model_uri)).model_id
        return str(mlflow.MlflowClient().get_logged_model(model_id).name) if model_id else model_uri, None


def tagged_version(model_uri: str) -> tuple[str, str | None, Mapping[str, str]]:
    """As `name_and_version`, and the tags that MLflow has of the version; none where the address has no registered name."""
    name, _, number = model_uri.removeprefix("models:/").strip("/").rpartition("/")
    if not model_uri.startswith("models:/") or not name or not number.isdigit():
        name, version = name_and_version(model_uri)
        if version is None:
            return name, None, {}
        number = version
    found = _model_version(mlflow.MlflowClient(), name, number)
    return name, str(found.version), dict(found.tags)
