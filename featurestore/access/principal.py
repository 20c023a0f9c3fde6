"""A principal: a person or a program that uses a store, with its groups."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featurestore.errors import RequestError, brief
from featurestore.values.arguments import check_name

LONGEST_NAME = 200
"""Most characters of the name of a principal or group."""
MOST_GROUPS = 100
"""Most groups of an API key."""


@dataclass(frozen=True)
class Principal:
    """Who sends a request. `key` is the id of the API key that it came with; None for one without a key.

    An administrator may do everything, whatever is granted. `recipient` is the name of a recipient of shares, who has no rights but
    theirs; None for everybody else.
    """

    name: str
    groups: frozenset[str] = field(default_factory=frozenset)
    is_administrator: bool = False
    key: str | None = None
    recipient: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form, for another process of the same server."""
        groups = sorted(self.groups)
        return {
            "name": self.name,
            "groups": groups,
            "is_administrator": self.is_administrator,
            "key": self.key,
            "recipient": self.recipient,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Principal":
        """The principal of its JSON form."""
        return cls(
            document["name"], frozenset(document["groups"]), document["is_administrator"], document["key"], document.get("recipient")
        )


LOCAL = Principal("local", is_administrator=True)
"""Everybody, on a server that asks for no credentials."""
TOKEN = Principal("token", is_administrator=True)
"""Whoever has the setting `token`."""
RESERVED = (LOCAL.name, TOKEN.name)


def check_principal_name(value: Any, argument: str) -> str:
    """Check the name of a principal or group: printable text without spaces around it. Raises: RequestError naming `argument`."""
    name = check_name(value, argument)
    if len(name) > LONGEST_NAME or name != name.strip():
        raise RequestError(f"{argument}={brief(name)}: use 1 to {LONGEST_NAME} characters, without spaces around them", field=argument)
    return name


def check_groups(value: Any, argument: str = "groups") -> tuple[str, ...]:
    """Check the names of groups; one name is a list of one. Raises: RequestError naming `argument`."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple | set | frozenset):
        raise RequestError(f"{argument}={brief(value)} is not a list of names of groups", field=argument)
    groups = sorted({check_principal_name(name, argument) for name in names})
    if len(groups) > MOST_GROUPS:
        raise RequestError(f"{argument}: {len(groups)} groups are more than the limit of {MOST_GROUPS}", field=argument)
    return tuple(groups)
