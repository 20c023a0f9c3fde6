"""The text of a key, `fs_<id>_<secret>` for an API key, of which only a digest of the secret is stored."""

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

PREFIX = "fs_"
_ID_BYTES = 6
_SECRET_BYTES = 32
"""256 random bits: a digest without salt and without many rounds is enough, since nobody can try so many secrets."""
_TOKEN = re.compile(rf"([0-9a-f]{{{2 * _ID_BYTES}}})_([A-Za-z0-9_-]{{43}})")


class NewToken(NamedTuple):
    """A token that was just made. It is shown once; `digest` is stored."""

    id: str
    token: str
    digest: str


def make_token(prefix: str = PREFIX) -> NewToken:
    """Make a token with a random id and a random secret."""
    id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return NewToken(id, f"{prefix}{id}_{secret}", digest_of(secret))


def parse_token(token: str, prefix: str = PREFIX) -> tuple[str, str] | None:
    """The id and the secret of a token; None for text of another form."""
    match = _TOKEN.fullmatch(token, len(prefix)) if token.startswith(prefix) else None
    return None if match is None else (match[1], match[2])


def digest_of(secret: str) -> str:
    """The digest of a secret, as it is stored: SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret_of(secret: str, digest: str) -> bool:
    """Whether this is the secret with the digest, in constant time."""
    return hmac.compare_digest(digest_of(secret), digest)
