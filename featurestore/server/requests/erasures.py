"""Keys to erase."""

from typing import Any

from pydantic import Field

from featurestore.server.requests.body import Body


class ErasureBody(Body):
    """A key of an entity. It is in the body, since addresses are logged."""

    entity: str
    key: Any = Field(description="the value of the key column, or an object with a value for each key column")
    dry_run: bool = Field(False, description="only count")
    by: str | None = Field(None, description="who asks for it; recorded. By default the caller; only an administrator may name another")
