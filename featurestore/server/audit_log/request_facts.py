"""What the audit log records of a request: its route, what it names, and keyed hashes in the place of keys."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.routing import BaseRoute, Match
from starlette.types import Message, Receive, Scope

from featurestore.audit_log.log import AuditLog
from featurestore.audit_log.named import find_names, shorten
from featurestore.server import fast_lookups
from featurestore.server.models import routes as model_routes
from featurestore.server.request_ids import HEADER, request_id_of

UNMATCHED = "unmatched"
"""The route of a path that has none: it may have anything in it, so that it is not recorded."""
READ_BYTES = 64 << 10
"""Size up to which a body is read for what it names, and for its entities; of larger ones only the hash is recorded."""
_ONLINE = tuple(
    (template.partition("{")[0], template.partition("}")[2], f"POST {template}") for template in (fast_lookups.PATH, model_routes.PATH)
)
_INFER = "/infer"
REQUEST_ID = HEADER.lower().encode()


class RequestBody:
    """The body of a request while the application receives it: its bytes, if they are few, and a hash of all of them."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.size = 0
        self._parts: list[bytes] = []
        self._digest: Any = None

    async def __call__(self) -> Message:
        """Receive the next message."""
        message = await self._receive()
        if part := message.get("body"):
            self.size += len(part)
            if self._digest is None:
                self._parts.append(part)
                if self.size > READ_BYTES:
                    self._digest = hashlib.sha256(b"".join(self._parts))
                    self._parts.clear()
            else:
                self._digest.update(part)
        return message

    @property
    def content(self) -> bytes | None:
        """All bytes that were received; None if they are many."""
        return b"".join(self._parts) if self._digest is None else None

    def hashed(self) -> bytes:
        """What stands for the body in a keyed hash."""
        content = self.content
        return content if content is not None else bytes(self._digest.digest())


def action_of(scope: Scope, routes: Sequence[BaseRoute]) -> tuple[str, Mapping[str, Any]]:
    """The method and the template of the route, and the parameters in the path."""
    method, path, route = scope["method"], scope["path"], scope.get("route")
    if route is not None:
        return f"{method} {route.path}", scope.get("path_params", {})
    if method == "POST":
        for begin, end, action in _ONLINE:
            if path.startswith(begin) and path.endswith(end) and "/" not in (name := path[len(begin) : -len(end)]):
                return action, {_parameter(action): name}
    # A request that was refused before it came to a route.
    for candidate in routes:
        match, child = candidate.matches(dict(scope))
        if match is Match.FULL:
            return f"{method} {getattr(candidate, 'path', UNMATCHED)}", child.get("path_params", {})
    return f"{method if method.isalpha() and len(method) < 10 else 'OTHER'} {UNMATCHED}", {}


def objects_of(action: str, parameters: Mapping[str, Any]) -> list[str]:
    """What the path names, as `services/churn`: each parameter after the part before it."""
    parts = action.split("/")
    return [
        f"{before}/{shorten(parameters[name])}"
        for before, part in pairwise(parts)
        if part.startswith("{") and (name := part[1:-1].partition(":")[0]) in parameters
    ]


def facts_of(log: AuditLog, scope: Scope, action: str, body: RequestBody | None) -> Iterator[tuple[str, Any]]:
    """The fields of the entry that come from the body and the query."""
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"))) if scope["query_string"] else {}
    named: dict[str, Any] = dict(find_names(query, log.catalog))
    if body is not None and body.size:
        content = body.content
        document = _parse(content)
        if action == _ONLINE[0][2]:
            entities = document.get("entities")
            if isinstance(entities, list) and len(entities) == 1 and isinstance(entities[0], dict):
                yield "entities", [log.digest_of_entity(entities[0])]
            else:
                yield "body", log.digest(body.hashed())
        elif action == _ONLINE[1][2] or action.endswith(_INFER):
            yield "body", log.digest(body.hashed())
        else:
            named |= find_names(document, log.catalog)
            yield "body", log.digest(body.hashed())
    if named:
        yield "scope", named


def request_id(scope: Scope, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """The id that the answer has, else that of the request, if it may be recorded; None if neither has one."""
    for name, value in headers:
        if name.lower() == REQUEST_ID:
            return value.decode("latin-1")
    return request_id_of(scope) if any(name == REQUEST_ID for name, _ in scope["headers"]) else None


def error_type(content: bytes) -> str | None:
    """The type of the error in a body; never its message, which may quote what was sent."""
    error = _parse(content).get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    return shorten(kind) if isinstance(kind, str) else None


def _parse(content: bytes | None) -> dict[str, Any]:
    if content is None:
        return {}
    try:
        document = orjson.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _parameter(action: str) -> str:
    return action.partition("{")[2].partition("}")[0]
