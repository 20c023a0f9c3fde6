"""Who sends a request of the sharing protocol: a recipient with its bearer token, or with the signed address of a file."""

import time
from dataclasses import replace
from urllib.parse import parse_qs

from anyio import to_thread
from starlette.types import Scope

from featurestore.access.key_ring import KeyRing
from featurestore.access.key_uses import KeyUses
from featurestore.access.policy_book import PolicyBook
from featurestore.access.principal import Principal
from featurestore.access.rights import Rights
from featurestore.errors import NotFound, NotReady, Unauthorized
from featurestore.server.access.followed_keys import FollowedKeys
from featurestore.sharing.readable import ReadableShares
from featurestore.sharing.recipient_policy import rules_of
from featurestore.sharing.recipients import PATH, RECIPIENT_KEYS, principal_of
from featurestore.sharing.sharing_book import SharingBook
from featurestore.sharing.signatures import FileAddress, Signer
from featurestore.store import FeatureStore
from featurestore.values import times

_SCHEME = "Bearer "
_PARTS = ("shares", "schemas", "tables", "files")
_FEW_DIGITS = 15


class RecipientAccess:
    """Knows recipients by what they send. Everything else of the server is closed to them, and this part to everybody else."""

    def __init__(self, store: FeatureStore) -> None:
        runtime = store.backend.runtime
        self.book, self.signer = SharingBook(runtime), Signer(store.settings.home_path())
        self._keys, self._uses = KeyRing(runtime, registry=RECIPIENT_KEYS), KeyUses(runtime, RECIPIENT_KEYS)
        self._policies, self._settings = PolicyBook(runtime), store.settings
        self._followed = FollowedKeys("shares and recipients' keys", self._uses, self._refresh)

    def start(self) -> None:
        """Read shares and keys, and begin to follow them. What cannot be read now is read when the catalog responds."""
        self._followed.start()

    def stop(self) -> None:
        """Follow them no more, and record the last uses of keys."""
        self._followed.stop()

    def is_for(self, scope: Scope) -> bool:
        """Whether a request is one of the protocol."""
        path: str = scope["path"]
        return path.startswith(f"{PATH}/")

    async def authenticate(self, scope: Scope) -> Principal:
        """Who sends a request. Raises: Unauthorized; NotReady while shares or keys cannot be read."""
        if not self._followed.started and not self._keys.is_loaded:
            await to_thread.run_sync(self._refresh)
        signed = signed_address(scope)
        key = self._bearer(scope) if signed is None else await to_thread.run_sync(self._signed, *signed)
        sharing = self.book.sharing()
        recipient = None if key is None else sharing.recipients.get(key.name)
        if key is None or key.key is None or recipient is None or recipient.revoked:
            if not self._keys.is_fresh:
                raise NotReady("the keys of recipients cannot be read, because the store's catalog does not respond; try again later")
            raise Unauthorized(
                "this is no bearer token of a recipient, or it has expired or was revoked; ask whoever shares with you for a new profile"
            )
        self._uses.note(key.key, times.now())
        principal = principal_of(recipient, key.key)
        if signed is not None:
            _check_shared(ReadableShares(sharing, recipient), signed[0])
        return principal

    def _bearer(self, scope: Scope) -> Principal | None:
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"").decode("latin-1")
        return self._keys.find(header.removeprefix(_SCHEME)) if header.startswith(_SCHEME) else None

    def _signed(self, address: FileAddress, signature: str) -> Principal | None:
        key = self._keys.find_by_id(address.key)
        self.signer.check(replace(address, rules="" if key is None else self._rules(address, key)), signature, now_ms())
        return key

    def _rules(self, address: FileAddress, key: Principal) -> str:
        """The policies in force for the holder of a key on a shared table; empty if there is no such holder or table."""
        sharing = self.book.sharing()
        recipient, share = sharing.recipients.get(key.name), sharing.shares.get(address.share)
        entry = None if share is None else share.tables.get((address.schema, address.table))
        if recipient is None or entry is None:
            return ""
        return rules_of(Rights(principal_of(recipient), policies=self._policies), entry.on, self._settings)

    def _refresh(self) -> None:
        self._keys.refresh()
        self.book.refresh()
        self._policies.refresh()


def now_ms() -> int:
    """The time in milliseconds since the epoch."""
    return int(time.time() * 1000)


def signed_address(scope: Scope) -> tuple[FileAddress, str] | None:
    """The address of a file and its signature; None for a request of another route. What was not signed so has another signature."""
    parts = scope["path"].removeprefix(f"{PATH}/").split("/")
    if tuple(parts[::2]) != _PARTS or len(parts) != 2 * len(_PARTS):
        return None
    query = parse_qs(scope["query_string"].decode("latin-1"))
    key, expires, signature = (query.get(name, [""])[0] for name in ("key", "expires", "signature"))
    # Other digits than those that are signed would be another text of the same number.
    number = int(expires) if expires.isascii() and expires.isdigit() and len(expires) <= _FEW_DIGITS else 0
    return FileAddress(parts[1], parts[3], parts[5], parts[7], key, number), signature


def _check_shared(shares: ReadableShares, address: FileAddress) -> None:
    """Check that the table of a file is still shared. Raises: Unauthorized."""
    try:
        shares.table(address.share, address.schema, address.table)
    except NotFound as error:
        raise Unauthorized("the table of the file is not shared any more") from error
