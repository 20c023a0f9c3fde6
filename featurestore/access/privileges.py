"""Privileges, what they are on, and who has them: the words of a grant."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from featurestore.access.principal import check_principal_name
from featurestore.errors import RequestError, brief, near
from featurestore.values.arguments import check_name
from featurestore.values.table_names import local_name, unquoted

LONGEST_NAME = 400
"""Most characters of the name of an object."""


class Privilege(StrEnum):
    """What may be done with an object."""

    USE = "USE"
    """See that it exists, and how it is defined."""
    READ = "READ"
    """Read its rows, as of any time."""
    READ_ONLINE = "READ_ONLINE"
    """Look up single entities, or predict for them."""
    WRITE = "WRITE"
    """Write rows."""
    MANAGE = "MANAGE"
    """All of these, and grant what one has oneself."""
    OWN = "OWN"
    """All of these, and hand it over: an object has one owner, whoever created it or was granted this last."""
    APPROVE_MODEL = "APPROVE_MODEL"
    """Decide which version of a model has which alias, and how its traffic is split."""
    SHARE = "SHARE"
    """Share it with others outside."""


class Kind(StrEnum):
    """A kind of object."""

    CATALOG = "CATALOG"
    NAMESPACE = "NAMESPACE"
    ENTITY = "ENTITY"
    SOURCE = "SOURCE"
    TABLE = "TABLE"
    VIEW = "VIEW"
    SERVICE = "SERVICE"
    MODEL = "MODEL"


class GranteeKind(StrEnum):
    """Who may be granted something."""

    USER = "USER"
    GROUP = "GROUP"


_CONTAINED: Mapping[Privilege, frozenset[Privilege]] = {
    Privilege.USE: frozenset(),
    Privilege.READ: frozenset({Privilege.USE, Privilege.READ_ONLINE}),
    Privilege.READ_ONLINE: frozenset({Privilege.USE}),
    Privilege.WRITE: frozenset({Privilege.USE}),
    Privilege.MANAGE: frozenset({Privilege.USE, Privilege.READ, Privilege.READ_ONLINE, Privilege.WRITE}),
    Privilege.OWN: frozenset(privilege for privilege in Privilege if privilege is not Privilege.OWN),
    Privilege.APPROVE_MODEL: frozenset({Privilege.USE}),
    Privilege.SHARE: frozenset({Privilege.USE}),
}
GIVEN_BY: Mapping[Privilege, frozenset[Privilege]] = {
    privilege: frozenset({privilege, *(other for other, contained in _CONTAINED.items() if privilege in contained)})
    for privilege in Privilege
}
"""By privilege, those of which each gives it."""


@dataclass(frozen=True)
class Securable:
    """An object on which privileges are granted. That of the catalog has the catalog's name."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Grantee:
    """A user or a group."""

    kind: GranteeKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


EnumT = TypeVar("EnumT", bound=StrEnum)


def parse_privilege(value: Any) -> Privilege:
    """The privilege of this name, in any case. Raises: RequestError with the nearest names."""
    return _parse(Privilege, value, "privilege")


def parse_securable(value: Any, catalog: str) -> Securable:
    """The object of a text such as `VIEW customer_orders` or `TABLE shop.orders`; `catalog` is the name of the catalog.

    Tables and namespaces may begin with its name: `featurestore.shop.orders` is `shop.orders`. `CATALOG` alone is the catalog.
    Raises: RequestError.
    """
    kind_text, name = _split(value, "on", "VIEW customer_orders")
    kind = _parse(Kind, kind_text, "on")
    if kind is Kind.CATALOG:
        if name and name.casefold() != catalog.casefold():
            raise RequestError(f"on={brief(value)}: the catalog of this store is called {catalog}", field="on")
        return Securable(kind, catalog)
    if kind is Kind.TABLE:
        name = local_name(name, catalog)
    elif kind is Kind.NAMESPACE:
        name = unquoted(name)
        first, _, rest = name.partition(".")
        name = rest if rest and first.casefold() == catalog.casefold() else name
    parts = name.split(".")
    if len(name) > LONGEST_NAME or not all(part and part == part.strip() for part in parts):
        raise RequestError(f"on={brief(value)} has no name of a {kind.lower()}; write, for example, VIEW customer_orders", field="on")
    if kind is Kind.TABLE and len(parts) < 2:
        raise RequestError(f"on={brief(value)}: write a table with its namespace, as in TABLE shop.orders", field="on")
    return Securable(kind, name)


def parse_grantee(value: Any, argument: str = "to") -> Grantee:
    """The user or group of a text such as `GROUP analysts`. Raises: RequestError naming the argument."""
    kind, name = _split(value, argument, "GROUP analysts")
    return Grantee(_parse(GranteeKind, kind, argument), check_principal_name(name, argument))


DEFINED = (Kind.ENTITY, Kind.SOURCE, Kind.VIEW, Kind.SERVICE)
"""Kinds of definitions, which are all in one namespace: that of feature tables."""


def parents(securable: Securable, catalog: str, definitions: str) -> tuple[Securable, ...]:
    """The object and all that contain it, to the catalog: a grant on one of them holds for the object. `definitions` is the namespace of
    entities, sources, views and services.
    """
    chain = [securable]
    if securable.kind in (Kind.TABLE, Kind.NAMESPACE):
        outer = securable.name.split(".")[: -1 if securable.kind is Kind.TABLE else None]
        chain += [Securable(Kind.NAMESPACE, ".".join(outer[:length])) for length in range(len(outer), 0, -1)]
    if securable.kind in DEFINED:
        chain.append(Securable(Kind.NAMESPACE, definitions))
    return (*dict.fromkeys(chain), Securable(Kind.CATALOG, catalog))


def _split(value: Any, argument: str, example: str) -> tuple[str, str]:
    text = check_name(value, argument).strip()
    kind, _, name = text.partition(" ")
    if not name and kind.upper() != Kind.CATALOG:
        raise RequestError(f"{argument}={brief(value)}: write a kind and a name, such as {example}", field=argument)
    return kind, name.strip()


def _parse(words: type[EnumT], value: Any, argument: str) -> EnumT:
    text = check_name(value, argument).upper()
    try:
        return words(text)
    except ValueError:
        known = near(text, [str(word) for word in words])
        raise RequestError(f"{argument}={brief(value)}: {brief(text)} is not one of the words{known}", field=argument) from None
