"""Mask passwords, tokens and keys in URLs and properties, and percent-encode URLs for connecting."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

HIDDEN = "***"
"""The replacement of a secret."""
SECRET = re.compile(
    r"secret|token|passw|pwd|passphrase|credential|key|sas|connection[-_]string|odbc_connect|(?<!o)auth|signature|^sig$|private|cookie"
    r"|^header\.(?!x-iceberg)",
    re.IGNORECASE,
)
"""Matches the names of properties and parameters whose values must not be shown."""
PATHS = ("lmdb", "file", "sqlite")
"""Schemes of file paths, in which an @ has no special meaning."""
TOKENS = ("http", "https", "s3", "gs", "abfs", "abfss")
"""Schemes in which a user without a password is a token."""

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_ASSIGNED = re.compile(r"""((?:passw(?:or)?d|pwd|secret|token)\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s&;,]+)""", re.IGNORECASE)
_QUERY = re.compile(r"[^=&/@]+=[^&/]*(?:&[^=&/@]+=[^&/]*)*")
_ESCAPED = re.compile(r"(%[0-9a-fA-F]{2})")


class Parts(NamedTuple):
    """A URL split after its user; `user` and `rest` are as written, without the @ between them."""

    scheme: str
    user: str | None
    rest: str


def is_secret(name: str) -> bool:
    """Whether the value of this name must not be shown."""
    return SECRET.search(name) is not None


def without_secrets(text: str) -> str:
    """Mask passwords, tokens and keys in the user and query of a URL, or of a text with a URL."""
    match = _SCHEME.search(text)
    if match is None:
        return _ASSIGNED.sub(rf"\1{HIDDEN}", text)
    parts = _parts(text[match.start() :], careful=True)
    user = "" if parts.user is None else f"{_mask_user(parts)}@"
    head, question, query = parts.rest.partition("?")
    return f"{text[: match.start()]}{parts.scheme}://{user}{head}{question}{_mask_query(query)}"


def location_of(address: str) -> str:
    """The server and database of a URL, without user and parameters."""
    parts = _parts(address, careful=True)
    return f"{parts.scheme}://{parts.rest.partition('?')[0]}"


def public_properties(properties: Mapping[str, str]) -> dict[str, str]:
    """Properties without secrets: those with the name of a secret are left out, and URLs are masked."""
    return {name: without_secrets(value) for name, value in properties.items() if not is_secret(name)}


def secrets_in(address: str) -> Iterator[str]:
    """The parts of a URL that must not be shown, in each way in which the URL may be parsed."""
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


def percent_encoded(address: str) -> str:
    """The URL with characters such as @ / # in its user and password percent-encoded."""
    if _SCHEME.match(address) is None:
        return address
    parts = _parts(address, careful=False)
    if parts.user is None:
        return address
    name, colon, password = parts.user.partition(":")
    return f"{parts.scheme}://{_percent_encode(name)}{colon}{_percent_encode(password)}@{parts.rest}"


def _parts(address: str, *, careful: bool) -> Parts:
    """Split a URL after its user. If the end is ambiguous, `careful` takes too much as the user, never too little."""
    scheme, _, rest = address.partition("://")
    if scheme.lower().partition("+")[0] in PATHS or rest.startswith("/"):
        return Parts(scheme, None, rest)
    server = re.split("[/?#]", rest, maxsplit=1)[0]
    before, _, query = rest.partition("?")
    if "@" not in rest:
        return Parts(scheme, None, rest)
    if careful:
        # An @ in a path or parameter does not end a user, unless the text before it may be a password.
        plain = "@" not in server and ":" not in server
        return Parts(scheme, None, rest) if plain else Parts(scheme, *_split_at(rest, rest.rfind("@")))
    if "@" in query and not _QUERY.fullmatch(query):
        return Parts(scheme, *_split_at(rest, rest.rfind("@")))
    if "@" in before and ("@" in server or not _is_server(server)):
        return Parts(scheme, *_split_at(rest, before.rfind("@")))
    return Parts(scheme, None, rest) if _is_server(server) else Parts(scheme, *_split_at(rest, rest.rfind("@")))


def _is_server(text: str) -> bool:
    return re.fullmatch(r"(?:[^:\[\]]*|\[[0-9a-fA-F:.]+\])(?::\d*)?", text) is not None


def _split_at(text: str, at: int) -> tuple[str, str]:
    return text[:at], text[at + 1 :]


def _mask_user(parts: Parts) -> str:
    name, colon, _ = (parts.user or "").partition(":")
    if colon:
        return f"{name}:{HIDDEN}"
    return HIDDEN if parts.scheme.lower() in TOKENS else name


def _mask_query(query: str) -> str:
    shown = []
    for item in re.split("([&;])", query):
        name, equals, value = item.partition("=")
        shown.append(f"{name}={HIDDEN}" if equals and is_secret(unquote(name)) else f"{name}{equals}{_mask_value(value)}")
    return "".join(shown)


def _mask_value(value: str) -> str:
    """Mask a parameter's value, which may be a URL, or have text such as `PWD=...`."""
    meant = unquote(value)
    return value if without_secrets(meant) == meant else quote(without_secrets(meant), safe="*:/@")


def _percent_encode(text: str) -> str:
    """Percent-encode a text except for parts that are already encoded."""
    return "".join(part if _ESCAPED.fullmatch(part) else quote(part, safe="") for part in _ESCAPED.split(text))
