"""Errors as JSON: `{"error": {"type", "message", "details"}}`, without what an engine or another library said."""

from collections.abc import Mapping
from typing import Any

from featurestore.errors import FeatureStoreError
from featurestore.masking import scrub
from featurestore.server.hidden_paths import without_paths

# What an engine said in its own words is for the log of the server, not for its callers.
PRIVATE = "reason"
LISTED = 20
"""Most entries of a list in an error; `more` in its details has the count of the rest."""
TEXT, LINE = 1_000, 4_000
"""Most characters of a text in the details, and of a line of the message."""
ELSEWHERE = "the server's log says why"


def document(kind: str, message: str, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body of an error, which repeats no more than a part of what was too long."""
    told, more = {}, {}
    for name, value in (details or {}).items():
        if isinstance(value, list | tuple) and len(value) > LISTED:
            more[name] = len(value) - LISTED
            value = value[:LISTED]
        told[name] = shortened(value)
    if more:
        told["more"] = more
    return {"error": {"type": kind, "message": _in_lines(message), "details": told}}


def shortened(value: Any) -> Any:
    """The same with long texts cut, in lists and objects too."""
    if isinstance(value, str):
        return value if len(value) <= TEXT else f"{value[:TEXT]}..."
    if isinstance(value, list | tuple):
        return [shortened(item) for item in value]
    return {shortened(name): shortened(item) for name, item in value.items()} if isinstance(value, dict) else value


def _in_lines(message: str) -> str:
    lines = message.split("\n")
    cut = [line if len(line) <= LINE else f"{line[:LINE]}..." for line in lines[: LISTED + 1]]
    return "\n".join([*cut, *([f"  and {len(lines) - len(cut)} more"] if len(lines) > len(cut) else [])])


def document_of(error: FeatureStoreError) -> dict[str, Any]:
    """The body of one of our errors, without what an engine or another library said."""
    details = {name: value for name, value in error.details.items() if name != PRIVATE}
    message = error.message
    for words in (str(error.details.get(PRIVATE) or ""), _foreign_words(error.__cause__)):
        # An error's own words are without secrets, so those of its cause are looked for without them too.
        for said in (words, scrub(words)):
            if said and said in message:
                message = message.replace(said, ELSEWHERE)
    return document(type(error).__name__, without_paths(message), without_paths(details))


def _foreign_words(cause: BaseException | None) -> str:
    """What a library or the system said, which may tell of paths, hosts and statements; our own words are fit for callers."""
    foreign = isinstance(cause, OSError) or type(cause).__module__.partition(".")[0] not in ("featurestore", "builtins")
    return str(cause) if foreign else ""
