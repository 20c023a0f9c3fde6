"""What comparing two training sets returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from featurestore.values.result import Result


@dataclass(frozen=True, eq=False)
class DefinitionChange(Result):
    """A view with another version, or a derived feature with other SQL. `diff` is a unified diff of the SQL; None if one is not known."""

    kind: Literal["view", "derived"]
    name: str
    before: int | str
    after: int | str
    diff: str | None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form: the name by kind, `from`, `to`, and the `diff`."""
        return {self.kind: self.name, "from": self.before, "to": self.after, "diff": self.diff}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The change of its JSON form."""
        kind: Literal["view", "derived"] = "view" if "view" in document else "derived"
        return cls(kind, document[kind], document["from"], document["to"], document["diff"])


@dataclass(frozen=True, eq=False)
class RowCounts(Result):
    """The number of rows of each training set, of `common` rows, and of those `added` to and `gone` from the second.

    Rows are matched by keys and time, and equal ones by position.
    """

    a: int
    b: int
    common: int
    added: int
    gone: int


@dataclass(frozen=True, eq=False)
class FeatureChange(Result):
    """How a feature differs: the number and fraction (`share`) of common rows with another value, and the drift over all rows.

    `psi` is the population stability index and `js` the Jensen-Shannon divergence; None where they are not defined. `because` names the
    inputs of the feature that differ.
    """

    changed: int
    share: float | None
    psi: float | None
    js: float | None
    because: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class FeatureChanges(Result):
    """The names of features `added` to and `gone` from the second training set, and how each `common` one differs."""

    added: tuple[str, ...]
    gone: tuple[str, ...]
    common: Mapping[str, FeatureChange]


@dataclass(frozen=True, eq=False)
class Comparison(Result):
    """The differences of training set `b` from `a`, which are ids."""

    a: str
    b: str
    definitions: tuple[DefinitionChange, ...]
    rows: RowCounts
    features: FeatureChanges

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The comparison of its JSON form. Raises: ValueError or LookupError for another form."""
        definitions = tuple(DefinitionChange.from_dict(change) for change in document["definitions"])
        rows, features = RowCounts.from_dict(document["rows"]), FeatureChanges.from_dict(document["features"])
        return cls(str(document["a"]), str(document["b"]), definitions, rows, features)
