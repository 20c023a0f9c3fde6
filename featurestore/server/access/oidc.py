"""Tokens of OpenID Connect: JSON Web Tokens that an issuer signs, verified with its public keys."""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from featurestore.access.principal import LONGEST_NAME, RESERVED, Principal
from featurestore.errors import MissingExtra, RequestError, Unauthorized
from featurestore.server.access.issuer_keys import ALGORITHMS, IssuerKeys, check_address
from featurestore.settings import Settings

if TYPE_CHECKING:
    from types import ModuleType

REQUIRED = ("iss", "aud", "exp", "iat", "sub")
LEEWAY_SECONDS = 30
"""How far the clocks of issuer and server may differ."""
LONGEST_TOKEN = 16_384
KNOWN_TOKENS = 10_000
"""Verified tokens that a process keeps, so that later requests need no signature."""


class IdentityTokens:
    """Verifies tokens, and keeps those that were verified until they expire. Thread-safe."""

    def __init__(self, settings: Settings, issuer: str, audience: str, clock: Callable[[], float] = time.time) -> None:
        """`clock` is in seconds since the epoch. Raises: MissingExtra."""
        self._jwt = _import_jwt()
        self._issuer, self._audience, self._clock = issuer, audience, clock
        self._groups_claim, self._administrators = settings.oidc_groups_claim, frozenset(settings.oidc_administrators)
        self._keys = IssuerKeys(self._jwt, issuer, None if settings.oidc_jwks_url is None else settings.oidc_jwks_url.reveal())
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    @classmethod
    def of(cls, settings: Settings) -> "IdentityTokens | None":
        """That of the settings; None if they name no issuer. Raises: RequestError for incomplete settings; MissingExtra."""
        others = ("oidc_audience", "oidc_jwks_url")
        if settings.oidc_issuer is None:
            if (given := next((name for name in others if getattr(settings, name) is not None), None)) is not None:
                raise RequestError(f"{given} is set and oidc_issuer is not; set the issuer, or remove {given}", field=given)
            return None
        if settings.oidc_audience is None:
            raise RequestError(
                "oidc_issuer is set and oidc_audience is not: tokens that the issuer made for other programs would be accepted; set it to"
                " what the issuer writes into the claim aud of tokens for this server",
                field="oidc_audience",
            )
        issuer = settings.oidc_issuer.reveal()
        check_address(issuer, "oidc_issuer")
        if settings.oidc_jwks_url is not None:
            check_address(settings.oidc_jwks_url.reveal(), "oidc_jwks_url")
        return cls(settings, issuer, settings.oidc_audience)

    def find(self, token: str) -> Principal | None:
        """The principal of a token that was verified before and has not expired; None for any other."""
        known = self._known.get(_digest(token))
        return known[0] if known is not None and self._clock() < known[1] else None

    def verify(self, token: str) -> Principal:
        """The principal of a token. Raises: Unauthorized saying what is wrong with it; NotReady if the issuer's keys cannot be read."""
        if len(token) > LONGEST_TOKEN:
            raise Unauthorized(f"the token has more than {LONGEST_TOKEN} characters")
        jwt = self._jwt
        try:
            header = jwt.get_unverified_header(token)
            algorithm, key_id = header.get("alg"), header.get("kid")
            if algorithm not in ALGORITHMS:
                raise Unauthorized(f"the token is not signed with {' or '.join(ALGORITHMS)}")
            if not isinstance(key_id, str):
                raise Unauthorized("the token does not name the key that signed it (kid)")
            key = self._keys.find(key_id)
            # A key signs with its own algorithm only, whatever the token says.
            if key is None or key.algorithm_name != algorithm:
                raise Unauthorized("the issuer has no key of this id and algorithm, with which the token says that it was signed")
            claims = jwt.decode(
                token,
                key=key.key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": list(REQUIRED)},
            )
        except jwt.PyJWTError as error:
            # PyJWT's messages say which claim is wrong, and quote none of its values.
            raise Unauthorized(f"the token is not accepted ({type(error).__name__}); ask the issuer for a new one") from error
        principal = self._principal(claims)
        with self._lock:
            self._known[_digest(token)] = (principal, float(claims["exp"]) + LEEWAY_SECONDS)
            while len(self._known) > KNOWN_TOKENS:
                self._known.popitem(last=False)
        return principal

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        name, groups = claims["sub"], claims.get(self._groups_claim, [])
        listed = [groups] if isinstance(groups, str) else groups
        if not _is_name(name) or name in RESERVED:
            raise Unauthorized("the claim sub of the token is not the name of a principal")
        if not isinstance(listed, list) or not all(isinstance(group, str) for group in listed):
            raise Unauthorized("the claim of the token with groups is not a list of names")
        members = frozenset(group for group in listed if _is_name(group))
        return Principal(name, members, not members.isdisjoint(self._administrators))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and value == value.strip() and 0 < len(value) <= LONGEST_NAME


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _import_jwt() -> "ModuleType":
    # Imported here, since most servers need it not, and it may not be installed.
    try:
        import jwt  # noqa: PLC0415
        from jwt.algorithms import has_crypto  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("pyjwt", "oidc", "the setting oidc_issuer") from error
    if not has_crypto:
        raise MissingExtra("cryptography", "oidc", "the setting oidc_issuer")
    return jwt
