"""A feature service is what one model needs: features, request fields, and features derived from both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from featurestore.dsl.listed import listed
from featurestore.dsl.view import FeatureView, Selection


@dataclass(frozen=True)
class FeatureService:
    """What one model needs.

    `features` lists views, `view["a", "b"]` or `view.aliased(...)`; `request` names the fields the caller sends and
    their types; `derived` names row SQL over request fields and features, computed the same offline and online.
    The features' order is the order of the training set's columns: the listed ones, then the derived ones.
    """

    name: str
    features: Sequence[FeatureView | Selection]
    request: Mapping[str, str] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = [self.features] if isinstance(self.features, FeatureView | Selection) else listed(self.features)
        object.__setattr__(self, "features", tuple(Selection(item) if isinstance(item, FeatureView) else item for item in given))

    @property
    def selections(self) -> tuple[Selection, ...]:
        """The features as selections, one per listed view."""
        return tuple(item for item in self.features if isinstance(item, Selection))
