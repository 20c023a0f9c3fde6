"""Problems of definitions, each at one field of one definition."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Owner(NamedTuple):
    """A definition by its kind ("entity", "source", "view" or "service") and its name."""

    kind: str
    name: str


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with a field of a definition; `field` is empty if the problem is with the definition as a whole."""

    owner: Owner
    field: str
    message: str

    @property
    def qualified_field(self) -> str:
        """The field as seen from the view that uses it: `features.spend`, `source orders.timestamp`, `source orders`."""
        if self.owner.kind in ("view", "service"):
            return self.field
        return f"{self.owner.kind} {self.owner.name}{'.' if self.field else ''}{self.field}"

    def __str__(self) -> str:
        return f"{self.qualified_field}: {self.message}"


def problems_at(owner: Owner, field: str, messages: Iterable[str]) -> Iterator[FieldProblem]:
    """A problem of the field for each message."""
    return (FieldProblem(owner, field, message) for message in messages)
