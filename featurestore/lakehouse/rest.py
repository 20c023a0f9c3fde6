"""A REST catalog of which no question goes on for ever."""

from functools import partial

from pyiceberg.catalog.rest import RestCatalog
from requests import Session

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
TIMEOUT = "timeout-seconds"
"""The catalog property that says how long to wait for a part of an answer."""


class BoundedRestCatalog(RestCatalog):
    """As pyiceberg's, which waits without end; `timeout-seconds` says for how long this one does."""

    def _create_session(self) -> Session:
        session = super()._create_session()
        seconds = float(self.properties.get(TIMEOUT, ANSWER_SECONDS))
        # On the session, not on an adapter: signing brings adapters of its own.
        session.request = partial(session.request, timeout=(min(CONNECT_SECONDS, seconds), seconds))  # type: ignore[method-assign]
        return session
