"""The entries of lookups that the fast path answers: all but the time is encoded once for each principal, service and short body."""

import orjson

from featurestore.access.principal import Principal
from featurestore.audit_log.entry import Done, encode
from featurestore.audit_log.keyed_hashes import entity_text
from featurestore.audit_log.log import AuditLog
from featurestore.errors import FeatureStoreError
from featurestore.server.audit_log.request_facts import objects_of

KEPT = 1024
"""Encoded beginnings that are kept."""
KEPT_BODIES = 4096
"""Encoded entries of short bodies that are kept, in some four megabytes."""
SHORT_BYTES = 512
"""Bodies up to which it takes little to look whether they have one entity, and to keep them."""


class OnlineRecords:
    """Records what `AuditMiddleware` would record of such a lookup. Little is called here, since each call takes longer than in a loop.

    Hashing keys took a third of the time of an entry. They are often those of a request before, whose entry is kept.
    """

    def __init__(self, log: AuditLog, action: str, parameter: str) -> None:
        """`action` is the method and the route, and `parameter` the name of the service in it."""
        self._log, self._action, self._parameter = log, action, parameter
        self._begins: dict[tuple[str, str | None, str], bytes] = {}
        self._entries: dict[tuple[str, str | None, str, bytes], bytes] = {}

    def record(self, principal: Principal, service: str, content: bytes) -> bool:
        """Record the answer with status 200 to a request with this body; False for one that the ordinary route has to record or refuse."""
        log = self._log
        if log.refusal is not None:
            return False
        entry = self._entries.get((principal.name, principal.key, service, content)) if len(content) <= SHORT_BYTES else None
        try:
            log.record_soon(entry or self._encode(principal, service, content))
        except FeatureStoreError:
            # The ordinary route refuses it, since nothing can be recorded now.
            return False
        return True

    def _encode(self, principal: Principal, service: str, content: bytes) -> bytes:
        begin = self._begins.get((principal.name, principal.key, service)) or self._encode_begin(principal, service)
        if len(content) > SHORT_BYTES:
            return begin + self._body(content)
        entities = orjson.loads(content)["entities"]
        if len(entities) == 1:
            entry = b'%b,"entities":["%b"]' % (begin, self._log.digest(entity_text(entities[0])).encode())
        else:
            entry = begin + self._body(content)
        if len(self._entries) >= KEPT_BODIES:
            self._entries.clear()
        self._entries[principal.name, principal.key, service, content] = entry
        return entry

    def _encode_begin(self, principal: Principal, service: str) -> bytes:
        if len(self._begins) >= KEPT:
            self._begins.clear()
        done = Done(principal.name, self._action, principal.key, objects_of(self._action, {self._parameter: service}), status=200)
        begin = self._begins[principal.name, principal.key, service] = encode(done)
        return begin

    def _body(self, content: bytes) -> bytes:
        return b',"body":"%b"' % self._log.digest(content).encode()
