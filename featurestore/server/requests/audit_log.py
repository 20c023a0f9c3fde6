"""Request bodies of the audit log."""

from typing import Annotated, Any

from pydantic import Field

from featurestore.audit_log.reading import MOST
from featurestore.server.requests.body import Body

Text = Annotated[str, Field(min_length=1, max_length=1000)]


class AuditQueryBody(Body):
    """Which entries of the audit log."""

    principal: Text | None = Field(default=None, description="who did it")
    since: Text | None = Field(default=None, description="an RFC 3339 time")
    action: Text | None = Field(default=None, description="as an entry names it", examples=["POST /v1/apply"])
    entity: dict[str, Any] | None = Field(default=None, description="the keys of an entity that was looked up", max_length=100)
    limit: int = Field(default=100, ge=1, le=MOST)


class HeadBody(Body):
    """The last entry of a chain, as it was at some time."""

    chain: Annotated[str, Field(max_length=100)]
    number: int = Field(ge=1, le=2**63 - 1)
    hash: Annotated[str, Field(max_length=100)]


class VerificationBody(Body):
    """Heads that were kept elsewhere."""

    heads: list[HeadBody] = Field(default=[], max_length=10_000)
