"""Request bodies of API keys."""

from typing import Annotated

from pydantic import Field

from featurestore.access.principal import LONGEST_NAME, MOST_GROUPS
from featurestore.server.requests.body import Body

PrincipalName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]


class KeyBody(Body):
    """A new API key."""

    name: PrincipalName = Field(description="the person or program that will use it")
    groups: list[PrincipalName] = Field(default=[], max_length=MOST_GROUPS)
    administrator: bool = Field(default=False, description="whether it may do everything")
    expires: Annotated[str, Field(max_length=30)] = Field(default="90d", description="how long it lives")
