"""Types of settings: secrets, addresses without their passwords, and sizes."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, PlainSerializer, PlainValidator

from featurestore.masking import Secret
from featurestore.values import byte_sizes


def _token(value: Any) -> Secret:
    text = _text(value)
    if not text.strip():
        raise ValueError("an empty token lets everybody in; omit it, or set one that is hard to guess")
    if not text.isascii() or text != text.strip() or not text.isprintable():
        raise ValueError("a token must be printable ASCII without surrounding spaces, because it is sent in a header")
    return Secret(text)


def _signing_secret(value: Any) -> Secret:
    text = _text(value)
    if len(text.strip()) < MIN_SECRET_LENGTH:
        raise ValueError(
            f"with less than {MIN_SECRET_LENGTH} characters it can be guessed from what it signs; `openssl rand -hex 32` makes a good one"
        )
    return Secret(text)


def _address(value: Any) -> Secret:
    return Secret.address(_text(value))


def _properties(value: Any) -> dict[str, Secret]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError("Input should be a table of properties and their values")
    return {name: Secret.property(name, _text(inner, name)) for name, inner in value.items()}


def _addresses(value: Any) -> dict[str, Secret]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError("Input should be a table of names and their addresses")
    return {name: Secret.address(_text(inner, name)) for name, inner in value.items()}


def _text(value: Any, name: str = "") -> str:
    text = value.reveal() if isinstance(value, Secret) else value
    if not isinstance(text, str):
        raise ValueError(f"{name}: Input should be a valid string" if name else "Input should be a valid string")
    return text


def _byte_size(value: str) -> str:
    byte_sizes.parse(value)
    return value


def _memory_size(value: str) -> str:
    byte_sizes.parse_memory(value)
    return value


def _duration(value: str) -> str:
    parsed = re.fullmatch(r"([1-9]\d{0,5})([smhdw])", value)
    if parsed is None:
        raise ValueError("Input should be a duration: a whole number and one of s, m, h, d, w, such as 30s or 7d")
    return value


MIN_SECRET_LENGTH = 16
"""Fewest characters of a secret that signs: whoever has seen a signature can try secrets without asking anybody."""
_SHOWN = PlainSerializer(str, return_type=str)
Token = Annotated[Secret, PlainValidator(_token), _SHOWN]
"""A text that is always masked."""
SigningSecret = Annotated[Secret, PlainValidator(_signing_secret), _SHOWN]
"""The secret of signatures, always masked."""
Address = Annotated[Secret, PlainValidator(_address), _SHOWN]
"""A URL, shown without passwords."""
Properties = Annotated[
    dict[str, Secret],
    PlainValidator(_properties),
    PlainSerializer(lambda properties: {name: str(value) for name, value in properties.items()}),
]
"""Properties by name, with secrets masked."""
Addresses = Annotated[
    dict[str, Secret],
    PlainValidator(_addresses),
    PlainSerializer(lambda addresses: {name: str(value) for name, value in addresses.items()}),
]
"""Addresses by name, shown without passwords."""
ByteSize = Annotated[str, AfterValidator(_byte_size)]
"""A size in bytes as text, such as 64MiB."""
Duration = Annotated[str, AfterValidator(_duration)]
"""A length of time as text, such as 30s or 7d, longer than zero."""
MemorySize = Annotated[str, AfterValidator(_memory_size)]
"""A limit of memory as text: a size, or a fraction of the machine's memory such as 50%."""
