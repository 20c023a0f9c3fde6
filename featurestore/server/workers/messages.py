"""What a web process and its workers say to one another: messages of a few kinds over a socket, each with its length before it."""

from asyncio import IncompleteReadError, StreamReader, StreamWriter

import msgspec

HEADER = 8
"""Bytes before each message that tell its length."""
PART_BYTES = 256 << 10
"""Most bytes of a body that are sent at once."""
MOST_BYTES = 16 << 20
"""Most bytes of a message."""

Headers = list[tuple[bytes, bytes]]


class Begin(msgspec.Struct, tag=True):
    """To a worker, first of all: the settings as JSON with their secrets, the environment, and the working directory."""

    settings: str
    environment: dict[str, str]
    directory: str


class Ask(msgspec.Struct, tag=True):
    """To a worker: a request, whose body it asks for in parts."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: Headers


class Part(msgspec.Struct, tag=True):
    """The next part of a body, of the request or of the answer; `more` follow or not."""

    content: bytes
    more: bool


class Stop(msgspec.Struct, tag=True):
    """To a worker: the request has to end, with this error; `left` when its client has left."""

    message: str
    details: dict[str, bool | float]


class Taken(msgspec.Struct, tag=True):
    """From a worker: it has begun with the request."""


class More(msgspec.Struct, tag=True):
    """From a worker: the next part of the request's body is wanted."""


class Start(msgspec.Struct, tag=True):
    """From a worker: the answer begins."""

    status: int
    headers: Headers


class Over(msgspec.Struct, tag=True):
    """From a worker: the request is dealt with; `failed` in the middle of its answer."""

    failed: bool = False


Message = Begin | Ask | Part | Stop | Taken | More | Start | Over

_DECODER = msgspec.msgpack.Decoder(Message)


def send(writer: StreamWriter, message: Message) -> None:
    """Write a message; `drain` is the caller's."""
    content = msgspec.msgpack.encode(message)
    writer.write(len(content).to_bytes(HEADER, "big") + content)


async def receive(reader: StreamReader) -> Message | None:
    """The next message; None when whoever sends them is gone. Raises: ValueError when what comes is no message."""
    try:
        size = int.from_bytes(await reader.readexactly(HEADER), "big")
        if size > MOST_BYTES:
            raise ValueError(f"a message of {size} bytes")
        content = await reader.readexactly(size)
    except (IncompleteReadError, ConnectionError):
        return None
    found: Message = _DECODER.decode(content)
    return found
