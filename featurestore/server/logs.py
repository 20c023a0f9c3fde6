"""What the server's processes log, and how: a line each to standard error, without any secret."""

import logging

from featurestore.masking import ScrubbingFormatter

LONGEST = 200


def printable(text: str, most: int = LONGEST) -> str:
    """What someone else wrote, on one line and without what moves a terminal's cursor."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text[:most])


class LineFormatter(ScrubbingFormatter):
    """Lines that follow the first are indented, so that nothing in a record passes for another one."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        first, *rest = super().format(record).split("\n")
        return "\n    ".join(printable(line, len(line)) for line in (first, *rest))


def begin() -> None:
    """Log from now on, what other libraries say as well."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
