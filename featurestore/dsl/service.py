"""A feature service: the features, request fields and derived features that a model needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from featurestore.dsl.tuples import as_tuple
from featurestore.dsl.view import FeatureView, Selection


@dataclass(frozen=True)
class FeatureService:
    """The inputs of a model.

    `features` lists views, `view["a", "b"]` or `view.aliased(...)`; `request` maps fields that the caller sends to their types;
    `derived` maps names to row SQL over request fields and features, computed the same offline and online. The training set's
    columns have the order of the features: the listed ones, then the derived ones.
    """

    name: str
    features: Sequence[FeatureView | Selection]
    request: Mapping[str, str] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        items = [self.features] if isinstance(self.features, FeatureView | Selection) else as_tuple(self.features)
        object.__setattr__(self, "features", tuple(Selection(item) if isinstance(item, FeatureView) else item for item in items))

    @property
    def selections(self) -> tuple[Selection, ...]:
        """The features as selections, one per listed view."""
        return tuple(item for item in self.features if isinstance(item, Selection))
