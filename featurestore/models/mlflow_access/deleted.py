"""Say of a model that MLflow does not have any more that it was deleted: its name is no typing error."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from featurestore.errors import NotFound
from featurestore.models.mlflow_access.mlflow_client import place
from featurestore.records import model_events
from featurestore.records.deleted_models import Deletion, deletions_after, last_version_of
from featurestore.records.runtime import Runtime

_ADDRESS = re.compile(r"models:/+(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>[^/@]+))?")


@contextmanager
def naming_deleted(runtime: Runtime, address: str) -> Iterator[None]:
    """A context in which a model is read from MLflow.

    Raises: NotFound saying that it was deleted, and when that was found, if the catalog knows that it existed.
    """
    try:
        yield
    except NotFound as error:
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise
        # What was deleted since the last look is recorded first.
        runtime.look_at_models()
        explained = _explain(model_events.list_events(runtime), **match.groupdict())
        if explained is None:
            raise
        raise explained from error


def _explain(events: Sequence[Mapping[str, Any]], name: str, version: str | None, alias: str | None) -> NotFound | None:
    """The error for what was deleted; None if the events know of no deletion."""
    deletions = deletions_after(events)
    versions = {deletion.version: deletion for deletion in deletions if deletion.model == name and deletion.version is not None}
    if version in versions:
        return NotFound("version", version, None, f"model {name}: it was {_deleted(versions[version])}")
    if alias is not None:
        last = last_version_of(events, name, alias)
        if last in versions:
            return NotFound("alias", alias, None, f"model {name}: it was that of version {last}, which was {_deleted(versions[last])}")
    logged = next((deletion for deletion in deletions if deletion.version is None and deletion.model_id == name), None)
    if logged is not None:
        return NotFound("model", name, None, f"{place()}: {logged.model} was {_deleted(logged)}")
    registered = {event["version"] for event in events if event["model"] == name and event["version"] is not None}
    if registered and registered == set(versions):
        newest = max(versions.values(), key=lambda deletion: deletion.at)
        numbers = ", ".join(sorted(versions, key=int))
        return NotFound("model", name, None, f"{place()}: its {_counted(numbers)} {_deleted(newest)}")
    return None


def _counted(numbers: str) -> str:
    return f"versions {numbers} were" if "," in numbers else f"version {numbers} was"


def _deleted(deletion: Deletion) -> str:
    return f"deleted in MLflow, which was found at {deletion.at}; its training set is {deletion.training_set}"
