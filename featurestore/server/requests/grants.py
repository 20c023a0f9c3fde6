"""Request bodies of grants."""

from typing import Annotated

from pydantic import Field

from featurestore.server.requests.body import Body

Text = Annotated[str, Field(min_length=1, max_length=1000)]


class GrantBody(Body):
    """A privilege on an object, for a user or a group."""

    privilege: Text = Field(examples=["READ"])
    on: Text = Field(examples=["VIEW customer_orders"])
    to: Text = Field(examples=["GROUP analysts"])
