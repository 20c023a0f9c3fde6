"""The public keys of an OpenID Connect issuer: fetched when they are needed, kept, and fetched again when a token names a new one."""

import threading
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from featurestore.errors import NotReady, RequestError
from featurestore.redaction import without_secrets

ALGORITHMS = ("RS256", "ES256")
"""The accepted algorithms. Neither `none` nor HS256, for which a public key would be the secret."""
FETCH_SECONDS = 5.0
"""Time limit of one request to the issuer."""
KEPT_SECONDS = 3600.0
"""Age from which keys are fetched again before they are used, so that one that the issuer withdrew is not accepted for longer."""
STALE_SECONDS = 86_400.0
"""Age up to which keys are used if the issuer does not respond."""
AGAIN_SECONDS = 10.0
"""Shortest time between two attempts to fetch, however many tokens name unknown keys."""
MOST_BYTES = 1 << 20
"""Largest answer that is read."""
MOST_KEYS = 100


class IssuerKeys:
    """The keys by their ids. Thread-safe: one thread fetches, and others wait for it. `clock` is monotonic, in seconds."""

    def __init__(self, jwt: ModuleType, issuer: str, address: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`address` is that of the keys; None: the issuer's configuration names it."""
        self._jwt, self._issuer, self._address, self._clock = jwt, issuer, address, clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, Any] = {}
        self._fetched = self._tried = -STALE_SECONDS

    def find(self, key_id: str) -> Any | None:
        """The key with this id, as PyJWT's PyJWK; None if the issuer has none. Raises: NotReady if the issuer cannot say."""
        key = self._keys.get(key_id)
        if key is not None and self._clock() - self._fetched < KEPT_SECONDS:
            return key
        with self._lock:
            now = self._clock()
            key = self._keys.get(key_id)
            if key is not None and now - self._fetched < KEPT_SECONDS:
                return key
            if now - self._tried >= AGAIN_SECONDS:
                self._tried = now
                try:
                    self._keys = self._fetch()
                    self._fetched = now
                except NotReady:
                    if key is None or now - self._fetched >= STALE_SECONDS:
                        raise
            if not self._keys or now - self._fetched >= STALE_SECONDS:
                raise NotReady(f"the keys of the issuer {without_secrets(self._issuer)} could not be read; try again later")
            return self._keys.get(key_id)

    def _fetch(self) -> dict[str, Any]:
        """All keys with an id that sign with an accepted algorithm. Raises: NotReady."""
        address = self._address or self._discover()
        documents = self._get(address).get("keys")
        keys: dict[str, Any] = {}
        for document in documents[:MOST_KEYS] if isinstance(documents, list) else ():
            if not isinstance(document, dict) or not isinstance(document.get("kid"), str) or document.get("use", "sig") != "sig":
                continue
            try:
                key = self._jwt.PyJWK.from_dict(document)
            except self._jwt.PyJWTError:
                # A key of a kind that signs no token that is accepted here.
                continue
            if key.algorithm_name in ALGORITHMS:
                keys[document["kid"]] = key
        if not keys:
            raise NotReady(f"{without_secrets(address)} answered without public keys; is it the address of an issuer's keys?")
        return keys

    def _discover(self) -> str:
        configuration = self._get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        address = configuration.get("jwks_uri")
        if configuration.get("issuer") != self._issuer or not isinstance(address, str) or not _is_safe(address):
            raise NotReady(
                f"the configuration of {without_secrets(self._issuer)} is that of another issuer, or names no https address of its keys;"
                " correct oidc_issuer, or set oidc_jwks_url"
            )
        return address

    def _get(self, address: str) -> dict[str, Any]:
        """The JSON object at an address; redirects are not followed. Raises: NotReady."""
        shown = without_secrets(address)
        try:
            with httpx.stream("GET", address, timeout=FETCH_SECONDS, follow_redirects=False) as answer:
                content, began = bytearray(), self._clock()
                for part in answer.iter_bytes() if answer.status_code == 200 else ():
                    content += part
                    if len(content) > MOST_BYTES or self._clock() - began > FETCH_SECONDS:
                        raise NotReady(f"the answer of {shown} is too large or too slow")
                document = _parse(bytes(content))
        except httpx.HTTPError as error:
            raise NotReady(f"{shown} cannot be reached", reason=str(error)) from error
        if document is None:
            raise NotReady(f"{shown} did not answer with a JSON object")
        return document


def check_address(address: str, field: str) -> None:
    """Check an address of the settings. Raises: RequestError naming `field`."""
    if not _is_safe(address):
        raise RequestError(
            f"{field}: {without_secrets(address)!r} is not an https:// address; whoever can change an answer on its way could sign tokens",
            field=field,
        )


def _is_safe(address: str) -> bool:
    parts = urlsplit(address)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and local))


def _parse(content: bytes) -> dict[str, Any] | None:
    """The JSON object in an answer; None for anything else."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
