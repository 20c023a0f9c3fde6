"""An entity is a thing that has features: a name and the key columns that identify one of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from featurestore.dsl.listed import listed


@dataclass(frozen=True)
class Entity:
    """A thing that has features, identified by one or more key columns.

    `keys` is one column name or a list of them; their order is part of the meaning. `description`, `owner` and
    `tags` are words: changing them changes no version.
    """

    name: str
    keys: Sequence[str]
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", listed(self.keys))
