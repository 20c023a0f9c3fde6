"""The content type of a request body must be one that its route expects.

The types that a page of another site could send without a CORS preflight request are rejected.
"""

from collections.abc import Collection

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from featurestore.server.error_body import document
from featurestore.server.errors import response
from featurestore.server.media_types import ARROW

JSON, FORM = "application/json", "multipart/form-data"
JSON_HEADER = JSON.encode()
"""The Content-Type header of nearly every body."""
IDENTITY = b"identity"


class ContentTypeMiddleware:
    """Rejects bodies that are compressed or are not JSON. The paths in `form_paths` take multipart forms as well, and pushes Arrow."""

    def __init__(self, app: ASGIApp, form_paths: Collection[str]) -> None:
        self._app = app
        self._form_paths = frozenset(form_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if (encoding := headers.get(b"content-encoding", IDENTITY).lower()) != IDENTITY:
            # A few compressed bytes may unpack to any size.
            message = f"the body has the content encoding {encoding.decode('latin-1')[:100]!r}; send it uncompressed"
            return response(415, document("RequestError", message), {"Connection": "close", "Accept-Encoding": "identity"})
        if headers.get(b"content-type") == JSON_HEADER:
            return None
        if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
            return None
        content_type = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        accepted = (JSON, FORM) if scope["path"] in self._form_paths else (JSON, ARROW) if is_push(scope["path"]) else (JSON,)
        if content_type in accepted:
            return None
        problem = f"the body has the content type {content_type[:100]!r}" if content_type else "the body has no content type"
        body = document("RequestError", f"{problem}; send it with Content-Type: {' or '.join(accepted)}")
        return response(422, body, {"Connection": "close"})


def is_push(path: str) -> bool:
    """Whether a path is that of pushes to a source."""
    return path.startswith("/v1/sources/") and path.endswith("/push")
