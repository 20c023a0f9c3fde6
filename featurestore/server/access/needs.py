"""What a route needs of whoever calls it. Every route says so: one that does not cannot be created."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from featurestore.access.privileges import Kind, Privilege
from featurestore.access.rights import Rights
from featurestore.errors import Forbidden


@dataclass(frozen=True)
class Needs:
    """What a route needs: one of the five words below, or a privilege.

    The privilege is on the object of a kind whose name is in the path, as `parameter`, or without one on the catalog.
    """

    word: str
    privilege: Privilege | None = None
    kind: Kind = Kind.CATALOG
    parameter: str | None = None

    NOTHING: ClassVar["Needs"]
    """No credentials: probes, the description of the API, and what proves itself in another way."""
    CREDENTIALS: ClassVar["Needs"]
    """Any principal."""
    VERB: ClassVar["Needs"]
    """Any principal; the object stands in the body, or there are several: the verbs of `PrincipalStore` check what they answer."""
    ADMINISTRATOR: ClassVar["Needs"]
    """An administrator."""
    RECIPIENT: ClassVar["Needs"]
    """A recipient of shares, who may call no other route that needs credentials."""

    def allow(self, rights: Rights, names: Mapping[str, Any]) -> bool:
        """Whether these rights are enough; `names` are the parameters of the path. Raises: NotReady."""
        if rights.principal.recipient is not None or self is Needs.RECIPIENT:
            return self is Needs.NOTHING or (self is Needs.RECIPIENT and rights.principal.recipient is not None)
        if self.word == "privilege" and self.privilege is not None:
            if self.parameter is None:
                return rights.allows(self.privilege, rights.catalog)
            return rights.has(self.privilege, self.kind, str(names[self.parameter]))
        return self in (Needs.NOTHING, Needs.CREDENTIALS, Needs.VERB) or rights.is_unlimited

    def require(self, rights: Rights, names: Mapping[str, Any], what: str) -> None:
        """As `allow`. Raises: Forbidden naming the privilege and the object, or `what` was to be done; NotReady."""
        if self.allow(rights, names):
            return
        if self is Needs.RECIPIENT or rights.principal.recipient is not None:
            raise Forbidden(
                f"{what} is {'' if self is Needs.RECIPIENT else 'not '}for recipients of shares", principal=rights.principal.name
            )
        if self.privilege is None:
            rights.require_unlimited(what)
        elif self.parameter is None:
            rights.require_catalog(self.privilege)
        else:
            rights.require(self.privilege, self.kind, str(names[self.parameter]))


Needs.NOTHING, Needs.CREDENTIALS, Needs.VERB, Needs.ADMINISTRATOR, Needs.RECIPIENT = map(
    Needs, ("nothing", "credentials", "verb", "administrator", "recipient")
)


def on(privilege: Privilege, kind: Kind, parameter: str) -> Needs:
    """A privilege on the object of a kind whose name is a parameter of the path."""
    return Needs("privilege", privilege, kind, parameter)


USE_CATALOG = Needs("privilege", Privilege.USE)
"""To see all definitions of the catalog."""
