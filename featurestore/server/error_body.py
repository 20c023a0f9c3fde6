"""Errors as JSON: `{"error": {"type", "message", "details"}}`, without the messages of DuckDB and other libraries."""

import re
from collections.abc import Mapping
from typing import Any

from featurestore.errors import FeatureStoreError, message_of
from featurestore.masking import scrub
from featurestore.server.hidden_paths import without_paths

PRIVATE = "reason"
"""The error detail with the message of another library, such as DuckDB: it is logged and not sent to clients."""
LISTED = 20
"""Maximum number of entries of a list in an error; `more` in its details has the number of the others."""
TEXT, LINE = 1_000, 4_000
"""Maximum number of characters of a string in the details, and of a line of the message."""
SEE_LOG = "the server's log says why"
_SENTENCE = 24
"""Library messages of this length are replaced wherever they stand in ours; shorter ones may be words of our own, and are replaced only
where messages quote others: between a colon, bracket or quote and the end of a part.
"""
_QUOTE_START, _QUOTE_END = r"(?:(?<=^)|(?<=: )|(?<=\()|(?<=['\"] )|(?<=['\"]))", r"(?=$|\n|[)'\";,]|[.:](?:\s|$)| \()"


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
    message = error.message
    for text in (str(error.details.get(PRIVATE) or ""), _library_message(error.__cause__)):
        # Secrets are masked in the error's message, so the library's message is searched for in masked form too.
        for quoted in (text, scrub(text)):
            message = _without_quote(message, quoted.strip())
    return document(type(error).__name__, without_paths(message), without_paths(details))


def _without_quote(message: str, quoted: str) -> str:
    """The message without a library's message where it quotes that. A short one is often part of other words, such as the letter c."""
    if not quoted:
        return message
    if len(quoted) >= _SENTENCE:
        return message.replace(quoted, SEE_LOG)
    return re.sub(f"{_QUOTE_START}{re.escape(quoted)}{_QUOTE_END}", lambda _: SEE_LOG, message)


def _library_message(cause: BaseException | None) -> str:
    """The message of another library or the system, which may contain paths, hosts and SQL; empty for errors of this package."""
    if cause is None:
        return ""
    is_foreign = isinstance(cause, OSError) or type(cause).__module__.partition(".")[0] not in ("featurestore", "builtins")
    return message_of(cause) if is_foreign else ""
