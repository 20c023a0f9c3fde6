"""A view's features in the order of the table's columns, with one feature per window of an aggregation."""

from collections.abc import Iterator
from dataclasses import dataclass

from featurestore.dsl.agg import ALL, Aggregation
from featurestore.dsl.durations import microseconds
from featurestore.dsl.expression import Expression
from featurestore.dsl.view import FeatureView


@dataclass(frozen=True)
class WindowedFeature:
    """One aggregation over one window. `declared` is the name it was declared under.

    `window` is in microseconds; None for a window without a bound in time, which has all events, or the latest `rows` of them.
    """

    name: str
    declared: str
    aggregation: Aggregation
    window: int | None
    rows: int | None = None

    @property
    def length(self) -> int:
        """The window in microseconds. Raises: TypeError for one without a bound in time."""
        if self.window is None:
            raise TypeError(f"{self.name} has a window without a bound in time")
        return self.window

    @property
    def label(self) -> str:
        """The window as a part of SQL names."""
        return str(self.window or (f"last{self.rows}" if self.rows else ALL))


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
            expanded.extend(_windowed_features(name, feature))
        elif isinstance(feature, Expression):
            expanded.append(ExpressionFeature(name, feature.sql))
        else:
            expanded.append(RowFeature(name, feature))
    return tuple(expanded)


def _windowed_features(declared: str, aggregation: Aggregation) -> Iterator[WindowedFeature]:
    names = aggregation.columns(declared)
    if aggregation.last is not None:
        for name, rows in zip(names, aggregation.last, strict=True):
            yield WindowedFeature(name, declared, aggregation, None, rows)
        return
    for name, window in zip(names, (ALL,) if aggregation.over is None else aggregation.over, strict=True):
        if window != ALL:
            yield WindowedFeature(name, declared, aggregation, microseconds(window))
        else:
            # The latest n values of all are those of the latest n events that have a value.
            yield WindowedFeature(name, declared, aggregation, None, aggregation.n if aggregation.function == "last_n" else None)


def feature_names(view: FeatureView) -> tuple[str, ...]:
    """The names of a checked view's features, in column order."""
    return tuple(feature.name for feature in features_of(view))
