"""The scope of a SELECT while its columns are traced: what its names mean, and what decides its rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from featurestore.compiler.lineage.column_uses import TracedRelation, Use, Uses, union

Outputs = list[tuple[str | None, Uses]]


@dataclass
class Scope:
    """The relations that a SELECT reads, by lower-case name, its outputs so far, and the enclosing scope.

    `shared` are the columns of USING, which several relations have; `hidden` the relations that `*` does not select; `rows` the uses
    that decide which rows there are.
    """

    around: "Scope | None" = None
    relations: dict[str, TracedRelation] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=list)
    unlisted: list[Callable[[str], Uses]] = field(default_factory=list)
    shared: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    rows: set[Use] = field(default_factory=set)

    def outward(self) -> Iterator["Scope"]:
        """This scope and the enclosing ones."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.around

    def column(self, name: str) -> Uses | None:
        """The uses behind a listed column of this scope, an earlier output, or a whole relation; None if there is none."""
        listed = [uses for relation in self.relations.values() if (uses := relation.column(name)) is not None]
        if listed:
            return union(listed) if name.lower() in self.shared else listed[0]
        for output, uses in self.outputs:
            if output is not None and output.lower() == name.lower():
                return uses
        relation = self.relations.get(name.lower())
        return None if relation is None else relation.everything()
