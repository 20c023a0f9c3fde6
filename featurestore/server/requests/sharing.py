"""Request bodies of shares and recipients, and of the sharing protocol."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from featurestore.access.principal import LONGEST_NAME, MOST_GROUPS
from featurestore.server.requests.body import Body
from featurestore.sharing.recipients import MOST_SHARES

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Names = Annotated[list[Name], Field(max_length=max(MOST_GROUPS, MOST_SHARES))]
Expires = Annotated[str, Field(max_length=30, description="how long its key lives")]
_MOST = 2**63 - 1


class ShareBody(Body):
    """A new share."""

    name: Name


class AddedTableBody(Body):
    """An object to be shared."""

    on: Annotated[str, Field(min_length=1, max_length=1000, description="as in `VIEW customer_orders`")]
    as_name: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="what recipients see it as, as in `sales.orders`; by default made from its own name"
    )


class RecipientBody(Body):
    """A new recipient."""

    name: Name
    shares: Names = Field(default=[], description="what it may read")
    groups: Names = Field(default=[], description="its groups, for masks and row filters")
    expires: Expires = "90d"


class ChangedRecipientBody(Body):
    """What is to be changed of a recipient."""

    shares: Names | None = None
    groups: Names | None = None


class RotationBody(Body):
    """A new key of a recipient."""

    expires: Expires = "90d"


class QueryBody(BaseModel):
    """A query of the sharing protocol. Unlike elsewhere, unknown fields are ignored: clients send hints of newer versions."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    predicateHints: Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(max_length=1_000)] | None = Field(
        default=None, description="not used"
    )
    jsonPredicateHints: Annotated[str, Field(max_length=1_000_000)] | None = Field(default=None, description="not used")
    limitHint: Annotated[int, Field(ge=0, le=_MOST)] | None = Field(default=None, description="as many rows are enough")
    version: Annotated[int, Field(ge=0, le=_MOST)] | None = Field(default=None, description="a version of the table; by default the newest")
    timestamp: Annotated[str, Field(max_length=100)] | None = Field(default=None, description="a time: the version that was current then")
    startingVersion: Annotated[int, Field(ge=0, le=_MOST)] | None = Field(default=None, description="refused: changes are not shared")
    endingVersion: Annotated[int, Field(ge=0, le=_MOST)] | None = Field(default=None, description="refused: changes are not shared")
