"""The messages between a web process and its workers: msgpack structs over a socket, each preceded by its length."""

from asyncio import IncompleteReadError, StreamReader, StreamWriter

import msgspec

HEADER = 8
"""Bytes of the length before each message."""
PART_BYTES = 256 << 10
"""Most bytes of a body in one message."""
MOST_BYTES = 16 << 20
"""Most bytes of a message."""

Headers = list[tuple[bytes, bytes]]


class Begin(msgspec.Struct, tag=True):
    """To a worker, before all else: the settings as JSON, including secrets, the environment, and the working directory."""

    settings: str
    environment: dict[str, str]
    directory: str


class Ask(msgspec.Struct, tag=True):
    """To a worker: a request without its body, of which the worker requests one part after the other. `principal` sends it."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: Headers
    principal: dict[str, str | list[str] | bool | None]


class Part(msgspec.Struct, tag=True):
    """To and from a worker: the next part of the body of a request or response; `more` is whether others follow."""

    content: bytes
    more: bool


class Stop(msgspec.Struct, tag=True):
    """To a worker: stop the request with this error. `details` has `left` if the client disconnected."""

    message: str
    details: dict[str, bool | float]


class Taken(msgspec.Struct, tag=True):
    """From a worker: it has accepted the request."""


class More(msgspec.Struct, tag=True):
    """From a worker: send the next part of the request's body."""


class Start(msgspec.Struct, tag=True):
    """From a worker: the status and headers of the response."""

    status: int
    headers: Headers


class Over(msgspec.Struct, tag=True):
    """From a worker: the request is finished; `failed` is whether its response broke off."""

    failed: bool = False


Message = Begin | Ask | Part | Stop | Taken | More | Start | Over

_DECODER = msgspec.msgpack.Decoder(Message)


def send(writer: StreamWriter, message: Message) -> None:
    """Write a message. The caller drains the writer."""
    content = msgspec.msgpack.encode(message)
    writer.write(len(content).to_bytes(HEADER, "big") + content)


async def receive(reader: StreamReader) -> Message | None:
    """The next message; None if the other end is closed. Raises: ValueError for bytes that are no message."""
    try:
        size = int.from_bytes(await reader.readexactly(HEADER), "big")
        if size > MOST_BYTES:
            raise ValueError(f"a message of {size} bytes")
        content = await reader.readexactly(size)
    except (IncompleteReadError, ConnectionError):
        return None
    message: Message = _DECODER.decode(content)
    return message
