"""What the fast paths in front of the framework have in common: which requests they answer, and bodies that can be read again."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from starlette.types import Message, Receive, Scope

from featurestore.errors import NotReady
from featurestore.server.access.access import set_rights
from featurestore.server.access.authenticator import Authenticator
from featurestore.server.access.needs import Needs
from featurestore.server.admission import Admission
from featurestore.server.content_types import JSON_HEADER
from featurestore.server.json_body import IN_LOOP_BYTES
from featurestore.server.load import Load
from featurestore.server.middleware import content_length
from featurestore.settings import Settings


class FastPath:
    """Decides which requests are answered in front of the framework: those with a short JSON body of known length that pass its checks.

    All others are left to the middleware, which answers what is wrong. `load` counts the requests that are being answered; those beyond its
    limit are left to the middleware as well.
    """

    def __init__(
        self, settings: Settings, admission: Admission, authenticator: Authenticator, load: Load, left: Collection[bytes] = ()
    ) -> None:
        """Requests with one of the headers `left` are left to the middleware."""
        self._left = frozenset((b"content-encoding", b"transfer-encoding", *left))
        self._admission, self._authenticator, self.load = admission, authenticator, load
        # Larger bodies are parsed off the event loop.
        self._body_limit = min(settings.body_bytes(), IN_LOOP_BYTES)

    def admits(self, scope: Scope, needs: Needs, name: str) -> bool:
        """Whether a request may be answered here: it is plain, and whoever sends it has what its route `needs` of the object `name`."""
        headers = dict(scope["headers"])
        if headers.get(b"content-type") != JSON_HEADER or not self._left.isdisjoint(headers):
            return False
        length = content_length(headers)
        if length is None or length > self._body_limit or self.load.is_full:
            return False
        if self._admission.refusal(scope) is not None or (principal := self._authenticator.find(scope)) is None:
            return False
        rights = self._authenticator.rights_of(principal)
        set_rights(scope, rights)
        try:
            return needs.allow(rights, {needs.parameter or "": name})
        except NotReady:
            return False


class ReceivedBody(NamedTuple):
    """The body of a request, and the messages that it came in. `whole`: the client has not left before its end."""

    content: bytes
    messages: Sequence[Message]
    whole: bool

    def again(self, receive: Receive) -> Receive:
        """What was received, and then what comes."""
        received = iter(self.messages)

        async def receive_again() -> Message:
            message = next(received, None)
            return await receive() if message is None else message

        return receive_again


async def receive_body(receive: Receive) -> ReceivedBody:
    """Receive the body of a request, until its end or until the client leaves."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    content = b"".join([message.get("body", b"") for message in messages])
    return ReceivedBody(content, messages, messages[-1]["type"] == "http.request")
