"""The entries of answered lookups, of which there are most: all but the keys is encoded once for each principal and service."""

from collections.abc import Sequence

from starlette.types import Scope

from featurestore.audit_log.entry import NOBODY, Done, encode
from featurestore.audit_log.log import AuditLog
from featurestore.server import fast_lookups
from featurestore.server.access.access import find_principal
from featurestore.server.audit_log.request_facts import REQUEST_ID, RequestBody, action_of, facts_of, objects_of

KEPT = 1024
"""Encoded beginnings that are kept."""
LOOKUP = f"POST {fast_lookups.PATH}"
_BEGIN, _, _END = fast_lookups.PATH.partition("{service}")


class OnlineRecords:
    """Records what `AuditMiddleware` would record of an answered lookup, and nothing else, faster."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._encoded: dict[tuple[str, str | None, str], bytes] = {}

    def record(self, scope: Scope, body: RequestBody | None, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Record the answer with status 200 to a request; False for one that is no plain lookup."""
        path: str = scope["path"]
        if body is None or not (path.startswith(_BEGIN) and path.endswith(_END)) or scope["query_string"]:
            return False
        if REQUEST_ID in (name for name, _ in scope["headers"]) or REQUEST_ID in (name for name, _ in headers):
            return False
        principal = find_principal(scope)
        name, key = (NOBODY, None) if principal is None else (principal.name, principal.key)
        encoded = self._encoded.get((name, key, path))
        if encoded is None:
            action, parameters = action_of(scope, ())
            if not parameters:
                return False
            if len(self._encoded) >= KEPT:
                self._encoded.clear()
            done = Done(name, action, key, objects_of(action, parameters), status=200)
            encoded = self._encoded[name, key, path] = encode(done)
        for field, value in facts_of(self._log, scope, LOOKUP, body):
            # Hexadecimal digits, which need no escapes.
            text = f'"{value}"' if field == "body" else '["' + '","'.join(value) + '"]'
            encoded = b"".join((encoded, f',"{field}":{text}'.encode()))
        self._log.record_encoded(encoded)
        return True
