"""Who may knock: requests for a host of ours, and from no other site's page; and what answers forbid a browser."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featurestore.server.error_body import document
from featurestore.server.errors import response

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing here."""
ONCE = (b"host", b"origin", b"content-type", b"content-length", b"authorization")
"""Headers that two readers may understand otherwise where they come twice."""
ANSWERED = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
"""What every answer says that does not say it otherwise: it is no page, is kept nowhere, and is for no other site."""
KNOWN = 64
"""Of so many hosts it is remembered whether they are ours."""
_NAMES = frozenset(name for name, _ in ANSWERED)
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+?)\.?(?::(\d{1,5}))?", re.ASCII)

Headers = Mapping[bytes, bytes]


class Doors:
    """Lets requests in that are admitted, and says in every answer what a browser may not do with it."""

    def __init__(self, app: ASGIApp, admission: "Admission") -> None:
        self._app, self._admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                said = {name.lower() for name, _ in headers}
                more = ANSWERED if said.isdisjoint(_NAMES) else [one for one in ANSWERED if one[0] not in said]
                message = {**message, "headers": [*headers, *more]}
            await send(message)

        refusal = self._admission.refusal(scope)
        await (self._app if refusal is None else refusal)(scope, receive, guarded)


class Admission:
    """Refuses what a page that is not ours could make a browser send, and names that lead here but are not ours."""

    def __init__(self, host: str, allowed: Sequence[str]) -> None:
        """`host` is what is listened on, `allowed` are the other names of this server."""
        self._own = frozenset((host.lower(), "localhost"))
        self._allowed = [name.lower() for name in allowed]
        self._is_own = lru_cache(KNOWN)(self._is_named)

    def refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that is not let in; None for one that is."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if len(headers) < len(scope["headers"]):
            names = [name for name, _ in scope["headers"]]
            if (twice := next((name for name in ONCE if names.count(name) > 1), None)) is not None:
                return _refused(f"the header {twice.decode()} comes twice")
        server = scope.get("server")
        if not self._is_own(headers.get(b"host", b""), None if server is None else str(server[0]).lower()):
            return _refused("this server has no such name; the setting allowed_hosts names those that it has besides the local ones")
        if self._is_foreign(headers, scope["method"]):
            return _refused("a page of another site sent this; only pages of this server may")
        return None

    def _is_named(self, host: bytes, server: str | None) -> bool:
        """Whether a request for this host may come in at this address."""
        found = _AUTHORITY.fullmatch(host.decode("latin-1").lower())
        if found is None:
            return False
        name, port = found[1].strip("[]"), found[2]
        return name in self._own or _is_local(name, server) or self._is_allowed(name, port)

    def _is_allowed(self, name: str, port: str | None) -> bool:
        written = {name, f"{name}:{port}", f"[{name}]", f"[{name}]:{port}"}
        return any(
            one == "*" or one in written or (one.startswith("*.") and any(it.endswith(one[1:]) for it in written)) for one in self._allowed
        )

    def _is_foreign(self, headers: Headers, method: str) -> bool:
        origin = headers.get(b"origin")
        if origin is not None and not self._is_own_origin(origin, headers[b"host"]):
            return True
        # A link from another site to this one is all that is left to other pages.
        followed = method in SAFE and headers.get(b"sec-fetch-mode") == b"navigate"
        return headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site") and not followed

    def _is_own_origin(self, origin: bytes, host: bytes) -> bool:
        scheme, _, authority = origin.decode("latin-1").lower().partition("://")
        if scheme not in ("http", "https"):
            return False
        if authority == host.decode("latin-1").lower():
            return True
        # Behind a proxy that calls this server by another name than the browser calls the proxy.
        found = _AUTHORITY.fullmatch(authority)
        named = [one for one in self._allowed if one != "*"]
        return found is not None and any(one in (found[1], authority) for one in named)


def _is_local(name: str, server: str | None) -> bool:
    """Whether this is an address of the loopback interface, or the one that the connection came in on."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or name == server


def _refused(message: str) -> Response:
    return response(400, document("RequestError", message), {"Connection": "close"})
