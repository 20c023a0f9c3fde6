"""The rights of whoever sends a request, in the state of its scope."""

from starlette.types import Scope

from featurestore.access.principal import Principal
from featurestore.access.rights import Rights
from featurestore.errors import Forbidden, NotFound, NotReady
from featurestore.server.access.needs import Needs
from featurestore.server.logs import printable

STATE = "rights"
"""The name in the state of a request's scope under which its rights are."""


def set_rights(scope: Scope, rights: Rights) -> None:
    """Note the rights of a request, for its route, its errors and its log lines."""
    scope.setdefault("state", {})[STATE] = rights


def rights_of(scope: Scope) -> Rights:
    """The rights of a request. Raises: Forbidden on paths that need no credentials, which must not act for anybody."""
    rights = _find(scope)
    if rights is None:
        raise Forbidden("this path acts for nobody; it takes no credentials")
    return rights


def principal_of(scope: Scope) -> Principal:
    """Who sends a request. Raises: as `rights_of`."""
    return rights_of(scope).principal


def find_principal(scope: Scope) -> Principal | None:
    """Who sends a request; None if that is not known, or the path needs no credentials."""
    rights = _find(scope)
    return None if rights is None else rights.principal


def check_access(scope: Scope, needs: Needs, what: str) -> None:
    """Check that a request may do `what`, such as `POST /v1/apply`. Raises: Forbidden; NotReady if grants cannot be read."""
    if needs is Needs.NOTHING:
        return
    rights = rights_of(scope)
    if needs is Needs.VERB and scope["method"] == "POST" and not rights.has_any:
        # Before a body is read, which may be large.
        raise Forbidden(
            f"{what} needs a privilege on what it names, and {rights.principal.name} has none on anything; ask an administrator for grants",
            principal=rights.principal.name,
        )
    needs.require(rights, scope["path_params"], what)


def without_hidden_names(scope: Scope, error: NotFound) -> NotFound:
    """The error without near misses that whoever sends the request may not see."""
    rights = _find(scope)
    try:
        return error if rights is None else rights.without_hidden_names(error)
    except NotReady:
        # Nobody can say what may be seen.
        return NotFound(str(error.details.get("kind")), str(error.details.get("name")), None)


def by_whom(scope: Scope) -> str:
    """Who sends a request, for the end of a log line; empty if that is not known."""
    rights = _find(scope)
    return "" if rights is None else f" by {printable(rights.principal.name)}"


def _find(scope: Scope) -> Rights | None:
    rights: Rights | None = scope.get("state", {}).get(STATE)
    return rights
