"""The entries of lookups that the fast path answers: all but the keys is encoded once for each principal and service."""

import orjson
from starlette.types import Scope

from featurestore.access.principal import Principal
from featurestore.audit_log.entry import Done, encode
from featurestore.audit_log.log import AuditLog, entity_text
from featurestore.errors import FeatureStoreError
from featurestore.server.access.access import find_principal
from featurestore.server.audit_log.request_facts import REQUEST_ID, objects_of

KEPT = 1024
"""Encoded beginnings that are kept."""
PARSED_BYTES = 512
"""Bodies up to which it takes little to look whether they have one entity."""


class OnlineRecords:
    """Records what `AuditMiddleware` would record of such a lookup. Little is called here, since each call takes longer than in a loop."""

    def __init__(self, log: AuditLog, action: str, parameter: str) -> None:
        """`action` is the method and the route, and `parameter` the name of the service in it."""
        self._log, self._action, self._parameter = log, action, parameter
        self._encoded: dict[tuple[str, str | None, str], bytes] = {}

    def record(self, scope: Scope, service: str, content: bytes) -> bool:
        """Record the answer with status 200 to a request with this body; False for one that the ordinary route has to record or refuse."""
        principal = find_principal(scope)
        if principal is None or self._log.refusal is not None:
            return False
        for name, _ in scope["headers"]:
            if name == REQUEST_ID:
                return False
        encoded = self._encoded.get((principal.name, principal.key, service)) or self._encode(principal, service)
        log = self._log
        if len(content) <= PARSED_BYTES and len(entities := orjson.loads(content)["entities"]) == 1:
            members = b'%b,"entities":["%b"]' % (encoded, log.digest(entity_text(entities[0])).encode())
        else:
            members = b'%b,"body":"%b"' % (encoded, log.digest(content).encode())
        try:
            log.record_encoded(members)
        except FeatureStoreError:
            # The ordinary route refuses it, since nothing can be recorded now.
            return False
        return True

    def _encode(self, principal: Principal, service: str) -> bytes:
        if len(self._encoded) >= KEPT:
            self._encoded.clear()
        objects = objects_of(self._action, {self._parameter: service})
        encoded = self._encoded[principal.name, principal.key, service] = encode(
            Done(principal.name, self._action, principal.key, objects, status=200)
        )
        return encoded
