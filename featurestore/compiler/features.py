"""A view's features in the order of the table's columns, with one feature per window of an aggregation."""

from dataclasses import dataclass

from featurestore.dsl.agg import Aggregation
from featurestore.dsl.durations import microseconds
from featurestore.dsl.expression import Expression
from featurestore.dsl.view import FeatureView


@dataclass(frozen=True)
class WindowedFeature:
    """One aggregation over one window; `window` is in microseconds. `declared` is the name it was declared under."""

    name: str
    declared: str
    aggregation: Aggregation
    window: int


@dataclass(frozen=True)
class RowFeature:
    """Row SQL over the source's columns."""

    name: str
    sql: str


@dataclass(frozen=True)
class ExpressionFeature:
    """Row SQL over features declared before it."""

    name: str
    sql: str


ViewFeature = WindowedFeature | RowFeature | ExpressionFeature


def features_of(view: FeatureView) -> tuple[ViewFeature, ...]:
    """The features of a checked view, in column order."""
    expanded: list[ViewFeature] = []
    for name, feature in view.declared.items():
        if isinstance(feature, Aggregation):
            expanded.extend(WindowedFeature(f"{name}_{window}", name, feature, microseconds(window)) for window in feature.over)
        elif isinstance(feature, Expression):
            expanded.append(ExpressionFeature(name, feature.sql))
        else:
            expanded.append(RowFeature(name, feature))
    return tuple(expanded)


def feature_names(view: FeatureView) -> tuple[str, ...]:
    """The names of a checked view's features, in column order."""
    return tuple(feature.name for feature in features_of(view))
