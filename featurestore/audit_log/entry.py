"""An entry of the audit log, and its line: canonical JSON whose hash depends on all lines of the chain before it."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

NOTHING = "0" * 64
"""The hash before the first entry of a chain."""
NOBODY = "nobody"
"""The principal of requests whose credentials were missing or wrong."""
_SEAL = b',"hash":"'
_HASH, _END = 64, b'"}'


class Done(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Something that was done, or refused. The order of the fields is that of the JSON.

    `key` is the id of an API key. `action` is the method and the route of a request, or a verb. `objects` are what it names, such as
    `services/churn`. `scope` has the tables, snapshots and names that a request gives. `status` is the HTTP status; `error` the type of an
    error, None if it was done. `entities` are keyed hashes of looked-up keys, `body` that of a whole request.
    """

    principal: str
    action: str
    key: str | None = None
    objects: Sequence[str] = ()
    scope: Mapping[str, Any] | None = None
    status: int | None = None
    error: str | None = None
    request_id: str | None = None
    entities: Sequence[str] = ()
    body: str | None = None


class Entry(Done, kw_only=True, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What was done, with its place in a chain, which the JSON has first.

    `number` counts the entries of the chain from 1, and `previous` is the hash of the entry before it. `time` is in microseconds since
    the epoch.
    """

    chain: str
    number: int
    previous: str
    time: int


class Line(NamedTuple):
    """An entry as it is stored: its bytes without the line feed, and its hash."""

    entry: Entry
    content: bytes
    hash: str


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Entry)


def encode(done: Done) -> bytes:
    """The members of the JSON of an entry that follow those of its place."""
    return _ENCODER.encode(done)[1:-1]


def decode(chain: str, number: int, time: int, members: bytes) -> Entry:
    """An entry that has no hash yet. Raises: ValueError if `members` is not as `encode` returns it."""
    try:
        return _DECODER.decode(b'%b%d,"previous":"","time":%d,%b}' % (begin_lines(chain), number, time, members))
    except msgspec.MsgspecError as error:
        raise ValueError("is not an entry") from error


def begin_lines(chain: str) -> bytes:
    """What all lines of a chain begin with, before the number."""
    return b'{"chain":"%b","number":' % chain.encode()


def seal(begin: bytes, number: int, previous: bytes, entries: Iterable[tuple[int, bytes]]) -> tuple[list[bytes], list[bytes]]:
    """The lines of entries that follow the entry `number`, whose hash is `previous`, with their line feeds; and their hashes.

    The hash of an entry is the SHA-256 of the previous hash and of the JSON, whose last member it is in the line. `begin` is as
    `begin_lines` returns it, and an entry is its time and its members, as `encode` returns them.
    """
    lines, hashes = [], []
    for time, members in entries:
        number += 1
        hashed = b'%b%b%d,"previous":"%b","time":%d,%b}' % (previous, begin, number, previous, time, members)
        previous = sha256(hashed).hexdigest().encode()
        lines.append(b'%b,"hash":"%b"}\n' % (hashed[_HASH:-1], previous))
        hashes.append(previous)
    return lines, hashes


def open_line(content: bytes) -> Line:
    """The entry of a line. Raises: ValueError saying what is wrong with it."""
    start = len(content) - len(_END) - _HASH - len(_SEAL)
    if start < 0 or not content.endswith(_END) or content[start : start + len(_SEAL)] != _SEAL:
        raise ValueError("is not an entry")
    body = content[:start] + b"}"
    digest = content[start + len(_SEAL) : -len(_END)].decode("latin-1")
    try:
        entry = _DECODER.decode(body)
    except msgspec.MsgspecError as error:
        raise ValueError("is not an entry") from error
    if sha256(entry.previous.encode() + body).hexdigest() != digest:
        raise ValueError("was edited: its hash is not that of its content")
    return Line(entry, content, digest)
