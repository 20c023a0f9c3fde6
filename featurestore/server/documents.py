"""Errors as JSON: `{"error": {"type", "message", "details"}}`, without what an engine or another library said."""

from collections.abc import Mapping
from typing import Any

from featurestore.errors import FeatureStoreError
from featurestore.server.places import without_places

# What an engine said in its own words is for the log of the server, not for its callers.
PRIVATE = "reason"
ELSEWHERE = "the server's log says why"


def document(kind: str, message: str, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body of an error."""
    return {"error": {"type": kind, "message": message, "details": dict(details or {})}}


def document_of(error: FeatureStoreError) -> dict[str, Any]:
    """The body of one of our errors, without what an engine or another library said."""
    details = {name: value for name, value in error.details.items() if name != PRIVATE}
    message = error.message
    for words in (str(error.details.get(PRIVATE) or ""), _foreign_words(error.__cause__)):
        if words and words in message:
            message = message.replace(words, ELSEWHERE)
    return document(type(error).__name__, without_places(message), without_places(details))


def _foreign_words(cause: BaseException | None) -> str:
    """What a library or the system said, which may tell of paths, hosts and statements; our own words are fit for callers."""
    foreign = isinstance(cause, OSError) or type(cause).__module__.partition(".")[0] not in ("featurestore", "builtins")
    return str(cause) if foreign else ""
