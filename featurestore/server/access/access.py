"""The access of a request: who sends it, and whether they may do what a route does."""

from dataclasses import dataclass

from starlette.types import Scope

from featurestore.access.principal import Principal
from featurestore.errors import Forbidden
from featurestore.server.access.needs import Needs
from featurestore.server.logs import printable

STATE = "access"
"""The name in the state of a request's scope under which its access is."""


@dataclass(frozen=True)
class Access:
    """What whoever sends a request may do."""

    principal: Principal

    def allows(self, needs: Needs) -> bool:
        """Whether a route with these needs may answer."""
        return needs is not Needs.ADMINISTRATOR or self.principal.is_administrator


def set_access(scope: Scope, access: Access) -> None:
    """Note the access of a request, for its route and its log lines."""
    scope.setdefault("state", {})[STATE] = access


def access_of(scope: Scope) -> Access | None:
    """The access of a request; None on paths that need no credentials."""
    access: Access | None = scope.get("state", {}).get(STATE)
    return access


def principal_of(scope: Scope) -> Principal:
    """Who sends a request. Raises: Forbidden on paths that need no credentials, which must not act for anybody."""
    access = access_of(scope)
    if access is None:
        raise Forbidden("this path acts for nobody; it takes no credentials")
    return access.principal


def check_access(scope: Scope, needs: Needs, what: str) -> None:
    """Check that a request may do `what`, such as `POST /v1/apply`. Raises: Forbidden."""
    if needs is Needs.NOTHING:
        return
    access = access_of(scope)
    if access is None or not access.allows(needs):
        name = "nobody" if access is None else access.principal.name
        raise Forbidden(
            f"{what} needs the rights of an administrator, which {name} does not have; ask one for an API key with them"
            " (featurestore key create NAME --admin)",
            needs=needs.value,
            principal=name,
        )


def by_whom(scope: Scope) -> str:
    """Who sends a request, for the end of a log line; empty if that is not known."""
    access = access_of(scope)
    return "" if access is None else f" by {printable(access.principal.name)}"
