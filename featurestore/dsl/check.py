"""Data checks: conditions that the rows of a view must meet before a run appends them.

They check the rows that a run computed for its interval, before anything is written. If a check of severity "error" fails,
the run stops and nothing is written; a failure of severity "warn" is recorded and the run continues. Changing checks does
not create a new version of a view.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warn"]
SEVERITIES: tuple[Severity, ...] = ("error", "warn")


@dataclass(frozen=True)
class Condition:
    """At least a fraction of the rows meet a condition in row SQL; NULL counts as met, as in a SQL CHECK constraint."""

    name: str
    sql: str
    at_least: float = 1.0
    severity: Severity = "error"


@dataclass(frozen=True)
class NotNull:
    """At least a fraction of the rows have a value of a feature."""

    name: str
    feature: str
    at_least: float = 1.0
    severity: Severity = "error"


@dataclass(frozen=True)
class RowCount:
    """The number of rows that a run computes, limits inclusive; None: no limit. A run that resumes from the watermark may have none."""

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
    """A condition in row SQL over the view's keys, feature_timestamp and features; its default name is the SQL."""
    share = "" if at_least == 1 else f" (at_least={at_least})"
    return Condition(f"{' '.join(str(sql).split())}{share}" if name is None else name, sql, at_least, severity)


def not_null(feature: str, *, at_least: float = 1.0, severity: Severity = "error", name: str | None = None) -> NotNull:
    """Require that `feature` is not NULL; NaN is a value."""
    share = "" if at_least == 1 else f", at_least={at_least}"
    return NotNull(f"not_null({feature}{share})" if name is None else name, feature, at_least, severity)


def rows(*, at_least: int | None = None, at_most: int | None = None, severity: Severity = "error", name: str | None = None) -> RowCount:
    """Limit the number of rows that a run computes for its interval, including rows that the feature table already has.

    A run that resumes from the watermark and has nothing to compute passes: use `fresh` to detect a source that has stopped.
    """
    limits = [f"{limit}={value}" for limit, value in (("at_least", at_least), ("at_most", at_most)) if value is not None]
    return RowCount(f"rows({', '.join(limits)})" if name is None else name, at_least, at_most, severity)


def fresh(*, within: str, severity: Severity = "error", name: str | None = None) -> Freshness:
    """Limit the age of the source's newest event at the end of the run's interval, which is the current time by default."""
    return Freshness(f"fresh({within})" if name is None else name, within, severity)
