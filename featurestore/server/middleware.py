"""What every request passes: a boundary for the unexpected, the token, and the size limit; plain ASGI, for speed."""

import asyncio
import hmac
import re
import uuid
from collections.abc import Collection, Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featurestore.masking import logger_of
from featurestore.server.error_body import document
from featurestore.server.errors import response
from featurestore.server.jobs import memory
from featurestore.server.logs import printable

log = logger_of(__name__)

MIB = 1 << 20
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class Boundary:
    """An unexpected error becomes a 500 with a request id; the traceback goes to the log under the same id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            # Nobody is left to be answered, and nothing of ours went wrong.
            log.debug("the client of %s %s left", scope["method"], printable(scope["path"]))
        except asyncio.CancelledError:
            log.warning("%s %s was not done when the server ended", scope["method"], printable(scope["path"]))
            if started:
                raise
            message = "the server ends, and has not waited for this request; send it again when there is one"
            await response(503, document("NotReady", message))(scope, receive, send)
        except Exception as failed:
            sent = Headers(scope=scope).get("x-request-id", "")
            request_id = sent if _ID.fullmatch(sent) else uuid.uuid4().hex
            log.exception("request %s: %s %s failed", request_id, scope["method"], printable(scope["path"]))
            if started:
                # Half an answer is out: only a broken connection tells the caller that the rest is missing.
                raise
            if memory.is_shortage(failed):
                status, kind, message = 507, "OutOfResources", "the server has no memory for this; ask for less at once"
            else:
                status, kind = 500, "InternalError"
                message = f"the server failed at this request; its log says more under request id {request_id}"
            answer = response(status, document(kind, message, {"request_id": request_id}), {"X-Request-Id": request_id})
            await answer(scope, receive, send)


class Authorization:
    """Whether a request has the header `Authorization: Bearer <token>`; compared in constant time."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    def allows(self, scope: Scope) -> bool:
        """Whether the request has the token."""
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(sent, self._expected)


class Token:
    """Demands the token on all but the open paths."""

    def __init__(self, app: ASGIApp, authorization: Authorization, open_paths: Collection[str]) -> None:
        self._app, self._authorization = app, authorization
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._open or self._authorization.allows(scope):
            await self._app(scope, receive, send)
            return
        body = document("Unauthorized", "this server asks for a token: send the header 'Authorization: Bearer <token>'")
        await response(401, body, {"WWW-Authenticate": "Bearer"})(scope, receive, send)


class BodyGuard:
    """Refuses bodies over `limit` bytes with 413, multipart uploads over `upload_limit`; by what arrives, not only by what is announced."""

    def __init__(self, app: ASGIApp, limit: int, upload_limit: int) -> None:
        self._app = app
        self._limit = limit
        self._upload_limit = upload_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        limit = self._upload_limit if headers.get(b"content-type", b"").startswith(b"multipart/") else self._limit
        refusal = _refusal(headers, limit)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > limit:
                raise HTTPException(413, _too_large(limit))
            return message

        await self._app(scope, counted, send)


def _refusal(headers: Mapping[bytes, bytes], limit: int) -> Response | None:
    """The response to a request whose headers say enough; None for one to go on with."""
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > limit:
        return response(413, document("TooLarge", _too_large(limit), {"limit": limit}), {"Connection": "close"})
    return None


def _too_large(limit: int) -> str:
    return f"the body is larger than {limit // MIB} MiB; send rows in several requests, or a spine as a Parquet file or an Iceberg table"
