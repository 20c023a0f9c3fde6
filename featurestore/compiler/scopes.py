"""Relations that can be named in a query, and the scopes in which they can."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Relation:
    """A relation in FROM: its generated name and its columns. `complete`: it has no other columns that can be named."""

    name: str
    columns: tuple[str, ...]
    complete: bool

    def with_column_names(self, columns: Iterable[str]) -> "Relation":
        """The relation with its first columns renamed."""
        new = tuple(columns)
        return Relation(self.name, (*new, *self.columns[len(new) :]), self.complete)

    def has(self, column: str) -> bool:
        """Whether it has a column of that name, ignoring case."""
        return any(known.lower() == column.lower() for known in self.columns)


@dataclass
class Scope:
    """The relations that a SELECT reads, its column aliases, and the enclosing scope."""

    around: "Scope | None" = None
    relations: dict[str, Relation] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)

    def outward(self) -> Iterator["Scope"]:
        """This scope and the enclosing ones."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.around


Ctes = Mapping[str, Relation]
Outputs = tuple[tuple[str, ...], bool]
"""The columns of a query, and whether no others can be named."""
