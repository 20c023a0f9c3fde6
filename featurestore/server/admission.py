"""Admission of requests: the Host header must name this server, and pages of other sites may not send requests.

Every response also gets headers that restrict what a browser may do with it.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featurestore.server.error_body import document
from featurestore.server.errors import response

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""
SINGLE_HEADERS = (b"host", b"origin", b"content-type", b"content-length", b"authorization")
"""Headers that may not be repeated, since a proxy and this server might each use another of the values."""
RESPONSE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
"""Headers of every response that does not set them itself: it runs no scripts, is not cached, and is not embedded by other sites."""
CACHED_HOSTS = 64
_RESPONSE_HEADER_NAMES = frozenset(name for name, _ in RESPONSE_HEADERS)
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+?)\.?(?::(\d{1,5}))?", re.ASCII)

Headers = Mapping[bytes, bytes]


class AdmissionMiddleware:
    """Rejects requests that are not admitted, and adds RESPONSE_HEADERS to every response."""

    def __init__(self, app: ASGIApp, admission: "Admission") -> None:
        self._app, self._admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                names = {name.lower() for name, _ in headers}
                if names.isdisjoint(_RESPONSE_HEADER_NAMES):
                    message = {**message, "headers": [*headers, *RESPONSE_HEADERS]}
                else:
                    message = {**message, "headers": [*headers, *(header for header in RESPONSE_HEADERS if header[0] not in names)]}
            await send(message)

        refusal = self._admission.refusal(scope)
        await (self._app if refusal is None else refusal)(scope, receive, send_with_headers)


class Admission:
    """Rejects requests from pages of other sites, and requests whose Host header does not name this server (DNS rebinding)."""

    def __init__(self, host: str, allowed: Sequence[str]) -> None:
        """`host` is the address that the server listens on, `allowed` are its other names: the setting `allowed_hosts`."""
        self._local_names = frozenset((host.lower(), "localhost"))
        self._allowed = [name.lower() for name in allowed]
        self._is_this_server = lru_cache(CACHED_HOSTS)(self._is_named)

    def refusal(self, scope: Scope) -> Response | None:
        """The error response to a request that is rejected; None if it is admitted."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if len(headers) < len(scope["headers"]):
            names = [name for name, _ in scope["headers"]]
            if (repeated := next((name for name in SINGLE_HEADERS if names.count(name) > 1), None)) is not None:
                return _refusal(f"the header {repeated.decode()} is repeated; send it once")
        server = scope.get("server")
        if not self._is_this_server(headers.get(b"host", b""), None if server is None else str(server[0]).lower()):
            return _refusal("the Host header does not name this server; if it should, add the name to the setting allowed_hosts")
        if self._is_foreign(headers, scope["method"]):
            return _refusal("a page of another site sent this request; only pages of this server may send requests")
        return None

    def _is_named(self, host: bytes, server: str | None) -> bool:
        """Whether a Host header names this server, for a connection that came in at the address `server`."""
        match = _AUTHORITY.fullmatch(host.decode("latin-1").lower())
        if match is None:
            return False
        name, port = match[1].strip("[]"), match[2]
        return name in self._local_names or _is_local(name, server) or self._is_allowed(name, port)

    def _is_allowed(self, name: str, port: str | None) -> bool:
        spellings = {name, f"{name}:{port}", f"[{name}]", f"[{name}]:{port}"}
        return any(
            pattern == "*"
            or pattern in spellings
            or (pattern.startswith("*.") and any(spelling.endswith(pattern[1:]) for spelling in spellings))
            for pattern in self._allowed
        )

    def _is_foreign(self, headers: Headers, method: str) -> bool:
        origin = headers.get(b"origin")
        if origin is not None and not self._is_same_origin(origin, headers[b"host"]):
            return True
        # The only thing that a page of another site may do is link to this server.
        is_link = method in SAFE and headers.get(b"sec-fetch-mode") == b"navigate"
        return headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site") and not is_link

    def _is_same_origin(self, origin: bytes, host: bytes) -> bool:
        scheme, _, authority = origin.decode("latin-1").lower().partition("://")
        if scheme not in ("http", "https"):
            return False
        if authority == host.decode("latin-1").lower():
            return True
        # Behind a proxy, Host may be another name than the one in the browser's Origin.
        match = _AUTHORITY.fullmatch(authority)
        return match is not None and any(name in (match[1], authority) for name in self._allowed if name != "*")


def _is_local(name: str, server: str | None) -> bool:
    """Whether a name is a loopback address, or the address that the connection came in at."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or name == server


def _refusal(message: str) -> Response:
    return response(400, document("RequestError", message), {"Connection": "close"})
