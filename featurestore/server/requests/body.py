"""What all request bodies share: no unknown fields, and bounds on lists and objects."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

MOST_PARTS = 10_000
"""Maximum number of entries in any other list or object."""
Part = TypeVar("Part")
Items = Annotated[list[Part], Field(max_length=MOST_PARTS)]
Texts = Annotated[dict[str, str], Field(max_length=MOST_PARTS)]
Record = dict[str, Any]
Records = list[Record]
"""Entities or records, of which routes take as many as `entities_limit`."""


class Body(BaseModel):
    """A request body. An unknown field is an error, so that a misspelled one is not ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
