"""Ids of requests: the client's, if it is short and plain, or else one made here."""

import re
import uuid

from starlette.types import Scope

HEADER = "X-Request-Id"
_HEADER = HEADER.lower().encode()
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def request_id_of(scope: Scope, sent: str | None = None) -> str:
    """The id of a request: `sent` in its body, or its header, if it may be returned and logged as it is; else a new one."""
    header = next((value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER), None)
    for identifier in (sent, header):
        if identifier is not None and _ID.fullmatch(identifier):
            return identifier
    return uuid.uuid4().hex
