"""An entity: something that has features, identified by key columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from featurestore.dsl.tuples import as_tuple


@dataclass(frozen=True)
class Entity:
    """Something that has features, such as a customer, identified by one or more key columns.

    `keys` is one column name or a list; changing the order changes the version. Changing `description`, `owner` or `tags`
    does not.
    """

    name: str
    keys: Sequence[str]
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", as_tuple(self.keys))
