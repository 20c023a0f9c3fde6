"""Who sends a request: the header `Authorization: Bearer ...` has the token of the settings, an API key, or a token of OpenID Connect."""

import hmac
import ipaddress

from anyio import CapacityLimiter, to_thread
from starlette.types import Scope

from featurestore.access.grant_book import GrantBook
from featurestore.access.key_ring import KeyRing
from featurestore.access.key_uses import KeyUses
from featurestore.access.policy_book import PolicyBook
from featurestore.access.principal import LOCAL, TOKEN, Principal
from featurestore.access.rights import Rights
from featurestore.access.tokens import PREFIX
from featurestore.errors import NotReady, Unauthorized
from featurestore.server.access.followed_keys import FollowedKeys
from featurestore.server.access.oidc import IdentityTokens
from featurestore.settings import Settings
from featurestore.store import FeatureStore
from featurestore.values import times

VERIFICATIONS = 4
"""Tokens of OpenID Connect that a process verifies at the same time, in threads."""
_SCHEME = b"Bearer "


class Authenticator:
    """Knows principals by their credentials. It asks for none as long as there is nothing to ask for: no token, no OpenID Connect, and no
    API key was ever created. Then everybody is LOCAL, on loopback addresses or with `allow_anonymous`.
    """

    def __init__(self, store: FeatureStore) -> None:
        settings = store.settings
        self._expected = None if settings.token is None else _SCHEME + settings.token.reveal().encode()
        self._identities = IdentityTokens.of(settings)
        self._may_be_open = self._expected is None and self._identities is None and may_be_open(settings)
        self._keys, self._uses = KeyRing(store.backend.runtime), KeyUses(store.backend.runtime)
        self._verifications = CapacityLimiter(VERIFICATIONS)
        self._grants, self._policies = GrantBook(store.backend.runtime), PolicyBook(store.backend.runtime)
        self._followed = FollowedKeys("API keys and grants", self._uses, self._refresh)

    @property
    def asks(self) -> bool:
        """Whether credentials are needed."""
        return not (self._may_be_open and self._keys.is_loaded and not self._keys.has_keys)

    def start(self) -> None:
        """Read the keys, and begin to follow them. What cannot be read now is read when the catalog responds."""
        self._followed.start()

    def stop(self) -> None:
        """Follow keys no more, and record their last uses."""
        self._followed.stop()

    def rights_of(self, principal: Principal) -> Rights:
        """The rights of a principal, which follow the grants and policies."""
        return Rights(principal, self._grants, self._policies)

    def find(self, scope: Scope) -> Principal | None:
        """Who sends a request, as far as this process knows without asking anybody; None: `authenticate` decides."""
        header = _header(scope)
        if self._expected is not None and hmac.compare_digest(header, self._expected):
            return TOKEN
        if not self.asks:
            return LOCAL
        token = _token(header)
        if token is None:
            return None
        principal = self._keys.find(token)
        if principal is not None and principal.key is not None:
            self._uses.note(principal.key, times.now())
            return principal
        return None if self._identities is None else self._identities.find(token)

    async def authenticate(self, scope: Scope) -> Principal:
        """Who sends a request. Raises: Unauthorized; NotReady while the keys of the store or the issuer cannot be read."""
        if not self._followed.started and not self._keys.is_loaded:
            await to_thread.run_sync(self._refresh)
        principal = self.find(scope)
        if principal is not None:
            return principal
        token = _token(_header(scope))
        if self._may_be_open and not self._keys.is_loaded:
            raise _unreadable()
        if token is not None and token.startswith(PREFIX) and not self._keys.is_fresh:
            raise _unreadable()
        if token is not None and self._identities is not None and not token.startswith(PREFIX):
            # Threads of their own: while the issuer does not respond, tokens with unknown keys wait for it.
            return await to_thread.run_sync(self._identities.verify, token, limiter=self._verifications)
        raise Unauthorized(
            "this server asks for credentials: send the header 'Authorization: Bearer <token>' with an API key that is neither expired"
            " nor revoked (an administrator makes one with featurestore key create)" + self._others()
        )

    def _refresh(self) -> None:
        self._keys.refresh()
        self._grants.refresh()
        self._policies.refresh()

    def _others(self) -> str:
        others = ["the token of its settings"] if self._expected is not None else []
        others += ["a token of its OpenID Connect issuer"] if self._identities is not None else []
        return "".join(f", or {other}" for other in others)


def may_be_open(settings: Settings) -> bool:
    """Whether a server may ask for no credentials: on loopback addresses, or where something else keeps others out."""
    return settings.allow_anonymous or is_loopback(settings.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _header(scope: Scope) -> bytes:
    header: bytes = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return header


def _token(header: bytes) -> str | None:
    """The token of the header; None if it has none that could be valid."""
    if not header.startswith(_SCHEME):
        return None
    try:
        return header[len(_SCHEME) :].decode("ascii")
    except UnicodeDecodeError:
        return None


def _unreadable() -> NotReady:
    return NotReady("the API keys of the store cannot be read, because its catalog does not respond; try again later")
