"""Data quality checks of views as JSON."""

from typing import Annotated, Literal

from pydantic import Field

from featurestore.server.requests.body import Body


class Check(Body):
    """A data quality check that every run performs. `name` defaults to one made from the kind of check."""

    name: str | None = None
    severity: Literal["error", "warn"] = "error"


class ThatCheck(Check):
    """At least the fraction `at_least` of the rows satisfies the row SQL condition `sql`."""

    kind: Literal["that"]
    sql: str
    at_least: float = 1.0


class NotNullCheck(Check):
    """At least the fraction `at_least` of the rows has a value for `feature`."""

    kind: Literal["not_null"]
    feature: str
    at_least: float = 1.0


class RowsCheck(Check):
    """A run computes between `at_least` and `at_most` rows."""

    kind: Literal["rows"]
    at_least: int | None = None
    at_most: int | None = None


class FreshCheck(Check):
    """The newest event of the source is at most `within` older than the end of the run's interval."""

    kind: Literal["fresh"]
    within: str


AnyCheck = Annotated[ThatCheck | NotNullCheck | RowsCheck | FreshCheck, Field(discriminator="kind")]
