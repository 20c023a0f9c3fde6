"""What the fast paths in front of the framework have in common: which requests may come in, and their bodies, which can be read again."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from starlette.types import Message, Receive, Scope

from featurestore.server.admission import Admission
from featurestore.server.content_types import JSON_HEADER
from featurestore.server.json_body import IN_LOOP_BYTES
from featurestore.server.middleware import Authorization
from featurestore.settings import Settings


class Door:
    """Admits requests with a short JSON body of known length. All others are left to the middleware, which answers what is wrong."""

    def __init__(self, settings: Settings, admission: Admission, authorization: Authorization | None) -> None:
        self._admission, self._authorization = admission, authorization
        # Larger bodies are parsed off the event loop.
        self._body_limit = min(settings.body_bytes(), IN_LOOP_BYTES)

    def admits(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request may come in; `headers` are those of the scope."""
        if headers.get(b"content-type") != JSON_HEADER:
            return False
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > self._body_limit or b"content-encoding" in headers or b"transfer-encoding" in headers:
            return False
        return self._admission.refusal(scope) is None and (self._authorization is None or self._authorization.allows(scope))


class ReceivedBody(NamedTuple):
    """The body of a request, and the messages that it came in."""

    content: bytes
    messages: Sequence[Message]

    def again(self, receive: Receive) -> Receive:
        """What was received, and then what comes."""
        received = iter(self.messages)

        async def receive_again() -> Message:
            message = next(received, None)
            return await receive() if message is None else message

        return receive_again


async def receive_body(receive: Receive) -> ReceivedBody:
    """The whole body of a request. One whose client leaves meanwhile is shorter than its Content-Length."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    return ReceivedBody(b"".join([message.get("body", b"") for message in messages]), messages)
