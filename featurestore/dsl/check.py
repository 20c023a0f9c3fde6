"""Data checks: what the rows of a view must be like before a run may append them.

They look at the rows that a run computed for its interval, before anything is written. When one of severity "error"
fails, the run stops and nothing is written; one of severity "warn" is recorded and the run goes on. Checks are no
part of a view's meaning: changing them makes no new version.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warn"]
SEVERITIES: tuple[Severity, ...] = ("error", "warn")


@dataclass(frozen=True)
class Condition:
    """At least a share of the rows holds a condition in row SQL; a row for which it is NULL holds it, as in a SQL CHECK."""

    name: str
    sql: str
    at_least: float = 1.0
    severity: Severity = "error"


@dataclass(frozen=True)
class NotNull:
    """At least a share of the rows has a value of a feature."""

    name: str
    feature: str
    at_least: float = 1.0
    severity: Severity = "error"


@dataclass(frozen=True)
class RowCount:
    """A run computes so many rows, both ends inclusive; None is no limit. One that goes on from the watermark may find none."""

    name: str
    at_least: int | None = None
    at_most: int | None = None
    severity: Severity = "error"


@dataclass(frozen=True)
class Freshness:
    """The source has an event at most `within` (a duration) before the end of the run's interval."""

    name: str
    within: str
    severity: Severity = "error"


Check = Condition | NotNull | RowCount | Freshness


def that(sql: str, *, at_least: float = 1.0, severity: Severity = "error", name: str | None = None) -> Condition:
    """Row SQL over the view's keys, feature_timestamp and features; called by its text when it has no name."""
    share = "" if at_least == 1 else f" (at_least={at_least})"
    return Condition(f"{' '.join(str(sql).split())}{share}" if name is None else name, sql, at_least, severity)


def not_null(feature: str, *, at_least: float = 1.0, severity: Severity = "error", name: str | None = None) -> NotNull:
    """Rows in which `feature` is not NULL; NaN is a value."""
    share = "" if at_least == 1 else f", at_least={at_least}"
    return NotNull(f"not_null({feature}{share})" if name is None else name, feature, at_least, severity)


def rows(*, at_least: int | None = None, at_most: int | None = None, severity: Severity = "error", name: str | None = None) -> RowCount:
    """The rows that a run computes for its interval, also those that the feature table holds already.

    A run that goes on from the watermark and finds nothing to compute passes: `fresh` tells a source that has stopped.
    """
    limits = [f"{limit}={value}" for limit, value in (("at_least", at_least), ("at_most", at_most)) if value is not None]
    return RowCount(f"rows({', '.join(limits)})" if name is None else name, at_least, at_most, severity)


def fresh(*, within: str, severity: Severity = "error", name: str | None = None) -> Freshness:
    """The newest event of the source against the end of the interval, which is the present unless the run is given an end."""
    return Freshness(f"fresh({within})" if name is None else name, within, severity)
