"""What the server's processes log, and how: a line each to standard error, without any secret."""

import logging

from featurestore.secrets import ScrubbingFormatter


def begin() -> None:
    """Log from now on, what other libraries say as well."""
    handler = logging.StreamHandler()
    handler.setFormatter(ScrubbingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
