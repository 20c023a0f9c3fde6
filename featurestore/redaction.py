"""Addresses of servers and stores: whole for those who connect, and fit to be shown, without what opens anything."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

HIDDEN = "***"
"""What stands where a secret was."""
SECRET = re.compile(
    r"secret|token|passw|pwd|passphrase|credential|key|sas|connection[-_]string|odbc_connect|(?<!o)auth|signature|^sig$|private|cookie"
    r"|^header\.(?!x-iceberg)",
    re.IGNORECASE,
)
"""What the name of a property or parameter that must not be shown looks like."""
PATHS = ("lmdb", "file", "sqlite")
"""What is written after these names a file: an @ in it is a sign like any other."""
TOKENS = ("http", "https", "s3", "gs", "abfs", "abfss")
"""Here a user without a password is a token, and no name."""

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_ASSIGNED = re.compile(r"""((?:passw(?:or)?d|pwd|secret|token)\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s&;,]+)""", re.IGNORECASE)
_QUERY = re.compile(r"[^=&/@]+=[^&/]*(?:&[^=&/@]+=[^&/]*)*")
_ESCAPED = re.compile(r"(%[0-9a-fA-F]{2})")


class Parts(NamedTuple):
    """An address cut where its user ends; `user` and `rest` are as written, without the @ between them."""

    scheme: str
    user: str | None
    rest: str


def is_secret(name: str) -> bool:
    """Whether what stands under this name must not be shown."""
    return SECRET.search(name) is not None


def without_secrets(text: str) -> str:
    """An address, or several words with one in them, without passwords, tokens and keys, in its user or its query."""
    found = _SCHEME.search(text)
    if found is None:
        return _ASSIGNED.sub(rf"\1{HIDDEN}", text)
    parts = _parts(text[found.start() :], careful=True)
    user = "" if parts.user is None else f"{_shown_user(parts)}@"
    head, question, query = parts.rest.partition("?")
    return f"{text[: found.start()]}{parts.scheme}://{user}{head}{question}{_shown_query(query)}"


def place_of(address: str) -> str:
    """What server and database an address means, without who and how."""
    parts = _parts(address, careful=True)
    return f"{parts.scheme}://{parts.rest.partition('?')[0]}"


def public(properties: Mapping[str, str]) -> dict[str, str]:
    """Properties without their secrets: those named like one are left out, addresses are shown without theirs."""
    return {name: without_secrets(value) for name, value in properties.items() if not is_secret(name)}


def secrets_in(address: str) -> Iterator[str]:
    """What must not be shown of an address: as it is written, and as it is meant."""
    if _SCHEME.match(address) is None:
        return
    for parts in {_parts(address, careful=True), _parts(address, careful=False)}:
        name, colon, password = (parts.user or "").partition(":")
        if colon or parts.scheme.lower() in TOKENS:
            yield password if colon else name
        for item in re.split("[&;]", parts.rest.partition("?")[2]):
            key, _, value = item.partition("=")
            if is_secret(key):
                yield value


def connectable(address: str) -> str:
    """The address with signs such as @ / # percent-encoded where they stand in its user or password as they are."""
    if _SCHEME.match(address) is None:
        return address
    parts = _parts(address, careful=False)
    if parts.user is None:
        return address
    name, colon, password = parts.user.partition(":")
    return f"{parts.scheme}://{_encoded(name)}{colon}{_encoded(password)}@{parts.rest}"


def _parts(address: str, *, careful: bool) -> Parts:
    """Cut after the user. Where its end is in doubt, `careful` takes too much for the user, never too little."""
    scheme, _, rest = address.partition("://")
    if scheme.lower().partition("+")[0] in PATHS or rest.startswith("/"):
        return Parts(scheme, None, rest)
    server = re.split("[/?#]", rest, maxsplit=1)[0]
    before, _, query = rest.partition("?")
    if "@" not in rest:
        return Parts(scheme, None, rest)
    if careful:
        # In a part of its own, a path or a parameter, an @ belongs to no user, unless what stands before it may be a password.
        plain = "@" not in server and ":" not in server
        return Parts(scheme, None, rest) if plain else Parts(scheme, *_cut(rest, rest.rfind("@")))
    if "@" in query and not _QUERY.fullmatch(query):
        return Parts(scheme, *_cut(rest, rest.rfind("@")))
    if "@" in before and ("@" in server or not _is_server(server)):
        return Parts(scheme, *_cut(rest, before.rfind("@")))
    return Parts(scheme, None, rest) if _is_server(server) else Parts(scheme, *_cut(rest, rest.rfind("@")))


def _is_server(text: str) -> bool:
    return re.fullmatch(r"(?:[^:\[\]]*|\[[0-9a-fA-F:.]+\])(?::\d*)?", text) is not None


def _cut(text: str, at: int) -> tuple[str, str]:
    return text[:at], text[at + 1 :]


def _shown_user(parts: Parts) -> str:
    name, colon, _ = (parts.user or "").partition(":")
    if colon:
        return f"{name}:{HIDDEN}"
    return HIDDEN if parts.scheme.lower() in TOKENS else name


def _shown_query(query: str) -> str:
    shown = []
    for item in re.split("([&;])", query):
        name, equals, value = item.partition("=")
        shown.append(f"{name}={HIDDEN}" if equals and is_secret(unquote(name)) else f"{name}{equals}{_shown_value(value)}")
    return "".join(shown)


def _shown_value(value: str) -> str:
    """A parameter may hold an address, or words such as `PWD=...`."""
    meant = unquote(value)
    return value if without_secrets(meant) == meant else quote(without_secrets(meant), safe="*:/@")


def _encoded(text: str) -> str:
    """Percent-encoded but for what is so already."""
    return "".join(part if _ESCAPED.fullmatch(part) else quote(part, safe="") for part in _ESCAPED.split(text))
