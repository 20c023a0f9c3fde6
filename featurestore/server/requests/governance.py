"""Request bodies of promotions, demotions, rollbacks and archivings."""

from typing import Annotated

from pydantic import Field

from featurestore.server.requests.body import Body

Text = Annotated[str, Field(min_length=1, max_length=2000)]
Percentage = Annotated[float, Field(strict=True)]
Number = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]


class ApprovedBody(Body):
    """Who decides a change, and why; both are recorded."""

    approver: Text
    reason: Text | None = None


class TrafficBody(Body):
    """A split of the requests to a model: percentages of aliases, and aliases that are scored beside. No weights remove it."""

    weights: Annotated[dict[Text, Percentage], Field(max_length=100, description="percentages of aliases; together 100")]
    shadow: Annotated[list[Text], Field(max_length=100, description="aliases that are scored beside, logged and never returned")] = []
    approver: Text | None = Field(default=None, description="who decides this; recorded")
    reason: Text | None = None


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
