"""In what form a body comes: as its route expects, and not in one that a page of another site could send without being asked back."""

from collections.abc import Collection

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from featurestore.server.error_body import document
from featurestore.server.errors import response

JSON, FORM = "application/json", "multipart/form-data"
PLAIN = JSON.encode()
"""What nearly every body says."""
IDENTITY = b"identity"


class Forms:
    """Refuses a body that is not JSON, or is packed; the paths in `forms` take multipart forms as well."""

    def __init__(self, app: ASGIApp, forms: Collection[str]) -> None:
        self._app = app
        self._forms = frozenset(forms)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if (packed := headers.get(b"content-encoding", IDENTITY).lower()) != IDENTITY:
            said = f"the body is packed ({packed.decode('latin-1')[:100]!r}); send it as it is: what a few bytes unfold to has no bound"
            return response(415, document("RequestError", said), {"Connection": "close", "Accept-Encoding": "identity"})
        if headers.get(b"content-type") == PLAIN:
            return None
        if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
            return None
        kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        takes = (JSON, FORM) if scope["path"] in self._forms else (JSON,)
        if kind in takes:
            return None
        said = f"the body has the content type {kind[:100]!r}" if kind else "the body has no content type"
        body = document("RequestError", f"{said}; send it with Content-Type: {' or '.join(takes)}")
        return response(422, body, {"Connection": "close"})
