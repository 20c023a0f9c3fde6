"""A feature view: named features of one entity, computed from one source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from featurestore.dsl.agg import Aggregation
from featurestore.dsl.check import Check
from featurestore.dsl.durations import as_text
from featurestore.dsl.entity import Entity
from featurestore.dsl.expression import Expression
from featurestore.dsl.lookup import Lookup
from featurestore.dsl.policy import Mask, RowFilter, TablePolicy
from featurestore.dsl.reserved_words import column_sql
from featurestore.dsl.source import Source
from featurestore.dsl.tuples import as_tuple
from featurestore.errors import brief

Feature = str | Aggregation | Expression
CONTINUOUS = "continuous"
"""The grid of every microsecond: windows end at the instant of the question."""
STALE_MODES = ("value", "null", "error")
"""What lookups of a stale view give."""


@dataclass(frozen=True)
class FeatureView:
    """Named features of one entity from one source.

    With `every`, it is an aggregate view: one row per key and grid point at which a value may have changed; features are
    aggregations over windows (multiples of `every`), and expressions over them. With every="continuous", every microsecond is a
    grid point. Without it, it is a row view: one row per
    source row, each feature row SQL over the source's columns (a list of columns selects them unchanged), valid from the row's
    event time until the next row or, with `ttl`, at most that long (both ends inclusive). `checks` are run on the rows of a run
    before it writes them. Lookups at a time more than `stale_after` past the view's watermark say STALE, and give the values
    (stale="value"), NULL ("null") or an error ("error").

    With every="continuous", `limit` is the most events of a key that a window of time holds: the latest, in whole microseconds.

    `masks`, `rows`, `declassify` and `declassify_rows` are the policy of the view, of all its versions, as in `TablePolicy`. If all are
    None, the view keeps the policy that it has.
    """

    name: str
    entity: Entity
    source: Source
    features: Mapping[str, Feature] | Sequence[str]
    every: str | None = None
    ttl: str | int | None = None
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    stale_after: str | int | None = None
    stale: str = "value"
    masks: Mapping[str, Mask] | None = None
    rows: RowFilter | None = None
    declassify: Sequence[str] | None = None
    declassify_rows: bool | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "checks", as_tuple(self.checks))
        object.__setattr__(self, "every", as_text(self.every))
        object.__setattr__(self, "ttl", as_text(self.ttl))
        object.__setattr__(self, "stale_after", as_text(self.stale_after))
        if self.declassify is not None:
            object.__setattr__(self, "declassify", as_tuple(self.declassify))
        if not isinstance(self.features, Mapping):
            columns = as_tuple(self.features)
            object.__setattr__(self, "features", {_name(column): column_sql(column) for column in columns})

    @property
    def declared(self) -> Mapping[str, Feature]:
        """The features by name, as declared; a list of columns is converted to a mapping."""
        if not isinstance(self.features, Mapping):
            raise TypeError("a list of features becomes a mapping when the view is made")
        return self.features

    @property
    def policy(self) -> TablePolicy | None:
        """The policy that the definition declares; None if it says nothing about one."""
        declared = (self.masks, self.rows, self.declassify, self.declassify_rows)
        if all(part is None for part in declared):
            return None
        masks = {} if self.masks is None else self.masks
        return TablePolicy(self.name, masks, self.rows, self.declassify or (), self.declassify_rows or False)

    def __getitem__(self, names: str | tuple[str, ...]) -> "Selection":
        return Selection(self)[names]

    def aliased(self, alias: str, keys: Mapping[str, str]) -> "Selection":
        """The same view with other key columns: `keys` maps each key column to a column of the request.

        Its features are named `<alias>_<feature>`.
        """
        return Selection(self).aliased(alias, keys)


@dataclass(frozen=True)
class Selection:
    """Some or all features of a view, as a service lists them: `names` None means all, in declared order.

    `lookup` is set in services that are made of feature lookups.
    """

    view: FeatureView
    names: tuple[str, ...] | None = None
    alias: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    lookup: Lookup | None = None

    def __getitem__(self, names: str | tuple[str, ...]) -> "Selection":
        return replace(self, names=as_tuple(names))

    def aliased(self, alias: str, keys: Mapping[str, str]) -> "Selection":
        """The same selection under another key; see `FeatureView.aliased`."""
        return replace(self, alias=alias, keys=dict(keys) if isinstance(keys, Mapping) else keys)


def _name(column: object) -> str:
    """The feature name of a listed column; values that are not text are reported by the check of definitions."""
    return column if isinstance(column, str) else brief(column)
