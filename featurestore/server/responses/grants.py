"""Response bodies of grants and policies."""

from typing import Literal

from pydantic import Field

from featurestore.server.responses.answer import Answer


class Grant(Answer):
    """A grant: `privilege` on an object, such as `VIEW customer_orders`, to a user or group, such as `GROUP analysts`."""

    privilege: str
    on: str
    to: str
    granted: str
    granted_by: str | None


class Policy(Answer):
    """A mask, row filter or declassified feature of an object, such as `VIEW customer_profile`, for all who are in no group of `unless`."""

    on: str
    rule: Literal["mask", "rows", "declassify", "declassify_rows"]
    column: str | None
    sql: str | None = Field(description="null for whoever is not an administrator")
    unless: list[str]
    applied: str
    applied_by: str | None
