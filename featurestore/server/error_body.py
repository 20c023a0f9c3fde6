"""Errors as JSON: `{"error": {"type", "message", "details"}}`, without the messages of DuckDB and other libraries."""

from collections.abc import Mapping
from typing import Any

from featurestore.errors import FeatureStoreError
from featurestore.library_messages import PRIVATE, own_message
from featurestore.server.hidden_paths import without_paths

LISTED = 20
"""Maximum number of entries of a list in an error; `more` in its details has the number of the others."""
TEXT, LINE = 1_000, 4_000
"""Maximum number of characters of a string in the details, and of a line of the message."""


def document(error_type: str, message: str, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body of an error, with long strings and lists cut."""
    shown, more = {}, {}
    for name, value in (details or {}).items():
        if isinstance(value, list | tuple) and len(value) > LISTED:
            more[name] = len(value) - LISTED
            value = value[:LISTED]
        shown[name] = shorten(value)
    if more:
        shown["more"] = more
    return {"error": {"type": error_type, "message": _shorten_lines(message), "details": shown}}


def shorten(value: Any) -> Any:
    """A copy of a JSON-like value with long strings cut."""
    if isinstance(value, str):
        return value if len(value) <= TEXT else f"{value[:TEXT]}..."
    if isinstance(value, list | tuple):
        return [shorten(item) for item in value]
    return {shorten(name): shorten(item) for name, item in value.items()} if isinstance(value, dict) else value


def _shorten_lines(message: str) -> str:
    lines = message.split("\n")
    cut = [line if len(line) <= LINE else f"{line[:LINE]}..." for line in lines[: LISTED + 1]]
    return "\n".join([*cut, *([f"  and {len(lines) - len(cut)} more"] if len(lines) > len(cut) else [])])


def document_of(error: FeatureStoreError) -> dict[str, Any]:
    """The body of a FeatureStoreError, without the messages of other libraries."""
    details = {name: value for name, value in error.details.items() if name != PRIVATE}
    return document(type(error).__name__, without_paths(own_message(error)), without_paths(details))
