"""Logging of the server's processes: to standard error, with secrets masked and control characters escaped."""

import logging

from featurestore.masking import ScrubbingFormatter

MAX_LENGTH = 200


def printable(text: str, max_length: int = MAX_LENGTH) -> str:
    """Shorten untrusted text, and escape line breaks and control characters that could forge log lines or move a terminal's cursor."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[:max_length])


class LineFormatter(ScrubbingFormatter):
    """Indents all lines but the first, so that no text in a record looks like another record."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        first, *rest = super().format(record).split("\n")
        return "\n    ".join(printable(line, len(line)) for line in (first, *rest))


def begin() -> None:
    """Configure logging for this process, including what libraries log."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
