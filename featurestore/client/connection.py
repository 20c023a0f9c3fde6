"""What both clients need to reach a server: its address, the token, time limits."""

from dataclasses import dataclass
from typing import Any

import httpx

from featurestore.client.retries import Attempts, Retries
from featurestore.client.steps import Request
from featurestore.errors import RequestError, brief
from featurestore.redaction import without_secrets

MAX_CONNECTIONS = 100
"""Connections of one client, all of which are kept for later requests."""


@dataclass(frozen=True)
class Connection:
    """How to reach a server. `timeout` is the time limit of a response in seconds. Raises: RequestError for a wrong argument."""

    url: str
    token: str | None
    timeout: float
    retries: Retries

    def __post_init__(self) -> None:
        if not isinstance(self.url, str) or not self.url.startswith(("http://", "https://")):
            raise RequestError(f"url={brief(self.url)} is not the address of a server; write http://host:port")
        token = self.token
        if token is not None and not (isinstance(token, str) and token.isascii() and token.isprintable()):
            raise RequestError("token= must be printable ASCII, since it is sent in a header")
        if isinstance(self.timeout, bool) or not isinstance(self.timeout, int | float) or not self.timeout > 0:
            raise RequestError(f"timeout={brief(self.timeout)} is not a number of seconds above 0")

    @property
    def shown_url(self) -> str:
        """The address without secrets, for messages."""
        return without_secrets(self.url.rstrip("/"))

    def client_options(self) -> dict[str, Any]:
        """The options of httpx's clients."""
        # Uncompressed, since a few compressed bytes could expand without bound.
        headers = {"User-Agent": "featurestore", "Accept-Encoding": "identity"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
        return {"base_url": self.url.rstrip("/"), "headers": headers, "timeout": self.timeout, "limits": limits}

    def seconds(self, request: Request) -> float | None:
        """The time limit of a response; None if there is none."""
        return None if request.unlimited else self.timeout + request.extra_seconds

    def build(self, client: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
        """A request of httpx."""
        limit = httpx.Timeout(self.timeout, read=self.seconds(request))
        return client.build_request(request.method, request.path, timeout=limit, **request.options)

    def check_open(self, client: httpx.Client | httpx.AsyncClient) -> None:
        """Raises: RequestError if the client was closed."""
        if client.is_closed:
            raise RequestError(f"this client of {self.shown_url} is closed; connect again")

    def attempts(self, request: Request) -> Attempts:
        """The attempts at a request, which all begin within the time limit."""
        return self.retries.attempts(request.safe, self.timeout)
