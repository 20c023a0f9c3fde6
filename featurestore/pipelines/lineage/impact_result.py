"""What depends on a table or a column."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from featurestore.values.result import Result

Dependence = Literal["direct", "indirect"]
"""`direct`: values are computed from it. `indirect`: it decides only which rows are used and when, as a key, a time or a condition."""


@dataclass(frozen=True, eq=False)
class AffectedView(Result):
    """A version of a view that depends on it; `roles` are those that it has in the view, such as `value`, `filter` and `timestamp`."""

    view: str
    version: int
    table: str
    current: bool
    features: Mapping[str, Dependence]
    roles: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class AffectedService(Result):
    """A version of a service with features that depend on it."""

    service: str
    version: int
    current: bool
    features: Mapping[str, Dependence]


@dataclass(frozen=True, eq=False)
class AffectedTrainingSet(Result):
    """A training set that depends on it; `spine` says whether its spine was read from it."""

    id: str
    service: str
    features: Mapping[str, Dependence]
    spine: bool


@dataclass(frozen=True, eq=False)
class AffectedModel(Result):
    """A model version that was trained on an affected training set; `version` None: a model that was never registered.

    `features` are those of its training set; none if that no longer exists.
    """

    model: str
    version: str | None
    aliases: tuple[str, ...]
    training_set: str
    features: Mapping[str, Dependence]


@dataclass(frozen=True, eq=False)
class AffectedPredictions(Result):
    """The logged predictions of an affected model version."""

    table: str
    model: str
    version: str | None
    rows: int


@dataclass(frozen=True, eq=False)
class Impact(Result):
    """Everything that depends on a table, or on one column of it; `column` None: on any.

    `untraced` are versions of views, such as `orders v1`, whose stored SQL this release does not read: they may depend on it too.
    """

    table: str
    column: str | None
    views: tuple[AffectedView, ...]
    services: tuple[AffectedService, ...]
    training_sets: tuple[AffectedTrainingSet, ...]
    models: tuple[AffectedModel, ...]
    predictions: tuple[AffectedPredictions, ...]
    untraced: tuple[str, ...] = ()
