"""Keyed hashes of what a request asks for: whoever does not have the secret of a home folder cannot try which keys they stand for."""

import hashlib
from collections.abc import Mapping
from typing import Any

DIGEST_BYTES = 16
"""Bytes of a keyed hash."""


def keyed_hash(secret: bytes, content: bytes) -> str:
    """The keyed BLAKE2b of some bytes as hexadecimal digits: a message authentication code as HMAC is, in half of the time."""
    hashed = new_keyed_hash(secret)
    hashed.update(content)
    return hashed.hexdigest()


def new_keyed_hash(secret: bytes) -> hashlib.blake2b:
    """The hash of `keyed_hash` before any content."""
    return hashlib.blake2b(key=secret, digest_size=DIGEST_BYTES)


def entity_text(keys: Mapping[str, Any]) -> bytes:
    """The canonical bytes of the keys of an entity."""
    if len(keys) == 1:
        ((name, value),) = keys.items()
        return f"{name}\0{value}".encode()
    return "\0".join(f"{name}\0{keys[name]}" for name in sorted(keys)).encode()
