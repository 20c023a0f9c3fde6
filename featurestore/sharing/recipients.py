"""Recipients of shares: make, change, rotate, revoke and list them, and the profile files with which their clients connect."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from featurestore.access.key_registry import KeyRegistry
from featurestore.access.key_results import ApiKey, CreatedKey
from featurestore.access.keys import create_key, list_keys, revoke_key
from featurestore.access.principal import Principal, check_groups
from featurestore.access.privileges import Privilege
from featurestore.access.rights import Rights
from featurestore.errors import Conflict, FeatureStoreError, NotFound, RequestError
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings
from featurestore.sharing.share_results import CreatedRecipient, RecipientInfo, RecipientKey, RecipientState
from featurestore.sharing.shared_object import check_share_name
from featurestore.sharing.shares import RECIPIENT_REVOKED, RECIPIENT_SET, Recipient, Sharing, append_event, read_sharing
from featurestore.values import times
from featurestore.values.arguments import check_text

RECIPIENT_KEYS = KeyRegistry("recipient_keys", "recipient_key_uses", "key", "fsr_")
"""The bearer tokens of recipients. They are no API keys: the routes of the store itself do not know them."""
PATH = "/delta-sharing"
"""The path of the protocol's routes."""
MOST_SHARES = 100
"""Most shares of a recipient."""
MOST_RECIPIENTS = 10_000
"""Most recipients of a store."""


def create_recipient(runtime: Runtime, name: str, shares: Any, groups: Any, expires: Any, rights: Rights) -> CreatedRecipient:
    """Record a recipient of shares, and make its first key. It needs SHARE on the catalog, and membership in the groups.

    Raises: Conflict if there is one of this name; NotFound for a share; RequestError; Forbidden.
    """
    rights.require_catalog(Privilege.SHARE)
    who = check_share_name(name, "name")
    named, members = _share_names(shares), check_groups(groups)
    _require_groups(rights, members)

    def check(sharing: Sharing) -> Mapping[str, Any]:
        known = sharing.recipients.get(who)
        if known is not None and not known.revoked:
            raise Conflict(f"there is a recipient {who} already; rotate its key, change its shares, or revoke it first", recipient=who)
        if known is None and len(sharing.recipients) >= MOST_RECIPIENTS:
            raise Conflict(f"there are {MOST_RECIPIENTS} recipients already, with those that were revoked; use the name of one of these")
        return _set(sharing, who, named, members)

    check(read_sharing(runtime))
    for held in _keys(runtime).get(who, ()):
        # Of a revoked recipient of this name, if that was not finished.
        if held.state == "live":
            _revoke_key(runtime, held.id)
    # The key first: a recipient without one could not be told from one whose keys were lost.
    created = _create_key(runtime, who, expires)
    try:
        sharing = append_event(runtime, RECIPIENT_SET, check)
    except FeatureStoreError:
        _revoke_key(runtime, created.key.id)
        raise
    return _created(runtime, sharing.recipient(who), created)


def change_recipient(runtime: Runtime, name: str, shares: Any, groups: Any, rights: Rights) -> RecipientInfo:
    """Record other shares or groups of a recipient; None: as they are. Raises: as `create_recipient`."""
    rights.require_catalog(Privilege.SHARE)
    who = check_share_name(name, "name")
    named = None if shares is None else _share_names(shares)
    members = None if groups is None else check_groups(groups)

    def check(sharing: Sharing) -> Mapping[str, Any]:
        before = sharing.recipient(who)
        _require_groups(rights, set(members or ()) - set(before.groups))
        return _set(sharing, who, before.shares if named is None else named, before.groups if members is None else members)

    sharing = append_event(runtime, RECIPIENT_SET, check)
    return _describe(sharing.recipient(who), _keys(runtime).get(who, ()))


def rotate_recipient(runtime: Runtime, name: str, expires: Any, rights: Rights) -> CreatedRecipient:
    """Make another key for a recipient, beside the one that it has. It needs SHARE on the catalog, and membership in its groups.

    Raises: Conflict if it has two live keys, saying which to revoke; NotFound; RequestError; Forbidden.
    """
    rights.require_catalog(Privilege.SHARE)
    recipient = read_sharing(runtime).recipient(check_share_name(name, "name"))
    # Whoever has the key reads what the recipient reads.
    _require_groups(rights, recipient.groups)
    return _created(runtime, recipient, _create_key(runtime, recipient.name, expires))


def revoke_recipient(runtime: Runtime, name: str, key: str | None, rights: Rights) -> RecipientInfo:
    """Revoke one key of a recipient, or with None the recipient with all its keys. It needs SHARE on the catalog.

    Raises: NotFound; Forbidden.
    """
    rights.require_catalog(Privilege.SHARE)
    who = check_share_name(name, "name")
    recipient = read_sharing(runtime).recipient(who)
    if key is not None:
        id, known = check_text(key, "key"), [known.id for known in _keys(runtime).get(who, ())]
        if id not in known:
            raise NotFound("key", id, known, f"the recipient {who}")
        _revoke_key(runtime, id)
        return _describe(recipient, _keys(runtime)[who])

    def check(sharing: Sharing) -> Mapping[str, Any]:
        sharing.recipient(who)
        return {"recipient": who}

    # The recipient first: from then on none of its keys reads anything, also if this stops half-way.
    revoked = append_event(runtime, RECIPIENT_REVOKED, check).recipients[who]
    for held in _keys(runtime).get(who, ()):
        if held.state == "live":
            _revoke_key(runtime, held.id)
    return _describe(revoked, _keys(runtime).get(who, ()))


def list_recipients(runtime: Runtime, rights: Rights) -> list[RecipientInfo]:
    """All recipients by name, with the hour of the last use of each key. It needs SHARE on the catalog. Raises: Forbidden."""
    rights.require_catalog(Privilege.SHARE)
    keys, recipients = _keys(runtime), read_sharing(runtime).recipients
    return [_describe(recipients[name], keys.get(name, ())) for name in sorted(recipients)]


def principal_of(recipient: Recipient, key: str | None = None) -> Principal:
    """The recipient as a principal: a name that no principal of the store has, its groups, and no rights but those of its shares."""
    return Principal(f"recipient:{recipient.name}", frozenset(recipient.groups), key=key, recipient=recipient.name)


def endpoint(settings: Settings) -> str:
    """The address of the protocol's routes, as a profile names it."""
    if settings.sharing_url is not None:
        return f"{settings.sharing_url.rstrip('/')}{PATH}"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}{PATH}"


def _require_groups(rights: Rights, groups: Iterable[str]) -> None:
    """Check that whoever exempts a recipient from policies is exempt alike. Raises: Forbidden."""
    if others := sorted(set(groups) - rights.principal.groups):
        rights.require_unlimited(f"a recipient in the group {others[0]}, in which {rights.principal.name} is not,")


def _share_names(shares: Any) -> tuple[str, ...]:
    names = [shares] if isinstance(shares, str) else shares
    if not isinstance(names, list | tuple):
        raise RequestError("shares is not a list of names of shares", field="shares")
    if len(names) > MOST_SHARES:
        raise RequestError(f"shares: {len(names)} are more than the limit of {MOST_SHARES}", field="shares")
    return tuple(sorted({check_share_name(share, "shares") for share in names}))


def _set(sharing: Sharing, who: str, shares: tuple[str, ...], groups: tuple[str, ...]) -> Mapping[str, Any]:
    for share in shares:
        sharing.share(share)
    return {"recipient": who, "shares": json.dumps(shares), "groups": json.dumps(groups)}


def _created(runtime: Runtime, recipient: Recipient, created: CreatedKey) -> CreatedRecipient:
    profile = {
        "shareCredentialsVersion": 1,
        "endpoint": endpoint(runtime.settings),
        "bearerToken": created.token,
        "expirationTime": times.text(times.micros(created.key.expires)),
    }
    return CreatedRecipient(_describe(recipient, _keys(runtime)[recipient.name]), created.key.id, profile)


def _create_key(runtime: Runtime, recipient: str, expires: Any) -> CreatedKey:
    return create_key(runtime, recipient, (), False, expires, runtime.author or None, RECIPIENT_KEYS)


def _revoke_key(runtime: Runtime, id: str) -> None:
    revoke_key(runtime, id, runtime.author or None, RECIPIENT_KEYS)


def _keys(runtime: Runtime) -> dict[str, list[ApiKey]]:
    """The keys of each recipient, the newest first."""
    keys: dict[str, list[ApiKey]] = {}
    for key in list_keys(runtime, RECIPIENT_KEYS):
        keys.setdefault(key.name, []).append(key)
    return keys


def _describe(recipient: Recipient, keys: "list[ApiKey] | tuple[()]") -> RecipientInfo:
    shown = tuple(RecipientKey(key.id, key.state, key.created, key.created_by, key.expires, key.last_used) for key in keys)
    live = any(key.state == "live" for key in keys)
    state: RecipientState = "revoked" if recipient.revoked else "live" if live else "expired"
    return RecipientInfo(recipient.name, recipient.shares, recipient.groups, state, shown, recipient.at, recipient.by)
