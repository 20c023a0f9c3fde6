"""Owners: whoever creates an object owns it, until it is handed over. An owner is who has the grant of OWN, of which an object has one."""

from collections.abc import Iterable

from featurestore.access.grants import Grant, add_grants
from featurestore.access.principal import RESERVED
from featurestore.access.privileges import Grantee, GranteeKind, Privilege, Securable
from featurestore.records.runtime import Runtime


def record_owner(runtime: Runtime, created: Iterable[Securable]) -> None:
    """Record the principal of the runtime as the owner of objects that it has created.

    The operator, and a server without credentials, own nothing: they may do everything. Raises: NotReady.
    """
    owner = owner_of_principal(runtime.principal)
    if owner is not None:
        set_owner(runtime, created, owner)


def owner_of_principal(name: str | None) -> Grantee | None:
    """The owner of what a principal creates; None for the operator, and for a server without credentials."""
    return None if name is None or name in RESERVED else Grantee(GranteeKind.USER, name)


def set_owner(runtime: Runtime, objects: Iterable[Securable], owner: Grantee) -> None:
    """Record who owns objects, in place of whoever owned them before. Raises: NotReady."""
    if owned := [Grant(Privilege.OWN, on, owner) for on in objects]:
        add_grants(runtime, owned, runtime.author or None)
