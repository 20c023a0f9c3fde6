"""Grant, revoke and list grants with the rights of whoever asks."""

from featurestore.access.grant_results import GrantInfo
from featurestore.access.grants import Grant, GrantRecord, add_grant, read_grants, remove_grant
from featurestore.access.privileges import GranteeKind, Kind, Privilege, Securable, parse_grantee, parse_securable
from featurestore.access.rights import Rights
from featurestore.records.named_tables import check_namespace
from featurestore.records.runtime import Runtime


def change_grant(
    runtime: Runtime, privilege: str, on: str, to: str, rights: Rights, by: str | None = None, *, revoke: bool = False
) -> GrantInfo:
    """Grant a privilege, or revoke it; `by` is who is recorded, by default the principal.

    Whoever has MANAGE on the object may do so with privileges that they have themselves. Raises: RequestError; Forbidden; NotFound if
    what is to be revoked was not granted; NotReady.
    """
    grant = Grant.parse(privilege, on, to, runtime.settings.catalog_name)
    for needed in dict.fromkeys((Privilege.MANAGE, grant.privilege)):
        rights.require(needed, grant.on.kind, grant.on.name)
    if not revoke:
        check_grantable(runtime, grant.on)
    change = remove_grant if revoke else add_grant
    return change(runtime, grant, by or rights.principal.name).describe()


def check_grantable(runtime: Runtime, on: Securable) -> None:
    """Check that a table or namespace is not of another catalog. Raises: RequestError."""
    if on.kind in (Kind.TABLE, Kind.NAMESPACE):
        check_namespace(runtime, on.name if on.kind is Kind.NAMESPACE else on.name.rpartition(".")[0], "on")


def list_grants(runtime: Runtime, on: str | None, to: str | None, rights: Rights) -> list[GrantInfo]:
    """The grants in force, the oldest first: those on an object, or to a user or group, or all that the principal may see.

    Those are the ones to itself and its groups, and the ones on objects that it manages.
    """
    place = None if on is None else parse_securable(on, runtime.settings.catalog_name)
    grantee = None if to is None else parse_grantee(to)
    return [
        record.describe()
        for record in read_grants(runtime).values()
        if place in (None, record.grant.on) and grantee in (None, record.grant.to) and _is_seen(record, rights)
    ]


def _is_seen(record: GrantRecord, rights: Rights) -> bool:
    to, principal = record.grant.to, rights.principal
    own = to.name == principal.name if to.kind is GranteeKind.USER else to.name in principal.groups
    return own or rights.allows(Privilege.MANAGE, record.grant.on)
