"""Secrets: texts that are used whole and shown without what opens anything, in whatever is printed, logged or answered."""

import logging
import re
import traceback
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from featurestore.redaction import HIDDEN, is_secret, secrets_in, without_secrets

_SHORTEST = 4
"""A shorter secret would be found in half of all words."""
_WORD_BYTES = 8
"""One shorter than this is looked for as a word of its own only."""

# Known to the whole process, as a password is the same one in every thread: libraries quote them in errors that we pass on.
_known: set[str] = set()


class Secret:
    """A text that shows as something else; `reveal` gives it away. Equal to another one of the same text."""

    __slots__ = ("_shown", "_text")

    def __init__(self, text: str, shown: str = HIDDEN, hidden: Iterable[str] | None = None) -> None:
        """`hidden` are the parts that must not be seen; the whole of it when left out."""
        self._text = text
        self._shown = shown
        _remember([text] if hidden is None else hidden, shown)

    @classmethod
    def address(cls, text: str) -> "Secret":
        """An address, which shows without its passwords."""
        return cls(text, without_secrets(text), secrets_in(text))

    @classmethod
    def property(cls, name: str, value: str) -> "Secret":
        """The value of a property, which shows if its name is not that of a secret."""
        if is_secret(name):
            # An OAuth credential is `id:secret`.
            return cls(value, hidden=[value, value.partition(":")[2]])
        return cls.address(value)

    def reveal(self) -> str:
        """The whole text, for whoever connects with it."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Secret({self._shown!r})"


def scrubbed(text: str) -> str:
    """What a library said, or a page of a log, with `***` for every secret of this process that is in it."""
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text) if _is_word(secret) else text.replace(secret, HIDDEN)
    return text


def scrubbed_all(value: Any) -> Any:
    """The same in every text of a JSON-like value."""
    if isinstance(value, str):
        return scrubbed(value)
    if isinstance(value, Mapping):
        return {name: scrubbed_all(inner) for name, inner in value.items()}
    return [scrubbed_all(inner) for inner in value] if isinstance(value, list) else value


def logger_of(name: str) -> logging.Logger:
    """The logger of a module, whose records are scrubbed before any handler sees them, tracebacks too."""
    found = logging.getLogger(name)
    if not any(isinstance(one, _Scrubbing) for one in found.filters):
        found.addFilter(_Scrubbing())
    return found


class ScrubbingFormatter(logging.Formatter):
    """For what other libraries log."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        return scrubbed(super().format(record))


class _Scrubbing(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if _known:
            record.msg, record.args = scrubbed(record.getMessage()), None
            if record.exc_info and record.exc_info[0] is not None:
                # A handler prints the text if there is one.
                record.exc_text = scrubbed("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
                record.exc_info = None
        return True


def _remember(parts: Iterable[str], shown: str) -> None:
    """Note secrets in each form in which they may come back; not those that are public, such as a password that is the user's name."""
    for part in parts:
        for form in {part, unquote(part), quote(part, safe=""), quote(unquote(part), safe="")}:
            if len(form) >= _SHORTEST and form not in shown and form not in ("featurestore", HIDDEN):
                _known.add(form)


def _is_word(text: str) -> bool:
    return len(text) < _WORD_BYTES and re.fullmatch(r"\w+", text) is not None
