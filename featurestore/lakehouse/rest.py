"""A REST catalog with time limits for its requests, whose credentials for files are renewed."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from uuid import UUID

import requests
from pyiceberg.catalog.rest import RestCatalog, TableResponse
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table
from requests import RequestException, Response, Session

from featurestore.lakehouse import vended_io
from featurestore.lakehouse.local_io import LocalFirstIO
from featurestore.values import times

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
TIMEOUT = "timeout-seconds"
"""The catalog property with the read timeout of a response, in seconds."""
CLOCK_US = 2_000_000
"""By how much the clocks of server and client may differ before it matters, in microseconds."""
DAY_US = 24 * 3600 * 1_000_000
"""A difference that is a mistake, and not a clock that is wrong, in microseconds."""


class BoundedRestCatalog(RestCatalog):
    """pyiceberg's RestCatalog with a timeout, `timeout-seconds`, for each request, and with `VendedIO` where credentials expire."""

    clock_ahead_us = 0
    """How far the server's clock is ahead of this machine's, in microseconds; 0 if by less than CLOCK_US."""

    def _create_session(self) -> Session:
        session = super()._create_session()
        seconds = float(self.properties.get(TIMEOUT, ANSWER_SECONDS))
        # Set on the session, not on an adapter: request signing replaces the adapters.
        session.request = partial(session.request, timeout=(min(CONNECT_SECONDS, seconds), seconds))  # type: ignore[method-assign]
        session.hooks["response"] += [_refuse_foreign_404, self._compare_clocks]
        return session

    def _response_to_table(self, identifier_tuple: tuple[str, ...], table_response: TableResponse) -> Table:
        table = super()._response_to_table(identifier_tuple, table_response)
        if isinstance(table.io, LocalFirstIO) and vended_io.expire(table.io.properties):
            renew = partial(self._renewed, identifier_tuple, table.metadata.table_uuid)
            table.io = vended_io.VendedIO(table.io.properties, renew)
        return table

    def _compare_clocks(self, response: Response, *args: Any, **options: Any) -> None:
        """Note how far the server's clock is ahead of this machine's, by a response; nothing if they agree as far as it tells."""
        try:
            ahead = times.micros(parsedate_to_datetime(response.headers["Date"])) - times.now()
        except (KeyError, ValueError):
            return
        # The header has whole seconds, and comes a while after it was written.
        slowest = int(response.elapsed.total_seconds() * 1_000_000) + CLOCK_US
        self.clock_ahead_us = 0 if -slowest <= ahead <= CLOCK_US or abs(ahead) > DAY_US else ahead

    def _renewed(self, identifier: tuple[str, ...], uuid: UUID) -> Mapping[str, Any] | None:
        """The properties of the table's FileIO with new credentials; None if the table is gone."""
        try:
            table = self.load_table(identifier)
        except NoSuchTableError:
            return None
        return table.io.properties if table.metadata.table_uuid == uuid else None


def _refuse_foreign_404(response: Response, *args: Any, **options: Any) -> Response:
    """Refuse a 404 that is not about a table or namespace: it comes from a wrong URI or a proxy, and says nothing about tables.

    A response to HEAD has no body, so the request is repeated with GET. Raises: RequestException.
    """
    request = response.request
    if response.status_code != 404 or request.url is None:
        return response
    answer = response
    if request.method == "HEAD":
        headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
        connection = {name: options[name] for name in ("verify", "cert", "proxies") if name in options}
        answer = requests.get(request.url, headers=headers, timeout=CONNECT_SECONDS, allow_redirects=False, **connection)
        if answer.status_code != 404:
            return response
    if answer.status_code == 404 and not _names_what_is_missing(answer):
        raise RequestException(f"the address answers 404 to {request.method}, and not as an Iceberg REST catalog does", response=answer)
    return response


def _names_what_is_missing(response: Response) -> bool:
    try:
        error_type = response.json()["error"]["type"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(error_type, str) and ("NoSuch" in error_type or "NotFound" in error_type)
