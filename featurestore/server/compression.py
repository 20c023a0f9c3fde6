"""Compress large answers with gzip for clients that accept it.

Only whole JSON and Arrow answers: streams have their own compression, and small answers take longer to compress than to send.
"""

import gzip
from collections.abc import Iterable

import anyio
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featurestore.server.media_types import ARROW, JSON, accepts_gzip

LEVEL = 1
"""Higher levels take several times as long for a tenth less."""
TYPES = (JSON, ARROW)


def client_accepts_gzip(scope: Scope) -> bool:
    """Whether the client of a request accepts gzip."""
    return any(name == b"accept-encoding" and accepts_gzip(value.decode("latin-1")) for name, value in scope["headers"])


async def compress(content: bytes) -> bytes:
    """The content as gzip, compressed in a thread, which does not hold the interpreter's lock."""
    return await anyio.to_thread.run_sync(_compress, content)


def compressed_headers(length: int) -> Iterable[tuple[bytes, bytes]]:
    """The headers of a compressed answer of so many bytes."""
    return (
        (b"content-length", str(length).encode()),
        (b"content-encoding", b"gzip"),
        (b"vary", b"Accept-Encoding"),
    )


async def compress_for(scope: Scope, content: bytes, smallest: int) -> tuple[bytes, Iterable[tuple[bytes, bytes]]]:
    """An answer, compressed if it has at least `smallest` bytes and the client accepts that, and the headers that say so."""
    if len(content) < smallest or not client_accepts_gzip(scope):
        return content, ((b"content-length", str(len(content)).encode()),)
    content = await compress(content)
    return content, compressed_headers(len(content))


class CompressionMiddleware:
    """Compresses answers of at least `smallest` bytes that are sent as one message."""

    def __init__(self, app: ASGIApp, smallest: int) -> None:
        self._app, self._smallest = app, smallest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not client_accepts_gzip(scope):
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def send_compressed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and self._may_compress(message):
                # Held back until the first part of the body says whether it is the whole.
                start = message
                return
            if start is not None:
                head, start = start, None
                body = message.get("body", b"")
                if not message.get("more_body", False) and len(body) >= self._smallest:
                    body = await compress(body)
                    kept = [header for header in head["headers"] if header[0].lower() != b"content-length"]
                    head = {**head, "headers": [*kept, *compressed_headers(len(body))]}
                    message = {**message, "body": body}
                await send(head)
            await send(message)

        await self._app(scope, receive, send_compressed)

    def _may_compress(self, message: Message) -> bool:
        headers = MutableHeaders(raw=list(message.get("headers", ())))
        media_type = headers.get("content-type", "").partition(";")[0]
        # A stream sends no length, and its parts must not wait for one another.
        return media_type in TYPES and "content-encoding" not in headers and int(headers.get("content-length", "0")) >= self._smallest


def _compress(content: bytes) -> bytes:
    return gzip.compress(content, LEVEL, mtime=0)
