"""Messages of other libraries, such as DuckDB, may quote values of rows, paths and SQL: the messages of our errors without them."""

import re

from featurestore.errors import FeatureStoreError, message_of
from featurestore.masking import scrub

PRIVATE = "reason"
"""The error detail with the message of another library: it is logged, and neither sent to clients nor to those who collect events."""
SEE_LOG = "the server's log says why"
_SENTENCE = 24
"""Library messages of this length are replaced wherever they stand in ours; shorter ones may be words of our own, and are replaced only
where messages quote others: between a colon, bracket or quote and the end of a part.
"""
_QUOTE_START, _QUOTE_END = r"(?:(?<=^)|(?<=: )|(?<=\()|(?<=['\"] )|(?<=['\"]))", r"(?=$|\n|[)'\";,]|[.:](?:\s|$)| \()"


def own_message(error: FeatureStoreError) -> str:
    """The message of an error, without the messages of other libraries that it quotes."""
    message = error.message
    for text in (str(error.details.get(PRIVATE) or ""), _library_message(error.__cause__)):
        # Secrets are masked in the error's message, so the library's message is searched for in masked form too.
        for quoted in (text, scrub(text)):
            message = _without_quote(message, quoted.strip())
    return message


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
