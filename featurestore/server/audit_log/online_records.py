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
KEPT_BODIES = 4096
"""Short bodies whose encoded ends are kept, in some three megabytes."""
SHORT_BYTES = 512
"""Bodies up to which it takes little to look whether they have one entity, and to keep them."""


class OnlineRecords:
    """Records what `AuditMiddleware` would record of such a lookup. Little is called here, since each call takes longer than in a loop.

    Hashing keys took a third of the time of an entry. They are often those of a request before, whose hash is kept.
    """

    def __init__(self, log: AuditLog, action: str, parameter: str) -> None:
        """`action` is the method and the route, and `parameter` the name of the service in it."""
        self._log, self._action, self._parameter = log, action, parameter
        self._encoded: dict[tuple[str, str | None, str], bytes] = {}
        self._ends: dict[bytes, bytes] = {}

    def record(self, scope: Scope, service: str, content: bytes) -> bool:
        """Record the answer with status 200 to a request with this body; False for one that the ordinary route has to record or refuse."""
        principal = find_principal(scope)
        if principal is None or self._log.refusal is not None:
            return False
        for name, _ in scope["headers"]:
            if name == REQUEST_ID:
                return False
        encoded = self._encoded.get((principal.name, principal.key, service)) or self._encode(principal, service)
        try:
            self._log.record_encoded(encoded + (self._ends.get(content) or self._encode_end(content)))
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

    def _encode_end(self, content: bytes) -> bytes:
        """What stands for a body: the keyed hash of its only entity, or of itself."""
        if len(content) > SHORT_BYTES:
            return b',"body":"%b"' % self._log.digest(content).encode()
        entities = orjson.loads(content)["entities"]
        if len(entities) == 1:
            end = b',"entities":["%b"]' % self._log.digest(entity_text(entities[0])).encode()
        else:
            end = b',"body":"%b"' % self._log.digest(content).encode()
        if len(self._ends) >= KEPT_BODIES:
            self._ends.clear()
        self._ends[content] = end
        return end
