"""Request bodies of promotions, demotions, rollbacks and archivings."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from featurestore.server.requests.body import Body, Record
from featurestore.server.requests.spines import MOST_ROWS, SpineBody

Text = Annotated[str, Field(min_length=1, max_length=2000)]
Percentage = Annotated[float, Field(strict=True)]
Number = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]


class ApprovedBody(Body):
    """Who decides a change, and why; both are recorded."""

    approver: Text
    reason: Text | None = None


class TrafficBody(Body):
    """A split of the requests to a model: percentages of aliases, and shadows, which are never returned. No weights remove it."""

    weights: Annotated[dict[Text, Percentage], Field(max_length=100, description="percentages of aliases; together 100")]
    shadow: Annotated[list[Text], Field(max_length=100, description="aliases that are also scored and logged, but never returned")] = []
    approver: Text | None = Field(
        default=None, description="who decides this; recorded. By default the caller; only an administrator may name another"
    )
    reason: Text | None = None


class LabelsBody(Body):
    """Labels of predictions that were logged. Give exactly one of the three fields."""

    table: str | None = Field(None, description="an Iceberg table, `namespace.name`, or `namespace.name@snapshot`")
    sql: str | None = Field(None, description="one SELECT over Iceberg tables")
    rows: list[Record] | None = Field(None, max_length=MOST_ROWS, description="the rows themselves; times as ISO 8601")

    @model_validator(mode="after")
    def _check_one_source(self) -> Self:
        if sum(part is not None for part in (self.table, self.sql, self.rows)) != 1:
            raise ValueError("labels are exactly one of table, sql and rows")
        return self

    def to_spine(self) -> Any:
        """The labels as an argument of the store's methods."""
        return SpineBody(table=self.table, sql=self.sql, rows=self.rows, grid=None).to_spine()


class TrafficComparisonBody(Body):
    """Compare the logged predictions of a model by alias, version and role, with labels if there are some."""

    since: Text | None = Field(default=None, description="time of the first prediction, in ISO 8601; by default all")
    labels: LabelsBody | None = None
    label: Text | None = Field(default=None, description="column of the labels with the label")
    timestamp: Text | None = Field(default=None, description="column of the labels with their time: a prediction gets the next one")


class DemotionBody(ApprovedBody):
    """Remove an alias."""

    alias: Text = "champion"


class RollbackBody(DemotionBody):
    """Give an alias back to the version that had it before."""


class PromotionBody(DemotionBody):
    """Give an alias to a version."""

    version: Number
    require: Text | None = Field(default=None, description="what metrics must fulfill: auc > champion.auc + 0.005")
    deep: bool = Field(default=False, description="also compute the training set again")


class ArchivingBody(ApprovedBody):
    """Mark a version as not to be promoted."""

    version: Number
    restore: bool = Field(default=False, description="take it out of the archive instead")
