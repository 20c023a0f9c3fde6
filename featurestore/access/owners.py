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
    creator = runtime.principal
    if creator is None or creator in RESERVED:
        return
    owned = [Grant(Privilege.OWN, on, Grantee(GranteeKind.USER, creator)) for on in created]
    if owned:
        add_grants(runtime, owned, creator)
