"""The models and versions that were deleted in MLflow, as the events recorded of them say."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Deletion(NamedTuple):
    """When it was found that a version, or a logged model (`version` None), is no more, and on which training set it was trained."""

    model: str
    version: str | None
    model_id: str | None
    training_set: str
    at: str


def deletions_after(events: Iterable[Mapping[str, Any]]) -> list[Deletion]:
    """What was deleted, and not registered or logged again since, oldest first; `events` are the newest first."""
    deleted: dict[tuple[str, str | None, str | None], Deletion] = {}
    for event in reversed(list(events)):
        key = (event["model"], event["version"], event["model_id"] if event["version"] is None else None)
        if event["event"] == "deleted":
            deleted[key] = Deletion(event["model"], event["version"], event["model_id"], event["training_set"], event["at"])
        elif event["event"] in ("logged", "registered", "attached"):
            deleted.pop(key, None)
    return list(deleted.values())


def last_version_of(events: Iterable[Mapping[str, Any]], model: str, alias: str) -> str | None:
    """The version to which an alias was set last; `events` are the newest first."""
    return next(
        (event["version"] for event in events if event["event"] == "alias set" and (event["model"], event["alias"]) == (model, alias)), None
    )
