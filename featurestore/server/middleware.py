"""Middleware for unexpected errors and the size limit; plain ASGI, for speed."""

import asyncio
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featurestore.masking import logger_of
from featurestore.server import request_ids
from featurestore.server.access.access import by_whom
from featurestore.server.admission import RESPONSE_HEADERS
from featurestore.server.error_body import document
from featurestore.server.errors import response
from featurestore.server.jobs import memory
from featurestore.server.logs import printable
from featurestore.values.humanize import format_size

logger = logger_of(__name__)


MOST_DIGITS = 18
"""Digits of a Content-Length that are read."""


class ErrorMiddleware:
    """Turns an unexpected error into a 500 with a request id, and logs the traceback with the same id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except ClientDisconnect:
            # The client does not want the response any more; that is not an error of the server.
            logger.debug("the client of %s %s disconnected", scope["method"], printable(scope["path"]))
        except asyncio.CancelledError:
            logger.warning("%s %s had not finished when the server stopped", scope["method"], printable(scope["path"]))
            if started:
                raise
            message = "the server stopped before this request finished; send it again when the server has restarted"
            await _guarded(response(503, document("NotReady", message)))(scope, receive, send)
        except Exception as failed:
            request_id = request_ids.request_id_of(scope)
            logger.exception("request %s: %s %s%s failed", request_id, scope["method"], printable(scope["path"]), by_whom(scope))
            if started:
                # Part of the response was sent: only a broken connection tells the client that the rest is missing.
                raise
            if memory.is_shortage(failed):
                status, error_type, message = (
                    507,
                    "OutOfResources",
                    "the server has too little memory for this request; ask for fewer rows at once",
                )
            else:
                status, error_type = 500, "InternalError"
                message = f"internal error of the server; see its log for request id {request_id}"
            answer = response(status, document(error_type, message, {"request_id": request_id}), {request_ids.HEADER: request_id})
            await _guarded(answer)(scope, receive, send)


def _guarded(answer: Response) -> Response:
    """The answer with the headers of every response, also where it is sent in front of the middleware that adds them."""
    answer.raw_headers.extend(RESPONSE_HEADERS)
    return answer


class BodyLimitMiddleware:
    """Rejects bodies larger than `limit` bytes with 413, and multipart forms larger than `upload_limit`.

    Both the Content-Length header and the bytes that arrive are checked, since the header may be missing or wrong.
    """

    def __init__(self, app: ASGIApp, limit: int, upload_limit: int) -> None:
        self._app = app
        self._limit = limit
        self._upload_limit = upload_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        is_upload = headers.get(b"content-type", b"").startswith(b"multipart/")
        limit, setting = (self._upload_limit, "upload_limit") if is_upload else (self._limit, "body_limit")
        refusal = _check_length(headers, limit, setting)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        received = 0

        async def receive_and_count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, _too_large(limit, setting))
            return message

        await self._app(scope, receive_and_count, send)


def content_length(headers: Mapping[bytes, bytes]) -> int | None:
    """The Content-Length of a request; None if it has none that is a number. More digits than any size has are a very large number."""
    digits = headers.get(b"content-length", b"")
    if not digits.isdigit():
        return None
    digits = digits.lstrip(b"0") or b"0"
    return int(digits) if len(digits) <= MOST_DIGITS else 10**MOST_DIGITS


def _check_length(headers: Mapping[bytes, bytes], limit: int, setting: str) -> Response | None:
    """The error response if the Content-Length header is over the limit; else None."""
    length = content_length(headers)
    if length is not None and length > limit:
        return response(413, document("TooLarge", _too_large(limit, setting), {"limit": limit}), {"Connection": "close"})
    return None


def _too_large(limit: int, setting: str) -> str:
    what = f"the body is larger than {format_size(limit)}, the limit of {setting}"
    return f"{what}; send rows in several requests, or a spine as a Parquet file or an Iceberg table"
