"""Secrets: values that are masked in everything that is printed, logged or returned."""

import logging
import re
import traceback
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from featurestore.redaction import HIDDEN, is_secret, secrets_in, without_secrets

_MIN_LENGTH = 4
"""Shorter secrets are not masked in texts: they would match parts of ordinary words."""
_MAX_WORD_LENGTH = 8
"""Secrets shorter than this are masked only as whole words."""

# Global to the process, because libraries may quote a secret in any thread's error, which we pass on.
_known: set[str] = set()


class Secret:
    """A text whose str and repr are masked; `reveal` returns it. Secrets with the same text are equal."""

    __slots__ = ("_shown", "_text")

    def __init__(self, text: str, shown: str = HIDDEN, hidden: Iterable[str] | None = None) -> None:
        """`hidden` are the parts to mask in other texts; default: the whole text."""
        self._text = text
        self._shown = shown
        _remember([text] if hidden is None else hidden, shown)

    @classmethod
    def address(cls, text: str) -> "Secret":
        """A secret of a URL, shown without passwords."""
        return cls(text, without_secrets(text), secrets_in(text))

    @classmethod
    def property(cls, name: str, value: str) -> "Secret":
        """A secret of a property's value, shown unless the name is that of a secret."""
        if is_secret(name):
            # An OAuth credential is `id:secret`.
            return cls(value, hidden=[value, value.partition(":")[2]])
        return cls.address(value)

    def reveal(self) -> str:
        """The whole text, for connecting."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Secret({self._shown!r})"


def scrub(text: str) -> str:
    """Replace every secret of this process in a text with `***`."""
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text) if _is_word(secret) else text.replace(secret, HIDDEN)
    return text


def scrub_all(value: Any) -> Any:
    """Apply `scrub` to every text in a JSON-like value."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {name: scrub_all(inner) for name, inner in value.items()}
    return [scrub_all(inner) for inner in value] if isinstance(value, list) else value


def logger_of(name: str) -> logging.Logger:
    """The logger of a module, whose records and tracebacks are scrubbed before any handler sees them."""
    logger = logging.getLogger(name)
    if not any(isinstance(filter_, _ScrubbingFilter) for filter_ in logger.filters):
        logger.addFilter(_ScrubbingFilter())
    return logger


class ScrubbingFormatter(logging.Formatter):
    """A formatter that scrubs the records of other libraries."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        return scrub(super().format(record))


class _ScrubbingFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if _known:
            record.msg, record.args = scrub(record.getMessage()), None
            if record.exc_info and record.exc_info[0] is not None:
                # Handlers print exc_text if it is set.
                record.exc_text = scrub("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
                record.exc_info = None
        return True


def _remember(parts: Iterable[str], shown: str) -> None:
    """Remember secrets in each encoding, except those that are also shown, such as a password equal to the user name."""
    for part in parts:
        for form in {part, unquote(part), quote(part, safe=""), quote(unquote(part), safe="")}:
            if len(form) >= _MIN_LENGTH and form not in shown and form not in ("featurestore", HIDDEN):
                _known.add(form)


def _is_word(text: str) -> bool:
    return len(text) < _MAX_WORD_LENGTH and re.fullmatch(r"\w+", text) is not None
