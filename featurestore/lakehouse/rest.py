"""A REST catalog of which no question goes on for ever."""

from functools import partial
from typing import Any

import requests
from pyiceberg.catalog.rest import RestCatalog
from requests import RequestException, Response, Session

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
        session.hooks["response"].append(_refuse_foreign_404)
        return session


def _refuse_foreign_404(response: Response, *args: Any, **options: Any) -> Response:
    """A 404 that a catalog did not say of a table or namespace comes from a wrong address or a proxy: nothing is known to be missing.

    An answer to HEAD has no body, so the same is asked for with GET. Raises: RequestException.
    """
    asked = response.request
    if response.status_code != 404 or asked.url is None:
        return response
    said = response
    if asked.method == "HEAD":
        headers = {name: value for name, value in asked.headers.items() if name.lower() != "content-length"}
        said = requests.get(asked.url, headers=headers, timeout=CONNECT_SECONDS, allow_redirects=False)
        if said.status_code != 404:
            return response
    if said.status_code == 404 and not _names_what_is_missing(said):
        raise RequestException(f"the address answers 404 to {asked.method}, and not as an Iceberg REST catalog does", response=said)
    return response


def _names_what_is_missing(response: Response) -> bool:
    try:
        kind = response.json()["error"]["type"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(kind, str) and ("NoSuch" in kind or "NotFound" in kind)
